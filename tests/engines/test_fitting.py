"""Tests of sqlkeel.engines._fitting: the column of a refused value is found where nobody names it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from ipaddress import ip_address
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    String,
    Table,
    Uuid,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import INET, INTERVAL, OID, TSQUERY, TSVECTOR
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.types import TypeEngine

from sqlkeel.bulk import get_or_create, insert_many_returning, upsert
from sqlkeel.engines._fitting import fits
from sqlkeel.errors import DatabaseFault, InvalidKey, InvalidValue, KeelError, NotFound, NotNullViolation, ValueRefused
from sqlkeel.integrations._problems import describe
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.engines.fitting_models import Base, Parcel, Required, Sample

pytestmark = pytest.mark.tables(Base.metadata)

REFUSED_BY_ALL: dict[str, Any] = {
    "code": "\ud800",
    "number": 2**70,
    "taken_at": datetime(2020, 1, 1),
    "taken_date": "2020-01-01",
    "colour": "green",
}
REFUSED_BY_SERVERS: dict[str, Any] = {
    "code": "too long",
    "number": 2**40,
    "weight": Decimal("12345.6"),
    "owner": 5,
    "facts": {"a": object()},
}
REFUSED_BY_POSTGRESQL: dict[str, Any] = {"code": "a\0", "facts": {"a": ["\0"]}}


async def refusal(database: Database, **values: Any) -> InvalidValue | ValueRefused:
    """Return the error of a row that cannot be written."""
    with pytest.raises((InvalidValue, ValueRefused)) as caught:
        async with database.transaction() as session:
            await Repository(session, Sample).create(**values)
    return caught.value


def shown(error: KeelError) -> tuple[int, Any]:
    """Return the status and the columns that a client is told."""
    problem = describe(error)
    return problem.status, problem.body.get("columns")


class TestOneRow:
    @pytest.mark.parametrize("field", REFUSED_BY_ALL)
    async def test_what_no_database_takes(self, every_driver: Database, field: str) -> None:
        """What a type or the driver refuses is the client's mistake in a column that is named."""
        error = await refusal(every_driver, **{field: REFUSED_BY_ALL[field]})

        assert error.column == field
        assert f"fitting_sample.{field}" in error.message
        assert shown(error) == (422, (field,))

    @pytest.mark.parametrize("field", REFUSED_BY_SERVERS)
    async def test_what_servers_refuse(self, server: Database, field: str) -> None:
        """So is what is too long, out of range, or of another type."""
        error = await refusal(server, **{field: REFUSED_BY_SERVERS[field]})

        assert error.column == field
        assert f"fitting_sample.{field}" in error.message
        assert shown(error) == (422, (field,))

    @pytest.mark.parametrize("field", REFUSED_BY_POSTGRESQL)
    async def test_nul(self, postgresql: Database, field: str) -> None:
        """PostgreSQL has no NUL in a text, nor in a document."""
        error = await refusal(postgresql, **{field: REFUSED_BY_POSTGRESQL[field]})

        assert shown(error) == (422, (field,))

    @pytest.mark.parametrize(
        "value", [Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), float("nan"), float("-inf")], ids=str
    )
    async def test_no_number(self, mariadb: Database, value: Any) -> None:
        """MariaDB has no NaN: its driver would write the word into the statement, as the name of a column."""
        error = await refusal(mariadb, weight=value)

        assert type(error) is ValueRefused
        assert shown(error) == (422, ("weight",))

    async def test_condition(self, server: Database) -> None:
        """A value that is compared is one of the column that it is compared with."""
        with pytest.raises(ValueRefused) as caught:
            async with server.read() as session:
                await session.execute(select(Sample.id).where(Sample.number > 1, Sample.code.in_(["a", "\ud800"])))

        assert caught.value.column == "code"

    async def test_condition_of_a_type(self, every_driver: Database) -> None:
        """What a type refuses there, too."""
        with pytest.raises(InvalidValue) as caught:
            async with every_driver.read() as session:
                await session.execute(select(Sample.id).where(Sample.taken_at > datetime(2020, 1, 1)))

        assert caught.value.message == (
            "fitting_sample.taken_at: datetime.datetime(2020, 1, 1, 0, 0) has no time zone."
        )

    async def test_ddl(self, server: Database) -> None:
        """A statement that makes a table has no parameters, and the server refuses its default all the same."""
        with pytest.raises(DatabaseFault):
            await make(server, Column("number", Integer, server_default=text("'a'")))

    async def test_ddl_of_another_type(self, postgresql: Database) -> None:
        """What the server says of it is told."""
        with pytest.raises(DatabaseFault, match="is of type integer but default expression is of type"):
            await make(postgresql, Column("number", Integer, server_default=text("now()")))


