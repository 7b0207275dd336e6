"""Litestar: a plugin with a unit of work per request, sessions as dependencies, and errors as problem documents."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, TypeAlias

from litestar import Litestar, Response
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection, Request
from litestar.di import NamedDependency, Provide
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, SkipValidation
from litestar.plugins import InitPlugin, ReceiveRoutePlugin
from litestar.routes import BaseRoute, HTTPRoute
from litestar.types import ExceptionHandler, Scope
from sqlalchemy import exc

from .._frameworks import _litestar as unpromised
from ..errors import ConfigurationError, KeelError
from ..sessions._database import Database
from ..sessions._session import Session
from ._preconditions import READ_RESPONSES, WRITE_RESPONSES, Versions, etag, expected_versions, is_known, require
from ._problems import MEDIA_TYPE, READING, answers, describe, report
from .asgi import Application, Checked, Message, Send, UnitOfWork, UnitOfWorkMiddleware, check_at_start, unit_of_work

__all__ = [
    "CONDITIONAL_READ",
    "CONDITIONAL_WRITE",
    "DatabaseDep",
    "ETag",
    "ETagDep",
    "IfMatch",
    "OptionalIfMatch",
    "ReadSessionDep",
    "SQLKeelPlugin",
    "SessionDep",
    "database_of",
    "read_session_of",
    "session_of",
]

SessionDep: TypeAlias = NamedDependency[Session]
"""For a parameter named ``session``: the session of the request, committed before the first byte is sent."""

ReadSessionDep: TypeAlias = NamedDependency[Session]
"""For a parameter named ``read_session``: a read-only session, without the round trips of BEGIN and COMMIT."""

DatabaseDep: TypeAlias = NamedDependency[Database]
"""For a parameter named ``database``: for ``async with database.transaction()`` in a WebSocket or background task."""

IfMatch: TypeAlias = NamedDependency[SkipValidation[Versions]]
"""For a parameter named ``if_match``: the version that a client has read, for ``expected_version=``; it is required."""

OptionalIfMatch: TypeAlias = NamedDependency[SkipValidation[Versions | None]]
"""For a parameter named ``optional_if_match``: the same, but a client that omits it overwrites unseen changes."""

Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]

_OF_THE_DATABASE: Final = {"session", "read_session", "database"}
_STATE: Final = "sqlkeel"
_ETAG: Final = "sqlkeel.etag"


class SQLKeelPlugin(InitPlugin, ReceiveRoutePlugin):
    """Give an application a unit of work per request, problem documents, and a database that is closed at shutdown.

    ``Litestar(handlers, plugins=[SQLKeelPlugin(db)])`` provides the dependencies ``session``, ``read_session`` and
    ``database``, and for conditional requests ``if_match``, ``optional_if_match`` and ``etag``. The unit of work is
    inside every middleware, the response cache and the exception handlers of all layers, so they handle a failed
    COMMIT. Guards and dependencies are inside it. Your own dependency with one of these names takes precedence, and so
    does your own exception handler for one of our errors or a class of them. Rename a query or path parameter with one
    of these names: ``QueryParameter(name="etag")``.

    The OpenAPI document shows the problems of each handler that depends on ``session``, ``read_session`` or
    ``database``: 503, 404 if its path has a parameter, 409 and 422 if it writes. The handler's own ``responses=`` take
    precedence.
    """

    def __init__(
        self,
        database: Database,
        *,
        check: bool | Checked = True,
        statuses: Mapping[str, int] | None = None,
        docs: str = "errors",
    ) -> None:
        """Prepare the plugin for one application, the outermost; mounted applications are included.

        Args:
            database: The database of the requests.
            check: Refuse to start while the database cannot be reached, so that a wrong URL is found before users see
                it. With `Migrations`, also while revisions are missing or the models differ.
            statuses: HTTP status by error code, for your own errors or to override ours.
            docs: The page that explains the codes, best an absolute URL; ``type`` of a problem is this and ``#code``.
        """
        self.database = database
        self.check = check
        self.statuses = statuses
        self.docs = docs

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Configure the application; Litestar calls it.

        Raises:
            ConfigurationError: When the application already has a database.
        """
        if _STATE in app_config.state:
            raise ConfigurationError("The application already has a database.", hint="Give it one SQLKeelPlugin.")
        app_config.state[_STATE] = self.database
        app_config.dependencies = {**_dependencies(), **app_config.dependencies}
        respond = _handler(self.statuses, self.docs)
        app_config.exception_handlers = {
            KeelError: respond,
            exc.TimeoutError: respond,
            _NotModified: _without_body,
            **app_config.exception_handlers,
        }
        if self.check is not False:
            app_config.lifespan.insert(0, self._checked)
        # The last hook, after the lifespans, because the application may use the database while it shuts down.
        app_config.on_shutdown.append(self.database.dispose)
        return app_config

    def receive_route(self, route: BaseRoute) -> None:
        """Put the unit of work around the route; Litestar calls it."""
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                if handler.include_in_schema is not False and _uses_database(handler):
                    problems = _described(answers(_method_of(handler), route.path_format, statuses=self.statuses))
                    handler.responses = {**problems, **(handler.responses or {})}
        unpromised.handle_within(route, _InUnitOfWork)

    @asynccontextmanager
    async def _checked(self, app: Litestar) -> AsyncIterator[None]:
        await check_at_start(self.database, self.check)
        yield


def _method_of(handler: HTTPRouteHandler) -> str:
    """Return the method of a handler; if it has several, one that writes."""
    return max(map(str, handler.http_methods), key=lambda method: method not in READING)


def _uses_database(handler: HTTPRouteHandler) -> bool:
    """Return whether a handler, or a dependency of it, has a session or the database by name."""
    return not _OF_THE_DATABASE.isdisjoint(unpromised.names_given(handler))


