"""Engines of the project's own: after one call they raise our errors, on each driver."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock

import pytest
from sqlalchemy import Connection, Engine, create_engine, event, insert, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker

from sqlkeel import SyncSession, errors, translate_errors
from sqlkeel.sessions import Database
from tests.engines.peers import KILL, OWN_ID
from tests.engines.stock_engines import DRIVERS, Person, Stock, deferring, metadata, person, pet
from tests.faults.proxy import Proxy, proxy_to

pytestmark = pytest.mark.tables(metadata)

ann = insert(person).values(id=1, email="ann@example.org")
again = insert(person).values(id=2, email="ann@example.org")
bob = insert(person).values(id=2, email="bob@example.org")
SERVERS = [name for name in DRIVERS if "sqlite" not in name]
POSTGRESQL = ["asyncpg", "psycopg", "psycopg, synchronous"]


@pytest.fixture
def driver(request: pytest.FixtureRequest) -> tuple[str, Database]:
    """The driver that the test names, with the database of the test."""
    return request.param, request.getfixturevalue(DRIVERS[request.param][0])


@pytest.fixture
async def stock(driver: tuple[str, Database]) -> AsyncIterator[Stock]:
    """A stock engine over the driver, with one connection."""
    name, database = driver
    stock = Stock(database, name, pool_size=1, max_overflow=0)
    yield stock
    await stock.dispose()


each_driver = pytest.mark.parametrize("driver", DRIVERS, indirect=True)
each_server = pytest.mark.parametrize("driver", SERVERS, indirect=True)
each_postgresql = pytest.mark.parametrize("driver", POSTGRESQL, indirect=True)
each_sqlite = pytest.mark.parametrize("driver", ["pysqlite", "aiosqlite"], indirect=True)


def commit(*statements: Any) -> Callable[[Connection], None]:
    """Return work that executes and commits."""

    def work(connection: Connection) -> None:
        for statement in statements:
            connection.execute(statement)
        connection.commit()

    return work


class TestErrors:
    @each_driver
    async def test_a_unique_violation_has_its_names(self, stock: Stock) -> None:
        """Table, columns and constraint are those of the model; the class is SQLAlchemy's, too."""
        await stock.run(commit(ann))

        with pytest.raises(errors.UniqueViolation) as caught:
            await stock.run(commit(again))

        assert (caught.value.table, caught.value.columns) == ("person", ("email",))
        assert caught.value.constraint == "person_email_key"
        assert isinstance(caught.value, IntegrityError)
        assert "ann@example.org" not in str(caught.value)

    @each_driver
    @pytest.mark.parametrize(
        ("statement", "kind"),
        [
            (insert(person).values(id=3, email=None), errors.NotNullViolation),
            (insert(person).values(id=3, email="c", age=-1), errors.CheckViolation),
            (text("select * from nowhere"), errors.SchemaMissing),
        ],
        ids=["null", "check", "table"],
    )
    async def test_each_kind_has_its_class(
        self, stock: Stock, statement: Any, kind: type[errors.DatabaseFault]
    ) -> None:
        """As with the engine of a `Database`."""
        with pytest.raises(kind):
            await stock.run(commit(statement))

    @each_driver
    async def test_a_copy_with_other_options_has_them_too(self, stock: Stock) -> None:
        """``engine.execution_options()`` shares what was set up."""
        copy = stock.engine.execution_options(anything=1)
        await stock.run(commit(ann), copy)

        with pytest.raises(errors.UniqueViolation):
            await stock.run(commit(again), copy)

    @each_server
    async def test_a_server_that_is_not_there(self, stock: Stock) -> None:
        """Whatever the driver raises then, it is `DatabaseUnavailable`."""
        elsewhere = stock.make(port=1)

        with pytest.raises(errors.DatabaseUnavailable, match=r"No connection to .*:1 could be made"):
            await stock.run(commit(ann), elsewhere)

        await stock.dispose(elsewhere)

    @each_sqlite
    async def test_a_file_that_cannot_be_made(self, stock: Stock) -> None:
        """The same where the server is a file."""
        elsewhere = stock.make(database="/nowhere/at/all.db")

        with pytest.raises(errors.DatabaseUnavailable):
            await stock.run(commit(ann), elsewhere)

        await stock.dispose(elsewhere)

    @each_server
    async def test_a_connection_that_was_cut(self, stock: Stock) -> None:
        """In the middle of a transaction it is lost, and the pool makes another one."""
        number = await stock.run(lambda connection: connection.scalar(text(OWN_ID[stock.database.dialect])))

        def work(connection: Connection) -> None:
            connection.execute(ann)
            kill_from_another(stock, number)
            connection.execute(bob)

        with pytest.raises(errors.ConnectionLost):
            await stock.run(work)

        await stock.run(commit(bob))
        assert await stock.people() == [2]

    @each_server
    async def test_one_that_was_cut_while_it_idled(self, stock: Stock) -> None:
        """``pool_pre_ping`` finds it, as it does on any engine."""
        engine = stock.make(pool_pre_ping=True)
        number = await stock.run(lambda connection: connection.scalar(text(OWN_ID[stock.database.dialect])), engine)
        await asyncio.to_thread(kill_from_another, stock, number)

        await stock.run(commit(ann), engine)

        assert await stock.people() == [1]
        await stock.dispose(engine)


