"""Starlette applications with a database: start, requests, failures, end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sqlkeel import Database
from sqlkeel.errors import (
    ConfigurationError,
    DatabaseBehind,
    DatabaseUnavailable,
    ForeignKeyViolation,
    KeelError,
    MigrationError,
    NotFound,
    SessionClosed,
)
from sqlkeel.integrations.starlette import database_of, install, read_session_of, session_of
from sqlkeel.migrations import Migrations
from tests.fixtures.databases import OpenDatabase
from tests.integrations.tables import Base, Deferred, Item, Note, stored
from tests.integrations.wire import Exchange, Message, client, disconnecting, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)

NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


def site(db: Database, *routes: BaseRoute, **options: Any) -> Starlette:
    """Return an application with these routes, installed on."""
    app = Starlette(routes=routes)
    install(app, db, **options)
    return app


def route(endpoint: Any) -> Route:
    """Return the one route of an application."""
    return Route("/", endpoint, methods=["GET", "POST", "OPTIONS"])


async def write(request: Request) -> Response:
    """Write a note."""
    session = await session_of(request)
    session.add(Note(text="kept"))
    await session.flush()
    return JSONResponse({"saved": True}, 201)


async def write_orphan(request: Request) -> Response:
    """Write what COMMIT will refuse."""
    session = await session_of(request)
    session.add(Item(owner_id=404))
    await session.flush()
    return JSONResponse({"saved": True}, 201)


class TestInstall:
    async def test_the_database_is_closed_with_the_application(
        self, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """After the shutdown no connection is kept open."""
        db = open_database(sqlite)
        app = site(db)

        async with app.router.lifespan_context(app):
            kept = db.engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool

        assert kept == 1
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]

    async def test_the_own_lifespan_has_the_database(self, sqlite: Database) -> None:
        """The application's own lifespan runs inside: it can use the database until its end, and its state arrives."""
        happened: list[str] = []

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
            await sqlite.check()
            happened.append("up")
            yield {"name": "state"}
            await sqlite.check()
            happened.append("down")

        app = Starlette(lifespan=lifespan)
        install(app, sqlite)

        async with app.router.lifespan_context(app) as state:
            happened.append(str(state))

        assert happened == ["up", "{'name': 'state'}", "down"]

    async def test_an_unreachable_database_stops_the_start(self, open_database: OpenDatabase) -> None:
        """The application does not start on a database that it cannot reach, and says so in a typed error."""
        app = site(open_database(NOWHERE))

        with pytest.raises(DatabaseUnavailable):
            async with app.router.lifespan_context(app):
                pytest.fail("It has started.")

    async def test_migrations_that_are_not_applied_stop_the_start(
        self, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """The application does not start on a database without its tables; after the migration it does."""
        db = open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("first tables")
        app = site(db, check=migrations)
        with pytest.raises(DatabaseBehind):
            async with app.router.lifespan_context(app):
                pytest.fail("It has started.")

        await migrations.up()

        async with app.router.lifespan_context(app):
            pass

    async def test_a_missing_file_is_not_made(self, open_database: OpenDatabase, tmp_path: Path) -> None:
        """A file of SQLite that is not there stops the start, and is not there afterwards either."""
        db = open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        await (migrations := Migrations(db, Base, tmp_path / "migrations")).new("first tables")
        await db.dispose()
        (tmp_path / "a.db").unlink()
        app = site(db, check=migrations)

        with pytest.raises(MigrationError, match="There is no database file"):
            async with app.router.lifespan_context(app):
                pytest.fail("It has started.")

        assert not (tmp_path / "a.db").exists()

    async def test_an_unreachable_database_stops_it_with_migrations_too(
        self, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """A server that does not answer is DatabaseUnavailable, for nobody knows what it lacks."""
        db = open_database(NOWHERE)
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("by hand", autogenerate=False)
        app = site(db, check=migrations)

        with pytest.raises(DatabaseUnavailable):
            async with app.router.lifespan_context(app):
                pytest.fail("It has started.")

    async def test_the_check_can_be_left_out(self, open_database: OpenDatabase) -> None:
        """A service that shall start before its database does so, and answers 503."""
        app = site(open_database(NOWHERE), route(write), check=False)

        async with app.router.lifespan_context(app), client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json()["type"] == "errors#database-unavailable"

    def test_twice_is_refused(self, sqlite: Database) -> None:
        """Two units of work for one request would be two transactions."""
        app = site(sqlite)

        with pytest.raises(ConfigurationError, match="already"):
            install(app, sqlite)

    async def test_too_late_is_refused(self, sqlite: Database) -> None:
        """An application that has served a request does not take new handlers."""
        app = Starlette()
        async with client(app) as http:
            await http.get("/")

        with pytest.raises(ConfigurationError, match="started"):
            install(app, sqlite)


class TestRequest:
    async def test_a_success_is_kept(self, db: Database) -> None:
        """The row of a 201 is there."""
        async with client(site(db, route(write))) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    async def test_a_raised_http_error_rolls_back(self, db: Database) -> None:
        """HTTPException keeps nothing."""

        async def endpoint(request: Request) -> Response:
            await write(request)
            raise HTTPException(409)

        async with client(site(db, route(endpoint))) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert await stored(db) == []

    async def test_an_unhandled_error_rolls_back(self, db: Database) -> None:
        """A bug is a 500 and keeps nothing."""

        async def endpoint(request: Request) -> Response:
            await write(request)
            raise ZeroDivisionError

        async with client(site(db, route(endpoint))) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    async def test_a_background_task_sees_the_row(self, db: Database) -> None:
        """A task in the background runs after the commit."""
        seen: list[str] = []

        async def look() -> None:
            seen.extend(await stored(db))

        async def endpoint(request: Request) -> Response:
            await write(request)
            return JSONResponse({}, background=BackgroundTask(look))

        async with client(site(db, route(endpoint))) as http:
            await http.post("/")

        assert seen == ["kept"]

    async def test_reading_sends_the_statement_only(self, postgres: Database) -> None:
        """The reading session has no transaction around it."""

        async def endpoint(request: Request) -> Response:
            session = await read_session_of(request)
            return JSONResponse(await session.scalar(text("SELECT 1")))

        app = site(postgres, route(endpoint))
        await stored(postgres)

        with traffic(postgres) as seen:
            async with client(app) as http:
                response = await http.get("/")

        assert response.json() == 1
        assert seen.count("before_cursor_execute") == 1
        assert "commit" not in seen

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/nowhere"), ("DELETE", "/"), ("HEAD", "/"), ("OPTIONS", "/")]
    )
    async def test_what_needs_no_database_does_not_touch_it(self, db: Database, method: str, path: str) -> None:
        """An unknown path, a wrong method, HEAD and OPTIONS cost no connection."""

        async def endpoint(request: Request) -> Response:
            return PlainTextResponse("")

        with traffic(db) as seen:
            async with client(site(db, route(endpoint))) as http:
                await http.request(method, path)

        assert seen == []


class TestProblems:
    async def test_a_conflict_is_a_document(self, db: Database) -> None:
        """A unique violation is a 409 that names the columns, under the media type of RFC 9457."""
        async with client(site(db, route(write))) as http:
            await http.post("/")
            response = await http.post("/")

        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "errors#unique-violation"
        assert response.json()["columns"] == ["text"]

    @deferred
    async def test_a_failed_commit_is_a_document(self, deferring: Database) -> None:
        """A foreign key that fails in COMMIT is a 409 like any other, never a 201."""
        async with client(site(deferring, route(write_orphan))) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert response.json()["type"] == "errors#foreign-key-violation"

    @deferred
    async def test_a_failed_commit_runs_no_background_task(self, deferring: Database) -> None:
        """No mail is sent for what is not there."""
        sent: list[str] = []

        async def endpoint(request: Request) -> Response:
            await write_orphan(request)
            return JSONResponse({}, background=BackgroundTask(sent.append, "mail"))

        async with client(site(deferring, route(endpoint))) as http:
            await http.post("/")

        assert sent == []

    @deferred
    async def test_a_failed_commit_reaches_the_own_handler(self, sqlite: Database) -> None:
        """A handler of the application for our error answers a failed COMMIT too."""
        app = site(sqlite, route(write_orphan))

        async def handle(request: Request, error: Exception) -> Response:
            return PlainTextResponse(type(error).__name__, 418)

        app.add_exception_handler(ForeignKeyViolation, handle)

        async with client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.text) == (418, "ForeignKeyViolation")

    async def test_an_earlier_handler_stays(self, sqlite: Database) -> None:
        """A handler that the application had for all of our errors is not replaced."""

        async def endpoint(request: Request) -> Response:
            raise NotFound("Note", 1)

        async def handle(request: Request, error: Exception) -> Response:
            return PlainTextResponse("mine", 418)

        app = Starlette(routes=[route(endpoint)], exception_handlers={KeelError: handle})
        install(app, sqlite)

        async with client(app) as http:
            response = await http.get("/")

        assert (response.status_code, response.text) == (418, "mine")

    async def test_an_internal_error_is_logged(self, sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
        """What the client is not told is in the log, with its traceback."""

        async def endpoint(request: Request) -> Response:
            return JSONResponse(await (await session_of(request)).scalar(text("SELECT * FROM missing")))

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(site(sqlite, route(endpoint))) as http:
                response = await http.get("/")

        assert response.status_code == 500
        assert "missing" not in response.text
        assert "SchemaMissing" in caplog.text

    async def test_an_exhausted_pool_is_a_503(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """Who gets no connection in time is told to come back."""
        db = open_database(sqlite, pool_size=1, max_overflow=0, pool_timeout=0.05)

        async with db.engine.connect(), client(site(db, route(write))) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json()["type"] == "errors#pool-timeout"

    async def test_statuses_and_docs_are_the_projects(self, sqlite: Database) -> None:
        """The options of install() reach the document."""

        async def endpoint(request: Request) -> Response:
            raise NotFound("Note", 1)

        app = site(sqlite, route(endpoint), statuses={"not-found": 410}, docs="https://example.org/e")

        async with client(app) as http:
            response = await http.get("/")

        assert (response.status_code, response.json()["type"]) == (410, "https://example.org/e#not-found")


class TestMiddleware:
    @deferred
    async def test_a_failed_commit_passes_through_all_of_them(self, sqlite: Database) -> None:
        """Middleware added before and after install() is outside: it sees the 409, not the dropped 201."""
        seen: list[int] = []

        class Watch:
            def __init__(self, app: Any) -> None:
                self.app = app

            async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
                async def watch(message: Message) -> None:
                    seen.append(message.get("status", 0))
                    await send(message)

                await self.app(scope, receive, watch)

        app = Starlette(routes=[route(write_orphan)])
        app.add_middleware(GZipMiddleware, minimum_size=1)
        app.add_middleware(Watch)
        install(app, sqlite)
        app.add_middleware(CORSMiddleware, allow_origins=["*"])

        async with client(app) as http:
            response = await http.post("/", headers={"Origin": "https://example.org"})

        assert response.json()["type"] == "errors#foreign-key-violation"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Content-Encoding"] == "gzip"
        assert seen[0] == 409

    async def test_it_works_under_a_base_http_middleware(self, db: Database) -> None:
        """The task group of BaseHTTPMiddleware does not come between handler and commit."""

        class Timed(BaseHTTPMiddleware):
            async def dispatch(self, request: Request, call_next: Any) -> Response:
                response: Response = await call_next(request)
                response.headers["X-Seen"] = ",".join(await stored(db))
                return response

        app = site(db, route(write))
        app.add_middleware(Timed)

        async with client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["X-Seen"]) == (201, "kept")


class TestMount:
    async def test_a_mounted_application_takes_part(self, db: Database) -> None:
        """A request of an application below shares the unit of work of the one above."""
        app = site(db, Mount("/below", Starlette(routes=[route(write)])))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    @deferred
    async def test_its_failed_commit_is_answered_above(self, sqlite: Database) -> None:
        """The application below cannot answer a failed COMMIT; the one above does."""
        app = site(sqlite, Mount("/below", Starlette(routes=[route(write_orphan)])))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.status_code == 409

    async def test_an_error_of_it_rolls_back(self, sqlite: Database) -> None:
        """A bug below is a 500 that the application below sends, and keeps nothing."""

        async def endpoint(request: Request) -> Response:
            await write(request)
            raise ZeroDivisionError

        app = site(sqlite, Mount("/below", Starlette(routes=[route(endpoint)])))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.status_code == 500
        assert await stored(sqlite) == []


class TestStreaming:
    async def test_the_row_is_there_before_the_first_chunk(self, db: Database) -> None:
        """The body of a stream is made after the commit."""

        async def chunks() -> AsyncIterator[str]:
            yield ",".join(await stored(db))

        async def endpoint(request: Request) -> Response:
            await write(request)
            return StreamingResponse(chunks())

        async with client(site(db, route(endpoint))) as http:
            response = await http.post("/")

        assert response.text == "kept"

    async def test_a_stream_that_uses_the_session_fails(self, db: Database) -> None:
        """The session of the request is closed then: the stream breaks off, and no connection is leaked."""

        async def endpoint(request: Request) -> Response:
            session = await session_of(request)
            await session.execute(text("SELECT 1"))

            async def chunks() -> AsyncIterator[str]:
                yield str(await session.scalar(text("SELECT 1")))

            return StreamingResponse(chunks())

        exchange = Exchange(site(db, route(endpoint)))

        with pytest.raises(SessionClosed):
            await exchange.run()

        assert [message["type"] for message in exchange.messages] == ["http.response.start"]

    async def test_a_client_that_leaves_ends_the_stream(self, db: Database) -> None:
        """The stream's own transaction is rolled back, and its connection goes home."""
        gone = asyncio.Event()

        async def chunks() -> AsyncIterator[str]:
            async with db.transaction() as session:
                session.add(Note(text="half"))
                await session.flush()
                yield "first"
                gone.set()
                await asyncio.Event().wait()

        async def endpoint(request: Request) -> Response:
            await write(request)
            return StreamingResponse(chunks())

        await Exchange(site(db, route(endpoint)), receive=disconnecting(gone)).run()

        assert await stored(db) == ["kept"]


class TestWebSocket:
    async def test_it_opens_a_transaction_for_each_message(self, db: Database) -> None:
        """database_of() gives a WebSocket what it needs."""

        async def endpoint(websocket: WebSocket) -> None:
            await websocket.accept()
            async with database_of(websocket).transaction() as session:
                session.add(Note(text="kept"))
            await websocket.close()

        await Exchange(site(db, WebSocketRoute("/", endpoint)), kind="websocket", receive=_connecting).run()

        assert await stored(db) == ["kept"]

    async def test_it_has_no_session_of_its_own(self, sqlite: Database) -> None:
        """The refusal reaches the server, which closes the connection and logs it."""

        async def endpoint(websocket: WebSocket) -> None:
            await session_of(websocket)

        exchange = Exchange(site(sqlite, WebSocketRoute("/", endpoint)), kind="websocket")

        with pytest.raises(KeelError, match="WebSocket"):
            await exchange.run()

        assert exchange.messages == []


async def _connecting() -> Message:
    return {"type": "websocket.connect"}