class _InUnitOfWork:
    """A route that runs in a unit of work."""

    __slots__ = ()

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        route = _keeping(super().handle)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        database = unpromised.application_of(scope).state[_STATE]
        await UnitOfWorkMiddleware(route, database)(scope, receive, _tagging(scope, send))


class _NotModified(Exception):
    """The client already has this version."""


class ETag:
    """Sets the entity tag of the response from a version: ``etag(article.version)``."""

    def __init__(self, request: Request[Any, Any, Any]) -> None:
        self._request = request

    def __call__(self, version: int) -> None:
        """Send ``ETag: "3"``; end a GET or HEAD with 304 if ``If-None-Match`` shows that the client has this version.

        Call it before expensive work, which a 304 saves. Error responses do not get the tag.

        Raises:
            InvalidETag: When ``If-None-Match`` is malformed; a 400.
        """
        known = is_known(self._request.headers.getall("If-None-Match", []), version)
        scope: Any = self._request.scope
        scope[_ETAG] = etag(version)
        if known and self._request.method in {"GET", "HEAD"}:
            raise _NotModified


ETagDep: TypeAlias = NamedDependency[ETag]
"""For a parameter named ``etag``: sets the entity tag, and ends a GET with 304 if the client has that version."""


def _keeping(route: Application) -> Application:
    """Commit the changes of a handler that answers 304, because 304 is not a failure."""

    async def keeping(scope: Any, receive: Any, send: Any) -> None:
        try:
            await route(scope, receive, send)
        except _NotModified:
            # Not answered here, because an outer response cache would store it for clients that have nothing.
            await unit_of_work(scope).commit()
            raise

    return keeping


def _tagging(scope: Any, send: Send) -> Send:
    """Send the tag that the handler has set, on any kind of response, unless that already has one."""

    async def tagging(message: Message) -> None:
        if message["type"] == "http.response.start" and _ETAG in scope and message["status"] < 400:
            headers = [*message.get("headers", ())]
            own = any(name.lower() == b"etag" for name, _ in headers)
            message["headers"] = headers if own else [*headers, (b"etag", scope[_ETAG].encode())]
        await send(message)

    return tagging


def _without_body(request: Request[Any, Any, Any], error: Exception) -> Response[None]:
    scope: Any = request.scope
    handler: HTTPRouteHandler = scope["route_handler"]
    # A cache needs the headers of a 200 (RFC 9110, 15.4.5). This runs outside the route, which would add them.
    headers = {name: value for name, value in unpromised.headers_of(handler).items() if name.lower() != "etag"}
    return Response(None, status_code=304, headers={**headers, "ETag": scope[_ETAG]})


def _described(responses: Mapping[int, str]) -> dict[int, ResponseSpec]:
    return {
        status: ResponseSpec(
            dict[str, Any] if status >= 400 else None, description=text, media_type=MEDIA_TYPE, generate_examples=False
        )
        for status, text in responses.items()
    }


CONDITIONAL_READ: Final = _described(READ_RESPONSES)
"""For ``responses=`` of a handler with ``etag``: its 304 in the OpenAPI document."""

CONDITIONAL_WRITE: Final = _described(WRITE_RESPONSES)
"""For ``responses=`` of a handler with ``if_match``: 400, 412 and 428 in the OpenAPI document."""


async def session_of(connection: Connection) -> Session:
    """Return the session of the request, for example in a guard; it commits when the response starts.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application has no plugin, or the caller is a middleware, which is outside.
    """
    return await _unit_in(connection.scope).session()


async def read_session_of(connection: Connection) -> Session:
    """Return the read-only session of the request, which has no transaction.

    Raises:
        NoTransaction: When the response has started, or *connection* is a WebSocket.
        ConfigurationError: When the application has no plugin, or the caller is a middleware, which is outside.
    """
    return await _unit_in(connection.scope).read_session()


def database_of(connection: Connection) -> Database:
    """Return the database, for work outside the request's own session: in a middleware, a WebSocket, a task.

    Raises:
        ConfigurationError: When the application has no plugin.
    """
    return _database_in(connection.scope)


def _unit_in(scope: Scope) -> UnitOfWork:
    return unit_of_work(scope)  # type: ignore[arg-type]  # a TypedDict, which is a mutable mapping all the same


def _database_in(scope: Scope) -> Database:
    database = unpromised.application_of(scope).state.get(_STATE)
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
        "if_match": Provide(_provide_if_match),
        "optional_if_match": Provide(_provide_optional_if_match),
        "etag": Provide(_provide_etag),
    }


_IfMatchHeader = Annotated[str | None, HeaderParameter(name="If-Match", description='The version you change: "3".')]
_IfNoneMatchHeader = Annotated[
    str | None, HeaderParameter(name="If-None-Match", description='The version you have: "3".')
]


async def _provide_optional_if_match(
    request: Request[Any, Any, Any], if_match_header: _IfMatchHeader = None
) -> Versions | None:
    # Not the parameter, which only describes the header: it has just one of several lines.
    return expected_versions(request.headers.getall("If-Match", []))


async def _provide_if_match(request: Request[Any, Any, Any], if_match_header: _IfMatchHeader = None) -> Versions:
    return require(expected_versions(request.headers.getall("If-Match", [])))


async def _provide_etag(request: Request[Any, Any, Any], if_none_match_header: _IfNoneMatchHeader = None) -> ETag:
    return ETag(request)


def _handler(statuses: Mapping[str, int] | None, docs: str) -> ExceptionHandler[Exception]:
    def respond(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
        problem = describe(error, statuses=statuses, docs=docs)
        report(error, problem)
        return Response(problem.body, status_code=problem.status, headers=problem.headers, media_type=MEDIA_TYPE)

    return respond
