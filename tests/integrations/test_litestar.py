"""Litestar applications: the plugin, the dependencies, and every way in which a request can end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, Response, Router, WebSocket, asgi, get, post, websocket
from litestar.background_tasks import BackgroundTask
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.events import listener
from litestar.exceptions import HTTPException, NotAuthorizedException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery
from litestar.response import Stream
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route

from sqlkeel import Database, Session
from sqlkeel.errors import (
    ConfigurationError,
    DatabaseBehind,
    DatabaseUnavailable,
    ForeignKeyViolation,
    KeelError,
    NotFound,
)
from sqlkeel.integrations import starlette
from sqlkeel.integrations.asgi import unit_of_work
from sqlkeel.integrations.litestar import (
    DatabaseDep,
    ReadSessionDep,
    SessionDep,
    SQLKeelPlugin,
    database_of,
    read_session_of,
    session_of,
)
from sqlkeel.migrations import Migrations
from tests.fixtures.databases import OpenDatabase
from tests.integrations.tables import Base, Deferred, Item, Note, stored
from tests.integrations.wire import Exchange, Message, client, disconnecting, serving, traffic

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)

NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


def site(db: Database, *handlers: ControllerRouterHandler, **options: Any) -> Litestar:
    """Return an application with these handlers and the plugin."""
    return Litestar(handlers, plugins=[SQLKeelPlugin(db)], logging_config=None, **options)


async def write(session: Session, note: str = "kept") -> None:
    """Write a note."""
    session.add(Note(text=note))
    await session.flush()


async def write_item(session: Session) -> None:
    """Write what COMMIT will refuse."""
    session.add(Item(owner_id=404))
    await session.flush()


@post("/")
async def writing(session: SessionDep) -> dict[str, bool]:
    """Write a note, and say so."""
    await write(session)
    return {"saved": True}


@post("/")
async def orphaning(session: SessionDep) -> dict[str, bool]:
    """Say that something is saved which COMMIT will refuse."""
    await write_item(session)
    return {"saved": True}


@get("/")
async def missing() -> None:
    """Look for what is not there."""
    raise NotFound("Note", 1)


def teapot(request: Request[Any, Any, Any], error: Exception) -> Response[str]:
    """Answer an error in the application's own way."""
    return Response(type(error).__name__, status_code=418, media_type="text/plain")


class Watch:
    """A middleware that notes the statuses it lets out."""

    def __init__(self) -> None:
        self.statuses: list[int] = []

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """Put it around *app*."""

        async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
            async def watch(message: Any) -> None:
                self.statuses.append(message.get("status", 0))
                await send(message)

            await app(scope, receive, watch)

        return middleware


