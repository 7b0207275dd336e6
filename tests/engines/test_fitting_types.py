"""The column of a value of another type: which types each value fits, on PostgreSQL."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Enum,
    Executable,
    Float,
    Integer,
    Interval,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Time,
    Uuid,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import BIT, INET, INT4RANGE, INTERVAL, JSONB, TSQUERY, TSVECTOR
from sqlalchemy.orm import registry

from sqlkeel.bulk import insert_many, insert_many_returning
from sqlkeel.errors import DatabaseFault, InvalidValue, ValueRefused
from sqlkeel.sessions import Database
from tests.engines.fitting_models import Base

pytestmark = pytest.mark.tables(Base.metadata)


KINDS: dict[str, Any] = {
    "small": SmallInteger,
    "number": Integer,
    "exact": Numeric(6, 2),
    "inexact": Float,
    "flag": Boolean,
    "word": String(20),
    "facts": JSONB,
    "owner": Uuid,
    "bytes": LargeBinary,
    "day": Date,
    "clock": Time,
    "moment": DateTime,
    "moment_in_a_zone": DateTime(timezone=True),
    "duration": Interval,
    "duration_of_postgresql": INTERVAL,
    "colour": Enum("red", "blue", name="fitting_colour"),
    "numbers": ARRAY(Integer),
    "range": INT4RANGE,
}
FITTING: dict[str, set[str]] = {
    "zero": {"small", "number", "exact", "inexact"},
    "half": {"small", "number", "exact", "inexact"},
    "decimal": {"small", "number", "exact", "inexact"},
    "true": {"flag"},
    "text": {"word"},
    "digits": {"word"},
    "bytes": {"bytes"},
    "day": {"day", "moment", "moment_in_a_zone"},
    "clock": {"clock", "duration", "duration_of_postgresql"},
    "moment": {"day", "moment", "moment_in_a_zone"},
    "duration": {"clock", "duration", "duration_of_postgresql"},
    "owner": {"owner"},
    "numbers": {"numbers", "facts", "word"},
}
"""The columns that each value may be compared with on PostgreSQL, or that a driver sends it to as a text."""
GIVEN: dict[str, Any] = {
    "zero": 0,
    "half": 0.5,
    "decimal": Decimal("0.5"),
    "true": True,
    "text": "x",
    "digits": "12",
    "bytes": b"x",
    "day": date(2020, 1, 1),
    "clock": time(1),
    "moment": datetime(2020, 1, 1),
    "duration": timedelta(1),
    "owner": uuid.UUID(int=5),
    "numbers": [1],
}
COMPARED: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "equals": lambda column, value: column == value,
    "is one of": lambda column, value: column.in_([value]),
    "lies between": lambda column, value: column.between(value, value),
}
PAIRS = [
    (kind, value)
    for kind in KINDS
    for value, fitting in FITTING.items()
    if kind not in fitting and (kind, value) != ("range", "numbers")
]
MANY = Table("fitting_many", MetaData(), Column("id", Integer), *(Column(name, kind) for name, kind in KINDS.items()))
"""Not of the models, whose tables MariaDB has, too."""


@pytest.fixture
async def with_many(postgresql: Database) -> AsyncIterator[Database]:
    """A database with the table of all kinds of column."""
    async with postgresql.engine.begin() as connection:
        await connection.run_sync(MANY.metadata.create_all)
    yield postgresql
    async with postgresql.engine.begin() as connection:
        await connection.run_sync(MANY.metadata.drop_all)


async def column_blamed(database: Database, condition: ColumnElement[bool]) -> Any:
    """Return the column that is named for a condition which the server or the driver refuses."""
    try:
        async with database.read() as session:
            await session.execute(select(MANY.c.id).where(condition))
    except (InvalidValue, ValueRefused) as error:
        return error.column
    except DatabaseFault as error:
        return error
    return None


class TestAnotherType:
    @pytest.mark.parametrize("comparison", COMPARED)
    async def test_of_any_column(self, with_many: Database, comparison: str) -> None:
        """A value of a type that its column is not compared with is the client's, whichever of the two it is."""
        told = {
            (kind, value): await column_blamed(with_many, COMPARED[comparison](MANY.c[kind], GIVEN[value]))
            for kind, value in PAIRS
        }

        assert told == {(kind, value): kind for kind, value in PAIRS}

    @pytest.mark.parametrize(
        "fitting",
        [
            MANY.c.number == 0.5,
            MANY.c.exact == 0,
            MANY.c.flag == True,  # noqa: E712 - what a caller may write
            MANY.c.moment > date(2020, 1, 1),
            MANY.c.day + timedelta(1) > date(2020, 1, 1),
            MANY.c.facts["a"].as_integer() == 1,
            MANY.c.facts.has_key("a"),
            MANY.c.duration == time(1),
        ],
        ids=str,
    )
    async def test_a_mistake_beside_what_fits(self, with_many: Database, fitting: ColumnElement[bool]) -> None:
        """What the database compares is not blamed for a function that is not there."""
        told = await column_blamed(with_many, fitting & (func.no_such_function(MANY.c.id) == 1))

        assert isinstance(told, DatabaseFault), told


