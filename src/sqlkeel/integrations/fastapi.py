"""FastAPI: `install`, and the session of a request as a dependency."""

from __future__ import annotations

import functools
import inspect
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Response
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection, Request

from ..database import Database
from ..errors import NoTransaction
from ..session import Session
from .path_id import PathID
from .preconditions import READ_RESPONSES, WRITE_RESPONSES, Versions, etag, expected_versions, is_known, require
from .problems import MEDIA_TYPE
from .starlette import NotModified, database_of, install, read_session_of, session_of

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


_IN_THE_BODY: Final = "async with database.read() as session, or database.transaction(), with DatabaseDep instead."


async def get_session(connection: HTTPConnection) -> Session:
    """Return the session of the request; override it in tests that need no database.

    Raises:
        NoTransaction: For an endpoint that yields its answer, and would use the session after its end.
    """
    _refuse_in_a_body(connection)
    return await session_of(connection)


async def get_read_session(connection: HTTPConnection) -> Session:
    """Return the session of the request that only reads.

    Raises:
        NoTransaction: For an endpoint that yields its answer, and would use the session after its end.
    """
    _refuse_in_a_body(connection)
    return await read_session_of(connection)


async def get_database(connection: HTTPConnection) -> Database:
    """Return the database of the application."""
    return database_of(connection)


async def get_optional_version(connection: HTTPConnection, if_match: _IfMatchHeader = None) -> Versions | None:
    """Return what ``If-Match`` expects, ``None`` where it is not sent.

    Raises:
        InvalidETag: When it is malformed; a 400.
    """
    # Not the parameter, which is there to be described: of several lines it is one.
    return expected_versions(connection.headers.getlist("If-Match"))


async def get_expected_version(versions: Annotated[Versions | None, Depends(get_optional_version)]) -> Versions:
    """Return what ``If-Match`` expects.

    Raises:
        PreconditionRequired: When it is not sent; a 428.
        InvalidETag: When it is malformed; a 400.
    """
    return require(versions)


class ETag:
    """The tag of the response, as a function of a version: ``tag(article.version)``."""

    def __init__(self, request: Request, response: Response) -> None:
        self._request = request
        self._response = response

    def __call__(self, version: int) -> None:
        """Send ``ETag: "3"``; end a GET or HEAD with 304 where ``If-None-Match`` says that the client has it.

        What the endpoint would load or compute afterwards is spared. An endpoint that returns a `Response` of its own
        has to set the header there.

        Raises:
            NotModified: 304, which is the answer.
            InvalidETag: When ``If-None-Match`` is malformed; a 400.
        """
        self._response.headers["ETag"] = etag(version)
        known = is_known(self._request.headers.getlist("If-None-Match"), version)
        if known and self._request.method in {"GET", "HEAD"}:
            raise NotModified(self._response)


async def get_etag(request: Request, response: Response, if_none_match: _IfNoneMatchHeader = None) -> ETag:
    """Return what tags the response with a version."""
    return ETag(request, response)


def _refuse_in_a_body(connection: HTTPConnection) -> None:
    """Refuse an endpoint that yields and has the session for a parameter; a dependency of it may use the session."""
    route = connection.scope.get("route")
    if not isinstance(route, APIRoute) or not _yields(route.endpoint):
        return
    if any(given.call in {get_session, get_read_session} for given in route.dependant.dependencies):
        raise NoTransaction(
            f"{route.name}() yields its answer, and the unit of work ends before the first byte of that is sent.",
            hint=_IN_THE_BODY,
        )


def _yields(endpoint: Any) -> bool:
    called = inspect.unwrap(endpoint.func if isinstance(endpoint, functools.partial) else endpoint)
    # Of an object the method of its class: that can be looked up, whatever the object takes for equal.
    return _is_generator(called if inspect.isroutine(called) else type(called).__call__)


@functools.lru_cache
def _is_generator(function: Any) -> bool:
    return inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function)


def _described(responses: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    problem: dict[str, Any] = {"content": {MEDIA_TYPE: {}}}
    return {status: {"description": text, **(problem if status >= 400 else {})} for status, text in responses.items()}


SessionDep = Annotated[Session, Depends(get_session)]
"""The session of the request: one for all of its dependencies, committed before the first byte is sent."""

ReadSessionDep = Annotated[Session, Depends(get_read_session)]
"""A session that only reads, without the round trips of BEGIN and COMMIT: for GET."""

DatabaseDep = Annotated[Database, Depends(get_database)]
"""The database itself: ``async with db.transaction()`` in a WebSocket, in a background task, beside the request."""

IfMatch = Annotated[Versions, Depends(get_expected_version)]
"""The version that a client read, for ``expected_version=``; a request without it is answered 428."""

OptionalIfMatch = Annotated[Versions | None, Depends(get_optional_version)]
"""The same where a client may do without, and then overwrites what it has not seen."""

ETagDep = Annotated[ETag, Depends(get_etag)]
"""What tags the response with its version, and ends a GET with 304 where the client has that already."""

CONDITIONAL_READ: Final = _described(READ_RESPONSES)
"""For ``responses=`` of an operation with `ETagDep`: its 304 in the OpenAPI document."""

CONDITIONAL_WRITE: Final = _described(WRITE_RESPONSES)
"""For ``responses=`` of an operation with `IfMatch`: 400, 412 and 428 in the OpenAPI document."""
