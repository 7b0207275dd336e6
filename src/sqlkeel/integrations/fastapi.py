"""FastAPI: `install`, and the session of a request as a dependency."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Header, Response, routing
from fastapi.exceptions import ResponseValidationError
from fastapi.routing import APIRoute
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request

from .._frameworks import _fastapi as unpromised
from .._frameworks import _starlette as starlette_names
from ..errors import DetachedAttribute, NoTransaction, UnloadedAttribute
from ..sessions._database import Database
from ..sessions._session import Session
from . import starlette
from ._path_id import PathID
from ._preconditions import READ_RESPONSES, WRITE_RESPONSES, Versions, etag, expected_versions, is_known, require
from ._problems import MEDIA_TYPE, SCHEMA, answers, describe
from .asgi import Checked
from .starlette import NotModified, database_of, read_session_of, session_of

__all__ = [
    "CONDITIONAL_READ",
    "CONDITIONAL_WRITE",
    "DatabaseDep",
    "ETag",
    "ETagDep",
    "IfMatch",
    "OptionalIfMatch",
    "PathID",
    "ReadSessionDep",
    "SessionDep",
    "get_database",
    "get_etag",
    "get_expected_version",
    "get_optional_version",
    "get_read_session",
    "get_session",
    "install",
]

_IfMatchHeader = Annotated[str | None, Header(alias="If-Match", description='The version that you change: "3".')]
_IfNoneMatchHeader = Annotated[str | None, Header(alias="If-None-Match", description='The version that you have: "3".')]


_VALIDATION: Final = "#/components/schemas/HTTPValidationError"
"""FastAPI's description of its own 422."""

_UNREAD: Final = {kind.__name__: kind for kind in (UnloadedAttribute, DetachedAttribute)}

_IN_THE_BODY: Final = "Use DatabaseDep instead: async with database.read() as session, or database.transaction()."


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
    handle a failed COMMIT. Your own handler for one of our errors, or a class of them, takes precedence. If
    ``response_model=`` or ``model_validate()`` reads an attribute that is not loaded, that is one of our errors too;
    FastAPI and pydantic would raise their own.

    The OpenAPI document shows the problems of each operation that depends on a session or the database: 503, 404 if its
    path has a parameter, 409 and 422 if it writes. The operation's own ``responses=`` take precedence.

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
    starlette.install(app, database, check=check, statuses=statuses, docs=docs)
    for kind in (ResponseValidationError, ValidationError):
        starlette_names.handle_unless_handled(app, kind, _answering_unread(statuses, docs))
    if isinstance(app, FastAPI):
        usual = app.openapi

        def openapi() -> dict[str, Any]:
            is_made = app.openapi_schema is not None
            document = usual()
            if not is_made:  # FastAPI caches the document
                for operation, problems in _operations(app, document, statuses):
                    _add_problems(document, operation, problems)
            return document

        app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI's documentation shows


def _answering_unread(statuses: Mapping[str, int] | None, docs: str) -> starlette.Handler:
    async def respond(connection: HTTPConnection, error: Exception) -> Response:
        unread = _unread(error.errors()) if isinstance(error, (ResponseValidationError, ValidationError)) else None
        if unread is None or connection.scope["type"] != "http":
            raise error
        return starlette.answer(describe(unread, statuses=statuses, docs=docs), error)

    return respond


def _unread(errors: Iterable[Any]) -> UnloadedAttribute | None:
    """Return our error that pydantic met when it read an object's attributes; pydantic keeps only its text."""
    for one in errors:
        if one["type"] == "get_attribute_error":
            kind = _UNREAD.get(str(one["ctx"]["error"]).partition(":")[0])
            if kind is not None:
                return kind(type(one["input"]).__name__, str(one["loc"][-1]))
    return None


def _operations(
    app: FastAPI, document: dict[str, Any], statuses: Mapping[str, int] | None
) -> Iterator[tuple[dict[str, Any], dict[int, str]]]:
    """Yield each operation of the document that uses the database, and its problems."""
    for route in unpromised.each_route(routing, app.routes):
        if {get_session, get_read_session, get_database}.isdisjoint(unpromised.all_calls_of(route)):
            continue
        path = document.get("paths", {}).get(route.path_format, {})
        for method in route.methods:
            if (operation := path.get(method.lower())) is not None:
                yield operation, answers(method, route.path_format, statuses=statuses)


def _add_problems(document: dict[str, Any], operation: dict[str, Any], problems: Mapping[int, str]) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    name = next(one for one in ("Problem", "SQLKeelProblem") if schemas.get(one, SCHEMA) == SCHEMA)
    schemas[name] = dict(SCHEMA)
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    responses = operation.setdefault("responses", {})
    for status, text in problems.items():
        responses.setdefault(str(status), {"description": text, "content": dict(content)})
    # FastAPI describes its own 422 for invalid input, which has another schema.
    refused = responses.get("422", {}).get("content", {})
    if _VALIDATION in str(refused.get("application/json")):
        refused.setdefault(MEDIA_TYPE, content[MEDIA_TYPE])