class TestPlugin:
    async def test_the_database_is_closed_with_the_application(
        self, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """After the shutdown no connection is kept open."""
        db = open_database(sqlite)
        app = site(db)

        async with app.lifespan():
            kept = db.engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool

        assert kept == 1
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]

    async def test_what_the_application_does_at_its_end_has_the_database(
        self, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """Lifespans, start and shutdown hooks run inside, and nothing they open stays open."""
        happened: list[str] = []
        db = open_database(sqlite)

        @asynccontextmanager
        async def lifespan(app: Litestar) -> AsyncIterator[None]:
            await db.check()
            happened.append("up")
            yield
            await db.check()
            happened.append("down")

        async def shutdown() -> None:
            await db.check()
            happened.append("off")

        app = site(db, lifespan=[lifespan], on_shutdown=[shutdown])

        async with app.lifespan():
            pass

        assert happened == ["up", "down", "off"]
        assert db.engine.pool.checkedin() == 0  # type: ignore[attr-defined]

    async def test_an_unreachable_database_stops_the_start(self, open_database: OpenDatabase) -> None:
        """The application does not start on a database that it cannot reach, before its own lifespan runs."""
        happened: list[str] = []

        @asynccontextmanager
        async def lifespan(app: Litestar) -> AsyncIterator[None]:
            happened.append("up")
            yield

        app = site(open_database(NOWHERE), lifespan=[lifespan])

        with pytest.raises(ExceptionGroup) as raised:  # Litestar's events run in a task group
            async with app.lifespan():
                pytest.fail("It has started.")

        assert raised.group_contains(DatabaseUnavailable)
        assert happened == []

    async def test_migrations_that_are_not_applied_stop_the_start(
        self, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """The application does not start on a database without its tables; after the migration it does."""
        db = open_database(f"sqlite+aiosqlite:///{tmp_path}/a.db")
        migrations = Migrations(db, Base, tmp_path / "migrations")
        await migrations.new("first tables")
        app = Litestar([writing], plugins=[SQLKeelPlugin(db, check=migrations)], logging_config=None)
        with pytest.raises(ExceptionGroup) as raised:
            async with app.lifespan():
                pytest.fail("It has started.")

        await migrations.up()

        async with app.lifespan():
            pass
        assert raised.group_contains(DatabaseBehind)

    async def test_the_check_can_be_left_out(self, open_database: OpenDatabase) -> None:
        """A service that shall start before its database does so, and answers 503."""
        plugin = SQLKeelPlugin(open_database(NOWHERE), check=False)
        app = Litestar([writing], plugins=[plugin], logging_config=None)

        async with app.lifespan(), client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "5")
        assert response.json()["type"] == "errors#database-unavailable"

    def test_twice_is_refused(self, sqlite: Database) -> None:
        """Two units of work for one request would be two transactions."""
        with pytest.raises(ConfigurationError, match="already"):
            Litestar(plugins=[SQLKeelPlugin(sqlite), SQLKeelPlugin(sqlite)])

    async def test_a_handler_that_comes_later_takes_part(self, db: Database) -> None:
        """A handler that is registered on a finished application has a unit of work too."""
        app = site(db, missing)
        app.register(writing)

        async with client(app) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    async def test_without_it(self) -> None:
        """An application without the plugin says how to get it."""
        raised: list[str] = []

        @get("/")
        async def endpoint(request: Request[Any, Any, Any]) -> None:
            with pytest.raises(ConfigurationError) as session:
                await session_of(request)
            with pytest.raises(ConfigurationError) as database:
                database_of(request)
            raised.extend([str(session.value), str(database.value)])

        await Exchange(Litestar([endpoint], logging_config=None)).run()

        assert ["SQLKeelPlugin(db)" in message for message in raised] == [True, True]


class TestDependencies:
    async def test_one_for_all(self, sqlite: Database) -> None:
        """Guard, dependency and handler share one session, and a parameter may name it by its class."""
        seen: list[Session] = []

        async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
            seen.append(await session_of(connection))

        async def provide_same(session: SessionDep) -> bool:
            return session is seen[0]

        @get("/", guards=[guard], dependencies={"same": Provide(provide_same)})
        async def endpoint(
            request: Request[Any, Any, Any], session: NamedDependency[Session], same: NamedDependency[bool]
        ) -> list[bool]:
            return [same, session is seen[0], await session_of(request) is session]

        async with client(site(sqlite, endpoint)) as http:
            response = await http.get("/")

        assert response.json() == [True, True, True]

    async def test_requests_share_none(self, sqlite: Database) -> None:
        """Each request has a session of its own."""
        seen: list[Session] = []

        @get("/")
        async def endpoint(session: SessionDep) -> None:
            seen.append(session)

        async with client(site(sqlite, endpoint)) as http:
            await http.get("/")
            await http.get("/")

        assert seen[0] is not seen[1]

    async def test_it_can_be_overridden(self, sqlite: Database) -> None:
        """A test gives the handlers a session of its own."""

        @get("/")
        async def endpoint(session: SessionDep) -> bool:
            return session is given

        async def give() -> Session:
            return given

        given = sqlite.session()

        async with client(site(sqlite, endpoint, dependencies={"session": Provide(give)})) as http:
            response = await http.get("/")

        assert response.json() is True

    def test_the_openapi_document_does_not_know_them(self, sqlite: Database) -> None:
        """A session adds no parameter and no body to the description of the service."""

        @post("/")
        async def endpoint(session: SessionDep, read_session: ReadSessionDep, database: DatabaseDep) -> None:
            return None

        operation = site(sqlite, endpoint).openapi_schema.to_schema()["paths"]["/"]["post"]

        assert "parameters" not in operation
        assert "requestBody" not in operation

    @pytest.mark.parametrize(
        ("method", "path", "statuses"),
        [
            ("get", "/health", {"200"}),
            ("get", "/items/{key}", {"200", "400", "404", "503"}),
            ("post", "/items", {"201", "409", "418", "422", "503"}),
        ],
    )
    def test_the_openapi_document_knows_their_problems(
        self, sqlite: Database, method: str, path: str, statuses: set[str]
    ) -> None:
        """By the dependencies of a handler, its path and its method; what it says itself wins."""

        async def loaded(read_session: ReadSessionDep) -> int:
            return id(read_session)

        @get("/{key:int}", dependencies={"item": Provide(loaded)})
        async def read(key: FromPath[int], item: NamedDependency[int]) -> None:
            return None

        own = {409: ResponseSpec(None, description="Mine."), 418: ResponseSpec(None, description="Mine, too.")}

        @post("/", responses=own)
        async def add(session: SessionDep) -> None:
            return None

        @get("/health")
        async def health() -> None:
            return None

        app = Litestar([Router("/items", route_handlers=[read, add]), health], plugins=[SQLKeelPlugin(sqlite)])

        responses = app.openapi_schema.to_schema()["paths"][path][method]["responses"]

        assert set(responses) == statuses
        assert method == "get" or responses["409"]["description"] == "Mine."

    async def test_the_read_session_reads(self, db: Database) -> None:
        """What is committed is there to read, over the dependency and over the connection."""

        @get("/")
        async def endpoint(request: Request[Any, Any, Any], read_session: ReadSessionDep) -> list[Any]:
            count = await read_session.scalar(text("SELECT count(*) FROM note"))
            return [count, await read_session_of(request) is read_session]

        async with db.transaction() as session:
            session.add(Note(text="kept"))

        async with client(site(db, endpoint)) as http:
            response = await http.get("/")

        assert response.json() == [1, True]

    async def test_the_read_session_sends_the_statement_only(self, postgres: Database) -> None:
        """The reading session has no transaction around it."""

        @get("/")
        async def endpoint(read_session: ReadSessionDep) -> int:
            return int(await read_session.scalar(text("SELECT 1")) or 0)

        app = site(postgres, endpoint)
        await stored(postgres)

        with traffic(postgres) as seen:
            async with client(app) as http:
                response = await http.get("/")

        assert response.json() == 1
        assert seen.count("before_cursor_execute") == 1
        assert "commit" not in seen

    async def test_the_read_session_refuses_to_write(self, db: Database) -> None:
        """A flush is refused; the client learns no more than that it is our fault."""

        @post("/")
        async def endpoint(read_session: ReadSessionDep) -> None:
            await write(read_session)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
        assert await stored(db) == []


class TestOutcome:
    async def test_the_row_is_there_before_the_response_starts(self, every_driver: Database) -> None:
        """Another connection sees the row when the first message of the response is sent."""
        seen: list[list[str]] = []

        async def watch(message: Message) -> None:
            seen.append(await stored(every_driver))

        exchange = await Exchange(site(every_driver, writing), method="POST", watch=watch).run()

        assert exchange.status == 201
        assert seen == [["kept"], ["kept"]]

    async def test_a_background_task_sees_the_row(self, db: Database) -> None:
        """Background tasks run after the commit."""
        seen: list[str] = []

        async def look() -> None:
            seen.extend(await stored(db))

        @post("/")
        async def endpoint(session: SessionDep) -> Response[None]:
            await write(session)
            return Response(None, background=BackgroundTask(look))

        async with client(site(db, endpoint)) as http:
            await http.post("/")

        assert seen == ["kept"]

    async def test_an_event_emitted_on_commit_sees_the_row(self, db: Database) -> None:
        """`Session.on_commit` emits an event when the row is there; a listener may run at once."""
        seen: list[str] = []
        heard = asyncio.Event()

        @listener("written")
        async def look() -> None:
            seen.extend(await stored(db))
            heard.set()

        @post("/")
        async def endpoint(request: Request[Any, Any, Any], session: SessionDep) -> None:
            await write(session)
            session.on_commit(request.app.emit, "written")

        app = site(db, endpoint, listeners=[look])

        async with app.event_emitter, client(app) as http:
            await http.post("/")
            await asyncio.wait_for(heard.wait(), 5)

        assert seen == ["kept"]

    async def test_a_returned_error_rolls_back(self, db: Database) -> None:
        """A response with status 400 keeps nothing, though nothing was raised."""

        @post("/")
        async def endpoint(session: SessionDep) -> Response[None]:
            await write(session)
            return Response(None, status_code=400)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 400
        assert await stored(db) == []

    async def test_a_raised_error_rolls_back(self, db: Database) -> None:
        """HTTPException keeps nothing."""

        @post("/")
        async def endpoint(session: SessionDep) -> None:
            await write(session)
            raise HTTPException(status_code=409)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert await stored(db) == []

    async def test_an_unhandled_error_rolls_back(self, db: Database) -> None:
        """A bug is a 500 and keeps nothing."""

        @post("/")
        async def endpoint(session: SessionDep) -> None:
            await write(session)
            raise ZeroDivisionError

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    async def test_an_error_that_is_answered_well_rolls_back(self, db: Database) -> None:
        """What was raised is rolled back, though a handler makes a redirect of it."""

        def redirect(request: Request[Any, Any, Any], error: Exception) -> Response[None]:
            return Response(None, status_code=303, headers={"Location": "/login"})

        @post("/")
        async def endpoint(session: SessionDep) -> None:
            await write(session)
            raise NotAuthorizedException

        async with client(site(db, endpoint, exception_handlers={NotAuthorizedException: redirect})) as http:
            response = await http.post("/")

        assert response.status_code == 303
        assert await stored(db) == []

    async def test_an_answer_that_cannot_be_written_rolls_back(self, sqlite: Database) -> None:
        """An answer that is not JSON is a 500 and keeps nothing."""

        @post("/")
        async def endpoint(session: SessionDep) -> Any:
            await write(session)
            return object()

        async with client(site(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(sqlite) == []

    async def test_a_request_of_the_wrong_form_costs_nothing(self, db: Database) -> None:
        """A request that fails validation does not reach the database."""

        @post("/")
        async def endpoint(session: SessionDep, size: FromQuery[int]) -> None:
            await write(session)

        with traffic(db) as seen:
            async with client(site(db, endpoint)) as http:
                response = await http.post("/?size=many")

        assert response.status_code == 400
        assert seen == []

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/nowhere"), ("DELETE", "/"), ("HEAD", "/"), ("OPTIONS", "/"), ("POST", "/")]
    )
    async def test_what_needs_no_database_does_not_touch_it(self, db: Database, method: str, path: str) -> None:
        """An unknown path, a wrong method, OPTIONS, and a session that is not used cost no connection."""

        @post("/")
        async def endpoint(session: SessionDep) -> None:
            return None

        with traffic(db) as seen:
            async with client(site(db, endpoint)) as http:
                await http.request(method, path)

        assert seen == []


class TestFailedCommit:
    @deferred
    async def test_it_is_no_success(self, deferring: Database) -> None:
        """A foreign key that fails in COMMIT is a 409, not the 201 that the handler returned; no task runs."""
        sent: list[str] = []

        @post("/")
        async def endpoint(session: SessionDep) -> Response[dict[str, bool]]:
            await write_item(session)
            return Response({"saved": True}, background=BackgroundTask(sent.append, "mail"))

        async with client(site(deferring, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "errors#foreign-key-violation"
        assert sent == []

    async def test_a_pending_change_fails_like_any_other(self, db: Database) -> None:
        """A flush inside of COMMIT that breaks a constraint is a 409 that names the columns, on every database."""

        @post("/")
        async def endpoint(session: SessionDep) -> dict[str, bool]:
            session.add(Note(text="kept"))
            return {"saved": True}

        async with client(site(db, endpoint)) as http:
            await http.post("/")
            response = await http.post("/")

        assert response.status_code == 409
        assert response.json()["columns"] == ["text"]

    @deferred
    async def test_it_is_a_409_on_the_wire(self, deferring: Database) -> None:
        """The client of a real server reads a problem document, and never a 201."""
        async with serving(site(deferring, orphaning)) as port, httpx.AsyncClient() as http:
            response = await http.post(f"http://127.0.0.1:{port}/")

        assert (response.status_code, response.json()["title"]) == (409, "Reference broken")

    @deferred
    async def test_it_reaches_the_handler_of_the_layer(self, sqlite: Database) -> None:
        """A router's own exception handler answers a failed COMMIT, and an after_exception hook sees it."""
        seen: list[str] = []

        async def note(error: Exception, scope: Scope) -> None:
            seen.append(type(error).__name__)

        router = Router("/", route_handlers=[orphaning], exception_handlers={ForeignKeyViolation: teapot})

        async with client(site(sqlite, router, after_exception=[note])) as http:
            response = await http.post("/")

        assert (response.status_code, response.text) == (418, "ForeignKeyViolation")
        assert seen == ["ForeignKeyViolation"]

    @deferred
    async def test_every_middleware_sees_the_answer(self, sqlite: Database) -> None:
        """Middleware of every layer, compression and CORS are outside: they see the 409, not the dropped 201."""
        outer = Watch()
        inner = Watch()

        @post("/", middleware=[inner])
        async def endpoint(session: SessionDep) -> dict[str, bool]:
            await write_item(session)
            return {"saved": True}

        app = site(
            sqlite,
            endpoint,
            middleware=[outer],
            compression_config=CompressionConfig(backend="gzip", minimum_size=1),
            cors_config=CORSConfig(allow_origins=["*"]),
        )

        async with client(app) as http:
            response = await http.post("/", headers={"Origin": "https://example.org"})

        assert response.json()["type"] == "errors#foreign-key-violation"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Content-Encoding"] == "gzip"
        assert (inner.statuses[0], outer.statuses[0]) == (409, 409)

    @deferred
    async def test_it_is_not_cached(self, sqlite: Database) -> None:
        """The response cache keeps no success that was none."""
        calls: list[int] = []

        @get("/", cache=60)
        async def endpoint(session: SessionDep) -> dict[str, bool]:
            calls.append(1)
            await write_item(session)
            return {"saved": True}

        async with client(site(sqlite, endpoint)) as http:
            first = await http.get("/")
            second = await http.get("/")

        assert (first.status_code, second.status_code) == (409, 409)
        assert len(calls) == 2


class TestProblems:
    async def test_an_earlier_handler_stays(self, sqlite: Database) -> None:
        """A handler that the application has for all of our errors is not replaced."""
        handlers = {KeelError: teapot}

        async with client(site(sqlite, missing, exception_handlers=handlers)) as http:
            response = await http.get("/")

        assert (response.status_code, response.text) == (418, "NotFound")

    async def test_an_internal_error_is_logged(self, sqlite: Database, caplog: pytest.LogCaptureFixture) -> None:
        """What the client is not told is in the log, with its traceback."""

        @get("/")
        async def endpoint(session: SessionDep) -> None:
            await session.execute(text("SELECT * FROM missing"))

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(site(sqlite, endpoint)) as http:
                response = await http.get("/")

        assert response.status_code == 500
        assert "missing" not in response.text
        assert "SchemaMissing" in caplog.text

    async def test_an_exhausted_pool_is_a_503(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """Who gets no connection in time is told to come back."""
        db = open_database(sqlite, pool_size=1, max_overflow=0, pool_timeout=0.05)

        async with db.engine.connect(), client(site(db, writing)) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json()["type"] == "errors#pool-timeout"

    async def test_statuses_and_docs_are_the_projects(self, sqlite: Database) -> None:
        """The options of the plugin reach the document."""
        plugin = SQLKeelPlugin(sqlite, statuses={"not-found": 410}, docs="https://example.org/e")

        async with client(Litestar([missing], plugins=[plugin], logging_config=None)) as http:
            response = await http.get("/")

        assert (response.status_code, response.json()["type"]) == (410, "https://example.org/e#not-found")


class TestMiddleware:
    async def test_it_is_outside_and_has_the_database(self, sqlite: Database) -> None:
        """A middleware gets no session, and is told so; it has the database."""
        seen: list[object] = []

        def identify(app: ASGIApp) -> ASGIApp:
            async def middleware(scope: Scope, receive: Receive, send: Send) -> None:
                connection: ASGIConnection[Any, Any, Any, Any] = ASGIConnection(scope)
                seen.append(database_of(connection))
                with pytest.raises(ConfigurationError, match="middleware"):
                    await session_of(connection)
                await app(scope, receive, send)

            return middleware

        async with client(site(sqlite, writing, middleware=[identify])) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert seen == [sqlite]


class TestMount:
    async def test_a_mounted_application_takes_part(self, db: Database) -> None:
        """A request of an ASGI application below shares the unit of work of the one above."""

        async def endpoint(request: StarletteRequest) -> JSONResponse:
            await write(await starlette.session_of(request))
            return JSONResponse({}, 201)

        below = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
        app = site(db, asgi("/below", is_mount=True, copy_scope=True)(below))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    async def test_litestar_below_litestar(self, db: Database) -> None:
        """The application below has no plugin of its own; it finds session and database by the connection."""

        @post("/")
        async def endpoint(request: Request[Any, Any, Any]) -> bool:
            await write(await session_of(request))
            return database_of(request) is db

        below = Litestar([endpoint], logging_config=None)
        app = site(db, asgi("/below", is_mount=True, copy_scope=True)(below))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.json() is True
        assert await stored(db) == ["kept"]

    @deferred
    async def test_its_failed_commit_is_answered_above(self, sqlite: Database) -> None:
        """The application below cannot answer a failed COMMIT; the one above does."""

        async def endpoint(request: StarletteRequest) -> JSONResponse:
            await write_item(await starlette.session_of(request))
            return JSONResponse({}, 201)

        below = Starlette(routes=[Route("/", endpoint, methods=["POST"])])
        app = site(sqlite, asgi("/below", is_mount=True, copy_scope=True)(below))

        async with client(app) as http:
            response = await http.post("/below/")

        assert response.status_code == 409


class TestConcurrency:
    """Litestar resolves dependencies that do not name each other at the same time."""

    async def test_two_that_use_the_session_fail(self, db: Database) -> None:
        """Two dependencies that both query are a 500 that keeps nothing and leaks nothing."""

        async def first(session: SessionDep) -> None:
            await write(session, "first")

        async def second(session: SessionDep) -> None:
            await write(session, "second")

        @post("/", dependencies={"first": Provide(first), "second": Provide(second)})
        async def endpoint(first: NamedDependency[None], second: NamedDependency[None]) -> None:
            return None

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    async def test_one_that_names_the_other_waits_for_it(self, db: Database) -> None:
        """A dependency whose parameter is another one runs after it, over the same session."""

        async def first(session: SessionDep) -> None:
            await write(session, "first")

        async def second(session: SessionDep, first: NamedDependency[None]) -> None:
            await write(session, "second")

        @post("/", dependencies={"first": Provide(first), "second": Provide(second)})
        async def endpoint(first: NamedDependency[None], second: NamedDependency[None]) -> None:
            return None

        async with client(site(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["first", "second"]


class TestYield:
    async def test_before_the_response_the_session_is_open(self, db: Database) -> None:
        """The exit of a dependency comes before the response, and takes part in the unit of work."""

        async def after(session: SessionDep) -> AsyncIterator[None]:
            yield
            await write(session)

        @post("/", dependencies={"after": Provide(after)})
        async def endpoint(after: NamedDependency[None]) -> None:
            return None

        async with client(site(db, endpoint)) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]

    async def test_an_exit_that_fails_rolls_back(self, db: Database) -> None:
        """An error in the exit of a dependency is a 500, and the handler's row is not kept."""

        async def after() -> AsyncIterator[None]:
            yield
            raise ZeroDivisionError

        @post("/", dependencies={"after": Provide(after)})
        async def endpoint(after: NamedDependency[None], session: SessionDep) -> None:
            await write(session)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    @pytest.mark.parametrize("status", [201, 400])
    async def test_it_comes_before_the_commit(self, db: Database, status: int) -> None:
        """A dependency sees no row of the request yet on its exit, whatever the status will be."""
        seen: list[list[str]] = []

        async def after() -> AsyncIterator[None]:
            yield
            seen.append(await stored(db))

        @post("/", dependencies={"after": Provide(after)})
        async def endpoint(after: NamedDependency[None], session: SessionDep) -> Response[None]:
            await write(session)
            return Response(None, status_code=status)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == status
        assert seen == [[]]

    @deferred
    async def test_a_dependency_cannot_swallow_a_failed_commit(self, sqlite: Database) -> None:
        """A dependency that catches everything does not make a success of a failed COMMIT."""

        async def careless(session: SessionDep) -> AsyncIterator[None]:
            try:
                yield
            except BaseException:  # noqa: BLE001 - it is careless
                return

        @post("/", dependencies={"careless": Provide(careless)})
        async def endpoint(careless: NamedDependency[None], session: SessionDep) -> None:
            await write_item(session)

        async with client(site(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409


class TestByHand:
    async def test_a_handler_commits_before_it_calls_somebody(self, db: Database) -> None:
        """Nothing is held while another service takes its time, and what that answers takes nothing back."""
        held: list[int] = []

        @post("/")
        async def endpoint(request: Request[Any, Any, Any], session: SessionDep) -> Response[dict[str, bool]]:
            await write(session)
            await unit_of_work(dict(request.scope)).commit()
            held.append(db.engine.pool.checkedout())  # type: ignore[attr-defined]
            return Response({"paid": False}, status_code=502)

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert (response.status_code, held) == (502, [0])
        assert await stored(db) == ["kept"]


class TestStreaming:
    async def test_the_row_is_there_before_the_first_chunk(self, db: Database) -> None:
        """The body of a stream is made after the commit; the database opens what it needs."""

        @post("/")
        async def endpoint(session: SessionDep, database: DatabaseDep) -> Stream:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with database.read() as reader:
                    yield str(await reader.scalar(text("SELECT text FROM note")))

            return Stream(chunks())

        async with client(site(db, endpoint)) as http:
            response = await http.post("/")

        assert response.text == "kept"

    async def test_a_stream_that_uses_the_session_fails(self, db: Database) -> None:
        """The session of the request is closed then: the stream breaks off, and no connection is leaked."""
        raised: list[Exception] = []

        @get("/")
        async def endpoint(session: SessionDep) -> Stream:
            await session.execute(text("SELECT 1"))

            async def chunks() -> AsyncIterator[str]:
                with pytest.raises(InvalidRequestError, match="closed") as info:
                    await session.scalar(text("SELECT 1"))
                raised.append(info.value)
                yield ""
                raise info.value

            return Stream(chunks())

        exchange = Exchange(site(db, endpoint))

        with pytest.raises(Exception, match="after response started"):
            await exchange.run()

        assert len(raised) == 1
        assert [message["type"] for message in exchange.messages] == ["http.response.start", "http.response.body"]

    async def test_a_client_that_leaves_ends_the_stream(self, db: Database) -> None:
        """The stream's own transaction is rolled back, and its connection goes home."""
        gone = asyncio.Event()

        @get("/")
        async def endpoint(session: SessionDep) -> Stream:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with db.transaction() as own:
                    await write(own, "half")
                    yield "first"
                    gone.set()
                    await asyncio.Event().wait()

            return Stream(chunks())

        await Exchange(site(db, endpoint), receive=disconnecting(gone)).run()

        assert await stored(db) == ["kept"]


class TestWebSocket:
    async def test_it_gets_the_database(self, db: Database) -> None:
        """DatabaseDep opens a transaction for each message."""

        @websocket("/")
        async def endpoint(socket: WebSocket[Any, Any, Any], database: DatabaseDep) -> None:
            await socket.accept()
            async with database.transaction() as session:
                session.add(Note(text="kept"))
            await socket.close()

        await connecting(site(db, endpoint)).run()

        assert await stored(db) == ["kept"]

    async def test_a_client_that_leaves_rolls_its_message_back(self, db: Database) -> None:
        """A transaction that was open when the client went away is rolled back, and its connection goes home."""
        messages: Iterator[Message] = iter(
            [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        )

        async def receive() -> Message:
            return next(messages)

        @websocket("/")
        async def endpoint(socket: WebSocket[Any, Any, Any], database: DatabaseDep) -> None:
            await socket.accept()
            async with database.transaction() as session:
                await write(session, "half")
                await socket.receive_text()

        exchange = connecting(site(db, endpoint))
        exchange.receive = receive
        await exchange.run()

        assert await stored(db) == []
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_it_gets_no_session(self, sqlite: Database) -> None:
        """SessionDep in a WebSocket handler is refused before the handler runs; Litestar closes the connection."""
        seen: list[str] = []

        async def note(error: Exception, scope: Scope) -> None:
            seen.append(f"{type(error).__name__}: {error}")

        @websocket("/")
        async def endpoint(socket: WebSocket[Any, Any, Any], session: SessionDep) -> None:
            await socket.accept()

        exchange = await connecting(site(sqlite, endpoint, after_exception=[note])).run()

        assert [message["type"] for message in exchange.messages] == ["websocket.close"]
        assert exchange.messages[0]["code"] == 4500
        assert seen[0].startswith("NoTransaction: A WebSocket has no unit of work")


def connecting(app: Litestar) -> Exchange:
    """Return the exchange with a client that opens a WebSocket; that has no method, and Litestar looks."""
    exchange = Exchange(app, kind="websocket", receive=_connect)
    del exchange.scope["method"]
    return exchange


async def _connect() -> Message:
    return {"type": "websocket.connect"}
