"""Column types that store a value exactly or refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, Final

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from .errors import InexactNumber, InvalidValue, NaiveDatetime, NotSupported

__all__ = ["Money", "UTCDateTime", "utc_now"]

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""Never rounds, whatever the thread's own context does."""


class UTCDateTime(TypeDecorator[datetime]):
    """A moment: aware datetimes only, kept to the microsecond, UTC on the way back.

    ``timestamptz`` on PostgreSQL, ``DATETIME(6)`` in UTC on MariaDB, text in UTC on SQLite. The drivers would take a
    naive datetime and guess its zone; this type refuses it.

    Raises:
        NaiveDatetime: When a value without a time zone is bound.
        InvalidValue: When something else than a datetime is bound; arithmetic with moments belongs into Python.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep microseconds on MariaDB, whose plain DATETIME drops them."""
        if dialect.name in {"mysql", "mariadb"}:
            # Imported here: a program that does not use MariaDB need not load its dialect.
            from sqlalchemy.dialects.mysql import DATETIME

            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware datetime into UTC, or refuse it."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            hint = "datetime.now(timezone.utc) - timedelta(days=30): compute the moment before the statement."
            raise InvalidValue(f"A {type(value).__name__} is no moment.", hint=hint)
        if value.utcoffset() is None:
            raise NaiveDatetime(f"{value!r} has no time zone.")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Money(TypeDecorator[Decimal]):
    """An exact decimal amount: no float, no NaN, no silent rounding, on every database.

    ``NUMERIC(precision, scale)`` on PostgreSQL and MariaDB. SQLite has no decimals, so the amount is kept there as a
    whole number of its smallest unit (cents for ``scale=2``), and sums and comparisons in SQL stay exact; multiply and
    divide in Python.

    Args:
        precision: All digits, at most 18 where SQLite is used.
        scale: Digits behind the point.

    Raises:
        InexactNumber: When a float, NaN, infinity or a value with more digits than fit is bound.
    """

    impl = Numeric
    cache_ok = True

    def __init__(self, precision: int = 18, scale: int = 2) -> None:
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use integers where there are no decimals."""
        if dialect.name == "sqlite":
            if self.precision > 18:
                raise NotSupported(
                    f"Money(precision={self.precision}) does not fit SQLite's 64-bit integers.",
                    hint="Use a precision of at most 18.",
                )
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(self.precision, self.scale))

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> Any:
        """Return the exact amount in the database's own form, or refuse it."""
        if value is None:
            return None
        amount = self._exact(value)
        return int(amount.scaleb(self.scale, _EXACT)) if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the amount with exactly *scale* digits behind the point."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return Decimal(value).scaleb(-self.scale, _EXACT)
        return Decimal(value).quantize(Decimal(1).scaleb(-self.scale), context=_EXACT)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison or sum as an amount, and a factor as a whole number."""
        if op is operators.mul and isinstance(value, int):
            return Integer()
        if op in {operators.mul, operators.truediv, operators.floordiv, operators.mod}:
            raise NotSupported(
                f"An amount is not multiplied with or divided by {value!r} in SQL: the result would be rounded.",
                hint="Load the amount, and compute and round it in Python.",
            )
        return self

    def _exact(self, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
            raise InexactNumber(f"{value!r} is a {type(value).__name__}, not an exact amount.")
        amount = Decimal(value)
        if not amount.is_finite():
            raise InexactNumber(f"{value!r} is not an amount.")
        cents = amount.scaleb(self.scale, _EXACT)
        if cents != cents.to_integral_value():
            raise InexactNumber(f"{value!r} has more than {self.scale} digits behind the point.")
        if cents.copy_abs() >= 10**self.precision:
            raise InexactNumber(f"{value!r} has more than {self.precision} digits.")
        return amount


class utc_now(FunctionElement[datetime]):  # noqa: N801 - reads as a SQL function
    """The server's clock, in UTC, to the microsecond (millisecond on SQLite); fixed within a statement.

    Use it for ``server_default`` and ``onupdate``: one clock for all writers, whatever their own says. On PostgreSQL it
    is the start of the transaction, as ``now()`` is.
    """

    type = UTCDateTime()
    name = "utc_now"
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _postgresql_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _sqlite_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    # Six digits, as SQLAlchemy writes them: the text is compared character by character.
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


@compiles(utc_now, "mysql")
@compiles(utc_now, "mariadb")
def _mariadb_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(utc_timestamp(6))"
