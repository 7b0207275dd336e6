"""What has no finer class: every refusal of a database and of a driver is a DatabaseFault all the same."""

from __future__ import annotations

import pickle
from collections.abc import Awaitable, Callable
from decimal import Decimal
from random import Random
from string import ascii_letters
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ColumnElement,
    DateTime,
    Enum,
    Integer,
    MetaData,
    String,
    Table,
    bindparam,
    exc,
    insert,
    select,
    text,
)
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.engines._plain import PLAIN, RaisedFault
from sqlkeel.errors import DatabaseFault, OutOfResources, PermissionDenied, SchemaChanged, ValueRefused
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase

metadata = MetaData()
parcel = Table(
    "parcel",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("weight", Integer),
    Column("label", String(20)),
    Column("sent_at", DateTime),
    Column("size", Enum("small", "large", native_enum=False, validate_strings=True, name="parcel_size")),
)
pytestmark = pytest.mark.tables(metadata)


STATEMENTS = {
    "no statement": "selec 1",
    "no function": "select nothing_of_that_name()",
    "no savepoint": "release savepoint nothing",
    "no procedure": "call nothing_of_that_name()",
}
VALUES: dict[str, tuple[str, Any]] = {
    "a number of more than eight bytes": ("weight", 2**70),
    "half of a surrogate pair": ("label", "\ud800"),
    "text for a moment": ("sent_at", "no moment"),
    "no member": ("size", "huge"),
}


async def fault_of(database: Database, statement: Any) -> DatabaseFault:
    """Return the error with which a unit of work ends."""
    with pytest.raises(DatabaseFault) as caught:
        async with database.transaction() as session:
            await session.execute(statement)
    return caught.value


RAISED = {
    "an exception": "DO $$BEGIN RAISE EXCEPTION 'not on Sundays'; END$$",
    "no row": "DO $$DECLARE n int; BEGIN SELECT 1 INTO STRICT n WHERE false; END$$",
    "an assertion": "DO $$BEGIN ASSERT false; END$$",
}


async def stock_fault_of(database: Database, statement: Any) -> exc.DBAPIError:
    """Return what SQLAlchemy raises without us."""
    engine = create_async_engine(database.url)
    try:
        with pytest.raises(exc.DBAPIError) as caught:
            async with engine.begin() as connection:
                await connection.execute(statement)
    finally:
        await engine.dispose()
    return caught.value


class TestPlainFaults:
    @pytest.mark.parametrize("name", STATEMENTS)
    async def test_a_statement_that_the_database_refuses(self, every_driver: Database, name: str) -> None:
        """It is a DatabaseFault, is SQLAlchemy's class, and says what the database said."""
        stock = await stock_fault_of(every_driver, text(STATEMENTS[name]))

        error = await fault_of(every_driver, text(STATEMENTS[name]))

        assert isinstance(error, type(stock))
        assert error.code == "database-fault"
        assert "The database says: " in str(error)

    @pytest.mark.parametrize("name", RAISED)
    async def test_what_a_function_raises(self, postgresql: Database, name: str) -> None:
        """It is no statement that the database does not understand, and is SQLAlchemy's class all the same."""
        stock = await stock_fault_of(postgresql, text(RAISED[name]))

        error = await fault_of(postgresql, text(RAISED[name]))

        assert isinstance(error, type(stock))
        assert str(error).startswith("A function or trigger in the database raised an error. The database says: ")

    def test_what_a_function_raises_pickles(self) -> None:
        """Its class is found in another process, too."""
        assert isinstance(pickle.loads(pickle.dumps(RaisedFault("No."))), exc.ProgrammingError)

    @pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: kind.__name__)
    def test_each_is_both(self, kind: type[exc.DBAPIError]) -> None:
        """Handlers for ours and for SQLAlchemy's catch it, in another process too."""
        error = pickle.loads(pickle.dumps(DatabaseFault("No.") if kind is exc.IntegrityError else PLAIN[kind]("No.")))

        assert isinstance(error, DatabaseFault)
        assert issubclass(PLAIN[kind], kind)


