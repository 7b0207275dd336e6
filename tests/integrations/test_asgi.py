"""The unit of work of a request, seen from both ends of a raw ASGI exchange."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Session
from sqlkeel.errors import (
    CommitUnknown,
    ConfigurationError,
    ConnectionLost,
    ForeignKeyViolation,
    NoTransaction,
    TransactionAborted,
    UniqueViolation,
)
from sqlkeel.integrations.asgi import UnitOfWork, UnitOfWorkMiddleware, unit_of_work
from sqlkeel.testing import PgBouncerServer
from tests.engines.peers import kill, own_id, soon, statements_running, under_way
from tests.fixtures.databases import OpenDatabase
from tests.integrations.tables import Base, Deferred, Item, Note, stored
from tests.integrations.wire import ANSWER, Exchange, Message, Receive, Scope, Send, disconnecting, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


@pytest.fixture(params=["postgres", "psycopg"])
def sleeper(request: pytest.FixtureRequest) -> Database:
    """Each driver in turn that tells its server when a statement is given up; MariaDB's runs into its time limit."""
    database: Database = request.getfixturevalue(request.param)
    return database


def served(db: Database, handler: Callable[[UnitOfWork, Send], Awaitable[None]], **options: Any) -> Exchange:
    """Return the exchange with an application that is *handler* and nothing else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(unit_of_work(scope), send)

    return Exchange(UnitOfWorkMiddleware(app, db), **options)


async def answer(send: Send, status: int = 200) -> None:
    """Send an empty response."""
    await send({**ANSWER[0], "status": status})
    await send(ANSWER[1])


async def write(unit: UnitOfWork, note: str = "kept") -> None:
    """Write a note in the session of the request."""
    session = await unit.session()
    session.add(Note(text=note))
    await session.flush()


async def write_orphan(unit: UnitOfWork) -> None:
    """Write what COMMIT will refuse."""
    session = await unit.session()
    session.add(Item(owner_id=404))
    await session.flush()


class TestOrder:
    async def test_the_row_is_there_before_the_response_starts(self, every_driver: Database) -> None:
        """Another connection sees the row when the first message of the response is sent."""
        seen: list[list[str]] = []

        async def watch(message: Message) -> None:
            seen.append(await stored(every_driver))

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await answer(send)

        exchange = await served(every_driver, handler, watch=watch).run()

        assert exchange.status == 200
        assert seen == [["kept"], ["kept"]]

    async def test_hooks_run_between_commit_and_response(self, db: Database) -> None:
        """An on_commit hook sees the row, and the response waits for it."""
        happened: list[object] = []

        async def hook() -> None:
            happened.append(await stored(db))

        async def watch(message: Message) -> None:
            happened.append(message["type"])

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(hook)
            await write(unit)
            await answer(send)

        await served(db, handler, watch=watch).run()

        assert happened == [["kept"], "http.response.start", "http.response.body"]

    async def test_a_failing_hook_does_not_hold_the_response_up(
        self, sqlite: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is committed is answered as such, though a hook failed; the failure is logged."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(lambda: 1 / 0)
            await write(unit)
            await answer(send)

        with caplog.at_level(logging.ERROR, "sqlkeel.session"):
            exchange = await served(sqlite, handler).run()

        assert exchange.status == 200
        assert "on_commit" in caplog.text

    async def test_hooks_of_a_refused_request_do_not_run(self, sqlite: Database) -> None:
        """No mail is sent for what was rolled back."""
        sent: list[str] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(sent.append, "mail")
            await answer(send, 400)

        await served(sqlite, handler).run()

        assert sent == []

    async def test_messages_before_the_start_pass(self, sqlite: Database) -> None:
        """An early hint is no response yet: the unit of work goes on."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await send({"type": "http.response.early_hint", "links": []})
            await write(unit)
            await answer(send)

        exchange = await served(sqlite, handler).run()

        assert exchange.messages[0]["type"] == "http.response.early_hint"
        assert await stored(sqlite) == ["kept"]


