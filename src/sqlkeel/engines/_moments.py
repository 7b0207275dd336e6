"""What a driver would take for a day, a time or a moment, and is none: refused before it is sent.

The server reads a text or a number in its own way, and has values that Python does not have: "infinity", 24:00, a day
without a month. Whoever sends one makes its row unreadable, or another one, and asyncpg and SQLite refuse them all.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any, Final

from sqlalchemy import TIMESTAMP, Date, DateTime, Dialect, Interval, Time
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeEngine

from ._forms import WITH_FORM
from ._texts import CONTAINERS

__all__ = ["refuse_words_for_moments"]

_Convert = Callable[[Any], Any] | None

_DAYS: Final = frozenset({date, datetime, NoneType})
_USUAL: Final = _DAYS | {time, timedelta}
_OTHERS: Final = (str, Decimal, *WITH_FORM, *CONTAINERS)

_KINDS: Final[tuple[type[TypeEngine[Any]], ...]] = (
    *(Date, DateTime, Time, TIMESTAMP),
    *(mysql.DATETIME, mysql.TIMESTAMP),  # which know their fractions of a second, and a CAST writes them
)
_OF_POSTGRESQL: Final = (Interval, postgresql.INTERVAL)
"""Durations; on MariaDB SQLAlchemy makes moments of them."""


def refuse_words_for_moments(dialect: Dialect) -> None:
    """Let the moments of one engine be checked when they are bound."""
    kinds = (*_KINDS, *_OF_POSTGRESQL) if dialect.name == "postgresql" else _KINDS
    ours: dict[Any, type[Any]] = {kind: _checked(_usual(kind, dialect)) for kind in kinds}
    dialect.colspecs = {**dialect.colspecs, **ours}


def _usual(kind: type[Any], dialect: Dialect) -> type[Any]:
    return next((dialect.colspecs[one] for one in kind.__mro__ if one in dialect.colspecs), kind)


class _Moment:
    """The part of a type that is the same for every kind."""

    def bind_processor(self, dialect: Dialect) -> _Convert:
        """Check what the usual type then converts."""
        convert: _Convert = super().bind_processor(dialect)  # type: ignore[misc]  # of the type that stands behind
        check = _day if isinstance(self, (Date, DateTime)) else _moment
        return check if convert is None else lambda value: convert(check(value))


class _Duration(_Moment):
    """The part of a type of durations, of which SQLAlchemy makes PostgreSQL's own."""

    @classmethod
    def adapt_emulated_to_native(cls, impl: Any, **options: Any) -> Any:
        """Check what that takes, too."""
        native: Any = super().adapt_emulated_to_native(impl, **options)  # type: ignore[misc]
        return native.adapt(_checked(type(native)))


def _checked(usual: type[Any]) -> type[Any]:
    checks = _Duration if hasattr(usual, "adapt_emulated_to_native") else _Moment
    return type(usual.__name__, (checks, usual), {})


def _moment(value: Any) -> Any:
    if type(value) not in _USUAL and isinstance(value, _OTHERS):
        raise TypeError(f"A date, a time or a timedelta is expected, and no {type(value).__name__}.")
    return value


def _day(value: Any) -> Any:
    if type(value) not in _DAYS and isinstance(value, (time, timedelta, *_OTHERS)):
        raise TypeError(f"A date or a datetime is expected, and no {type(value).__name__}.")
    return value
