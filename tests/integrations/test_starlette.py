"""Starlette applications: installation, state, middleware; what holds for each framework is in contract/."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket

from sqlkeel import Database
from sqlkeel.errors import (
    ConfigurationError,
    KeelError,
)
from sqlkeel.integrations.starlette import install, session_of
from tests.integrations.tables import Base, Deferred, stored, write, write_orphan
from tests.integrations.wire import Exchange, Message, client

pytestmark = pytest.mark.tables(Base.metadata)
deferred = pytest.mark.tables(Deferred.metadata)


def site(db: Database, *routes: BaseRoute, **options: Any) -> Starlette:
    """Return an application with these routes, installed on."""
    app = Starlette(routes=routes)
    install(app, db, **options)
    return app


def route(endpoint: Any) -> Route:
    """Return the one route of an application."""
    return Route("/", endpoint, methods=["GET", "POST", "OPTIONS"])


async def writing(request: Request) -> Response:
    """Write a note."""
    await write(await session_of(request))
    return JSONResponse({"saved": True}, 201)


async def orphaning(request: Request) -> Response:
    """Write what COMMIT will refuse."""
    await write_orphan(await session_of(request))
    return JSONResponse({"saved": True}, 201)


class TestInstall:
    async def test_the_state_of_the_own_lifespan_arrives(self, sqlite: Database) -> None:
        """What the application's own lifespan yields is its state, as before."""

        @asynccontextmanager
        async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
            yield {"name": "state"}

        app = Starlette(lifespan=lifespan)
        install(app, sqlite)

        async with app.router.lifespan_context(app) as state:
            assert state == {"name": "state"}

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

        app = Starlette(routes=[route(orphaning)])
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

        app = site(db, route(writing))
        app.add_middleware(Timed)

        async with client(app) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["X-Seen"]) == (201, "kept")


class TestWebSocket:
    async def test_it_has_no_session_of_its_own(self, sqlite: Database) -> None:
        """The refusal reaches the server, which closes the connection and logs it."""

        async def endpoint(websocket: WebSocket) -> None:
            await session_of(websocket)

        exchange = Exchange(site(sqlite, WebSocketRoute("/", endpoint)), kind="websocket")

        with pytest.raises(KeelError, match="WebSocket"):
            await exchange.run()

        assert exchange.messages == []
