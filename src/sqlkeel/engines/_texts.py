"""What psycopg would write into a column of text in a form that nobody has chosen: refused before it is sent."""

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
"""What the cast of a statement makes of a bool for a column of text; COPY has no cast."""

_Convert = Callable[[Any], Any] | None

CONTAINERS: Final = (list, tuple, set, frozenset, dict, bytes, bytearray, memoryview)
r"""What is written as ``{x}``, ``(x)`` or ``\x78``, or not at all."""

_FORMS: Final = (UUID, datetime, time, timedelta, IPv4Address, IPv6Address, IPv4Network, IPv6Network)
"""What a statement, in which the server casts it, and COPY write differently; an address may be an interface, too.

A number, a truth and a day are written alike.
"""


def refuse_notations(dialect: Dialect) -> None:
    """Let the texts of one engine be checked when they are bound: the server makes a text of an array without a word.

    Not by a dumper of psycopg's, which knows the value alone: a list belongs into a column of arrays.
    """
    # Imported here: the dialect costs a tenth of the time of `import sqlkeel`.
    from sqlalchemy.dialects.postgresql import CITEXT

    texts: dict[type[Any], type[Any]] = {kind: dialect.colspecs[kind] for kind in (String, CITEXT)}
    ours: dict[type[Any], type[Any]] = {kind: type(usual.__name__, (_Text, usual), {}) for kind, usual in texts.items()}
    dialect.colspecs = {**dialect.colspecs, **ours}


def refuse_notation(value: Any) -> Any:
    """Return a value for a column of text.

    Raises:
        TypeError: When it is none, and would be written in a form that nobody has chosen.
    """
    if type(value) is not str and _has_notation(type(value)):
        raise TypeError(f"A text is expected, and no {type(value).__name__}.")
    return value


def has_notation(kinds: Iterable[type[Any]]) -> bool:
    """Tell whether `refuse_notation` refuses the values of one of these types."""
    return any(_has_notation(kind) for kind in kinds if kind is not str)


class _Text:
    """The part of a type that is the same for every text."""

    def bind_processor(self, dialect: Dialect) -> _Convert:
        """Check what the usual type then converts; neither of psycopg's has anything to convert."""
        return refuse_notation


def _has_notation(kind: type[Any]) -> bool:
    # Of a member that is neither a text nor a number psycopg writes the name.
    return issubclass(kind, _notations()) or (issubclass(kind, Enum) and not issubclass(kind, (str, int)))


@cache
def _notations() -> tuple[type[Any], ...]:
    from psycopg.types.multirange import Multirange
    from psycopg.types.range import Range

    return (*CONTAINERS, *_FORMS, Range, Multirange)
