"""Tests of sqlkeel.bulk._databases.postgresql: COPY and temporary tables, inside the session's own transaction."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import JSON, Identity, String, func, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

import sqlkeel
from sqlkeel import IntKeyMixin
from sqlkeel.bulk import UpsertResult, insert_many, insert_many_returning, update_many, upsert_many
from sqlkeel.errors import DatabaseFault
from sqlkeel.sessions import Database, Session
from tests.bulk.models import count_of, values_of


class Base(sqlkeel.Base):
    pass


class Upper(UserDefinedType[str]):
    """A type whose values pass through a function of the server."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Be a text."""
        return "VARCHAR(20)"

    def bind_expression(self, bindvalue: Any) -> Any:
        """Wrap the value."""
        return func.upper(bindvalue, type_=self)


class Note(IntKeyMixin, Base):
    """Names that have to be quoted."""

    __tablename__ = "Bulk note"

    subject: Mapped[str] = mapped_column("the subject %", String(20), unique=True)
    plain: Mapped[dict[str, Any] | None] = mapped_column("order", JSON)


class Numbered(Base):
    __tablename__ = "bulk_numbered"

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


class Shout(IntKeyMixin, Base):
    __tablename__ = "bulk_shout"

    word: Mapped[str] = mapped_column(Upper())


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["asyncpg", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    found: Database = request.getfixturevalue({"asyncpg": "postgres"}.get(request.param, request.param))
    return found


async def _somebody_waits(session: Session) -> None:
    """Return when a connection waits for a lock, which only the server knows."""
    if not await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")):
        await asyncio.sleep(0.01)
        await _somebody_waits(session)


class TestCopy:
    async def test_it_waits_for_the_transaction(self, database: Database) -> None:
        """As the first statement of a session it is rolled back with it: BEGIN was really sent."""
        async with database.session() as session:
            await insert_many(session, Note, [{"subject": "a"}])
            await session.rollback()

        async with database.session() as session:
            assert await count_of(session, Note) == 0

    async def test_a_number_that_is_generated_always_is_refused(self, database: Database) -> None:
        """COPY would write it, which neither INSERT nor the ORM may."""
        async with database.transaction() as session:
            with pytest.raises(DatabaseFault, match="non-DEFAULT value"):
                await insert_many(session, Numbered, [{"id": 5, "name": "a"}])
            await insert_many(session, Numbered, [{"name": "a"}])

            assert await count_of(session, Numbered) == 1

    async def test_names_are_quoted(self, database: Database) -> None:
        """Tables and columns with blanks, capitals, percent signs and reserved words are written."""
        async with database.transaction() as session:
            await insert_many(session, Note, [{"subject": "a", "plain": {"x": 1}}])
            (made,) = await insert_many_returning(session, Note, [{"subject": "b", "plain": None}])
            await update_many(session, Note, [{"id": made.id, "subject": "c"}])

            assert await values_of(session, Note.subject) == [("a",), ("c",)]

    async def test_an_expression_of_a_type(self, database: Database) -> None:
        """A type that wraps its values into a function is written by a statement."""
        async with database.transaction() as session:
            await insert_many(session, Shout, [{"word": "hey"}, {"word": "you"}])

            assert await values_of(session, Shout.word) == [("HEY",), ("YOU",)]

    async def test_a_cancelled_copy_frees_its_connection(self, database: Database) -> None:
        """A COPY that is cancelled while it waits for a lock writes nothing, and the pool goes on."""

        async def write() -> None:
            async with database.transaction() as session:
                await insert_many(session, Note, [{"subject": "a"}])

        async with database.transaction() as other:
            await other.execute(text('LOCK TABLE "Bulk note" IN ACCESS EXCLUSIVE MODE'))
            task = asyncio.create_task(write())
            await _somebody_waits(other)
            task.cancel()
            await asyncio.wait([task])

        async with database.transaction() as session:
            assert task.cancelled()
            assert await count_of(session, Note) == 0


class TestArrays:
    @pytest.mark.parametrize("kind", [list, tuple, set], ids=lambda kind: kind.__name__)
    async def test_a_row_gets_nothing_of_the_list_of_another(self, database: Database, kind: type[Any]) -> None:
        """A list where a text belongs is refused or stored as one text, and not spread over the rows after it."""
        async with database.transaction() as session:
            await insert_many(session, Note, [{"id": 1, "subject": "a"}, {"id": 2, "subject": "b"}])
        rows = [{"id": 1, "subject": kind(["x", "y"])}, {"id": 2, "subject": kind(["z", "w"])}]

        with suppress(DatabaseFault):
            async with database.transaction() as session:
                await update_many(session, Note, rows)

        async with database.read() as session:
            stored = {subject for (subject,) in await values_of(session, Note.subject)}
        assert stored.isdisjoint({"x", "y", "z", "w"})


class TestStage:
    async def test_nothing_is_left(self, database: Database) -> None:
        """The temporary table is gone when the call ends, not only when the transaction does."""
        async with database.transaction() as session:
            await upsert_many(session, Note, [{"subject": "a"}], on=[Note.subject])

            left = await session.scalar(text("SELECT count(*) FROM pg_class WHERE relname LIKE 'sqlkeel%'"))

            assert left == 0

    async def test_plain_json_is_compared(self, database: Database) -> None:
        """The type json has no equality; what it holds is compared."""
        row = {"subject": "a", "plain": {"x": 1, "y": 2}}

        async with database.transaction() as session:
            await upsert_many(session, Note, [row], on=[Note.subject])
            same = await upsert_many(session, Note, [{**row, "plain": {"y": 2, "x": 1}}], on=[Note.subject])
            other = await upsert_many(session, Note, [{**row, "plain": {"x": 1}}], on=[Note.subject])

        assert (same, other) == (UpsertResult(0, 0, 1), UpsertResult(0, 1, 0))
