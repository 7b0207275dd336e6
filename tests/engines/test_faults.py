"""Every fault that the databases report, provoked on the real server through each driver."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any, NamedTuple

import pytest
from sqlalchemy import Executable, delete, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.errors import (
    CheckViolation,
    ConnectionLost,
    ConstraintViolation,
    DatabaseBusy,
    DatabaseFault,
    Deadlock,
    ExclusionViolation,
    ForeignKeyViolation,
    LockTimeout,
    NotNullViolation,
    ReadOnlyViolation,
    SchemaMissing,
    SerializationFailure,
    StatementTimeout,
    TransientFault,
    UniqueViolation,
    ValueRefused,
)
from sqlkeel.sessions import Database, Session
from tests.engines.fault_tables import SECRET, VALUES, count_people, fill, metadata, person, pet
from tests.engines.peers import SLOW
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.tables(metadata)


class Case(NamedTuple):
    """A statement that the database refuses, and what is to be said of it."""

    statement: Executable
    kind: type[DatabaseFault]
    table: str | None = None
    columns: tuple[str, ...] = ()
    constraint: str | None = None


VIOLATIONS = {
    "unique": Case(
        insert(person).values(id=2, email=SECRET), UniqueViolation, "person", ("email",), "person_email_key"
    ),
    "unique update": Case(
        update(person).where(person.c.id == 3).values(email=SECRET),
        UniqueViolation,
        "person",
        ("email",),
        "person_email_key",
    ),
    "child without parent": Case(
        insert(pet).values(id=2, owner_id=99), ForeignKeyViolation, "pet", ("owner_id",), "pet_owner_id_fkey"
    ),
    "parent with child": Case(
        delete(person).where(person.c.id == 1), ForeignKeyViolation, "pet", ("owner_id",), "pet_owner_id_fkey"
    ),
    "check": Case(
        insert(person).values(id=2, email="b", age=-1), CheckViolation, "person", ("age",), "person_age_check"
    ),
    "not null": Case(insert(person).values(id=2, email=None), NotNullViolation, "person", ("email",)),
    "not given": Case(insert(person).values(id=2), NotNullViolation, "person", ("email",)),
}
REFUSALS = {
    **VIOLATIONS,
    "missing table": Case(text("select 1 from nowhere"), SchemaMissing),
    "missing column": Case(text("select nonsuch from person"), SchemaMissing),
}
every_refusal = pytest.mark.parametrize("name", REFUSALS)
every_violation = pytest.mark.parametrize("name", VIOLATIONS)


async def refusal(database: Database, statement: Executable) -> DatabaseFault:
    """Return the error with which the database answers."""
    with pytest.raises(DatabaseFault) as caught:
        async with database.transaction() as session:
            await session.execute(statement)
    return caught.value


async def stock_refusal(database: Database, statement: Executable) -> DBAPIError:
    """Return the error that SQLAlchemy raises without us."""
    engine = create_async_engine(database.url)
    if database.dialect == "sqlite":
        event.listen(engine.sync_engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"))
    try:
        with pytest.raises(DBAPIError) as caught:
            async with engine.begin() as connection:
                await connection.execute(statement)
    finally:
        await engine.dispose()
    return caught.value


async def touch_both(database: Database, here: asyncio.Barrier, first: int, second: int, **options: Any) -> None:
    """Write two rows in one transaction, waiting between them for somebody who does the same."""
    async with database.transaction(**options) as session:
        await session.execute(update(person).where(person.c.id == first).values(age=person.c.age + 1))
        await here.wait()
        await session.execute(update(person).where(person.c.id == second).values(age=person.c.age + 1))


async def meet(here: asyncio.Barrier, arrivals: int) -> None:
    """Let the first two wait for each other; whoever comes again passes."""
    if arrivals <= here.parties:
        await here.wait()


async def deadlock(database: Database) -> list[BaseException]:
    """Let two transactions wait for each other; return what went wrong."""
    here = asyncio.Barrier(2)
    calls = [touch_both(database, here, 1, 3), touch_both(database, here, 3, 1)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    return [result for result in results if result is not None]


class TestRefusals:
    @every_refusal
    async def test_a_refusal_has_its_class(self, every_driver: Database, name: str) -> None:
        """Each refusal is recognised on every database, whatever its driver raises."""
        await fill(every_driver)

        error = await refusal(every_driver, REFUSALS[name].statement)

        assert type(error) is REFUSALS[name].kind

    @every_refusal
    async def test_it_is_what_sqlalchemy_would_have_raised(self, every_driver: Database, name: str) -> None:
        """A handler written for plain SQLAlchemy still catches it."""
        await fill(every_driver)
        stock = await stock_refusal(every_driver, REFUSALS[name].statement)

        error = await refusal(every_driver, REFUSALS[name].statement)

        assert isinstance(error, type(stock))
        assert type(error.orig) is type(stock.orig)

    @every_violation
    async def test_a_violation_says_where(self, every_driver: Database, name: str) -> None:
        """Table, columns and constraint are attributes, found in the models where the database is silent."""
        await fill(every_driver)
        case = VIOLATIONS[name]

        error = await refusal(every_driver, case.statement)

        assert isinstance(error, ConstraintViolation)
        silent = every_driver.dialect == "sqlite" and case.kind is ForeignKeyViolation
        assert silent or (error.table, error.columns) == (case.table, case.columns)
        assert silent or error.constraint == case.constraint

    @every_refusal
    async def test_it_shows_no_values(self, every_driver: Database, name: str) -> None:
        """Neither the message nor a pickled copy of the error holds what was sent."""
        await fill(every_driver)

        error = await refusal(every_driver, REFUSALS[name].statement)

        assert SECRET not in str(error)
        assert SECRET not in repr(error)
        assert error.params is None

    @every_refusal
    async def test_it_travels(self, every_driver: Database, name: str) -> None:
        """An error with a live driver error inside reaches another process."""
        await fill(every_driver)
        error = await refusal(every_driver, REFUSALS[name].statement)

        copy = pickle.loads(pickle.dumps(error))

        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert copy.code == error.code
        assert copy.statement == error.statement

    async def test_a_foreign_key_of_sqlite_has_a_table_at_least(self, sqlite: Database) -> None:
        """SQLite names no foreign key; the table that was written is known all the same."""
        error = await refusal(sqlite, insert(pet).values(id=2, owner_id=99))

        assert isinstance(error, ForeignKeyViolation)
        assert error.table == "pet"
        assert error.constraint is None

    async def test_a_primary_key_is_unique_too(self, every_driver: Database) -> None:
        """A taken key is a UniqueViolation; MariaDB calls every primary key PRIMARY."""
        await fill(every_driver)

        error = await refusal(every_driver, insert(person).values(id=1, email="c"))

        assert isinstance(error, UniqueViolation)
        assert error.table == "person"
        assert error.columns == ("id",)

    async def test_a_quote_in_the_value_does_not_confuse(self, mariadb: Database) -> None:
        """MariaDB puts the value into its message; a value that looks like a name stays a value."""
        value = "x' for key 'other"
        async with mariadb.engine.begin() as connection:
            await connection.execute(insert(person).values(id=5, email=value))

        error = await refusal(mariadb, insert(person).values(id=6, email=value))

        assert isinstance(error, UniqueViolation)
        assert error.constraint == "person_email_key"
        assert "other" not in str(error)

    async def test_an_exclusion_has_its_class(self, postgres: Database) -> None:
        """Overlapping ranges break an EXCLUDE constraint."""
        await self._make_bookings(postgres)

        error = await refusal(postgres, text("insert into booking values (int4range(2, 9))"))

        assert type(error) is ExclusionViolation
        assert isinstance(error, IntegrityError)
        assert error.constraint == "booking_period_excl"

    async def _make_bookings(self, database: Database) -> None:
        async with database.engine.begin() as connection:
            await connection.execute(
                text(
                    "create table booking (period int4range, "
                    "constraint booking_period_excl exclude using gist (period with &&))"
                )
            )
            await connection.execute(text("insert into booking values (int4range(1, 5))"))

    async def test_a_deferred_foreign_key_fails_at_commit(self, postgres: Database) -> None:
        """What COMMIT refuses is typed like anything else, and nothing is written."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("create table late (id int primary key, up int references late deferrable)"))
        reached: list[str] = []

        with pytest.raises(ForeignKeyViolation) as caught:
            async with postgres.transaction() as session:
                await session.execute(text("set constraints all deferred"))
                await session.execute(text("insert into late values (1, 99)"))
                reached.append("the end: the insert itself was fine")

        assert reached
        assert caught.value.constraint == "late_up_fkey"
        assert caught.value.table == "late"

    async def test_any_other_error_is_a_plain_fault(self, every_driver: Database) -> None:
        """What nothing finer fits is a DatabaseFault, and what SQLAlchemy would have raised."""
        stock = await stock_refusal(every_driver, text("selec 1"))

        error = await refusal(every_driver, text("selec 1"))

        assert isinstance(error, type(stock))
        assert error.code == "database-fault"


