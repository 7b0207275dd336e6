"""Starlette: a unit of work per request, errors as problem documents, the database closed at shutdown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

from sqlalchemy import exc
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse, Response

from .._frameworks import _starlette as unpromised
from ..errors import ConfigurationError, KeelError, SessionClosed
from ..sessions._database import Database
from ..sessions._session import Session
from ._failures import Answer, are_watched
from ._problems import MEDIA_TYPE, Problem, describe, report
from .asgi import Checked, UnitOfWork, UnitOfWorkMiddleware, check_at_start, unit_of_work

__all__ = ["Handler", "NotModified", "answer", "database_of", "install", "read_session_of", "session_of"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
Handler = Callable[[Any, Exception], Awaitable[Response]]
"""An exception handler of Starlette."""

_COPIED: Final = (
    "A middleware of the mounted application copies the scope, so its exception handlers cannot be watched."
)
_INSTALL_BELOW: Final = "Call install(app, db) on the mounted application, so that it has its own unit of work."


class NotModified(HTTPException, Answer):
    """The client already has this version: 304, with the headers of *response* and no body."""

    def __init__(self, response: Response) -> None:
        # Not a dict, which would keep only one of several cookies in the response of a mounted application.
        super().__init__(304, headers=response.headers)
        self.response = response


def install(
    app: Starlette,
    database: Database,
    *,
    check: bool | Checked = True,
    statuses: Mapping[str, int] | None = None,
    docs: str = "errors",
) -> None:
    """Give *app* a unit of work per request, problem documents, and a database that is closed at shutdown.

    The unit of work is inside every middleware and the exception handlers, in whatever order they are added, so they
    handle a failed COMMIT. Your own handler for one of our errors, or a class of them, takes precedence.

    Args:
        app: The outermost application, before it starts; mounted applications are included.
        database: The database of the requests.
        check: Refuse to start while the database cannot be reached, so that a wrong URL is found before users see it.
            With `Migrations`, also while revisions are missing or the models differ.
        statuses: HTTP status by error code, for your own errors or to override ours.
        docs: The page that explains the codes, best an absolute URL; the ``type`` of a problem is this and ``#code``.

    Raises:
        ConfigurationError: When it is already installed, or the application has started.
    """
    if getattr(app.state, "sqlkeel", None) is not None:
        raise ConfigurationError("The application has a database already.", hint="Call install(app, db) once.")
    if unpromised.has_started(app):
        raise ConfigurationError("The application has started.", hint="Call install(app, db) where app is made.")
    app.state.sqlkeel = database
    unpromised.wrap_lifespan(app, lambda own: _lifespan(own, database, check=check))
    unpromised.put_inside(app, lambda routes: UnitOfWorkMiddleware(routes, database))
    for kind in (KeelError, exc.TimeoutError):
        unpromised.handle_unless_handled(app, kind, _handler(statuses, docs))
    # SessionClosed is raised after the response has started. With a handler, Starlette would raise its own RuntimeError
    # about that, and hide ours.
    unpromised.handle_unless_handled(app, SessionClosed, None)
    unpromised.handle_unless_handled(app, NotModified, _without_body)


async def session_of(connection: HTTPConnection) -> Session:
    """Return the session of the request; it commits when the response starts.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application was not installed on.
    """
    return await _unit_in(connection).session()


async def read_session_of(connection: HTTPConnection) -> Session:
    """Return the read-only session of the request, which has no transaction.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application was not installed on.
    """
    return await _unit_in(connection).read_session()


def database_of(connection: HTTPConnection) -> Database:
    """Return the database, for work outside the request's own session: a WebSocket, a background task.

    Raises:
        ConfigurationError: When the application was not installed on.
    """
    return unit_of_work(connection.scope).database


def answer(problem: Problem, error: Exception) -> Response:
    """Return the response for a *problem*, and log the *error* if it is not visible anywhere else."""
    report(error, problem)
    return JSONResponse(problem.body, problem.status, problem.headers, MEDIA_TYPE)


def _unit_in(connection: HTTPConnection) -> UnitOfWork:
    unit = unit_of_work(connection.scope)
    if not unit.over and not are_watched(connection.scope):
        # Such a handler could answer a failure with a success, which would be committed.
        raise ConfigurationError(_COPIED, hint=_INSTALL_BELOW)
    return unit


def _lifespan(own: Lifespan, database: Database, *, check: bool | Checked) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[Any]:
        try:
            await check_at_start(database, check)
            async with own(app) as state:
                yield state
        finally:
            await database.dispose()

    return lifespan


async def _without_body(connection: HTTPConnection, error: Exception) -> Response:
    assert isinstance(error, NotModified)
    response = Response(status_code=304)
    response.raw_headers = error.response.raw_headers  # the raw list, because a mapping keeps only one cookie
    return response


def _handler(statuses: Mapping[str, int] | None, docs: str) -> Handler:
    async def respond(connection: HTTPConnection, error: Exception) -> Response:
        if connection.scope["type"] != "http":
            raise error  # A WebSocket cannot receive a document.
        return answer(describe(error, statuses=statuses, docs=docs), error)

    return respond
