"""The three frameworks, as one: an application of one endpoint, and what answers its exceptions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

import litestar
from fastapi import FastAPI
from litestar.exceptions import HTTPException as LitestarHTTPException
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sqlkeel import Database
from sqlkeel.integrations import starlette
from sqlkeel.integrations.asgi import UnitOfWork, unit_of_work
from sqlkeel.integrations.litestar import SQLKeelPlugin

__all__ = ["FRAMEWORKS", "FormError", "Framework"]

Endpoint = Callable[[UnitOfWork], Awaitable[None]]


class FormError(Exception):
    """What a form is shown again for."""


class Framework(ABC):
    """How an application is made; a handler answers a kind of exception with a status, and calls *seen* before."""

    http_error: type[Exception]

    @abstractmethod
    def serve(
        self,
        db: Database,
        endpoint: Endpoint,
        *,
        kind: type[Exception] = FormError,
        status: int = 303,
        seen: Callable[[], object] = lambda: None,
    ) -> Any:
        """Return an application whose POST is *endpoint*, and else 201."""


class _Starlette(Framework):
    http_error = HTTPException

    def serve(
        self,
        db: Database,
        endpoint: Endpoint,
        *,
        kind: type[Exception] = FormError,
        status: int = 303,
        seen: Callable[[], object] = lambda: None,
    ) -> Any:
        async def respond(request: Request) -> Response:
            await endpoint(unit_of_work(request.scope))
            return Response(status_code=201)

        async def handle(request: Request, error: Exception) -> Response:
            seen()
            return Response(status_code=status)

        app = self._app(respond)
        app.add_exception_handler(kind, handle)
        starlette.install(app, db)
        return app

    def _app(self, respond: Any) -> Starlette:
        return Starlette(routes=[Route("/", respond, methods=["POST"])])


class _FastAPI(_Starlette):
    def _app(self, respond: Any) -> Starlette:
        app = FastAPI()
        app.post("/", status_code=201)(respond)
        return app


class _Litestar(Framework):
    http_error = LitestarHTTPException

    def serve(
        self,
        db: Database,
        endpoint: Endpoint,
        *,
        kind: type[Exception] = FormError,
        status: int = 303,
        seen: Callable[[], object] = lambda: None,
    ) -> Any:
        @litestar.post("/")
        async def respond(request: litestar.Request[Any, Any, Any]) -> None:
            scope: Any = request.scope
            await endpoint(unit_of_work(scope))

        def handle(request: litestar.Request[Any, Any, Any], error: Exception) -> litestar.Response[None]:
            seen()
            return litestar.Response(None, status_code=status)

        plugins = [SQLKeelPlugin(db)]
        return litestar.Litestar([respond], plugins=plugins, exception_handlers={kind: handle}, logging_config=None)


FRAMEWORKS: dict[str, Framework] = {"starlette": _Starlette(), "fastapi": _FastAPI(), "litestar": _Litestar()}
