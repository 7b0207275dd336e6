"""Dates, times of day and durations that are stored to the microsecond, and for nothing else."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import BigInteger, Date, Dialect, Interval, Time
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..errors import InvalidValue

__all__ = ["Duration", "PlainDate", "PlainTime"]

_MICROSECOND: Final = timedelta(microseconds=1)
_LONGEST: Final = 2**63


class PlainDate(TypeDecorator[date]):
    """A day of the calendar, without a time; ``Mapped[date]`` is this.

    A ``datetime`` is a ``date`` for Python, and the drivers cut its time off, or take its day in a zone that nobody
    named. Here it is refused.

    Raises:
        InvalidValue: When a datetime, or anything other than a date, is bound.
    """

    impl = Date
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> date | None:
        """Let a date pass."""
        if isinstance(value, datetime):
            raise InvalidValue(f"{value!r} is a moment, not a day.", hint="value.astimezone(zone).date()")
        if value is not None and not isinstance(value, date):
            raise InvalidValue(f"A {type(value).__name__} is no date.", hint=_hint(value, "date", "2026, 11, 22"))
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison as a date; compute with dates in Python."""
        return self


class PlainTime(TypeDecorator[time]):
    """A time of day to the microsecond, without a zone; ``Mapped[time]`` is this.

    Raises:
        InvalidValue: When a time with a zone, which would be lost, or anything other than a time is bound.
    """

    impl = Time
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep microseconds on MariaDB, whose plain TIME drops them."""
        if dialect.name in {"mysql", "mariadb"}:
            # Imported here: a program that does not use MariaDB need not load its dialect.
            from sqlalchemy.dialects.mysql import TIME

            return dialect.type_descriptor(TIME(fsp=6))
        return dialect.type_descriptor(Time())

    def process_bind_param(self, value: time | None, dialect: Dialect) -> time | None:
        """Let a time without a zone pass."""
        if value is None:
            return None
        if not isinstance(value, time):
            raise InvalidValue(f"A {type(value).__name__} is no time of day.", hint=_hint(value, "time", "9, 30"))
        if value.tzinfo is not None:
            hint = "Store the moment (UTCDateTime), or the time and the name of the zone in two columns."
            raise InvalidValue(f"{value!r} has a zone, which a time of day does not keep.", hint=hint)
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison as a time; compute with times in Python."""
        return self


class Duration(TypeDecorator[timedelta]):
    """A length of time to the microsecond, of either sign; ``Mapped[timedelta]`` is this.

    ``INTERVAL`` on PostgreSQL, where moments take it: ``Job.started_at + Job.limit``. A whole number of microseconds
    elsewhere, which sums, compares and sorts exactly; SQLAlchemy's own ``Interval`` is a date in 1970 there, and drops
    fractions of a second on MariaDB.

    Raises:
        InvalidValue: When something other than a timedelta is bound, or one of more than 292,000 years.
    """

    impl = Interval
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use integers where there are no intervals."""
        return dialect.type_descriptor(Interval() if dialect.name == "postgresql" else BigInteger())

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> timedelta | int | None:
        """Return the duration in the database's own form."""
        if value is None:
            return None
        if not isinstance(value, timedelta):
            raise InvalidValue(f"A {type(value).__name__} is no duration.", hint="timedelta(minutes=5)")
        microseconds = value // _MICROSECOND
        if abs(microseconds) >= _LONGEST:
            raise InvalidValue(f"{value!r} is longer than 292,000 years.")
        return value if dialect.name == "postgresql" else microseconds

    def process_result_value(self, value: Any, dialect: Dialect) -> timedelta | None:
        """Return the duration; MariaDB sums integers to decimals."""
        if value is None or isinstance(value, timedelta):
            return value
        return timedelta(microseconds=int(value))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison or sum as a duration."""
        return self


def _hint(value: Any, kind: str, parts: str) -> str:
    """Say how a text becomes such a value, or what one looks like."""
    return f"{kind}.fromisoformat(text)" if isinstance(value, str) else f"{kind}({parts})"