class TestOutcome:
    @pytest.mark.parametrize("status", [200, 201, 204, 303, 399])
    async def test_a_good_status_commits(self, sqlite: Database, status: int) -> None:
        """Below 400 the request is a success."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await answer(send, status)

        await served(sqlite, handler).run()

        assert await stored(sqlite) == ["kept"]

    @pytest.mark.parametrize("status", [400, 409, 422, 500, 503])
    async def test_a_bad_status_rolls_back(self, db: Database, status: int) -> None:
        """From 400 on nothing is kept, though nothing was raised."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await answer(send, status)

        exchange = await served(db, handler).run()

        assert exchange.status == status
        assert await stored(db) == []

    async def test_an_exception_rolls_back_and_passes(self, db: Database) -> None:
        """The application's own exception arrives outside unchanged."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            raise ZeroDivisionError

        exchange = served(db, handler)

        with pytest.raises(ZeroDivisionError):
            await exchange.run()

        assert exchange.messages == []
        assert await stored(db) == []

    async def test_no_response_rolls_back(self, db: Database) -> None:
        """An application that returns without a response has promised nothing."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)

        await served(db, handler).run()

        assert await stored(db) == []

    async def test_an_exception_after_the_start_keeps_the_row(self, sqlite: Database) -> None:
        """What the client was told stays true when the body fails."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await send(ANSWER[0])
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await served(sqlite, handler).run()

        assert await stored(sqlite) == ["kept"]

    async def test_objects_are_readable_afterwards(self, db: Database) -> None:
        """A background task may read the attributes of what the handler wrote, without a session."""
        notes: list[Note] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            notes.append(Note(text="kept"))
            (await unit.session()).add(notes[0])
            await answer(send)

        await served(db, handler).run()

        assert (notes[0].id > 0, notes[0].text) == (True, "kept")


class TestFailedCommit:
    async def test_a_pending_change_fails_like_any_other(self, db: Database) -> None:
        """A flush inside of COMMIT that breaks a constraint raises, and nothing is sent."""
        async with db.transaction() as session:
            session.add(Note(text="taken"))

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).add(Note(text="taken"))
            await answer(send)

        exchange = served(db, handler)

        with pytest.raises(UniqueViolation):
            await exchange.run()

        assert exchange.messages == []

    @deferred
    async def test_a_deferred_constraint_is_no_success(self, deferring: Database) -> None:
        """A foreign key that is looked at by COMMIT itself raises, and the 200 is not sent."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            await answer(send)

        exchange = served(deferring, handler)

        with pytest.raises(ForeignKeyViolation):
            await exchange.run()

        assert exchange.messages == []

    @deferred
    async def test_a_swallowed_failure_is_raised_all_the_same(self, postgres: Database) -> None:
        """An application that catches everything and returns cannot make a success of it."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            with pytest.raises(ForeignKeyViolation):
                await answer(send)

        exchange = served(postgres, handler)

        with pytest.raises(ForeignKeyViolation):
            await exchange.run()

        assert exchange.messages == []

    @deferred
    async def test_a_second_response_is_not_let_out(self, sqlite: Database) -> None:
        """After a failed COMMIT no other response of the application gets out: the error does."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            with pytest.raises(ForeignKeyViolation):
                await answer(send)
            await answer(send)

        exchange = served(sqlite, handler)

        with pytest.raises(ForeignKeyViolation):
            await exchange.run()

        assert exchange.messages == []

    @deferred
    async def test_what_the_application_made_of_it_is_replaced(self, sqlite: Database) -> None:
        """The failure arrives outside as itself, not as the error that a framework wraps it into."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            try:
                await answer(send)
            except ForeignKeyViolation as error:
                raise RuntimeError("response already started") from error

        with pytest.raises(ForeignKeyViolation):
            await served(sqlite, handler).run()


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
        assert "broke when it was given back" in caplog.text

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


class TestSessions:
    async def test_everyone_gets_the_same(self, sqlite: Database) -> None:
        """Two callers in one request share one session of each kind."""
        sessions: list[Session] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.extend([await unit.session(), await unit.session()])
            sessions.extend([await unit.read_session(), await unit.read_session()])
            await answer(send)

        await served(sqlite, handler).run()

        assert sessions[0] is sessions[1]
        assert sessions[2] is sessions[3]
        assert [session.read_only for session in sessions] == [False, False, True, True]

    async def test_requests_share_none(self, sqlite: Database) -> None:
        """Each request has a session of its own."""
        sessions: list[Session] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.append(await unit.session())
            await answer(send)

        await served(sqlite, handler).run()
        await served(sqlite, handler).run()

        assert sessions[0] is not sessions[1]

    async def test_no_session_after_the_start(self, sqlite: Database) -> None:
        """Asking for the session while the body is sent is refused, with what to use instead."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await send(ANSWER[0])
            await unit.session()

        with pytest.raises(NoTransaction, match=r"ended when its response started(.|\n)*db\.transaction"):
            await served(sqlite, handler).run()

    async def test_a_kept_session_is_closed_after_the_start(self, db: Database) -> None:
        """A session that the body of a stream still holds is closed for good: it opens no connection."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            session = await unit.session()
            await send(ANSWER[0])
            await session.execute(text("SELECT 1"))

        with pytest.raises(InvalidRequestError, match="closed"):
            await served(db, handler).run()

    async def test_a_websocket_has_none(self, sqlite: Database) -> None:
        """A WebSocket is told to open a transaction for each message, and has the database for it."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            assert unit.database is sqlite
            await unit.session()

        with pytest.raises(NoTransaction, match=r"WebSocket(.|\n)*db\.transaction"):
            await served(sqlite, handler, kind="websocket").run()

    async def test_the_lifespan_passes(self, sqlite: Database) -> None:
        """Other scopes are not touched."""
        scopes: list[Scope] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scopes.append(dict(scope))

        exchange = Exchange(UnitOfWorkMiddleware(app, sqlite), kind="lifespan")
        before = dict(exchange.scope)
        await exchange.run()

        assert scopes == [before]

    def test_without_the_middleware(self) -> None:
        """An application without a unit of work says how to get one."""
        with pytest.raises(ConfigurationError, match="install"):
            unit_of_work({"type": "http"})


