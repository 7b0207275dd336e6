"""Litestar applications: the plugin, layers, events; what holds for each framework is in contract/."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from litestar import Litestar, Request, Response, Router, WebSocket, asgi, get, post, websocket
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency, Provide
from litestar.events import listener
from litestar.exceptions import LitestarException
from litestar.handlers import BaseRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath
from litestar.types import ASGIApp, ControllerRouterHandler, Receive, Scope, Send

from sqlkeel import Database, Session
from sqlkeel.errors import (
    ConfigurationError,
    ForeignKeyViolation,
    NotFound,
)
from sqlkeel.integrations.litestar import (
    ReadSessionDep,
    SessionDep,
    SQLKeelPlugin,
    database_of,
    session_of,
)
from tests.fixtures.databases import OpenDatabase
from tests.integrations.tables import Base, Deferred, stored, write, write_orphan
from tests.integrations.wire import Exchange, client, connecting

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)

NOWHERE = "postgresql+asyncpg://nobody@127.0.0.1:1/nothing"


def site(db: Database, *handlers: ControllerRouterHandler, **options: Any) -> Litestar:
    """Return an application with these handlers and the plugin."""
    return Litestar(handlers, plugins=[SQLKeelPlugin(db)], logging_config=None, **options)


@post("/")
async def writing(session: SessionDep) -> dict[str, bool]:
    """Write a note, and say so."""
    await write(session)
    return {"saved": True}


@post("/")
async def orphaning(session: SessionDep) -> dict[str, bool]:
    """Say that something is saved which COMMIT will refuse."""
    await write_orphan(session)
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


class TestOutcome:
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


class TestFailedCommit:
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
            await write_orphan(session)
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
            await write_orphan(session)
            return {"saved": True}

        async with client(site(sqlite, endpoint)) as http:
            first = await http.get("/")
            second = await http.get("/")

        assert (first.status_code, second.status_code) == (409, 409)
        assert len(calls) == 2


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


class TestMounted:
    @deferred
    async def test_a_failed_commit_of_a_litestar_below_is_no_success(self, sqlite: Database) -> None:
        """The one above takes the start that it never saw for its own, and answers nothing; a server makes it a 500."""

        @post("/")
        async def endpoint(request: Request[Any, Any, Any]) -> dict[str, bool]:
            await write_orphan(await session_of(request))
            return {"saved": True}

        below = Litestar([endpoint], logging_config=None)
        exchange = Exchange(site(sqlite, asgi("/", is_mount=True, copy_scope=True)(below)), method="POST")

        with pytest.raises(LitestarException) as raised:
            await exchange.run()

        assert isinstance(raised.value.__cause__, ForeignKeyViolation)
        assert exchange.messages == []


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


class TestWebSocket:
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
