"""Dates, times of day and durations, exact to the microsecond; values of other types are refused."""

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
    """A calendar day without a time; ``Mapped[date]`` uses it.

    In Python a ``datetime`` is a ``date``. The drivers would truncate its time, or take the day in an unspecified zone;
    this type refuses it.

    Raises:
        InvalidValue: When a datetime, or anything other than a date, is bound.
    """

    impl = Date
    cache_ok = True

    def process_bind_param(self, value: date | None, dialect: Dialect) -> date | None:
        """Accept only a date."""
        if isinstance(value, datetime):
            raise InvalidValue(f"{value!r} is a datetime, not a date.", hint="value.astimezone(zone).date()")
        if value is not None and not isinstance(value, date):
            raise InvalidValue(f"A {type(value).__name__} is not a date.", hint=_hint(value, "date", "2026, 11, 22"))
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Bind the other operand of a comparison as a date; compute with dates in Python."""
        return self


class PlainTime(TypeDecorator[time]):
    """A time of day to the microsecond, without a zone; ``Mapped[time]`` uses it.

    Raises:
        InvalidValue: When a time with a zone, which would be lost, or anything other than a time is bound.
    """

    impl = Time
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep microseconds on MariaDB, whose plain TIME drops them."""
        if dialect.name in {"mysql", "mariadb"}:
            # Imported here, so that an application without MariaDB does not load its dialect.
            from sqlalchemy.dialects.mysql import TIME

            return dialect.type_descriptor(TIME(fsp=6))
        return dialect.type_descriptor(Time())

    def process_bind_param(self, value: time | None, dialect: Dialect) -> time | None:
        """Accept only a time without a zone."""
        if value is None:
            return None
        if not isinstance(value, time):
            raise InvalidValue(f"A {type(value).__name__} is not a time of day.", hint=_hint(value, "time", "9, 30"))
        if value.tzinfo is not None:
            hint = "Store a datetime (UTCDateTime), or the time and the name of the zone in two columns."
            raise InvalidValue(f"{value!r} has a zone, which a time of day does not store.", hint=hint)
        return value

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Bind the other operand of a comparison as a time; compute with times in Python."""
        return self


class Duration(TypeDecorator[timedelta]):
    """A length of time to the microsecond, positive or negative; ``Mapped[timedelta]`` uses it.

    ``INTERVAL`` on PostgreSQL, where you can add it to a datetime: ``Job.started_at + Job.limit``. Elsewhere an integer
    number of microseconds, which sums, compares and sorts exactly. SQLAlchemy's own ``Interval`` is a date in 1970
    there, and loses fractions of a second on MariaDB.

    Raises:
        InvalidValue: When anything other than a timedelta is bound, or one of more than 292,000 years.
    """

    impl = Interval
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use integers on a database without intervals."""
        return dialect.type_descriptor(Interval() if dialect.name == "postgresql" else BigInteger())

    def process_bind_param(self, value: timedelta | None, dialect: Dialect) -> timedelta | int | None:
        """Return the duration in the database's form."""
        if value is None:
            return None
        if not isinstance(value, timedelta):
            raise InvalidValue(f"A {type(value).__name__} is not a duration.", hint="timedelta(minutes=5)")
        microseconds = value // _MICROSECOND
        if abs(microseconds) >= _LONGEST:
            raise InvalidValue(f"{value!r} is longer than 292,000 years.")
        return value if dialect.name == "postgresql" else microseconds

    def process_result_value(self, value: Any, dialect: Dialect) -> timedelta | None:
        """Return the duration; MariaDB returns sums of integers as decimals."""
        if value is None or isinstance(value, timedelta):
            return value
        return timedelta(microseconds=int(value))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Bind the other operand of a comparison or sum as a duration."""
        return self


def _hint(value: Any, kind: str, parts: str) -> str:
    """Return a hint: how to convert a string to such a value, or an example of one."""
    return f"{kind}.fromisoformat(text)" if isinstance(value, str) else f"{kind}({parts})"
