"""Applications of Starlette."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.routing import Route as HTTPRoute

from sqlkeel.errors import SessionClosed
from sqlkeel.integrations import starlette
from sqlkeel.integrations.asgi import unit_of_work
from tests.integrations.contract.framework import App, Endpoint, Framework, Route, Task

__all__ = ["SUCCESS", "OnStarlette"]

SUCCESS = {"POST": 201, "DELETE": 204}
NAMES: dict[str, Any] = {
    "request": lambda connection: connection,
    "socket": lambda connection: connection,
    "unit": lambda connection: unit_of_work(connection.scope),
    "session": starlette.session_of,
    "read_session": starlette.read_session_of,
    "database": starlette.database_of,
}


async def call(endpoint: Endpoint, connection: Any) -> Any:
    """Call an endpoint with what its parameters are named after."""
    given = {name: NAMES[name](connection) for name in inspect.signature(endpoint).parameters}
    return await endpoint(**{name: await one if inspect.isawaitable(one) else one for name, one in given.items()})


class OnStarlette(Framework):
    http_error = HTTPException
    broken_stream = SessionClosed
    integration = starlette

    def _made(self, wanted: App) -> Any:
        async def handle(request: Request, error: Exception) -> Response:
            wanted.seen()
            return Response(status_code=wanted.status)

        app = self._with_routes(wanted)
        app.add_exception_handler(wanted.kind, handle)
        if wanted.below is not None:
            app.mount("/below", wanted.below)
        if wanted.database is not None:
            self._install(app, wanted)
        return app

    def _with_routes(self, wanted: App) -> Starlette:
        return Starlette(routes=[_route(one) for one in wanted.routes], lifespan=wanted.lifespan)

    def _install(self, app: Any, wanted: App) -> None:
        assert wanted.database is not None
        starlette.install(app, wanted.database, **wanted.installed)

    def running(self, app: Any) -> AbstractAsyncContextManager[Any]:
        """Run its lifespan."""
        return app.router.lifespan_context(app)  # type: ignore[no-any-return]

    def answer(self, content: Any = None, *, status: int = 201, task: Task | None = None) -> Any:
        """Answer with JSON."""
        return JSONResponse(content, status, background=BackgroundTask(task) if task else None)

    def stream(self, chunks: AsyncIterator[str]) -> Any:
        """Answer with a stream."""
        return StreamingResponse(chunks, 201)


def _route(route: Route) -> BaseRoute:
    async def respond(request: Request) -> Response:
        answer = await call(route.endpoint, request)
        return answer if isinstance(answer, Response) else JSONResponse(answer, SUCCESS.get(route.method, 200))

    async def talk(socket: Any) -> None:
        await call(route.endpoint, socket)

    if route.method == "WEBSOCKET":
        return WebSocketRoute(route.path, talk)
    return HTTPRoute(route.path, respond, methods=[route.method])