OBJECTS: list[Any] = [range(2), print, object(), frozenset({"a"}), 1j, re.compile("a")]
"""What no driver writes, in any column."""
OWN = Table(
    "own",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("address", INET),
    Column("bits", BIT(4)),
    Column("range", INT4RANGE),
    Column("words", TSVECTOR),
    Column("question", TSQUERY),
    Column("numbers", ARRAY(Integer)),
    Column("addresses", ARRAY(INET)),
    Column("day", Date),
)
SENT: dict[str, list[Any]] = {
    "address": [1.5, [1], {}, {"a": 1}, "not an address", "10.0.0.1/33", *OBJECTS],
    "bits": [1.5, [1], {"a": 1}, "2", *OBJECTS],
    "range": [5, True, {"a": 1}, "not a range", "[2,1)", *OBJECTS],
    "words": [5, [1], {"a": 1}, "'", *OBJECTS],
    "question": [5, [1], {"a": 1}, "a b"],
    "numbers": [[[1], [2, 3]], [[[[[[[1]]]]]]], {"a": 1}],
    "addresses": [[{"a": 1}], ["not an address"]],
    "day": ["not-a-day"],
}


@pytest.fixture
async def with_own(postgresql: Database) -> AsyncIterator[Database]:
    """A database with the table of PostgreSQL's own types."""
    async with postgresql.engine.begin() as connection:
        await connection.run_sync(OWN.metadata.create_all)
    yield postgresql
    async with postgresql.engine.begin() as connection:
        await connection.run_sync(OWN.metadata.drop_all)


class Own:
    """The rows of that table."""


registry().map_imperatively(Own, OWN)


class TestTypesOfPostgreSQL:
    @pytest.mark.parametrize("column", ["address", "bits", "range", "words"])
    @pytest.mark.parametrize("value", OBJECTS, ids=lambda value: type(value).__name__)
    @pytest.mark.parametrize("verb", [insert_many, insert_many_returning], ids=lambda verb: verb.__name__)
    async def test_an_object_in_one_of_many_rows(self, with_own: Database, verb: Any, column: str, value: Any) -> None:
        """Its row is named, too; psycopg has an error for it that speaks of the statement."""
        with pytest.raises(ValueRefused) as caught:
            async with with_own.transaction() as session:
                await verb(session, Own, [{"id": 1, column: None}, {"id": 2, column: value}])

        assert (caught.value.column, caught.value.row) == (column, 2)

    @pytest.mark.parametrize("column", SENT)
    async def test_of_a_written_row(self, with_own: Database, column: str) -> None:
        """What is no value of the type is the client's, and its column is named."""
        told = [await refused_by(with_own, insert(OWN).values({column: value})) for value in SENT[column]]

        assert told == [column] * len(told)

    @pytest.mark.parametrize("column", ["address", "bits", "range", "words", "question"])
    @pytest.mark.parametrize("value", [[{}], {"a": 1}], ids=str)
    async def test_of_a_condition(self, with_own: Database, column: str, value: Any) -> None:
        """A list or a document that such a column is compared with is the client's, too."""
        told = await refused_by(with_own, select(OWN.c.id).where(OWN.c[column] == value))

        assert told == column

    async def test_a_pattern(self, with_own: Database) -> None:
        """A pattern that ends with the character that quotes the next one is the client's."""
        with pytest.raises(ValueRefused):
            async with with_own.read() as session:
                await session.execute(select(literal("ab").like("a\\")))

    @pytest.mark.parametrize("fitting", [OWN.c.address == "10.0.0.1", OWN.c.bits == "1010"], ids=str)
    async def test_a_mistake_beside_what_fits(self, with_own: Database, fitting: ColumnElement[bool]) -> None:
        """A text that such a column takes is not blamed for a function that is not there."""
        wrong = fitting & (func.no_such_function(OWN.c.id) == 1)

        told = await refused_by(with_own, select(OWN.c.id).where(wrong))

        assert isinstance(told, DatabaseFault), told


async def refused_by(database: Database, statement: Executable) -> Any:
    """Return the column that is named for a value which a statement writes; the error, where it is of another kind."""
    try:
        async with database.transaction() as session:
            await session.execute(statement)
    except ValueRefused as refused:
        return refused.column
    except DatabaseFault as other:
        return other
    return None
