"""Describe an error to a client: a problem document (RFC 9457) without SQL, values and hints."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from sqlalchemy import exc

from ..errors import KeelError

__all__ = ["MEDIA_TYPE", "READING", "SCHEMA", "Problem", "answers", "describe", "report"]

logger = logging.getLogger("sqlkeel.integrations")

MEDIA_TYPE: Final = "application/problem+json"
_POOL_TIMEOUT: Final = "pool-timeout"
_SHOWN: Final = ("columns", "constraint", "row", "expected", "current")


class _Kind(NamedTuple):
    status: int
    title: str
    detail: str | None = None
    retry_after: int | None = None


_INTERNAL: Final = _Kind(500, "Internal Server Error")

# By the code of the error, or of its nearest base class.
_KINDS: Final[Mapping[str, _Kind]] = {
    "not-found": _Kind(404, "Not found", "The requested record does not exist."),
    "unique-violation": _Kind(409, "Already taken", "Another record has this value already."),
    "restore-conflict": _Kind(409, "Cannot be restored", "Another record has taken the value in the meantime."),
    "foreign-key-violation": _Kind(
        409, "Reference broken", "It refers to a record that does not exist, or other records still refer to it."
    ),
    "exclusion-violation": _Kind(409, "Overlap", "It overlaps with another record."),
    "version-conflict": _Kind(412, "Changed meanwhile", "It was changed since it was read; nothing was written."),
    "precondition-required": _Kind(
        428, "Version missing", 'Say which version you change: send the ETag of what you read, If-Match: "3".'
    ),
    "invalid-etag": _Kind(400, "Malformed header", "A precondition is not a list of entity tags."),
    "check-violation": _Kind(422, "Value not allowed", "A value breaks a rule of this record."),
    "not-null-violation": _Kind(422, "Value missing", "A required value is missing."),
    "value-refused": _Kind(422, "Value not allowed", "A value is too long, out of range, or of the wrong form."),
    "invalid-value": _Kind(422, "Invalid value", "A value has the wrong form."),
    "commit-unknown": _Kind(
        500, "Outcome unknown", "It is not known whether the change was saved; check before you try again."
    ),
    "transient": _Kind(503, "Try again", "The request collided with another one; nothing was written.", 1),
    "database-unavailable": _Kind(503, "Unavailable", "The service cannot reach its database; nothing was written.", 5),
    _POOL_TIMEOUT: _Kind(503, "Overloaded", "The service is overloaded; nothing was written.", 1),
}


_OF_ALL: Final = ("transient", "database-unavailable")
_OF_A_KEY: Final = ("not-found",)
_OF_WRITES: Final = (
    "unique-violation",
    "foreign-key-violation",
    "not-null-violation",
    "check-violation",
    "value-refused",
)

READING: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""The HTTP methods that change nothing (RFC 9110, 9.2.1)."""

SCHEMA: Final[Mapping[str, Any]] = {
    "title": "Problem",
    "description": "A problem document (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "columns": {"type": "array", "items": {"type": "string"}},
        "constraint": {"type": "string"},
        "row": {"type": "integer"},
    },
}
"""The schema of a problem document for OpenAPI; your own errors may have additional members."""


def answers(method: str, path: str, *, statuses: Mapping[str, int] | None = None) -> dict[int, str]:
    """Return the problems with which an operation that uses the database may be answered: status and description.

    Any operation may be refused temporarily; if the path identifies a resource, that may not exist; and a write may
    violate a constraint.
    """
    writes = method.upper() not in READING
    titles: dict[int, list[str]] = {}
    for code in (*(_OF_A_KEY if "{" in path else ()), *(_OF_WRITES if writes else ()), *_OF_ALL):
        kind = _KINDS[code]
        known = titles.setdefault((statuses or {}).get(code, kind.status), [])
        known.extend([] if kind.title in known else [kind.title])
    return {status: f"{', '.join(known)}." for status, known in titles.items()}


@dataclass(frozen=True)
class Problem:
    """A problem document: the members of RFC 9457, and further details of the error that a client may see."""

    type: str
    title: str
    status: int
    detail: str | None = None
    retry_after: int | None = None
    members: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The document."""
        detail = {} if self.detail is None else {"detail": self.detail}
        return {"type": self.type, "title": self.title, "status": self.status, **detail, **self.members}

    @property
    def headers(self) -> dict[str, str]:
        """The headers of the response, except for the media type `MEDIA_TYPE`."""
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def describe(error: BaseException, *, statuses: Mapping[str, int] | None = None, docs: str = "errors") -> Problem:
    """Describe *error* to a client.

    An error about which a client need not know any details is a plain 500.

    Args:
        error: The exception; a subclass of one of our errors is described like that one, under its own code.
        statuses: Status by error code, for your own errors or to override ours.
        docs: The page that explains the codes, best an absolute URL; ``type`` is this page and ``#code``.
    """
    for code in _codes(error):
        if statuses is not None and code in statuses:
            return _problem(error, _Kind(statuses[code], HTTPStatus(statuses[code]).phrase), docs)
        if code in _KINDS:
            return _problem(error, _KINDS[code], docs)
    return Problem("about:blank", _INTERNAL.title, _INTERNAL.status)


def report(error: BaseException, problem: Problem) -> None:
    """Log an *error* that is answered with *problem*, because it is not visible anywhere else."""
    if problem.status == 500:
        logger.error("A request failed.", exc_info=error)
    elif problem.status > 500:
        logger.warning("A request was refused: %s", type(error).__name__)


def _codes(error: BaseException) -> list[str]:
    if isinstance(error, exc.TimeoutError):
        return [_POOL_TIMEOUT]
    return [str(kind.code) for kind in type(error).__mro__ if issubclass(kind, KeelError)]


def _problem(error: BaseException, kind: _Kind, docs: str) -> Problem:
    members = {name: value for name in _SHOWN if (value := getattr(error, name, None)) not in (None, ())}
    if isinstance(members.get("expected"), frozenset):  # the client has named several, and knows them
        del members["expected"]
    if (column := getattr(error, "column", None)) is not None:
        members = {"columns": (column,), **members}
    return Problem(f"{docs}#{_codes(error)[0]}", kind.title, kind.status, kind.detail, kind.retry_after, members)
