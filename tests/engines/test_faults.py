"""Every fault that the databases report, provoked on the real server through each driver."""

from __future__ import annotations

import asyncio
import gc
import pickle
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Executable,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    delete,
    event,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel import errors
from sqlkeel.errors import (
    CheckViolation,
    CommitUnknown,
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
    TransactionAborted,
    TransientFault,
    UniqueViolation,
    ValueRefused,
)
from sqlkeel.sessions import Database, Session
from tests.engines.peers import SLOW, cancelled_at_each_step, kill, own_id, soon
from tests.faults.proxy import proxy_to
from tests.fixtures.databases import OpenDatabase

metadata = MetaData()
person = Table(
    "person",
    metadata,
    Column("id", Integer, autoincrement=False),
    Column("email", String(50), nullable=False),
    Column("age", Integer, nullable=False, server_default="1"),
    PrimaryKeyConstraint("id", name="person_pkey"),
    UniqueConstraint("email", name="person_email_key"),
)
person.append_constraint(CheckConstraint(person.c.age > 0, name="person_age_check"))
pet = Table(
    "pet",
    metadata,
    Column("id", Integer, autoincrement=False),
    Column("owner_id", Integer),
    PrimaryKeyConstraint("id", name="pet_pkey"),
    ForeignKeyConstraint(["owner_id"], ["person.id"], name="pet_owner_id_fkey"),
)
pytestmark = pytest.mark.tables(metadata)

SECRET = "ann@secret.example"


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


async def fill(database: Database) -> None:
    """Make Ann with her pet, and Bob."""
    async with database.engine.begin() as connection:
        await connection.execute(insert(person), [{"id": 1, "email": SECRET}, {"id": 3, "email": "bob"}])
        await connection.execute(insert(pet).values(id=1, owner_id=1))


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


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


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


VALUES: dict[str, Executable] = {
    "too long": insert(person).values(id=2, email=SECRET * 5),
    "out of range": text("insert into person (id, email) values (99999999999, 'x')"),
    "of the wrong form": text(f"insert into person (id, email) values ('{SECRET}', 'x')"),
    "of the wrong type": insert(person).values(id=2, email="x", age=SECRET),
}


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
        """timeout= stops a statement, on SQLite too."""
        with pytest.raises(StatementTimeout):
            async with every_driver.transaction(timeout=0.1) as session:
                await session.execute(text(SLOW[every_driver.dialect]))

    async def test_a_transaction_that_idles_too_long(self, server: Database, open_database: OpenDatabase) -> None:
        """idle_timeout lets the server end a transaction that somebody forgot, with its locks."""
        database = open_database(server, idle_timeout=0.2)  # MariaDB makes a second of it

        with pytest.raises(ConnectionLost):
            async with database.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                await asyncio.sleep(1.5)
                await session.execute(insert(person).values(id=2, email="b"))

        assert await _count(server) == 0

    async def test_a_read_only_transaction(self, every_driver: Database) -> None:
        """The server refuses to write in a transaction that was begun for reading."""
        with pytest.raises(ReadOnlyViolation) as caught:
            async with every_driver.transaction(read_only=True) as session:
                connection = await session.connection()
                await connection.execute(insert(person).values(id=1, email="a"))

        assert isinstance(caught.value, DBAPIError)


class TestLostConnections:
    async def test_a_killed_connection_is_lost(self, server: Database) -> None:
        """What runs on a connection that the server ends fails as ConnectionLost, which may be run again."""
        with pytest.raises(ConnectionLost) as caught:
            async with server.transaction() as session:
                await kill(server, await own_id(session, server))
                await session.execute(text("select 1"))

        assert caught.value.connection_invalidated
        assert isinstance(caught.value, TransientFault)

    async def test_the_pool_goes_on(self, server: Database) -> None:
        """After a lost connection the next borrower gets one that works."""
        with pytest.raises(ConnectionLost):
            async with server.transaction() as session:
                await kill(server, await own_id(session, server))
                await session.execute(text("select 1"))

        async with server.transaction() as session:
            answer = await session.scalar(text("select 1"))

        assert answer == 1

    async def test_a_connection_lost_while_idle_is_replaced_by_a_retry(self, server: Database) -> None:
        """run_transaction runs the whole function again on a new connection."""
        numbers: list[int] = []

        async def work(session: Any) -> int:
            numbers.append(await own_id(session, server))
            if len(numbers) == 1:
                await kill(server, numbers[0])
            return int(await session.scalar(text("select 7")))

        answer = await server.run_transaction(work)

        assert answer == 7
        assert len(set(numbers)) == 2

    async def test_a_loss_during_commit_is_unknown(self, server: Database) -> None:
        """Whether a COMMIT without an answer took place, the driver cannot say; it may not be run again just so."""
        async with server.session() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            await kill(server, await own_id(session, server))

            with pytest.raises(CommitUnknown) as caught:
                await session.commit()

        assert caught.value.connection_invalidated
        assert not isinstance(caught.value, TransientFault)

    async def test_a_loss_in_a_rollback_is_no_doubt(self, server: Database) -> None:
        """Only COMMIT leaves one: what was to be rolled back is gone in any case."""
        async with server.engine.connect() as connection:
            await connection.execute(insert(person).values(id=1, email="a"))
            await kill(server, await own_id(connection, server))

            with pytest.raises(ConnectionLost):
                await connection.rollback()

        assert await _count(server) == 0

    async def test_a_loss_just_before_commit_is_none(self, postgresql: Database) -> None:
        """A transaction of PostgreSQL asks for its name before it commits: who is gone by then has not committed."""
        with pytest.raises(ConnectionLost):
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                await kill(postgresql, await own_id(session, postgresql))

        assert await _count(postgresql) == 0

    async def test_an_unknown_commit_is_not_retried(self, mariadb: Database) -> None:
        """Running it again could do it twice."""
        calls: list[int] = []

        async def work(session: Any) -> None:
            calls.append(await own_id(session, mariadb))
            await kill(mariadb, calls[-1])

        with pytest.raises(CommitUnknown):
            await mariadb.run_transaction(work)

        assert len(calls) == 1