class TestJoining:
    """What a handler calls may open ``database.transaction()`` itself, and is a part of the request all the same."""

    async def test_a_transaction_in_the_handler_is_the_requests(self, every_driver: Database) -> None:
        """It is the same session, and is committed with the response."""
        sessions: list[Session] = []
        before: list[list[str]] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.append(await unit.session())
            async with unit.database.transaction() as session:
                sessions.append(session)
                session.add(Note(text="kept"))
            before.append(await stored(every_driver))
            await answer(send)

        await served(every_driver, handler).run()

        assert sessions[0] is sessions[1]
        assert before == [[]]
        assert await stored(every_driver) == ["kept"]

    async def test_it_is_rolled_back_with_the_request(self, db: Database) -> None:
        """A bad status takes it along."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            async with unit.database.transaction() as session:
                session.add(Note(text="lost"))
            await answer(send, 400)

        await served(db, handler).run()

        assert await stored(db) == []

    async def test_a_failure_that_the_handler_swallowed_is_no_success(self, db: Database) -> None:
        """What was left half done is not committed, and the 200 is not sent."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            with pytest.raises(ZeroDivisionError):
                async with unit.database.transaction() as session:
                    session.add(Note(text="half"))
                    raise ZeroDivisionError
            await answer(send)

        exchange = served(db, handler)

        with pytest.raises(TransactionAborted):
            await exchange.run()

        assert exchange.messages == []
        assert await stored(db) == []

    async def test_without_a_session_it_is_its_own(self, db: Database) -> None:
        """A request that never asked for its session has nothing to join: the row is there before the response."""
        before: list[list[str]] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            async with unit.database.transaction() as session:
                session.add(Note(text="kept"))
            before.append(await stored(db))
            await answer(send, 400)

        await served(db, handler).run()

        assert before == [["kept"]]

    async def test_after_the_start_it_is_its_own(self, db: Database) -> None:
        """A background task writes in a transaction that commits by itself."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            await answer(send)
            async with unit.database.transaction() as session:
                session.add(Note(text="later"))

        await served(db, handler).run()

        assert await stored(db) == ["later"]

    async def test_a_session_that_another_task_asked_for_is_joined(self, db: Database) -> None:
        """Some frameworks resolve dependencies in tasks of their own; the handler's blocks join all the same."""
        sessions: list[Session] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.append(await asyncio.create_task(unit.session()))
            async with unit.database.transaction() as session:
                sessions.append(session)
            await answer(send)

        await served(db, handler).run()

        assert sessions[0] is sessions[1]

    @pytest.mark.parametrize("asked_before", [False, True])
    async def test_a_handler_in_another_task_joins_too(self, every_driver: Database, asked_before: bool) -> None:
        """A middleware may run the handler in a task of its own: what asks for the session there joins there."""
        sessions: list[Session] = []

        async def work(unit: UnitOfWork) -> None:
            sessions.append(await unit.session())
            async with unit.database.transaction() as session:
                sessions.append(session)
                await write(unit)

        async def handler(unit: UnitOfWork, send: Send) -> None:
            sessions.extend([await unit.session()] * asked_before)
            await asyncio.create_task(work(unit))
            await answer(send, 409)

        await served(every_driver, handler).run()

        assert len(set(sessions)) == 1
        assert await stored(every_driver) == []

    async def test_another_task_has_its_own(self, db: Database) -> None:
        """A task that has not asked for the session has a transaction of its own, as outside of a request."""

        async def work(unit: UnitOfWork) -> None:
            async with unit.database.transaction() as session:
                session.add(Note(text="kept"))

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            await asyncio.create_task(work(unit))
            await answer(send, 409)

        await served(db, handler).run()

        assert await stored(db) == ["kept"]

    async def test_no_task_is_remembered(self, sqlite: Database) -> None:
        """After the request, a block of each of its tasks is its own again."""
        kept: list[bool] = []

        async def work(unit: UnitOfWork) -> None:
            request = await unit.session()
            await unit.commit()
            async with unit.database.transaction() as session:
                kept.append(session is request)

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await asyncio.create_task(work(unit))
            async with unit.database.transaction(durable=True):
                kept.append(False)

        await served(sqlite, handler).run()

        assert kept == [False, False]


