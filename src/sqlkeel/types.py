"""Column types that store a value exactly or refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Numeric
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from .errors import InexactNumber, NaiveDatetime, NotSupported

__all__ = ["Money", "UTCDateTime", "utc_now"]


class UTCDateTime(TypeDecorator[datetime]):
    """A moment: aware datetimes only, kept to the microsecond, UTC on the way back.

    ``timestamptz`` on PostgreSQL, ``DATETIME(6)`` in UTC on MariaDB, text in UTC on SQLite. The drivers would take a
    naive datetime and guess its zone; this type refuses it.

    Raises:
        NaiveDatetime: When a value without a time zone is bound.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep microseconds on MariaDB, whose plain DATETIME drops them."""
        if dialect.name in {"mysql", "mariadb"}:
            return dialect.type_descriptor(mysql.DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn an aware datetime into UTC, or refuse it."""
        if value is None:
            return None
        if value.tzinfo is None or value.utcoffset() is None:
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
        return int(amount.scaleb(self.scale)) if dialect.name == "sqlite" else amount

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the amount with exactly *scale* digits behind the point."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return Decimal(value).scaleb(-self.scale)
        return Decimal(value).quantize(Decimal(1).scaleb(-self.scale))

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison or sum as an amount, and a factor as a whole number."""
        if op in {operators.mul, operators.truediv, operators.floordiv, operators.mod}:
            return Integer() if isinstance(value, int) else Numeric(asdecimal=True)
        return self

    def _exact(self, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
            raise InexactNumber(f"{value!r} is a {type(value).__name__}, not an exact amount.")
        amount = Decimal(value)
        if not amount.is_finite():
            raise InexactNumber(f"{value!r} is not an amount.")
        # normalize() would round to the context's 28 digits; the exponent tells the digits as they are
        cents = amount.scaleb(self.scale)
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