async def make(database: Database, *columns: Column[Any]) -> None:
    """Make a table."""
    table = Table("fitting_wrong", MetaData(), *columns)
    async with database.engine.begin() as connection:
        await connection.run_sync(table.create)


ROWS = [{"code": "a", "number": number, "owner": None} for number in range(700)]


class TestManyRows:
    @pytest.mark.parametrize("bad", [{"number": 2**70}, {"code": "\ud800"}], ids=["number", "code"])
    async def test_insert(self, every_driver: Database, bad: dict[str, Any]) -> None:
        """The row is counted from 1, also behind the first block."""
        rows = [*ROWS]
        rows[601] = ROWS[601] | bad
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).insert_many(rows)

        assert (caught.value.row, caught.value.column) == (602, next(iter(bad)))
        assert describe(caught.value).body["row"] == 602

    async def test_refused_by_a_type(self, every_driver: Database) -> None:
        """What our types refuse has a row and a column as well."""
        rows = [{"taken_at": None}, {"taken_at": datetime(2020, 1, 1)}]
        with pytest.raises(InvalidValue) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).insert_many(rows)

        assert (caught.value.row, caught.value.column) == (2, "taken_at")
        assert caught.value.message.startswith("fitting_sample.taken_at in row 2: datetime.datetime(2020")

    @pytest.mark.parametrize("source", [list, tuple, iter], ids=["list", "tuple", "iterator"])
    async def test_update(self, every_driver: Database, source: Callable[[list[Any]], Any]) -> None:
        """update_many writes in the order of the keys, and counts the rows as they were given."""
        rows = [{"id": 3, "code": "a"}, {"code": "b", "id": 2}, {"id": 1, "code": "\ud800"}, {"id": 4, "number": 1}]
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).update_many(source(rows))

        assert (caught.value.row, caught.value.column) == (3, "code")

    async def test_update_behind_the_first_chunk(self, sqlite: Database) -> None:
        """The rows of an iterator are counted on from chunk to chunk."""
        async with sqlite.transaction() as session:
            await Repository(session, Sample).insert_many({"id": number + 1} for number in range(10_600))
        rows = ({"id": 10_600 - number, "code": "\ud800" if number == 10_500 else "a"} for number in range(10_600))

        with pytest.raises(ValueRefused) as caught:
            async with sqlite.transaction() as session:
                await Repository(session, Sample).update_many(rows)

        assert (caught.value.row, caught.value.column) == (10_501, "code")

    async def test_rows_with_different_fields(self, every_driver: Database) -> None:
        """Rows are counted as they were given, whatever fields each has."""
        rows: list[dict[str, Any]] = [{"code": "a"}, {"number": 1}, {"code": "b"}, {"number": 2**70}]
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).insert_many(rows)

        assert (caught.value.row, caught.value.column) == (4, "number")

    async def test_objects_back(self, every_driver: Database) -> None:
        """insert_many_returning counts them, too, behind the first chunk as well."""
        rows = [*ROWS] * 15
        rows[10_100] = ROWS[100] | {"taken_at": "soon"}
        rows = [{"taken_at": None} | row for row in rows]
        with pytest.raises(InvalidValue) as caught:
            async with every_driver.transaction() as session:
                await insert_many_returning(session, Sample, rows)

        assert (caught.value.row, caught.value.column) == (10_101, "taken_at")
        assert caught.value.message == "fitting_sample.taken_at in row 10101: A str is not a datetime."

    @pytest.mark.parametrize("verb", ["insert_many", "update_many"])
    async def test_nothing_where_something_is_required(self, every_driver: Database, verb: str) -> None:
        """A row that leaves a required column empty is counted, too."""
        rows = [{"id": 3, "name": "a"}, {"id": 2, "name": "b"}, {"id": 1, "name": "c"}]
        async with every_driver.transaction() as session:
            await Repository(session, Required).insert_many(rows if verb == "update_many" else [])
        wrong = [*rows[:2], {"id": 1, "name": None}] if verb != "insert_many" else [{"name": "a"}, {"name": None}]

        with pytest.raises(NotNullViolation) as caught:
            async with every_driver.transaction() as session:
                await getattr(Repository(session, Required), verb)(wrong)

        assert (caught.value.row, caught.value.columns) == (len(wrong), ("name",))
        assert caught.value.message == f"Row {len(wrong)} breaks NOT NULL on fitting_required (name)."
        assert describe(caught.value).body["row"] == len(wrong)

    @pytest.mark.parametrize("source", [list, iter], ids=["list", "iterator"])
    async def test_delete(self, every_driver: Database, source: Callable[[list[Any]], Any]) -> None:
        """delete_many names the key that no driver is asked to send."""
        with pytest.raises(InvalidKey, match=r"Sample\.id is an integer; 'x' is a str"):
            async with every_driver.transaction() as session:
                await Repository(session, Sample).delete_many(source([2, 1, "x", 0]))

    async def test_a_truth_among_numbers(self, psycopg: Database) -> None:
        """Psycopg sends no list of numbers with a truth value in it; True is the key 1."""
        async with psycopg.transaction() as session:
            await Repository(session, Sample).insert_many([{"id": 1}])

            assert await Repository(session, Sample).delete_many([True]) == 1

    async def test_nul_in_a_document(self, postgres: Database) -> None:
        """The server tells the line of the document before that of the row."""
        with pytest.raises(ValueRefused) as caught:
            async with postgres.transaction() as session:
                await Repository(session, Sample).insert_many([{"facts": {}}, {"facts": {"a": "\0"}}])

        assert (caught.value.row, caught.value.column) == (2, "facts")