class TestValues:
    @pytest.mark.parametrize("name", VALUES)
    async def test_what_cannot_be_written(self, every_driver: Database, name: str) -> None:
        """A type or a driver refuses it with an error of its own, or the server does: one class."""
        column, value = VALUES[name]

        error = await fault_of(every_driver, insert(parcel).values(id=1, **{column: value}))

        assert type(error) is ValueRefused
        assert str(value) not in str(error).partition("SQL:")[0]

    @pytest.mark.parametrize("name", VALUES)
    async def test_one_of_many_rows(self, every_driver: Database, name: str) -> None:
        """The same, where many rows are sent at once."""
        column, value = VALUES[name]
        rows = [{"id": 1, column: None}, {"id": 2, column: value}]

        with pytest.raises(ValueRefused):
            async with every_driver.transaction() as session:
                await session.execute(insert(parcel), rows)

    async def test_what_cannot_be_asked_for(self, every_driver: Database) -> None:
        """A criterion is a value like any other."""
        wanted = select(parcel.c.id).where(parcel.c.label == bindparam("label", "\ud800"))

        with pytest.raises(ValueRefused):
            async with every_driver.read() as session:
                await session.execute(wanted)

    async def test_a_null_character(self, postgresql: Database) -> None:
        """PostgreSQL has none in a text; psycopg says so itself."""
        error = await fault_of(postgresql, insert(parcel).values(id=1, label="a\0b"))

        assert type(error) is ValueRefused

    async def test_a_number_that_is_none(self, postgresql: Database) -> None:
        """PostgreSQL calls the cast of it a feature that it does not have."""
        error = await fault_of(postgresql, insert(parcel).values(id=1, weight=Decimal("NaN")))

        assert (type(error), error.column) == (ValueRefused, "weight")

    @pytest.mark.parametrize("length", [3_000, 9_000])
    async def test_a_text_that_is_too_long_for_an_index(self, postgresql: Database, length: int) -> None:
        """The server calls that a limit of the program, whether the index or a page of it is too small."""
        name = "".join(Random(1).choices(ascii_letters, k=length))  # what repeats is compressed

        with pytest.raises(ValueRefused):
            async with postgresql.transaction() as session:
                await session.execute(text("create temporary table tag (name text unique) on commit drop"))
                await session.execute(text("insert into tag (name) values (:name)"), {"name": name})

    async def test_a_word_that_is_too_long(self, postgresql: Database) -> None:
        """A text for a search has words of 2 KB at most."""
        with pytest.raises(ValueRefused):
            async with postgresql.transaction() as session:
                await session.execute(text("select cast(:word as tsvector)"), {"word": "x" * 3_000})

    async def test_a_pattern_that_is_too_long(self, sqlite: Database) -> None:
        """SQLite has a limit for LIKE, which a search field of a form may pass."""
        async with sqlite.transaction() as session:
            await session.execute(insert(parcel).values(id=1, label="a"))

        with pytest.raises(ValueRefused):
            async with sqlite.read() as session:
                await session.execute(select(parcel.c.id).where(parcel.c.label.like("x" * 60_000)))

    async def test_the_connection_goes_on(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """What was never sent has spoilt nothing."""
        single = open_database(every_driver, pool_size=1, max_overflow=0)
        async with single.transaction() as session:
            with pytest.raises(ValueRefused):
                async with session.savepoint():
                    await session.execute(insert(parcel).values(id=1, label="\ud800"))

            await session.execute(insert(parcel).values(id=2, label="a"))

        async with single.read() as reading:
            assert list(await reading.scalars(select(parcel.c.id))) == [2]

    @pytest.mark.parametrize("condition", [parcel.c.label == "\ud800", parcel.c.id == 10**5000], ids=["text", "number"])
    async def test_a_refused_read_holds_no_lock(
        self, postgres: Database, open_database: OpenDatabase, condition: ColumnElement[bool]
    ) -> None:
        """The server has parsed the statement and would wait for its values, while a migration waits for the table.

        Of a number with more digits than Python writes, asyncpg raises no error of its own.
        """
        single = open_database(postgres, pool_size=1, max_overflow=0)
        with pytest.raises(ValueRefused):
            async with single.read() as session:
                await session.execute(select(parcel.c.id).where(condition))

        await execute(postgres, "alter table parcel alter weight type bigint")
        await execute(postgres, "alter table parcel alter weight type int")

    async def test_a_misused_driver(self, postgres: Database, open_database: OpenDatabase) -> None:
        """What asyncpg will not do on a connection, it will do on the next one."""
        single = open_database(postgres, pool_size=1, max_overflow=0)
        with pytest.raises(DatabaseFault) as caught:
            async with single.transaction() as session:
                await (await session.connection()).exec_driver_sql("select cast($1 as int)")

        assert caught.value.connection_invalidated
        assert await single.run_transaction(all_of_it) == []

    async def test_what_is_missing_is_not_refused(self, every_driver: Database) -> None:
        """A parameter that was not given is a mistake in the program: SQLAlchemy's own error."""
        with pytest.raises(exc.StatementError) as caught:
            async with every_driver.transaction() as session:
                await session.execute(text("select :nothing"))

        assert not isinstance(caught.value, DatabaseFault)


class TestFiles:
    async def test_a_full_disk(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """A file that may not grow any more is out of room, and everything before is still there."""
        database = open_database(sqlite)
        async with database.engine.connect() as connection:
            await connection.exec_driver_sql("pragma max_page_count = 1")
            many = [{"id": number, "label": "x" * 20} for number in range(20_000)]

            with pytest.raises(OutOfResources):
                await connection.execute(insert(parcel), many)

    async def test_no_database(self, open_database: OpenDatabase, tmp_path: Any) -> None:
        """A file of something else is a fault as well."""
        (tmp_path / "letter.db").write_text("Dear friend, " * 1000)

        with pytest.raises(DatabaseFault):
            await open_database(f"sqlite+aiosqlite:///{tmp_path / 'letter.db'}").check()


class TestRights:
    async def test_a_table_of_somebody_else(self, postgres: Database) -> None:
        """An account without the right is told that, and not that its SQL is wrong."""
        async with postgres.session() as session:
            await session.execute(text("create role sqlkeel_guest"))
            await session.execute(text("grant usage on schema public to sqlkeel_guest"))
            await session.execute(text("set local role sqlkeel_guest"))

            with pytest.raises(PermissionDenied) as caught:
                await session.execute(select(parcel.c.id))

        assert isinstance(caught.value, exc.ProgrammingError)


class TestSchemaChanges:
    """The type of a column changes while connections have prepared the statement."""

    @pytest.mark.parametrize("change", ["alter table parcel alter label type text", "alter table parcel add extra int"])
    async def test_a_unit_of_work_is_run_again(
        self, postgresql: Database, change: str, open_database: OpenDatabase
    ) -> None:
        """run_transaction meets the new schema, and the caller notices nothing."""
        single = open_database(postgresql, pool_size=1, max_overflow=0)
        await use_often(single, all_of_it)
        await execute(postgresql, change)

        rows = await single.run_transaction(all_of_it)

        assert rows == []
        await restored(postgresql)

    async def test_a_type_that_is_made_anew(self, postgresql: Database, open_database: OpenDatabase) -> None:
        """A parameter of the old type is as outdated as a column, whatever the server calls it."""
        single = open_database(postgresql, pool_size=1, max_overflow=0)
        await execute(postgresql, "create type mood as enum ('calm')")
        await use_often(single, is_calm)
        await execute(postgresql, "drop type mood")
        await execute(postgresql, "create type mood as enum ('calm', 'wild')")

        answer = await single.run_transaction(is_calm)

        assert answer is True
        await execute(postgresql, "drop type mood")

    async def test_a_read_fails_once(self, postgresql: Database, open_database: OpenDatabase) -> None:
        """The connection whose statement is outdated is replaced, so that the next read goes well."""
        single = open_database(postgresql, pool_size=1, max_overflow=0)
        await use_often(single, all_of_it)
        await execute(postgresql, "alter table parcel alter label type text")

        with pytest.raises(SchemaChanged) as caught:
            async with single.read() as session:
                await all_of_it(session)

        async with single.read() as session:
            assert await all_of_it(session) == []
        assert isinstance(caught.value, exc.NotSupportedError)
        await restored(postgresql)


async def all_of_it(session: Any) -> list[Any]:
    """Read the whole table, with whatever columns it has."""
    return list(await session.execute(text("select * from parcel")))


async def is_calm(session: Any) -> Any:
    """Bind a value of a type of the database's own."""
    return await session.scalar(text("select cast(:mood as mood) = 'calm'"), {"mood": "calm"})


async def use_often(database: Database, work: Callable[[Any], Awaitable[Any]]) -> None:
    """Have the statement prepared, which psycopg does at the sixth time, for reading and for writing."""
    for _ in range(8):
        async with database.read() as session:
            await work(session)
        async with database.transaction() as session:
            await work(session)


async def execute(database: Database, statement: str) -> None:
    """Change the schema in a transaction of somebody else."""
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(statement)


async def restored(database: Database) -> None:
    """Have the table as the next test expects it."""
    await execute(database, "alter table parcel alter label type varchar(20)")
    await execute(database, "alter table parcel drop column if exists extra")
