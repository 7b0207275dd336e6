"""A stored value that Python does not have is no value that somebody has sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Date,
    DateTime,
    Executable,
    Integer,
    MetaData,
    Table,
    Text,
    cast,
    func,
    insert,
    select,
    text,
)
from sqlalchemy.exc import DataError

from sqlkeel.engines._reading import is_of_reading
from sqlkeel.errors import UnreadableValue, ValueRefused
from sqlkeel.integrations._problems import describe
from sqlkeel.sessions import Database

metadata = MetaData()
person = Table(
    "person",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("born_on", Date),
    Column("seen_at", DateTime(timezone=True)),
)
pytestmark = pytest.mark.tables(metadata)

MANY = 300
"""More rows than a stream reads at once."""


async def store(database: Database, column: str, value: str, *, behind: int = 0) -> None:
    """Store a value of PostgreSQL's in one row, which comes after others that can be read."""
    others = [{"id": i, "seen_at": datetime(2026, 1, 1, tzinfo=UTC)} for i in range(1, behind + 1)]
    async with database.engine.begin() as connection:
        if others:
            await connection.execute(insert(person), others)
        await connection.execute(
            text(f"insert into person (id, name, {column}) values ({behind + 1}, 'Ann', '{value}')")
        )


async def refusal(database: Database, statement: Executable) -> UnreadableValue:
    """Return the error with which a statement is answered that reads such a row."""
    with pytest.raises(UnreadableValue) as caught:
        async with database.read() as session:
            await session.execute(statement)
    return caught.value


class TestUnreadableValue:
    @pytest.mark.parametrize("value", ["10000-01-01", "0044-03-15 BC"])
    @pytest.mark.parametrize("column", ["born_on", "seen_at"])
    async def test_the_only_column_is_named(self, postgresql: Database, column: str, value: str) -> None:
        """A date and a moment of a year that Python does not have, each read alone."""
        await store(postgresql, column, value)

        error = await refusal(postgresql, select(person.c.name, person.c[column]))

        assert (error.table, error.column) == ("person", column)
        assert str(error).startswith(f"person.{column} holds a value that Python does not have.")

    async def test_it_is_none_that_was_sent(self, postgresql: Database) -> None:
        """A client is told of a failure of the service, whatever it has sent."""
        await store(postgresql, "born_on", "10000-01-01")

        error = await refusal(postgresql, select(person))

        assert isinstance(error, DataError)
        assert describe(error).status == 500

    async def test_infinity_is_a_value_of_asyncpg_alone(self, psycopg: Database) -> None:
        """Psycopg reads no infinity; asyncpg makes the last date of Python's of it."""
        await store(psycopg, "born_on", "infinity")

        assert (await refusal(psycopg, select(person.c.born_on))).column == "born_on"

    async def test_of_two_columns_none_is_called_the_one(self, postgresql: Database) -> None:
        """No driver says which it was; texts and numbers do not come into question."""
        await store(postgresql, "born_on", "10000-01-01")

        error = await refusal(postgresql, select(person))

        assert error.message.startswith("One of person.born_on, person.seen_at holds a value")
        assert error.column is None

    async def test_a_result_without_a_column_is_named_by_its_label(self, postgresql: Database) -> None:
        """What is computed of a column may be the value too."""
        await store(postgresql, "born_on", "10000-01-01")

        error = await refusal(postgresql, select(func.max(person.c.born_on).label("youngest")))

        assert error.message.startswith("youngest holds a value")
        assert error.column is None

    async def test_of_sql_text_nothing_is_known(self, postgresql: Database) -> None:
        """SQL as text has no columns that the models know."""
        error = await refusal(postgresql, text("select '10000-01-01'::date"))

        assert error.message.startswith("A row holds a value")

    async def test_a_row_of_a_stream(self, postgresql: Database) -> None:
        """The rows before it are read; its own is refused as in any other result."""
        await store(postgresql, "seen_at", "10000-01-01", behind=MANY)
        read = 0

        with pytest.raises(UnreadableValue):
            async with postgresql.transaction() as session:
                rows = await session.stream_scalars(select(person.c.seen_at).order_by(person.c.id))
                async for _ in rows:
                    read += 1

        assert read > 0

    async def test_the_transaction_goes_on(self, postgresql: Database) -> None:
        """The server has done what it was asked; what was written with it can be committed."""
        await store(postgresql, "born_on", "10000-01-01")

        async with postgresql.transaction() as session:
            await session.execute(insert(person).values(id=7, name="Bob"))
            with pytest.raises(UnreadableValue):
                await session.execute(select(person.c.born_on))

        async with postgresql.read() as session:
            assert await session.scalar(select(person.c.name).where(person.c.id == 7)) == "Bob"

    async def test_its_text_can_be_read(self, postgresql: Database) -> None:
        """The hint reads the value."""
        await store(postgresql, "born_on", "10000-01-01")

        async with postgresql.read() as session:
            assert await session.scalar(select(cast(person.c.born_on, Text))) == "10000-01-01"

    async def test_a_value_that_is_sent_is_refused_as_before(self, postgresql: Database) -> None:
        """A text with a NUL in it, which neither driver sends, is the caller's."""
        with pytest.raises(ValueRefused):
            async with postgresql.read() as session:
                await session.execute(select(person).where(person.c.name == "\0"))


class TestPrivateNames:
    """What the drivers' own functions are called."""

    async def test_the_functions_that_read_rows(self, postgresql: Database) -> None:
        """Canary of the names: without them an unreadable value is one that somebody has sent."""
        error: Any = await refusal(postgresql, text("select '10000-01-01'::date"))

        assert is_of_reading(error.orig)