class TestFits:
    @pytest.mark.parametrize(
        ("kind", "good", "bad"),
        [
            (String(3), "abc", "abcd"),
            (String(), "a" * 1000, 5),
            (SmallInteger(), -(2**15), 2**15),
            (BigInteger(), 2**63 - 1, 2**63),
            (Numeric(5, 2), Decimal("999.99"), 1000),
            (Numeric(), 10**400, "1"),
            (LargeBinary(), bytearray(b"a"), "a"),
            (Uuid(), uuid.UUID(int=7), "a"),
            (Date(), date(2020, 1, 1), "2020-01-01"),
            (JSON(), {"a": [1, None]}, {"a": float("nan")}),
            (ARRAY(Integer), [[1, 2], [3, None]], [[1], ["a"]]),
            (ARRAY(String), ["a"], "a"),
            (INTERVAL(), timedelta(1), [1]),
        ],
        ids=str,
    )
    def test_bounds(self, kind: TypeEngine[Any], good: Any, bad: Any) -> None:
        """The largest value fits, and one more does not."""
        dialect: Any = PGDialect_asyncpg()

        assert fits(good, kind, dialect)
        assert fits(None, kind, dialect)
        assert not fits(bad, kind, dialect)

    @pytest.mark.parametrize(
        ("kind", "good", "bad"),
        [
            (Enum("red", name="fitting_red"), "red", "green"),
            (DateTime(), datetime(2020, 1, 1), datetime(2020, 1, 1, tzinfo=UTC)),
            (Integer(), 1, True),
            (Float(), 1.0, True),
            (ARRAY(Integer), [[1], [2]], [[1], [2, 3]]),
            (ARRAY(Integer), [[[[[[1]]]]]], [[[[[[[1]]]]]]]),
            (INET(), "10.0.0.1", 5),
            (INET(), "10.0.0.1", timedelta(1)),
            (INET(), ip_address("10.0.0.1"), range(2)),
            (TSQUERY(), "a", re.compile("a")),
            (TSVECTOR(), "a", ["a"]),
            (OID(), 5, 2**64),
        ],
        ids=str,
    )
    def test_strictly(self, kind: TypeEngine[Any], good: Any, bad: Any) -> None:
        """What only some columns or drivers refuse is found when nothing else is wrong."""
        dialect: Any = PGDialect_asyncpg()

        assert fits(good, kind, dialect, strict=True)
        assert fits(bad, kind, dialect)
        assert not fits(bad, kind, dialect, strict=True)


def nested(depth: int) -> dict[str, Any]:
    """Return documents in documents."""
    found: dict[str, Any] = {}
    for _ in range(depth):
        found = {"a": found}
    return found


DEEP = nested(100_000)
HUGE = 10**5_000
"""More digits than Python writes."""
NO_NUMBER = Decimal("sNaN")
"""What Python does not compare with anything, nor hash."""