class TestAbortedTransactions:
    async def test_a_swallowed_error_cannot_be_committed(self, postgresql: Database) -> None:
        """PostgreSQL turns the COMMIT of a failed transaction into a ROLLBACK, silently; we say so."""
        with pytest.raises(TransactionAborted) as caught:
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        assert [type(error) for error in chain(caught.value)][:2] == [TransactionAborted, SchemaMissing]
        assert await _count(postgresql) == 0

    async def test_the_first_failure_is_named(self, postgresql: Database) -> None:
        """Of several errors that were swallowed, it is the first that explains all others."""
        with pytest.raises(TransactionAborted) as caught:
            async with postgresql.transaction() as session:
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))
                with pytest.raises(TransactionAborted, match="select 1 from nowhere"):
                    await session.execute(text("select 2"))

        assert caught.value.statement == "select 1 from nowhere"
        assert "SQL: select 1 from nowhere" in str(caught.value)

    async def test_what_was_not_sent_aborts_nothing(self, postgres: Database) -> None:
        """An argument that asyncpg cannot encode never reached the server: the transaction is whole."""
        async with postgres.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            with pytest.raises(ValueRefused):
                await session.execute(VALUES["of the wrong type"])

        assert await _count(postgres) == 1

    async def test_a_savepoint_keeps_the_transaction_usable(self, every_driver: Database) -> None:
        """An error inside a savepoint costs only what was done inside."""
        async with every_driver.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            with pytest.raises(SchemaMissing):
                async with session.savepoint():
                    await session.execute(insert(person).values(id=2, email="b"))
                    await session.execute(text("select 1 from nowhere"))
            await session.execute(insert(person).values(id=3, email="c"))

        assert await _count(every_driver) == 2

    async def test_an_error_after_a_savepoint_counts(self, postgresql: Database) -> None:
        """That two savepoints contained theirs does not excuse the third one, which none contained."""
        with pytest.raises(TransactionAborted):
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    async with session.savepoint():
                        await session.execute(text("select 1 from nowhere"))
                with pytest.raises(SchemaMissing):
                    async with session.savepoint():
                        await session.execute(text("select 1 from nowhere"))
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        assert await _count(postgresql) == 0

    async def test_a_rollback_ends_it(self, postgresql: Database) -> None:
        """What is done on the same connection afterwards is a transaction that may be committed."""
        async with postgresql.engine.connect() as connection:
            with pytest.raises(SchemaMissing):
                await connection.execute(text("select 1 from nowhere"))
            await connection.rollback()
            await connection.execute(insert(person).values(id=1, email="a"))
            await connection.commit()

        assert await _count(postgresql) == 1

    async def test_the_next_borrower_has_nothing_to_do_with_it(
        self, postgresql: Database, open_database: OpenDatabase
    ) -> None:
        """On the same connection, the next transaction is committed."""
        database = open_database(postgresql, pool_size=1, max_overflow=0)
        with pytest.raises(TransactionAborted):
            async with database.transaction() as session:
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        async with database.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))

        assert await _count(postgresql) == 1

    async def test_a_connection_of_an_engine_is_held_to_it(self, postgresql: Database) -> None:
        """Who works without a session is not told that it is committed either."""
        with pytest.raises(TransactionAborted):
            async with postgresql.engine.begin() as connection:
                await connection.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    await connection.execute(text("select 1 from nowhere"))

        assert await _count(postgresql) == 0

    async def test_a_swallowed_deadlock_cannot_be_continued(self, mariadb: Database) -> None:
        """MariaDB rolls all back; what followed would be committed alone."""
        await fill(mariadb)
        here = asyncio.Barrier(2)
        seen: list[BaseException] = []

        async def careless(first: int, second: int) -> None:
            async with mariadb.transaction() as session:
                await session.execute(update(person).where(person.c.id == first).values(age=50))
                await here.wait()
                try:
                    await session.execute(update(person).where(person.c.id == second).values(age=60))
                except Deadlock as error:
                    seen.append(error)
                await session.execute(insert(pet).values(id=first + 100, owner_id=first))

        results = await asyncio.gather(careless(1, 3), careless(3, 1), return_exceptions=True)

        assert len(seen) == 1
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "TransactionAborted"]
        assert await _count(mariadb, pet) == 2

    async def test_a_deadlock_in_a_savepoint_is_not_masked(self, server: Database) -> None:
        """MariaDB forgets the savepoint with the transaction; the error is the deadlock, not its absence."""
        await fill(server)
        here = asyncio.Barrier(2)

        async def careful(first: int, second: int) -> None:
            async with server.transaction() as session:
                await session.execute(update(person).where(person.c.id == first).values(age=50))
                await here.wait()
                async with session.savepoint():
                    await session.execute(update(person).where(person.c.id == second).values(age=60))

        results = await asyncio.gather(careful(1, 3), careful(3, 1), return_exceptions=True)

        assert sorted(type(result).__name__ for result in results) == ["Deadlock", "NoneType"]

    async def test_an_interrupted_write_cannot_be_continued(self, sqlite: Database) -> None:
        """SQLite rolls back the transaction of an interrupted write; what followed would be committed at once."""
        endless = SLOW["sqlite"].replace("select count(*) from n", "select -i, i from n")

        with pytest.raises(TransactionAborted):
            async with sqlite.transaction(timeout=0.1) as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(StatementTimeout):
                    await session.execute(text(f"insert into person (id, email) {endless}"))
                await session.execute(insert(person).values(id=2, email="b"))

        assert await _count(sqlite) == 0

    async def test_an_error_in_autocommit_aborts_nothing(self, every_driver: Database) -> None:
        """Where each statement is on its own, the next one may go on."""
        async with every_driver.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(SchemaMissing):
                await connection.execute(text("select 1 from nowhere"))
            await connection.execute(insert(person).values(id=1, email="a"))
            await connection.commit()

        assert await _count(every_driver) == 1