async def get_session(connection: HTTPConnection) -> Session:
    """Return the session of the request; override it in tests that need no database.

    Raises:
        NoTransaction: For a generator endpoint, which would use the session after its end.
    """
    _refuse_in_a_body(connection)
    return await session_of(connection)


async def get_read_session(connection: HTTPConnection) -> Session:
    """Return the read-only session of the request.

    Raises:
        NoTransaction: For a generator endpoint, which would use the session after its end.
    """
    _refuse_in_a_body(connection)
    return await read_session_of(connection)


async def get_database(connection: HTTPConnection) -> Database:
    """Return the database of the application."""
    return database_of(connection)


async def get_optional_version(connection: HTTPConnection, if_match: _IfMatchHeader = None) -> Versions | None:
    """Return the versions that ``If-Match`` expects; ``None`` if it is not sent.

    Raises:
        InvalidETag: When it is malformed; a 400.
    """
    # Not the parameter, which only describes the header: it has just one of several lines.
    return expected_versions(connection.headers.getlist("If-Match"))


async def get_expected_version(versions: Annotated[Versions | None, Depends(get_optional_version)]) -> Versions:
    """Return the versions that ``If-Match`` expects.

    Raises:
        PreconditionRequired: When it is not sent; a 428.
        InvalidETag: When it is malformed; a 400.
    """
    return require(versions)


class ETag:
    """Sets the entity tag of the response from a version: ``tag(article.version)``."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request = request
        self._response = response

    def __call__(self, version: int) -> None:
        """Send ``ETag: "3"``; end a GET or HEAD with 304 if ``If-None-Match`` shows that the client has this version.

        Call it before expensive work, which a 304 saves. An endpoint that returns its own `Response` has to set the
        header there.

        Raises:
            NotModified: 304, which is the response.
            InvalidETag: When ``If-None-Match`` is malformed; a 400.
        """
        self._response.headers["ETag"] = etag(version)
        known = is_known(self._request.headers.getlist("If-None-Match"), version)
        if known and self._request.method in {"GET", "HEAD"}:
            raise NotModified(self._response)


async def get_etag(request: Request, response: Response, if_none_match: _IfNoneMatchHeader = None) -> ETag:
    """Return the object that sets the entity tag of the response."""
    return ETag(request, response)


def _refuse_in_a_body(connection: HTTPConnection) -> None:
    """Refuse a generator endpoint that has the session as a parameter; its dependencies may use the session."""
    route = connection.scope.get("route")
    if not isinstance(route, APIRoute) or not _yields(route.endpoint):
        return
    if not {get_session, get_read_session}.isdisjoint(unpromised.calls_of(route)):
        raise NoTransaction(
            f"{route.name}() is a generator, and the unit of work ends before its first byte is sent.",
            hint=_IN_THE_BODY,
        )


def _yields(endpoint: Any) -> bool:
    called = inspect.unwrap(endpoint.func if isinstance(endpoint, functools.partial) else endpoint)
    # For an object, its class's __call__, which can be looked up even if the object has unusual equality.
    return _is_generator(called if inspect.isroutine(called) else type(called).__call__)


@functools.lru_cache
def _is_generator(function: Any) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def _described(responses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    problem: dict[str, Any] = {"content": {MEDIA_TYPE: {}}}
    return {status: {"description": text, **(problem if status >= 400 else {})} for status, text in responses.items()}


SessionDep = Annotated[Session, Depends(get_session)]
"""The session of the request: one for all its dependencies, committed before the first byte is sent."""

ReadSessionDep = Annotated[Session, Depends(get_read_session)]
"""A read-only session, without the round trips of BEGIN and COMMIT: for GET."""

DatabaseDep = Annotated[Database, Depends(get_database)]
"""The database: for ``async with db.transaction()`` in a WebSocket, a background task, or a separate transaction."""

IfMatch = Annotated[Versions, Depends(get_expected_version)]
"""The version that a client has read, for ``expected_version=``; a request without it is answered with 428."""

OptionalIfMatch = Annotated[Versions | None, Depends(get_optional_version)]
"""The same, but optional: a client that omits it overwrites changes that it has not seen."""

ETagDep = Annotated[ETag, Depends(get_etag)]
"""Sets the entity tag of the response from its version, and ends a GET with 304 if the client already has it."""

CONDITIONAL_READ: Final = _described(READ_RESPONSES)
"""For ``responses=`` of an operation with `ETagDep`: its 304 in the OpenAPI document."""

CONDITIONAL_WRITE: Final = _described(WRITE_RESPONSES)
"""For ``responses=`` of an operation with `IfMatch`: 400, 412 and 428 in the OpenAPI document."""
