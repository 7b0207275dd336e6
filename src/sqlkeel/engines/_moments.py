"""Refuse values that a driver would send as a date, time or datetime although they are none.

The server parses a string or a number in its own way, and has values that Python does not have: "infinity", 24:00, a
date without a month. Such a value would make its row unreadable or different. asyncpg and SQLite refuse all of them.
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
    *(mysql.DATETIME, mysql.TIMESTAMP),  # they have a fractional precision, which CAST needs
)
_OF_POSTGRESQL: Final = (Interval, postgresql.INTERVAL)
"""Durations; on MariaDB SQLAlchemy stores them as datetimes."""


def refuse_words_for_moments(dialect: Dialect) -> None:
    """Make one engine check dates, times and datetimes when they are bound."""
    kinds = (*_KINDS, *_OF_POSTGRESQL) if dialect.name == "postgresql" else _KINDS
    ours: dict[Any, type[Any]] = {kind: _checked(_usual(kind, dialect)) for kind in kinds}
    dialect.colspecs = {**dialect.colspecs, **ours}


def _usual(kind: type[Any], dialect: Dialect) -> type[Any]:
    return next((dialect.colspecs[one] for one in kind.__mro__ if one in dialect.colspecs), kind)


class _Moment:
    """The part of the type that is the same for every kind."""

    def bind_processor(self, dialect: Dialect) -> _Convert:
        """Check the value before the usual conversion."""
        convert: _Convert = super().bind_processor(dialect)  # type: ignore[misc]  # of the other base class
        check = _day if isinstance(self, (Date, DateTime)) else _moment
        return check if convert is None else lambda value: convert(check(value))


class _Duration(_Moment):
    """The part for types of durations, which SQLAlchemy replaces by PostgreSQL's own type."""

    @classmethod
    def adapt_emulated_to_native(cls, impl: Any, **options: Any) -> Any:
        """Return PostgreSQL's own type with the same checks."""
        native: Any = super().adapt_emulated_to_native(impl, **options)  # type: ignore[misc]
        return native.adapt(_checked(type(native)))


def _checked(usual: type[Any]) -> type[Any]:
    checks = _Duration if hasattr(usual, "adapt_emulated_to_native") else _Moment
    return type(usual.__name__, (checks, usual), {})


def _moment(value: Any) -> Any:
    if type(value) not in _USUAL and isinstance(value, _OTHERS):
        raise TypeError(f"A date, a time or a timedelta is expected, not {type(value).__name__}.")
    return value


def _day(value: Any) -> Any:
    if type(value) not in _DAYS and isinstance(value, (time, timedelta, *_OTHERS)):
        raise TypeError(f"A date or a datetime is expected, not {type(value).__name__}.")
    return value