class TestValues:
    @pytest.mark.parametrize("name", VALUES)
    async def test_a_value_that_does_not_fit(self, server: Database, name: str) -> None:
        """Too long, out of range or of the wrong form: one class, and the value is not repeated."""
        error = await refusal(server, VALUES[name])

        assert type(error) is ValueRefused
        assert SECRET not in str(error).partition("SQL:")[0]

    @pytest.mark.parametrize("values", [{"email": SECRET * 5}, {"email": "x", "age": 2**40}], ids=["email", "age"])
    async def test_mariadb_names_the_column(self, mariadb: Database, values: dict[str, Any]) -> None:
        """The server says which column a value does not fit."""
        error = await refusal(mariadb, insert(person).values(id=2, **values))

        assert isinstance(error, ValueRefused)
        assert error.column == [*values][-1]
        assert f"does not fit person.{error.column}: " in str(error)

    @pytest.mark.parametrize("name", VALUES)
    async def test_it_is_what_sqlalchemy_would_have_raised(self, server: Database, name: str) -> None:
        """A handler written for plain SQLAlchemy still catches it."""
        stock = await stock_refusal(server, VALUES[name])

        error = await refusal(server, VALUES[name])

        assert isinstance(error, type(stock))


class TestRaces:
    async def test_a_deadlock_has_one_victim(self, server: Database) -> None:
        """Two transactions that wait for each other: one is given up, the other commits."""
        await fill(server)

        wrong = await deadlock(server)

        assert [type(error) for error in wrong] == [Deadlock]
        assert isinstance(wrong[0], TransientFault)

    async def test_a_lost_order_is_a_serialization_failure(self, server: Database) -> None:
        """Two serializable transactions that each read what the other writes cannot both commit."""
        await fill(server)
        here = asyncio.Barrier(2)

        async def age_like_the_other(mine: int, other: int) -> None:
            async with server.transaction(isolation="serializable") as session:
                age = await session.scalar(select(person.c.age).where(person.c.id == other))
                await here.wait()
                await session.execute(update(person).where(person.c.id == mine).values(age=age))

        results = await asyncio.gather(age_like_the_other(1, 3), age_like_the_other(3, 1), return_exceptions=True)

        # MariaDB keeps the order with locks on what is read, and notices by a deadlock.
        expected = Deadlock if server.dialect == "mariadb" else SerializationFailure
        assert sorted(type(result).__name__ for result in results) == sorted(["NoneType", expected.__name__])

    async def test_an_order_that_is_lost_in_commit_is_run_again(self, postgresql: Database) -> None:
        """Where both have written before either commits, COMMIT itself fails: the retry encloses it."""
        await fill(postgresql)
        here = asyncio.Barrier(2)
        written: list[int] = []

        async def leave_one_adult(session: Session, mine: int) -> None:
            adults = await session.scalar(select(func.count()).where(person.c.age >= 1))
            await session.execute(update(person).where(person.c.id == mine).values(age=adults))
            written.append(mine)
            await meet(here, len(written))

        calls = [postgresql.run_transaction(leave_one_adult, mine, isolation="serializable") for mine in (1, 3)]
        await asyncio.gather(*calls)

        assert sorted(written[:2]) == [1, 3]
        assert len(written) == 3

    async def test_a_lock_that_is_not_there_in_time(self, server: Database) -> None:
        """lock_timeout= ends the wait for a row that another transaction holds."""
        await fill(server)

        with pytest.raises(LockTimeout):
            async with server.session() as holder, server.transaction(lock_timeout=0.2) as waiter:
                await holder.execute(update(person).where(person.c.id == 1).values(age=2))
                await waiter.execute(update(person).where(person.c.id == 1).values(age=3))

    async def test_nowait_does_not_wait(self, server: Database) -> None:
        """FOR UPDATE NOWAIT on a locked row is a LockTimeout at once."""
        await fill(server)
        row = select(person).where(person.c.id == 1)

        with pytest.raises(LockTimeout):
            async with server.session() as holder, server.transaction() as other:
                await holder.execute(row.with_for_update())
                await other.execute(row.with_for_update(nowait=True))

    async def test_a_second_writer_of_a_file_waits_its_time(self, sqlite: Database) -> None:
        """SQLite has one writer; who does not get the turn within lock_timeout is told so."""
        with pytest.raises(DatabaseBusy):
            async with sqlite.session() as writer:
                await writer.execute(insert(person).values(id=1, email="a"))
                async with sqlite.transaction(lock_timeout=0.05) as other:
                    await other.execute(insert(person).values(id=2, email="b"))


class TestLimits:
    async def test_a_statement_that_takes_too_long(self, every_driver: Database) -> None:
        """statement_timeout= stops a statement, on SQLite too."""
        with pytest.raises(StatementTimeout):
            async with every_driver.transaction(statement_timeout=0.1) as session:
                await session.execute(text(SLOW[every_driver.dialect]))

    async def test_a_transaction_that_idles_too_long(self, server: Database, open_database: OpenDatabase) -> None:
        """idle_timeout lets the server end a transaction that somebody forgot, with its locks."""
        database = open_database(server, idle_timeout=0.2)  # MariaDB makes a second of it

        with pytest.raises(ConnectionLost):
            async with database.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                await asyncio.sleep(1.5)
                await session.execute(insert(person).values(id=2, email="b"))

        assert await count_people(server) == 0

    async def test_a_read_only_transaction(self, every_driver: Database) -> None:
        """The server refuses to write in a transaction that was begun for reading."""
        with pytest.raises(ReadOnlyViolation) as caught:
            async with every_driver.transaction(read_only=True) as session:
                connection = await session.connection()
                await connection.execute(insert(person).values(id=1, email="a"))

        assert isinstance(caught.value, DBAPIError)
