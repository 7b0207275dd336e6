"""A unit of work whose connection breaks, or whose request is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import pytest
from sqlalchemy import text

from sqlkeel import Database
from sqlkeel.errors import (
    CommitUnknown,
    ConnectionLost,
)
from sqlkeel.integrations.asgi import UnitOfWork
from sqlkeel.testing import PgBouncerServer
from tests.engines.peers import kill, own_id, soon, statements_running, under_way
from tests.fixtures.databases import OpenDatabase
from tests.integrations.handling import answer, served, write
from tests.integrations.tables import Base, stored
from tests.integrations.wire import Message, Send, disconnecting

pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["postgres", "psycopg"])
def sleeper(request: pytest.FixtureRequest) -> Database:
    """Each driver in turn that tells its server when a statement is given up; MariaDB's runs into its time limit."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture(params=["asyncpg", "psycopg"])
def pooled(
    request: pytest.FixtureRequest, pgbouncer: PgBouncerServer, postgres: Database, open_database: OpenDatabase
) -> Database:
    """PostgreSQL behind a pooler, where the session that only reads has a transaction to end; by each driver."""
    return open_database(pgbouncer.url(postgres.url.database, driver=request.param), pooler="pgbouncer")


@pytest.fixture(params=["postgres", "psycopg", "mariadb"])
def killable(request: pytest.FixtureRequest) -> Database:
    """Each driver in turn whose server can end a connection."""
    database: Database = request.getfixturevalue(request.param)
    return database


class TestBrokenConnection:
    """A connection that broke decides the answer only where it kept what was answered from being true."""

    @pytest.mark.parametrize("first", ["read_session", "session"])
    async def test_one_for_reading_decides_nothing(
        self, pooled: Database, postgres: Database, first: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What it has read is right: the request is committed and answered, and the log has what happened."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await getattr(unit, first)()
            await write(unit)
            reader = await unit.read_session()
            await kill(postgres, await own_id(reader, pooled))
            await answer(send)

        exchange = await served(pooled, handler).run()

        assert exchange.status == 200
        assert await stored(postgres) == ["kept"]
        assert "broke when it was returned to the pool" in caplog.text

    async def test_one_for_reading_leaves_a_refusal_alone(self, pooled: Database, postgres: Database) -> None:
        """A request that is refused is refused with its own answer."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await kill(postgres, await own_id(await unit.read_session(), pooled))
            await answer(send, 409)

        exchange = await served(pooled, handler).run()

        assert exchange.status == 409
        assert await stored(postgres) == []

    async def test_one_for_writing_leaves_a_refusal_alone(self, killable: Database) -> None:
        """What cannot be rolled back any more is rolled back: the answer is the application's."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await kill(killable, await own_id(await unit.session(), killable))
            await answer(send, 409)

        exchange = await served(killable, handler).run()

        assert exchange.status == 409
        assert await stored(killable) == []

    async def test_one_for_writing_is_a_failure(self, killable: Database) -> None:
        """What could not be committed is no success."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await kill(killable, await own_id(await unit.session(), killable))
            await answer(send)

        exchange = served(killable, handler)

        with pytest.raises((ConnectionLost, CommitUnknown)):  # MariaDB cannot say which
            await exchange.run()

        assert exchange.messages == []
        assert await stored(killable) == []


async def nothing_runs(database: Database) -> bool:
    """Tell whether the server works on nothing."""
    return await statements_running(database) == 0


async def wait(message: Message) -> None:
    """Send as a server does whose buffer is full."""
    await asyncio.sleep(0)


SENDING: dict[str, Callable[[Message], Awaitable[None]] | None] = {"at once": None, "with a wait": wait}


class TestCancellation:
    """The `db` fixtures fail a test that leaves a connection, a transaction or a lock behind."""

    async def test_a_cancelled_request_is_rolled_back(self, every_driver: Database) -> None:
        """task.cancel() between two statements: nothing is kept, the cancellation goes on."""
        written = asyncio.Event()

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            written.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(served(every_driver, handler).run())
        await written.wait()
        task.cancel()

        with pytest.raises(asyncio.CancelledError):
            await task
        assert await stored(every_driver) == []

    async def test_a_statement_is_cancelled(self, sleeper: Database) -> None:
        """task.cancel() in the middle of a statement: the server is not left running it."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await (await unit.session()).execute(text("SELECT pg_sleep(30)"))

        task = asyncio.create_task(served(sleeper, handler).run())
        await under_way(sleeper)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await soon(lambda: nothing_runs(sleeper))
        assert await stored(sleeper) == []

    async def test_a_cancel_scope_is_rolled_back(self, every_driver: Database) -> None:
        """An anyio scope cancels again at every await, as frameworks do; the rollback is done all the same."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            scope.cancel()
            await asyncio.Event().wait()

        with anyio.CancelScope() as scope:
            await served(every_driver, handler).run()

        assert scope.cancelled_caught
        assert await stored(every_driver) == []

    @pytest.mark.parametrize("sending", ["at once", "with a wait"])
    async def test_a_cancel_during_commit_does_not_tear_it(self, db: Database, sending: str) -> None:
        """Cancelled while it commits, the request is committed with its hooks; only a send that waits is cut short."""
        committing = asyncio.Event()
        go_on = asyncio.Event()

        async def hook() -> None:
            committing.set()
            await go_on.wait()

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(hook)
            await write(unit)
            await answer(send)

        exchange = served(db, handler, watch=SENDING[sending])
        task = asyncio.create_task(exchange.run())
        await committing.wait()
        task.cancel()
        go_on.set()
        await asyncio.wait({task})

        assert task.cancelled() is (sending == "with a wait")
        assert bool(exchange.messages) is (sending == "at once")
        assert await stored(db) == ["kept"]

    async def test_a_client_that_left_does_not_stop_a_handler(self, db: Database) -> None:
        """http.disconnect alone cancels nothing: the handler goes on and commits, hence idempotency keys."""
        gone = asyncio.Event()
        gone.set()

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await answer(send)

        await served(db, handler, receive=disconnecting(gone)).run()

        assert await stored(db) == ["kept"]
