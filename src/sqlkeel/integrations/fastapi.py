"""FastAPI: `install`, and the session of a request as a dependency."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Depends, Header, HTTPException
from starlette.requests import HTTPConnection

from ..database import Database
from ..session import Session
from .starlette import database_of, install, read_session_of, session_of

__all__ = [
    "DatabaseDep",
    "IfMatch",
    "ReadSessionDep",
    "SessionDep",
    "get_database",
    "get_read_session",
    "get_session",
    "install",
]

_VERSION: Final = re.compile(r'"(0|[1-9][0-9]{0,17})"')


async def get_session(connection: HTTPConnection) -> Session:
    """Return the session of the request; override it in tests that need no database."""
    return await session_of(connection)


async def get_read_session(connection: HTTPConnection) -> Session:
    """Return the session of the request that only reads."""
    return await read_session_of(connection)


async def get_database(connection: HTTPConnection) -> Database:
    """Return the database of the application."""
    return database_of(connection)


async def get_expected_version(
    if_match: Annotated[str | None, Header(alias="If-Match", description='The version you change: "3".')] = None,
) -> int:
    """Return the version in ``If-Match: "3"``.

    Raises:
        HTTPException: 428 where the header is missing, 412 where it is not the tag of a version.
    """
    if if_match is None:
        raise HTTPException(428, 'Say which version you change: If-Match: "3".')
    found = _VERSION.fullmatch(if_match.strip())
    if found is None:
        raise HTTPException(412, "If-Match is not the tag of one version.")
    return int(found[1])


SessionDep = Annotated[Session, Depends(get_session)]
"""The session of the request: one for all of its dependencies, committed before the first byte is sent."""

ReadSessionDep = Annotated[Session, Depends(get_read_session)]
"""A session that only reads, without the round trips of BEGIN and COMMIT: for GET."""

DatabaseDep = Annotated[Database, Depends(get_database)]
"""The database itself: ``async with db.transaction()`` in a WebSocket, in a background task, beside the request."""

IfMatch = Annotated[int, Depends(get_expected_version)]
"""The version that a client read, for ``expected_version=``; the reply carries it as ``ETag: "3"``."""
