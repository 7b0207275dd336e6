"""What is done through a session over several databases: models, and a call for each kind of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlalchemy import ForeignKey, String, event, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.bulk import insert_many_returning
from sqlkeel.models import IntKeyMixin, children, parent, unique_live
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._locks import lock_rows
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Author(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """Somebody with articles, which go with him, and notes, which keep him."""

    __tablename__ = "author"
    email: Mapped[str] = mapped_column(String(50))
    age: Mapped[int] = mapped_column(default=1)
    __table_args__ = (unique_live("email"),)
    articles: Mapped[list[Article]] = children(back_populates="author")
    notes: Mapped[list[Note]] = children(back_populates="author", on_delete="restrict")


class Article(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """Something written."""

    __tablename__ = "article"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id", ondelete="CASCADE"), index=True)
    author: Mapped[Author] = parent(back_populates="articles")


class Note(IntKeyMixin, SoftDeleteMixin, Base):
    """Something that must have an author."""

    __tablename__ = "note"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="notes")


class Code(IntKeyMixin, Base):
    """A name and a number, which are removed for good."""

    __tablename__ = "code"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    number: Mapped[int] = mapped_column(default=0)


Call = Callable[[Any], Awaitable[object]]
Make = Callable[[], Any]


async def make_or_find(session: Any) -> None:
    codes = Repository(session, Code)
    assert [(await codes.get_or_create({"name": name}))[1] for name in ("a", "z")] == [False, True]


async def upsert(session: Any) -> None:
    codes = Repository(session, Code)
    assert [(await codes.upsert({"name": name, "number": 3}, on=[Code.name]))[1] for name in "az"] == [False, True]


async def revive(session: Any) -> None:
    authors = Repository(session, Author)
    await authors.delete(await authors.get_one(2))
    await authors.upsert({"email": "b", "age": 3}, on=[Author.email], revive=True)


async def insert_many(session: Any) -> None:
    assert await Repository(session, Author).insert_many([{"email": "x"}, {"email": "y"}]) == 2


async def insert_returning(session: Any) -> None:
    assert [code.name for code in await insert_many_returning(session, Code, [{"name": "x"}, {"name": "y"}])] == [
        "x",
        "y",
    ]


async def update_many(session: Any) -> None:
    held = await session.get(Author, 1)
    await Repository(session, Author).update_many([{"id": 1, "age": 7}, {"id": 2, "age": 8}])
    assert held.age == 7


async def upsert_many(session: Any) -> None:
    rows = [{"name": "a", "number": 7}, {"name": "a"}, {"name": "x", "number": 8}]
    await Repository(session, Code).upsert_many(rows, on=[Code.name])


async def delete_many(session: Any) -> None:
    assert await Repository(session, Code).delete_many([1]) == 1


async def lock(session: Any) -> None:
    assert [author.id for author in await session.run_sync(lock_rows, Author, [2, 1])] == [1, 2]


OF_ROWS: list[Call] = [
    make_or_find, upsert, revive, insert_many, insert_returning, update_many, upsert_many, delete_many, lock,
]  # fmt: skip


def named(call: Any) -> str:
    return str(getattr(call, "__name__", call))


class Two:
    """The database that is meant, and another one in which nothing may happen, with the same rows."""

    def __init__(self, meant: Database, other: Database) -> None:
        self.meant, self.other = meant, other
        self.sent: list[str] = []
        event.listen(other.engine.sync_engine, "before_cursor_execute", self._note)

    def _note(self, connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        self.sent.append(statement)

    async def fill(self) -> None:
        """Write the rows, anew."""
        for database in (self.meant, self.other):
            async with database.transaction() as session:
                for table in reversed(Base.metadata.sorted_tables):
                    await session.execute(table.delete())
                first = Author(id=1, email="a")
                session.add_all([first, Author(id=2, email="b")])
                session.add_all([Article(id=1, author=first), Note(id=1, author=first), Code(id=1, name="a")])
                await self._leave_the_keys(session)
        self.sent.clear()

    async def _leave_the_keys(self, session: Session) -> None:
        """PostgreSQL does not count keys that are given, and would give them to the next rows."""
        if session.get_bind().dialect.name == "postgresql":
            for name in Base.metadata.tables:
                await session.execute(text(f"SELECT setval(pg_get_serial_sequence('{name}', 'id'), 100)"))

    async def rows(self, database: Database | None = None) -> dict[str, list[Any]]:
        """Return all rows; of a mark, whether there is one."""
        found = {}
        async with (database or self.meant).read() as session:
            for table in Base.metadata.sorted_tables:
                columns = [column for column in table.columns if column.name[-3:] != "_at"]
                columns = [column for column in columns if column.name not in {"id", "deletion_id"}]
                marks: list[Any] = [column.is_(None) for column in table.columns if column.name == "deleted_at"]
                statement = select(*columns, *marks).order_by(*columns)
                found[table.name] = [tuple(row) for row in await session.execute(statement)]
        return found

    async def outcome(self, make: Make, call: Call) -> dict[str, list[Any]]:
        """Make a session, call, commit, and return the rows."""
        await self.fill()
        async with make() as session:
            await call(session)
            await session.commit()
        return await self.rows()


async def with_another(meant: Database, open_database: OpenDatabase, tmp_path: Path) -> Two:
    """Open a file beside a database."""
    other = open_database(f"sqlite+aiosqlite:///{tmp_path / 'other.db'}")
    async with other.engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    return Two(meant, other)
