"""The unit of work of a request, seen from both ends of a raw ASGI exchange."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Session
from sqlkeel.errors import (
    ConfigurationError,
    ForeignKeyViolation,
    NoTransaction,
    UniqueViolation,
)
from sqlkeel.integrations.asgi import UnitOfWork, UnitOfWorkMiddleware, unit_of_work
from tests.integrations.handling import answer, served, write, write_orphan
from tests.integrations.tables import Base, Deferred, Note, stored
from tests.integrations.wire import ANSWER, Exchange, Message, Receive, Scope, Send, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


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
