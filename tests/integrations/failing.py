"""Endpoints that fail half-way, middlewares that answer for them, and applications of both."""

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute

from sqlkeel import Database, Session
from sqlkeel.integrations.fastapi import SessionDep, install
from sqlkeel.integrations.starlette import session_of
from tests.integrations.tables import Note

__all__ = [
    "Back",
    "Catching",
    "CatchingLate",
    "Copying",
    "Elsewhere",
    "FailingAtTheEnd",
    "FailingLate",
    "FormError",
    "Frozen",
    "HalfEndpoint",
    "NeverReady",
    "Passing",
    "TimingOut",
    "TimingOutAnyio",
    "above",
    "back",
    "back_in_a_thread",
    "half",
    "half_by_hand",
    "never_ready",
    "never_ready_anyio",
    "never_ready_dependency",
    "service",
    "site",
    "write",
    "write_in_a_dependency",
    "writing_by_hand",
]


class FormError(Exception):
    """What a form is shown again for."""


async def write(session: Session) -> None:
    """Write half of what there is to write."""
    session.add(Note(text="half"))
    await session.flush()


async def back(request: Request, error: Exception) -> Response:
    """Send the client back to the form."""
    return RedirectResponse("/form", 303)


def back_in_a_thread(request: Request, error: Exception) -> Response:
    """Send the client back to the form, in synchronous code."""
    return RedirectResponse("/form", 303)


class Back:
    """A handler that is an object."""

    async def __call__(self, request: Request, error: Exception) -> Response:
        """Send the client back to the form."""
        return await back(request, error)


async def half(session: SessionDep) -> None:
    """Write half, and fail."""
    await write(session)
    raise FormError


async def write_in_a_dependency(session: SessionDep) -> None:
    """Write half, before the endpoint."""
    await write(session)


async def half_by_hand(request: Request) -> Response:
    """Write half, and fail, as an endpoint of Starlette."""
    await write(await session_of(request))
    raise FormError


async def writing_by_hand(request: Request) -> Response:
    """Write, and answer, as an endpoint of Starlette."""
    await write(await session_of(request))
    return Response()


async def never_ready(request: Request) -> Response:
    """Write half, and let the time be over."""
    await write(await session_of(request))
    request.scope["limit"].reschedule(0)
    await asyncio.Event().wait()
    return Response()


async def never_ready_anyio(request: Request) -> Response:
    """Write half, and let the cancel scope be cancelled."""
    await write(await session_of(request))
    request.scope["cancel scope"].cancel()
    await asyncio.Event().wait()
    return Response()


async def never_ready_dependency(request: Request, session: SessionDep) -> None:
    """Write half in a service, and let the time be over."""
    await never_ready(request)


class NeverReady(HTTPEndpoint):
    """An endpoint that is a class, and takes too long."""

    async def post(self, request: Request) -> Response:
        """Write half, and let the time be over."""
        return await never_ready(request)


class HalfEndpoint(HTTPEndpoint):
    """An endpoint that is a class."""

    async def post(self, request: Request) -> Response:
        """Write half, and fail."""
        return await half_by_hand(request)


class CatchingLate:
    """A middleware that answers an exception when it has left the `except` block."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        failed = False
        try:
            await self.app(scope, receive, send)
        except FormError:
            failed = True
        if failed:
            await RedirectResponse("/form", 303)(scope, receive, send)


class Catching(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that answers an exception, in another task than the endpoint's."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        try:
            return await call_next(request)  # type: ignore[no-any-return]
        except FormError:
            return RedirectResponse("/form", 303)


class TimingOut:
    """A middleware that sends the client back to the form when it has waited for too long."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        try:
            async with asyncio.timeout(None) as scope["limit"]:
                await self.app(scope, receive, send)
        except TimeoutError:
            await RedirectResponse("/form", 303)(scope, receive, send)


class TimingOutAnyio:
    """The same with a cancel scope of anyio, which leaves no exception behind."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        with anyio.CancelScope() as scope["cancel scope"]:
            await self.app(scope, receive, send)
        if scope["cancel scope"].cancelled_caught:
            await RedirectResponse("/form", 303)(scope, receive, send)


class Passing(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that does nothing, in another task than the endpoint's."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        return await call_next(request)  # type: ignore[no-any-return]


class FailingLate(BaseHTTPMiddleware):
    """A middleware of Starlette's kind that fails when the endpoint has answered."""

    async def dispatch(self, request: Request, call_next: Any) -> Response:
        """Serve one request."""
        await call_next(request)
        raise FormError


class FailingAtTheEnd:
    """A middleware that holds the answer back to the end, and fails then."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""

        async def keep(message: Any) -> None:
            return None

        await self.app(scope, receive, keep)
        raise FormError


class Elsewhere:
    """A middleware whose ``app`` is not what it runs, and leads in a circle."""

    def __init__(self, app: Any) -> None:
        self.inner = app
        self.app = self

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.inner(scope, receive, send)


@dataclass(frozen=True)
class Frozen:
    """A middleware that cannot be changed."""

    app: Any

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.app(scope, receive, send)


class Copying:
    """A middleware that gives what is below a scope of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one connection."""
        await self.app({**scope}, receive, send)


def service(db: Database, endpoint: Any = half, handler: Any = back, **options: Any) -> FastAPI:
    """Return a service of one endpoint that answers a `FormError` with a redirection."""
    app = FastAPI(exception_handlers={FormError: handler})
    install(app, db)
    app.post("/", **options)(endpoint)
    return app


def site(db: Database, *routes: BaseRoute) -> Starlette:
    """Return a site of Starlette's that answers a `FormError` with a redirection."""
    app = Starlette(routes=routes, exception_handlers={FormError: back})
    install(app, db)
    return app


def above(db: Database, below: Any) -> FastAPI:
    """Return a service that answers nothing in its own way, with *below* in it."""
    app = FastAPI()
    install(app, db)
    app.mount("/", below)
    return app