class TestByHand:
    """A handler may end the transaction itself, or have nothing to do with it."""

    async def test_what_it_committed_stays(self, every_driver: Database) -> None:
        """After ``session.commit()`` a bad status takes back only what came later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await (await unit.session()).commit()
            await write(unit, "lost")
            await answer(send, 502)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["kept"]

    async def test_the_rest_is_committed_by_the_response(self, every_driver: Database) -> None:
        """After ``session.commit()`` the request goes on in another transaction, which ends as usual."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit, "first")
            await (await unit.session()).commit()
            await write(unit, "rest")
            await answer(send)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["first", "rest"]

    async def test_what_it_rolled_back_is_gone(self, every_driver: Database) -> None:
        """After ``session.rollback()`` a success keeps only what came later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit, "lost")
            await (await unit.session()).rollback()
            await write(unit)
            await answer(send)

        await served(every_driver, handler).run()

        assert await stored(every_driver) == ["kept"]

    async def test_it_ends_the_unit_of_work(self, every_driver: Database) -> None:
        """After ``unit.commit()`` the row is there, its hook has run, the connection is free, and no status matters."""
        seen: list[object] = []

        async def handler(unit: UnitOfWork, send: Send) -> None:
            (await unit.session()).on_commit(seen.append, "hook")
            await write(unit)
            await unit.commit()
            seen.append(every_driver.engine.pool.checkedout())  # type: ignore[attr-defined]
            seen.append(await stored(every_driver))
            await answer(send, 502)

        exchange = await served(every_driver, handler).run()

        assert exchange.status == 502
        assert seen == ["hook", 0, ["kept"]]
        assert await stored(every_driver) == ["kept"]

    async def test_an_exception_afterwards_takes_nothing_back(self, db: Database) -> None:
        """What was committed by hand is committed, whatever goes wrong later."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.commit()
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await served(db, handler).run()

        assert await stored(db) == ["kept"]

    async def test_it_may_keep_nothing(self, db: Database) -> None:
        """After ``unit.roll_back()`` a success keeps nothing: a trial run."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.roll_back()
            await answer(send)

        exchange = await served(db, handler).run()

        assert exchange.status == 200
        assert await stored(db) == []

    async def test_there_is_no_session_afterwards(self, sqlite: Database) -> None:
        """What comes later opens a transaction of its own; one that nobody commits cannot be had."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await unit.commit()
            with pytest.raises(NoTransaction, match="by hand"):
                await unit.session()
            async with unit.database.transaction() as session:
                session.add(Note(text="later"))
            await answer(send, 502)

        await served(sqlite, handler).run()

        assert await stored(sqlite) == ["kept", "later"]

    @deferred
    async def test_a_failed_commit_is_the_handlers(self, deferring: Database) -> None:
        """Who commits by hand has the error in hand, and may answer it."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write_orphan(unit)
            with pytest.raises(ForeignKeyViolation):
                await unit.commit()
            await answer(send, 409)

        exchange = await served(deferring, handler).run()

        assert exchange.status == 409


class TestTraffic:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
    async def test_a_request_without_session_costs_nothing(self, db: Database, method: str) -> None:
        """A request that asks for no session takes no connection and sends nothing."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await answer(send)

        with traffic(db) as seen:
            await served(db, handler, method=method).run()

        assert seen == []

    async def test_an_unused_session_costs_nothing(self, db: Database) -> None:
        """A session that is asked for but not used takes no connection and sends nothing."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await unit.session()
            await unit.read_session()
            await answer(send)

        with traffic(db) as seen:
            await served(db, handler).run()

        assert seen == []

    async def test_a_used_session_takes_one_connection(self, postgres: Database) -> None:
        """One checkout, one BEGIN, one statement, one COMMIT."""

        async def handler(unit: UnitOfWork, send: Send) -> None:
            await write(unit)
            await answer(send)

        with traffic(postgres) as seen:
            await served(postgres, handler).run()

        assert seen == ["checkout", "begin", "before_cursor_execute", "commit"]


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
