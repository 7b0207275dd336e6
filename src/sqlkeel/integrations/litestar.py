"""Litestar: a plugin with a unit of work per request, the session as a dependency, errors as problem documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeAlias

from litestar import Litestar, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection, Request
from litestar.di import NamedDependency, Provide
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute
from litestar.types import ExceptionHandler, Scope
from sqlalchemy import exc

from ..database import Database
from ..errors import ConfigurationError, KeelError
from ..session import Session
from .asgi import Application, UnitOfWork, UnitOfWorkMiddleware, unit_of_work
from .problems import MEDIA_TYPE, describe, report

__all__ = [
    "DatabaseDep",
    "ReadSessionDep",
    "SQLKeelPlugin",
    "SessionDep",
    "database_of",
    "read_session_of",
    "session_of",
]

SessionDep: TypeAlias = NamedDependency[Session]
"""For a parameter named ``session``: the one of the request, committed before the first byte is sent."""

ReadSessionDep: TypeAlias = NamedDependency[Session]
"""For a parameter named ``read_session``, that only reads, without the round trips of BEGIN and COMMIT: for GET."""

DatabaseDep: TypeAlias = NamedDependency[Database]
"""For a parameter named ``database``: ``async with database.transaction()`` in a WebSocket or beside the request."""

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]

_STATE: Final = "sqlkeel"


class SQLKeelPlugin(InitPlugin, ReceiveRoutePlugin):
    """Give an application a unit of work per request, problem documents, and a database that is closed with it.

    ``Litestar(handlers, plugins=[SQLKeelPlugin(db)])`` provides the dependencies ``session``, ``read_session`` and
    ``database``. The unit of work sits inside of every middleware, of the response cache and of the exception handlers,
    on whatever layer they are: a COMMIT that fails is answered by them. Guards and dependencies are inside of it.
    A dependency of your own with one of these names wins, and so does an exception handler of your own for an error of
    ours or for one class of them.
    """

    def __init__(
        self,
        database: Database,
        *,
        check: bool = True,
        statuses: Mapping[str, int] | None = None,
        docs: str = "errors",
    ) -> None:
        """Prepare the plugin for one application, the outermost; what is mounted below it takes part.

        Args:
            database: The database of the requests.
            check: Refuse to start while the database cannot be reached; a wrong URL is found then and not by a user.
            statuses: HTTP status by error code, for errors of your own or where yours differs from ours.
            docs: The page that explains the codes, best an absolute URL; ``type`` of a problem is this and ``#code``.
        """
        self.database = database
        self.check = check
        self.statuses = statuses
        self.docs = docs

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Configure the application; Litestar calls it.

        Raises:
            ConfigurationError: When the application has a database already.
        """
        if _STATE in app_config.state:
            raise ConfigurationError("The application has a database already.", hint="Give it one SQLKeelPlugin.")
        app_config.state[_STATE] = self.database
        app_config.dependencies = {**_dependencies(), **app_config.dependencies}
        respond = _handler(self.statuses, self.docs)
        app_config.exception_handlers = {
            KeelError: respond,
            exc.TimeoutError: respond,
            **app_config.exception_handlers,
        }
        if self.check:
            app_config.lifespan.insert(0, self._checked)
        # The last hook of all, after the lifespans: what the application does at its end may use the database.
        app_config.on_shutdown.append(self.database.dispose)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Put the unit of work around the route; Litestar calls it."""
        # Not a middleware: that is outside of the exception handlers. They take a response for started when its start
        # passes them on its way out, and then answer nothing any more, a COMMIT that fails out there included.
        kind = type(route)
        route.__class__ = type(kind.__name__, (_InUnitOfWork, kind), {"__slots__": ()})

    @asynccontextmanager
    async def _checked(self, app: Litestar) -> AsyncIterator[None]:
        await self.database.check()
        yield


class _InUnitOfWork:
    """A route that runs in a unit of work."""

    __slots__ = ()

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        route: Application = super().handle  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        await UnitOfWorkMiddleware(route, scope["litestar_app"].state[_STATE])(scope, receive, send)


async def session_of(connection: Connection) -> Session:
    """Return the session of the request, in a guard for example; it commits when the response starts.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application has no plugin, or in a middleware: that is outside.
    """
    return await _unit_in(connection.scope).session()


async def read_session_of(connection: Connection) -> Session:
    """Return the session of the request that only reads, without a transaction around it.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application has no plugin, or in a middleware: that is outside.
    """
    return await _unit_in(connection.scope).read_session()


def database_of(connection: Connection) -> Database:
    """Return the database, for work outside of the request's own session: in a middleware, a WebSocket, a task.

    Raises:
        ConfigurationError: When the application has no plugin.
    """
    return _database_in(connection.scope)


def _unit_in(scope: Scope) -> UnitOfWork:
    return unit_of_work(scope)  # type: ignore[arg-type]  # a TypedDict, which is a mutable mapping all the same


def _database_in(scope: Scope) -> Database:
    database = scope["litestar_app"].state.get(_STATE)
    return database if isinstance(database, Database) else _unit_in(scope).database


def _dependencies() -> dict[str, Provide]:
    async def provide_session(scope: Scope) -> Session:
        return await _unit_in(scope).session()

    async def provide_read_session(scope: Scope) -> Session:
        return await _unit_in(scope).read_session()

    async def provide_database(scope: Scope) -> Database:
        return _database_in(scope)

    return {
        "session": Provide(provide_session),
        "read_session": Provide(provide_read_session),
        "database": Provide(provide_database),
    }


def _handler(statuses: Mapping[str, int] | None, docs: str) -> ExceptionHandler[Exception]:
    def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = describe(error, statuses=statuses, docs=docs)
        report(error, problem)
        return Response(problem.body, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)

    return respond