def kill_from_another(stock: Stock, number: int) -> None:
    """End a connection as an administrator would, from whichever thread."""

    async def kill() -> None:
        engine = create_async_engine(stock.database.url)
        async with engine.connect() as connection:
            await connection.execute(text(KILL[stock.database.dialect].format(number)))
        await engine.dispose()

    thread = threading.Thread(target=asyncio.run, args=(kill(),))
    thread.start()
    thread.join()


class TestTransactions:
    @each_postgresql
    async def test_an_error_that_was_swallowed_is_not_committed(self, stock: Stock) -> None:
        """PostgreSQL would answer COMMIT with a ROLLBACK, and nobody would hear of it."""

        def work(connection: Connection) -> None:
            connection.execute(ann)
            with pytest.raises(errors.UniqueViolation):
                connection.execute(again)
            connection.commit()

        with pytest.raises(errors.TransactionAborted) as caught:
            await stock.run(work)

        assert isinstance(caught.value, PendingRollbackError)
        assert await stock.people() == []
        await stock.run(commit(bob))
        assert await stock.people() == [2]

    @each_sqlite
    async def test_one_that_ended_the_transaction_of_sqlite_is_not_committed_in_part(self, stock: Stock) -> None:
        """What follows would be a transaction of its own, without what came before."""
        other = insert(person).prefix_with("OR ROLLBACK").values(id=2, email="ann@example.org")

        def work(connection: Connection) -> None:
            connection.execute(ann)
            with pytest.raises(errors.UniqueViolation):
                connection.execute(other)
            connection.execute(bob)
            connection.commit()

        with pytest.raises(errors.TransactionAborted):
            await stock.run(work)

        assert await stock.people() == []

    @each_sqlite
    async def test_one_that_did_not_end_it_is_none_of_ours(self, stock: Stock) -> None:
        """SQLite takes back the statement alone, with the first one of a transaction, too."""

        def work(connection: Connection) -> None:
            with pytest.raises(errors.SchemaMissing):
                connection.execute(text("select * from nowhere"))
            connection.execute(ann)
            with pytest.raises(errors.UniqueViolation):
                connection.execute(again)
            connection.execute(bob)
            connection.commit()

        await stock.run(work)

        assert await stock.people() == [1, 2]

    @each_postgresql
    @pytest.mark.tables(deferring)
    async def test_a_commit_that_failed_has_its_class(self, stock: Stock) -> None:
        """And its connection is not used again, whatever the server thinks of it."""
        orphan = insert(pet).values(id=1, owner_id=99)
        number = text(OWN_ID[stock.database.dialect])

        with pytest.raises(errors.ForeignKeyViolation):
            await stock.run(commit(orphan))

        first = await stock.run(lambda connection: connection.scalar(number))
        with pytest.raises(errors.ForeignKeyViolation):
            await stock.run(commit(orphan))
        assert await stock.run(lambda connection: connection.scalar(number)) != first

    @each_sqlite
    @pytest.mark.tables(deferring)
    async def test_a_commit_that_failed_on_sqlite_is_rolled_back(self, stock: Stock) -> None:
        """It keeps the transaction, and who gets the connection next would commit both."""

        def work(connection: Connection) -> None:
            connection.exec_driver_sql("PRAGMA foreign_keys=ON")
            connection.execute(insert(pet).values(id=1, owner_id=99))
            connection.commit()

        with pytest.raises(errors.ForeignKeyViolation):
            await stock.run(work)

        await stock.run(commit(ann))
        assert await stock.people() == [1]
        assert await stock.run(lambda connection: connection.execute(select(pet)).all()) == []

    @each_server
    async def test_a_commit_whose_answer_was_lost_is_unknown(self, stock: Stock) -> None:
        """Nobody asks the server, which is a `Database`'s to do; the error says that it may be written."""
        async with proxy_to(stock.url.host or "127.0.0.1", stock.url.port or 0) as proxy:
            engine = stock.make(host="127.0.0.1", port=proxy.port)
            await stock.run(commit(select(1)), engine)
            proxy.cut_at(lambda data: b"COMMIT" in data, deliver=True)

            with pytest.raises(errors.CommitUnknown):
                await stock.run(commit(ann), engine)

            await stock.dispose(engine)

    @each_server
    async def test_a_commit_that_was_refused_is_not_committed_by_the_next(self, stock: Stock) -> None:
        """SQLAlchemy takes every COMMIT for the end of the transaction, and keeps the connection."""
        async with proxy_to(stock.url.host or "127.0.0.1", stock.url.port or 0) as proxy:
            engine = stock.make(host="127.0.0.1", port=proxy.port)
            await self.refuse_commit(stock, proxy, engine)

            await stock.run(commit(bob), engine)

            assert await stock.people() == [2]
            await stock.dispose(engine)

    async def refuse_commit(self, stock: Stock, proxy: Proxy, engine: Any) -> None:
        """Write a row, and have the COMMIT refused by the server."""

        def work(connection: Connection) -> None:
            connection.execute(ann)
            proxy.garble(b"COMMIT")
            connection.commit()

        with pytest.raises(errors.DatabaseFault):
            await stock.run(work, engine)


