"""What is read when the block has ended: an error that says what to load inside of it."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, class_mapper, mapped_column, selectinload
from sqlalchemy.orm.exc import DetachedInstanceError

import sqlkeel
from sqlkeel.errors import DetachedAttribute, KeelError, SessionClosed, UnloadedAttribute
from sqlkeel.models import IntKeyMixin
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.authors import Author, Base, Book, fill

pytestmark = pytest.mark.tables(Base.metadata)


class Other(sqlkeel.Base):
    """Models of another base."""


class Letter(IntKeyMixin, Other):
    """A row with a column that is left out."""

    __tablename__ = "letter"
    words: Mapped[str | None] = mapped_column(String(50), deferred=True)


class TestRelation:
    @pytest.mark.parametrize("block", ["read", "transaction", "session"])
    async def test_it_says_what_to_load(self, every_driver: Database, block: str) -> None:
        """A collection that is read behind the block names itself and the query that loads it."""
        await fill(every_driver, 1)
        async with getattr(every_driver, block)() as session:
            author = (await session.scalars(select(Author))).one()

        with pytest.raises(DetachedAttribute) as caught:
            _ = author.books

        assert (caught.value.model, caught.value.attribute, caught.value.is_column) == ("Author", "books", False)
        assert caught.value.message == (
            "Author.books is not loaded, and the object is detached: the block of its session has ended."
        )
        assert caught.value.hint == "Load it inside the block, with the query: load=[Author.books]."

    async def test_it_is_what_sqlalchemy_raises(self, sqlite: Database) -> None:
        """Code that catches SQLAlchemy's own error, or ours of an open session, goes on."""
        await fill(sqlite, 1)
        async with sqlite.read() as session:
            book = (await session.scalars(select(Book).limit(1))).one()

        with pytest.raises(DetachedInstanceError):
            _ = book.author
        with pytest.raises(UnloadedAttribute):
            await book.awaitable_attrs.author

    async def test_what_was_loaded_stays_readable(self, sqlite: Database) -> None:
        """What the query has loaded is there, and what is set by hand."""
        await fill(sqlite, 1)
        async with sqlite.read() as session:
            author = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()

        assert author.books
        assert Author().books == []

    async def test_it_pickles(self, sqlite: Database) -> None:
        """The error travels to another process with its attributes."""
        await fill(sqlite, 1)
        async with sqlite.read() as session:
            author = (await session.scalars(select(Author))).one()
        with pytest.raises(DetachedAttribute) as caught:
            _ = author.books

        again = pickle.loads(pickle.dumps(caught.value))

        assert (str(again), again.model, again.attribute) == (str(caught.value), "Author", "books")


class TestColumn:
    async def test_one_that_has_expired(self, every_driver: Database) -> None:
        """What a rollback by hand has made expire is named, and how it is read again."""
        await fill(every_driver, 1)
        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            await session.rollback()

        with pytest.raises(
            DetachedAttribute, match=r"Author\..*\bname are not loaded(.|\n)*session\.refresh"
        ) as caught:
            _ = author.name

        assert caught.value.is_column

    async def test_one_that_was_left_out(self, sqlite: Database) -> None:
        """A deferred column is named."""
        async with sqlite.engine.begin() as connection:
            await connection.run_sync(Other.metadata.create_all)
        async with sqlite.transaction() as session:
            session.add(Letter(words="a"))
        async with sqlite.read() as session:
            letter = (await session.scalars(select(Letter))).one()
        async with sqlite.engine.begin() as connection:
            await connection.run_sync(Other.metadata.drop_all)

        with pytest.raises(DetachedAttribute, match=r"Letter\.words is not loaded") as caught:
            _ = letter.words

        assert caught.value.is_column


class TestSession:
    @pytest.mark.parametrize("block", ["read", "transaction", "session"])
    async def test_the_session_itself(self, every_driver: Database, block: str) -> None:
        """Whatever is asked of the session of a block that has ended says so, and what to do."""
        async with getattr(every_driver, block)() as session:
            authors = Repository(session, Author)
        asked: list[Any] = [
            lambda: session.execute(select(Author)),
            lambda: session.scalars(select(Author)),
            lambda: session.get(Author, 1),
            lambda: session.connection(),
            lambda: authors.get(1),
            lambda: authors.get_all(),
            lambda: authors.page(),
            lambda: authors.insert_many([{"name": "a"}]),
            lambda: session.begin().start(),
            lambda: session.begin_nested().start(),
            lambda: session.merge(Author(id=1, name="a")),
        ]

        told = [await error_of(ask) for ask in asked]

        assert {type(error) for error in told} == {SessionClosed} or block == "read"
        assert all("async with db.transaction()" in str(error) for error in told)

    async def test_adding(self, sqlite: Database) -> None:
        """What is added to it would be lost, and is refused."""
        async with sqlite.transaction() as session:
            pass

        with pytest.raises(SessionClosed):
            session.add(Author(name="a"))


async def error_of(ask: Any) -> KeelError:
    """Return what a call raises."""
    with pytest.raises(KeelError) as caught:
        await ask()
    return caught.value


class TestForeignPrivates:
    def test_what_loads_an_attribute(self) -> None:
        """SQLAlchemy keeps what loads an attribute, and what loads expired columns, where we put ours around it."""
        manager = class_mapper(Author).class_manager

        assert manager["books"].impl.callable_.__wrapped__.__name__ == "_load_for_state"
        assert callable(manager.expired_attribute_loader.__wrapped__)
