"""Tests of sqlkeel.bulk._databases.mariadb: one unique key is meant, whichever the server finds first."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import ForeignKey, String, Text, func, select, text
from sqlalchemy.dialects.mysql import LONGTEXT
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, queries, unique_live
from sqlkeel.bulk import UpsertResult, get_or_create, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.errors import UniqueViolation
from sqlkeel.sessions import Database, Session
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Page(IntKeyMixin, Base):
    """Two unique columns, and room for a book."""

    __tablename__ = "bulk_page"

    path: Mapped[str] = mapped_column(String(50), unique=True)
    slug: Mapped[str | None] = mapped_column(String(50), unique=True)
    body: Mapped[str | None] = mapped_column(Text().with_variant(LONGTEXT(), "mariadb"))


class Plain(DeclarativeBase):
    """A base whose names are SQLAlchemy's own."""


class Offer(SoftDeleteMixin, Plain):
    """A unique column of a name with a percent sign."""

    __tablename__ = "bulk_offer"
    __table_args__ = (unique_live("50%_off"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column("50%_off", String(20))
    price: Mapped[int]


class LongName(SoftDeleteMixin, Plain):
    """A unique column for whose index the name would be too long, and is cut."""

    __tablename__ = f"bulk_{'long' * 12}"
    __table_args__ = (unique_live("number_of_the_offer"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column("number_of_the_offer", String(20))
    price: Mapped[int]


class Book(IntKeyMixin, Base):
    """What chapters belong to."""

    __tablename__ = "bulk_book"


class Chapter(IntKeyMixin, SoftDeleteMixin, Base):
    """A unique index of living rows, and another index that begins alike."""

    __tablename__ = "bulk_chapter"
    __table_args__ = (unique_live("book_id", "title"),)

    book_id: Mapped[int] = mapped_column(ForeignKey(Book.id), index=True)
    title: Mapped[str] = mapped_column(String(50))
    pages: Mapped[int]


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.mark.tables(Plain.metadata)
@pytest.mark.parametrize("model", [Offer, LongName])
class TestUniqueAmongLiveRows:
    """The generated column of `unique_live` is found, whatever the index is called."""

    async def test_one_row(self, mariadb: Database, model: type[Offer | LongName]) -> None:
        """upsert() meets the live row, and not the deleted one."""
        async with mariadb.transaction() as session:
            deleted, _ = await upsert(session, model, {"code": "a", "price": 1}, on=[model.code])
            await session.delete(deleted)
            await session.flush()
            _, is_new = await upsert(session, model, {"code": "a", "price": 2}, on=[model.code])
            found, is_new_again = await upsert(session, model, {"code": "a", "price": 3}, on=[model.code])

            assert (is_new, is_new_again, found.price) == (True, False, 3)

    async def test_many_rows(self, mariadb: Database, model: type[Offer | LongName]) -> None:
        """upsert_many() does so, too."""
        async with mariadb.transaction() as session:
            await upsert_many(session, model, [{"code": "a", "price": 1}], on=[model.code])
            rows = [{"code": "a", "price": 2}, {"code": "b", "price": 3}]

            assert await upsert_many(session, model, rows, on=[model.code]) == UpsertResult(1, 1, 0)


class TestOneRow:
    async def test_the_first_call_of_a_connection(self, mariadb: Database) -> None:
        """The variable is there on a connection that has never used it."""
        async with mariadb.session() as first, mariadb.session() as second:
            _, made = await upsert(first, Page, {"path": "a", "body": "x"}, on=[Page.path])
            await first.commit()
            _, is_new = await upsert(second, Page, {"path": "a", "body": "y"}, on=[Page.path])

        assert (made, is_new) == (True, False)

    async def test_a_key_that_the_server_finds_first(self, mariadb: Database) -> None:
        """A conflict under another key is not taken for the one that is meant, though both are there."""
        async with mariadb.transaction() as session:
            await insert_many(session, Page, [{"path": "a", "slug": "a"}, {"path": "b", "slug": "b"}])

            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    await upsert(session, Page, {"path": "b", "slug": "a", "body": "x"}, on=[Page.path])

            assert await values_of(session, Page.path, Page.body) == [("a", None), ("b", None)]

    async def test_both_keys_of_one_row(self, mariadb: Database) -> None:
        """Where all keys lead to the same row, it is the one that is meant."""
        async with mariadb.transaction() as session:
            await insert_many(session, Page, [{"path": "a", "slug": "a"}])
            _, is_new = await upsert(session, Page, {"path": "a", "slug": "a", "body": "x"}, on=[Page.path])

            assert not is_new
            assert await values_of(session, Page.body) == [("x",)]

    async def test_get_or_create_does_not_write(self, mariadb: Database) -> None:
        """The row of another connection, made since, is returned as it is."""

        async def call() -> str | None:
            async with mariadb.transaction() as session:
                page, _ = await get_or_create(session, Page, {"path": "a"}, {"body": "first"})
                return page.body

        bodies = await asyncio.gather(*(call() for _ in range(8)))

        assert bodies == ["first"] * 8


class TestManyRows:
    async def test_large_rows_are_split(self, mariadb: Database) -> None:
        """Rows of more than a packet together are sent in several statements."""
        size = 300_000

        async with mariadb.transaction() as session:
            packet = await session.scalar(text("SELECT @@max_allowed_packet"))
            count = packet // size + 2
            await insert_many(session, Page, ({"path": f"{n}", "body": "x" * size} for n in range(count)))

            assert await session.scalar(select(func.sum(func.length(Page.body)))) == count * size

    async def test_large_rows_come_back(self, mariadb: Database) -> None:
        """Rows that are larger together than the server takes in one statement come back as objects, in order."""
        rows = [{"path": f"/{n}", "body": "x" * 1_000_000} for n in range(20)]
        async with mariadb.transaction() as session:
            made = await insert_many_returning(session, Page, [*rows, {"path": "/last"}])

            assert [one.path for one in made] == [*(f"/{n}" for n in range(20)), "/last"]
            assert await session.scalar(select(func.sum(func.length(Page.body)))) == 20_000_000

    async def test_small_rows_go_together(self, mariadb: Database) -> None:
        """Rows that fit into one statement are one."""
        async with mariadb.transaction() as session, queries(mariadb, exactly=1):
            await insert_many_returning(session, Page, [{"path": f"/{n}", "body": "x" * 1_000} for n in range(500)])

    async def test_a_stage_that_an_error_left(self, mariadb: Database) -> None:
        """Temporary tables outlive a rollback here; the next call does not mind."""
        rows = [{"path": "b", "slug": "a"}]

        async with mariadb.transaction() as session:
            await insert_many(session, Page, [{"path": "a", "slug": "a"}])
            with pytest.raises(UniqueViolation):
                await upsert_many(session, Page, rows, on=[Page.path])

            result = await upsert_many(session, Page, [{**rows[0], "slug": "b"}], on=[Page.path])

            assert result == UpsertResult(1, 0, 0)

    async def test_a_row_that_came_after_the_snapshot(self, mariadb: Database) -> None:
        """A row that another transaction has committed since is updated, though the snapshot does not have it."""
        async with mariadb.transaction() as session, mariadb.session() as other:
            await session.execute(select(Page))
            await insert_many(other, Page, [{"path": "a", "body": "theirs"}])
            await other.commit()

            result = await upsert_many(session, Page, [{"path": "a", "body": "ours"}], on=[Page.path])

            assert result == UpsertResult(0, 1, 0)
            assert await _body(session) == "ours"

    async def test_rows_are_found_by_their_whole_key(self, mariadb: Database) -> None:
        """The server does not look for a second row, of those with the first parts of the key, for one that it locks.

        Where that is left to it, it may take the other index, and read all rows of a book for each of its chapters.
        """
        count = 200
        rows = [{"book_id": 1, "title": f"{n}", "pages": 1} for n in range(count)]
        async with mariadb.transaction() as session:
            await insert_many(session, Book, [{"id": 1}])
            await insert_many(session, Chapter, rows)
        async with mariadb.transaction() as session:
            before = await _read_on(session)
            result = await upsert_many(
                session, Chapter, [{**row, "pages": 2} for row in rows], on=[Chapter.book_id, Chapter.title]
            )
            read = await _read_on(session) - before

        assert result == UpsertResult(0, count, 0)
        assert read < 2 * count


async def _read_on(session: Session) -> int:
    """Return how often the server has read the next entry of an index for this connection."""
    status = await session.execute(text("SHOW SESSION STATUS LIKE 'Handler_read_next'"))
    return int(status.one()[1])


async def _body(session: Session) -> str | None:
    return await session.scalar(select(Page.body))