class TestUnreachable:
    async def test_a_port_where_nobody_listens(self, server: Database, open_database: OpenDatabase) -> None:
        """No server is DatabaseUnavailable, with host and port and without the password."""
        url = server.url.set(port=1, password="s3cret").render_as_string(hide_password=False)

        with pytest.raises(errors.DatabaseUnavailable) as caught:
            await open_database(url).check()

        assert type(caught.value) is errors.DatabaseUnavailable
        assert "127.0.0.1:1" in str(caught.value)
        assert "s3cret" not in str(caught.value)

    async def test_a_database_that_does_not_exist(self, server: Database, open_database: OpenDatabase) -> None:
        """A wrong name is said to be that, with how to make the database; psycopg has the server's words alone."""
        url = server.url.set(database="keel_no_such_database").render_as_string(hide_password=False)

        with pytest.raises(errors.DatabaseMissing, match="keel_no_such_database") as caught:
            await open_database(url).check()

        assert "CREATE DATABASE keel_no_such_database." in caught.value.hint

    async def test_a_user_that_does_not_exist(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Before there is a connection, psycopg tells it by the server's words alone."""
        url = postgres.url.set(drivername="postgresql+psycopg", username="keel_nobody")

        with pytest.raises(errors.AuthenticationFailed, match="keel_nobody"):
            await open_database(url.render_as_string(hide_password=False)).check()

    async def test_a_host_in_the_query(self, server: Database, open_database: OpenDatabase) -> None:
        """The host is named, not the database."""
        url = server.url.set(host="", port=1).update_query_dict({"host": "127.0.0.1"})

        with pytest.raises(errors.DatabaseUnavailable, match=r"No connection to 127\.0\.0\.1:1 could be made"):
            await open_database(url.render_as_string(hide_password=False)).check()

    async def test_a_file_that_cannot_be_made(self, open_database: OpenDatabase) -> None:
        """SQLite makes the file but not its directory."""
        with pytest.raises(errors.DatabaseUnavailable) as caught:
            await open_database("sqlite+aiosqlite:////no/such/directory/app.db").check()

        assert isinstance(caught.value, DBAPIError)
        assert "folder" in caught.value.hint

    async def test_an_option_that_the_driver_does_not_have(self, server: Database, open_database: OpenDatabase) -> None:
        """It is named, and nothing else of the URL is."""
        url = server.url.update_query_dict({"no_such_option": "s3cret"}).render_as_string(hide_password=False)

        with pytest.raises(errors.ConfigurationError, match="no_such_option") as caught:
            await open_database(url).check()

        assert "s3cret" not in str(caught.value)

    async def test_an_option_that_is_no_text(
        self, postgres: Database, mariadb: Database, open_database: OpenDatabase
    ) -> None:
        """The driver speaks of it in a TypeError or ValueError."""
        for server, driver, option in ((postgres, "asyncpg", "timeout"), (mariadb, "asyncmy", "ssl")):
            url = server.url.set(drivername=f"{server.dialect}+{driver}").render_as_string(hide_password=False)

            with pytest.raises(errors.ConfigurationError, match="cannot take the value of an option") as caught:
                await open_database(url, connect_args={option: "7351"}).check()

            assert "7351" not in str(caught.value)

    @pytest.mark.parametrize("host", ["db..example", "h" * 64, "\udcff"])
    async def test_a_host_that_cannot_be_encoded(self, server: Database, host: str) -> None:
        """Two dots in a row are enough."""
        url = server.url.set(host=host)

        with pytest.raises(errors.ConfigurationError, match="cannot encode the host") as caught:
            await Database(url).check()

        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    async def test_a_password_that_cannot_be_encoded(self, postgres: Database, driver: str) -> None:
        """What the driver raises repeats it, with psycopg the whole of the arguments: no context keeps that."""
        url = postgres.url.set(drivername=f"postgresql+{driver}", password="s3cret\udcff")

        with pytest.raises(errors.ConfigurationError, match="cannot encode") as caught:
            await Database(url).check()

        assert (caught.value.__cause__, caught.value.__context__) == (None, None)

    async def test_an_argument_that_is_no_text(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Of a user who is a number the driver raises an AttributeError."""
        url = postgres.url.set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)

        with pytest.raises(errors.ConfigurationError, match="cannot take the value of an option"):
            await open_database(url, connect_args={"user": 2024}).check()

    async def test_a_listener_that_fails_is_heard(self, server: Database, open_database: OpenDatabase) -> None:
        """Its ValueError is none of the driver's."""
        database = open_database(server)

        @event.listens_for(database.engine.sync_engine, "do_connect")
        def connect(*_: Any) -> None:
            raise ValueError("no token")

        with pytest.raises(ValueError, match="no token"):
            await database.check()

    @pytest.mark.parametrize(
        ("driver", "option", "instead"), [("asyncpg", "sslmode", "?ssl="), ("psycopg", "ssl", "?sslmode=")]
    )
    async def test_an_option_of_the_other_driver(
        self, postgres: Database, open_database: OpenDatabase, driver: str, option: str, instead: str
    ) -> None:
        """What one driver calls otherwise than the other is said as the one in use calls it."""
        url = postgres.url.set(drivername=f"postgresql+{driver}").update_query_dict({option: "require"})

        with pytest.raises(errors.ConfigurationError) as caught:
            await open_database(url.render_as_string(hide_password=False)).check()

        assert instead in caught.value.hint


async def _count(database: Database, table: Table = person) -> int:
    async with database.engine.connect() as connection:
        return len((await connection.execute(select(table))).all())


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Switch the garbage collector off: what only it would free is a leak until it comes by."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class TestCancelledConnects:
    @pytest.mark.usefixtures("no_collector")
    async def test_nothing_of_one_is_left(self, server: Database, open_database: OpenDatabase) -> None:
        """The socket of a connection that nobody waits for any more is closed at once."""
        async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
            url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            proxy.drop()  # the server hears nothing, and so never answers
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await open_database(url).check()

            assert await soon(lambda: proxy.links == 0)

    @pytest.mark.usefixtures("no_collector")
    async def test_nothing_of_one_is_left_at_any_moment(self, server: Database, open_database: OpenDatabase) -> None:
        """The same for every wait on the way to the first statement."""
        async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
            url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)

            await cancelled_at_each_step(lambda: first_use(url))

            assert await soon(lambda: proxy.links == 0)

    @pytest.mark.parametrize("times", [1, 2, 1000])
    async def test_a_cancellation_stays_one(self, every_driver: Database, times: int) -> None:
        """Wherever the first use of an engine is cut, no error of the set-up takes the cancellation's place."""
        url = every_driver.url.render_as_string(hide_password=False)

        ends = await cancelled_at_each_step(lambda: first_use(url), times=times)

        assert len(ends) > 5
        assert set(ends) == {"cancelled"}


async def first_use(url: str) -> None:
    """Use a new engine once, whatever happens."""
    database = Database(url, pool_size=1)
    try:
        async with database.transaction() as session:
            await session.execute(text("select 1"))
    finally:
        await asyncio.shield(database.dispose())