class TestSessions:
    @each_driver
    async def test_a_session_raises_them(self, stock: Stock) -> None:
        """From a flush, in sessions of SQLAlchemy's own and in those with ours inside."""
        await stock.run(commit(ann))

        def work(connection: Connection, kind: type[Session]) -> None:
            with kind(connection) as session:
                session.add(Person(id=2, email="ann@example.org"))
                with pytest.raises(errors.UniqueViolation, match="person_email_key"):
                    session.flush()

        for kind in (Session, SyncSession):
            await stock.run(lambda connection, kind=kind: work(connection, kind))  # type: ignore[misc]

    async def test_the_factory_of_the_docs(self, postgres: Database) -> None:
        """A project's engine and its factory, with one call for each."""
        engine = translate_errors(create_async_engine(postgres.url))
        make = async_sessionmaker(engine, sync_session_class=SyncSession)

        async with make.begin() as session:
            session.add(Person(id=1, email="ann@example.org"))
        with pytest.raises(errors.UniqueViolation):
            async with make.begin() as session:
                session.add(Person(id=2, email="ann@example.org"))

        await engine.dispose()

    async def test_in_a_synchronous_worker(self, psycopg: Database) -> None:
        """Without an event loop."""
        engine = translate_errors(create_engine(psycopg.url))
        make = sessionmaker(engine, class_=SyncSession)

        def work() -> None:
            with make.begin() as session:
                session.add(Person(id=1, email="ann@example.org"))
            with pytest.raises(errors.UniqueViolation), make.begin() as session:
                session.add(Person(id=2, email="ann@example.org"))

        await asyncio.to_thread(work)
        engine.dispose()


@pytest.fixture
def memory() -> Iterator[Engine]:
    """An engine that nobody has touched."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    yield engine
    engine.dispose()


class TestTheCall:
    def test_it_returns_the_engine(self, memory: Engine) -> None:
        """So that it can stand around the call that makes it."""
        assert translate_errors(memory) is memory

    def test_a_second_one_does_nothing(self, memory: Engine) -> None:
        """Nor does one for a copy of the engine."""
        translate_errors(memory)
        before = [len(list(listeners)) for listeners in _listeners(memory)]
        translate_errors(memory)
        translate_errors(memory.execution_options(anything=1))

        assert [len(list(listeners)) for listeners in _listeners(memory)] == before

    async def test_the_engine_of_a_database_has_it_already(self, sqlite: Database) -> None:
        """There is nothing to do for it."""
        before = [len(list(listeners)) for listeners in _listeners(sqlite.engine.sync_engine)]
        translate_errors(sqlite.engine)

        assert [len(list(listeners)) for listeners in _listeners(sqlite.engine.sync_engine)] == before

    @pytest.mark.parametrize("before", [True, False])
    def test_an_error_of_the_projects_own_stays(self, memory: Engine, before: bool) -> None:
        """A listener that makes an error of its own has the last word, whenever it was registered."""

        class Taken(Exception):
            """What the project raises."""

        def make(context: Any) -> Exception:
            return Taken()

        if before:
            event.listen(memory, "handle_error", make, retval=True)
        translate_errors(memory)
        if not before:
            event.listen(memory, "handle_error", make, retval=True)

        with memory.connect() as connection, pytest.raises(Taken):
            connection.execute(ann)
            connection.execute(again)

    def test_other_engines_are_not_touched(self, memory: Engine) -> None:
        """One engine has it, and no other one."""
        other = create_engine("sqlite://")
        translate_errors(memory)

        with other.connect() as connection, pytest.raises(OperationalError) as caught:
            connection.execute(text("select * from nowhere"))

        assert not isinstance(caught.value, errors.DatabaseFault)
        other.dispose()

    @pytest.mark.parametrize("url", ["mssql+pyodbc://", "postgresql+pg8000://", "mysql+pymysql://"])
    def test_what_cannot_be_read_is_refused(self, url: str) -> None:
        """A driver or database whose errors nobody has looked at."""
        engine = create_engine(url, module=MagicMock(paramstyle="format", __version__="1.40.0", version="4.0.0"))

        with pytest.raises(errors.NotSupported, match="cannot read the errors of"):
            translate_errors(engine)

    @pytest.mark.parametrize("other", [None, "sqlite://", AsyncSession()], ids=["none", "url", "session"])
    def test_anything_else_than_an_engine_is_refused(self, other: Any) -> None:
        """With what to write."""
        with pytest.raises(errors.UsageError, match="takes an engine"):
            translate_errors(other)


def _listeners(engine: Engine) -> list[Any]:
    """Return the listeners that the call might add to."""
    dialect, pool = engine.dialect.dispatch, engine.pool.dispatch
    return [dialect.handle_error, dialect.do_connect, dialect.do_execute, pool.checkin]