class TestUnspeakable:
    """Values of which Python itself makes nothing, no text for one."""

    @pytest.mark.parametrize(
        ("column", "value"),
        [("facts", DEEP), ("code", DEEP), ("number", DEEP), ("number", HUGE), ("owner", HUGE), ("weight", HUGE)],
        ids=["document", "text", "number", "huge number", "uuid", "decimal"],
    )
    async def test_one_that_is_written(self, every_driver: Database, column: str, value: Any) -> None:
        """It is refused with its column, as any value that does not fit."""
        with pytest.raises((InvalidValue, ValueRefused)) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).create(**{column: value})

        assert describe(caught.value).status == 422
        assert caught.value.column == column

    @pytest.mark.parametrize("key", [DEEP, HUGE, NO_NUMBER, [DEEP]], ids=["document", "number", "NaN", "list"])
    async def test_one_that_is_a_key(self, every_driver: Database, key: Any) -> None:
        """A key of that kind is none, for each verb."""
        async with every_driver.transaction() as session:
            samples = Repository(session, Sample)
            assert await missing(samples.get_one(key))
            assert await missing(samples.get_many([key]))
            assert await missing(session.lock_rows(Sample, [key]))
            assert await missing(samples.delete_many([1, key]))
            assert await missing(samples.update_many([{"id": 1, "number": 1}, {"id": key, "number": 1}]))

    @pytest.mark.parametrize("given", [DEEP, HUGE], ids=["document", "number"])
    async def test_one_that_is_many(self, every_driver: Database, given: Any) -> None:
        """Where the length of a row is asked before it is sent, too."""
        async with every_driver.transaction() as session:
            with pytest.raises((InvalidValue, ValueRefused)):
                await insert_many_returning(session, Sample, [{"number": given}, {"number": 1}])

    @pytest.mark.parametrize(("column", "value"), [("code", ()), ("code", ("a", "b")), ("number", (1, 2))])
    async def test_a_tuple(self, every_driver: Database, column: str, value: Any) -> None:
        """The driver of MariaDB writes it as a list of SQL, which is another statement."""
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Sample).create(**{column: value})

        assert caught.value.column == column

    async def test_bytes_that_are_no_text(self, every_driver: Database) -> None:
        """They are compared with a text: nothing is found, or they are refused as a value."""
        async with every_driver.session() as session:
            with suppress(ValueRefused):
                assert (
                    await session.scalar(select(Sample).where(Sample.code > literal(b"\xff\xfe"), Sample.id < 0))
                    is None
                )

    @pytest.mark.parametrize("name", ["number", "weight"])
    async def test_one_that_is_compared(self, every_driver: Database, name: str) -> None:
        """A flush compares what is new with what was there."""
        async with every_driver.transaction() as session:
            sample = await Repository(session, Sample).create(number=1, weight=Decimal(1))

        with pytest.raises(InvalidValue, match="sNaN"):
            async with every_driver.transaction() as session:
                sample = await Repository(session, Sample).get_one(sample.id)
                await Repository(session, Sample).update(sample, {name: NO_NUMBER})


async def missing(call: Awaitable[Any]) -> bool:
    """Tell whether a key is refused, or no row has it."""
    try:
        return call is not None and not await call
    except (InvalidKey, NotFound, ValueRefused) as error:
        return describe(error).status in (404, 422)


OTHER_KEYS: list[Any] = [Decimal(5), 5, 1.5, True, "x", b"x", 1j, (1,), [1], object(), date(2026, 1, 1)]


class TestKeys:
    """A value of another type for a key."""

    @pytest.mark.parametrize("value", OTHER_KEYS, ids=lambda value: type(value).__name__)
    async def test_it_is_refused_by_upsert_with_its_column(self, every_driver: Database, value: Any) -> None:
        """It stands in an expression on MariaDB, and names its column there, too; a client gets a 422."""
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await upsert(session, Parcel, {"id": value, "weight": Decimal(1)}, on=[Parcel.id])

        assert (caught.value.column, describe(caught.value).status) == ("id", 422)

    @pytest.mark.parametrize("value", ["x", (1,), [1], 1j, object()], ids=lambda value: type(value).__name__)
    async def test_it_is_refused_by_get_or_create_with_its_column(self, every_driver: Database, value: Any) -> None:
        """Where the row is looked for by a number, which MariaDB rounds first."""
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await get_or_create(session, Parcel, {"weight": value}, {"id": uuid.uuid4()})

        assert (caught.value.column, describe(caught.value).status) == ("weight", 422)
