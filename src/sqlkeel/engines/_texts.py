"""Refuse values that psycopg would write into a text column in an arbitrary notation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, time, timedelta
from enum import Enum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Dialect, String

__all__ = ["CONTAINERS", "WORDS", "has_notation", "refuse_notation", "refuse_notations"]

WORDS: Final[Mapping[bool, str]] = {False: "false", True: "true"}
"""The text that a cast in a statement makes of a bool; COPY has no casts."""

_Convert = Callable[[Any], Any] | None

CONTAINERS: Final = (list, tuple, set, frozenset, dict, bytes, bytearray, memoryview)
r"""Types that would be written as ``{x}``, ``(x)`` or ``\x78``, or not at all."""

_FORMS: Final = (UUID, datetime, time, timedelta, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
"""Types that COPY writes in another form than a statement, where the server casts them.

Numbers, bools and dates have the same form in both.
"""


def refuse_notations(dialect: Dialect) -> None:
    """Make one engine check values for text columns; the server would silently convert an array to text.

    A psycopg dumper cannot check this, because it only sees the value, and a list is fine for an array column.
    """
    # Imported here: the dialect would take a tenth of the time of `import sqlkeel`.
    from sqlalchemy.dialects.postgresql import CITEXT

    texts: dict[type[Any], type[Any]] = {kind: dialect.colspecs[kind] for kind in (String, CITEXT)}
    ours: dict[type[Any], type[Any]] = {kind: type(usual.__name__, (_Text, usual), {}) for kind, usual in texts.items()}
    dialect.colspecs = {**dialect.colspecs, **ours}


def refuse_notation(value: Any) -> Any:
    """Return a value for a text column.

    Raises:
        TypeError: When it is not a string and would be written in an arbitrary notation.
    """
    if type(value) is not str and _has_notation(type(value)):
        raise TypeError(f"A text is expected, not {type(value).__name__}.")
    return value


def has_notation(kinds: Iterable[type[Any]]) -> bool:
    """Return whether `refuse_notation` refuses values of one of these types."""
    return any(_has_notation(kind) for kind in kinds if kind is not str)


class _Text:
    """The part of the type that is the same for all text types."""

    def bind_processor(self, dialect: Dialect) -> _Convert:
        """Check the value; the usual types of psycopg convert nothing."""
        return refuse_notation


def _has_notation(kind: type[Any]) -> bool:
    # psycopg writes the name of an enumeration member that is neither a string nor a number.
    return issubclass(kind, _notations()) or (issubclass(kind, Enum) and not issubclass(kind, (str, int)))


@cache
def _notations() -> tuple[type[Any], ...]:
    from psycopg.types.multirange import Multirange
    from psycopg.types.range import Range

    return (*CONTAINERS, *_FORMS, Range, Multirange)
