"""Column types for points in time and decimal numbers, which store a value exactly or refuse it."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import MAX_EMAX, MAX_PREC, MIN_EMIN, Context, Decimal
from typing import Any, Final, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Dialect,
    Integer,
    Numeric,
    SelectBase,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine

from ..errors import InexactNumber, InvalidValue, NaiveDatetime, NotSupported, shown

__all__ = ["ExactNumeric", "Money", "UTCDateTime", "meaningless", "scale_of", "utc_now"]

_EXACT: Final = Context(prec=MAX_PREC, Emax=MAX_EMAX, Emin=MIN_EMIN)
"""A decimal context that never rounds, whatever the current thread's context does."""

_ROUNDING: Final = frozenset({operators.mul, operators.truediv, operators.floordiv, operators.mod})
_OF_ONE_UNIT: Final = frozenset(
    {
        operators.add, operators.sub, operators.between_op, operators.not_between_op, operators.eq, operators.ne,
        operators.lt, operators.le, operators.gt, operators.ge, operators.is_distinct_from,
        operators.is_not_distinct_from,
    }
)  # fmt: skip
_EQUALITY: Final = frozenset({operators.eq, operators.ne})
_MEMBERSHIP: Final = frozenset({operators.in_op, operators.not_in_op})
_UNCHECKED: Final = frozenset({operators.is_, operators.is_not})


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time: accepts only aware datetimes, keeps microseconds, and returns UTC.

    ``timestamptz`` on PostgreSQL, ``DATETIME(6)`` in UTC on MariaDB, text in UTC on SQLite. The drivers would accept a
    naive datetime and guess its zone; this type refuses it.

    Raises:
        NaiveDatetime: When a value without a time zone is bound.
        InvalidValue: When anything other than a datetime is bound. Do arithmetic with datetimes in Python.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Keep microseconds on MariaDB, whose plain DATETIME drops them."""
        if dialect.name in {"mysql", "mariadb"}:
            # Imported here, so that an application without MariaDB does not load its dialect.
            from sqlalchemy.dialects.mysql import DATETIME

            return dialect.type_descriptor(DATETIME(fsp=6))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert an aware datetime to UTC; refuse a naive one."""
        if value is None:
            return None
        if not isinstance(value, datetime):
            hint = (
                "datetime.fromisoformat(text), with the zone in the text: 2026-07-01T09:30:00+02:00."
                if isinstance(value, str)
                else "Compute it before the statement: datetime.now(timezone.utc) - timedelta(days=30)."
            )
            raise InvalidValue(f"A {type(value).__name__} is not a datetime.", hint=hint)
        if value.utcoffset() is None:
            raise NaiveDatetime(f"{shown(value)} has no time zone.")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:
        """Return the datetime in UTC; MariaDB returns text when a column and a value meet, as in COALESCE."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class ExactNumeric(TypeDecorator[Decimal]):
    """A decimal number of fixed scale: no float, no NaN and no silent rounding, on every database.

    ``NUMERIC(precision, scale)`` on PostgreSQL and MariaDB. SQLite has no decimals, so it stores an integer count of
    the smallest unit (thousandths for ``scale=3``); sums, comparisons and ORDER BY in SQL stay exact. In SQL multiply
    only by integers, and do other multiplications in Python. ``avg()`` is refused on SQLite: use sum and count instead.

    Args:
        precision: The number of digits, at most 18 if the application uses SQLite.
        scale: The number of decimal places.

    Raises:
        InexactNumber: When a float, NaN, infinity or a value with too many digits is bound.
        NotSupported: In an expression whose result would be rounded, or would mean something else on SQLite.
    """

    impl = Numeric
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[Decimal], Numeric.Comparator[Decimal]):
        """Refuses columns of another scale as operands; values are checked when they are bound."""

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            """Check the columns among the other operands."""
            kind = cast("ExactNumeric", self.type)
            # Equality is not checked here: SQLAlchemy also uses == to look for columns in lists, without sending it.
            refusals = (
                () if op in _EQUALITY else filter(None, (kind.refusal_of(op, one) for one in _operands(op, other)))
            )
            for refusal in refusals:
                raise refusal
            result: ColumnElement[Any] = super().operate(op, *other, **kwargs)
            return result

    comparator_factory: Any = Comparator

    def __init__(self, precision: int = 18, scale: int = 2) -> None:
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Use integers on a database without decimals."""
        if dialect.name == "sqlite":
            if self.precision > 18:
                raise NotSupported(
                    f"{type(self).__name__}(precision={self.precision}) does not fit SQLite's 64-bit integers.",
                    hint="Use a precision of at most 18.",
                )
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(self.precision, self.scale))

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> Any:
        """Return the number in the database's form, or refuse it if it is not exact."""
        if value is None:
            return None
        number = self._exact(value)
        return int(number.scaleb(self.scale, _EXACT)) if dialect.name == "sqlite" else number

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the number with exactly *scale* decimal places."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return Decimal(value).scaleb(-self.scale, _EXACT)
        return Decimal(value).quantize(Decimal(1).scaleb(-self.scale), context=_EXACT)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Bind the other operand of a comparison or sum as such a number, and a factor as an integer."""
        if op is operators.mul and isinstance(value, int):
            return Integer()
        if op in _ROUNDING:
            raise _rounded(shown(value))
        return self

    def refusal_between(self, op: Any, given: Any) -> NotSupported | None:
        """Return the error if arithmetic or a comparison with another exact number is not possible."""
        return self.refusal_of(op, given) if op in _OF_ONE_UNIT | _ROUNDING else None

    def refusal_of(self, op: Any, given: Any) -> NotSupported | None:
        """Return the error if an operation with another operand, on either side, is not possible."""
        if op not in _OF_ONE_UNIT | _ROUNDING | _MEMBERSHIP | _UNCHECKED:
            return meaningless(getattr(op, "opstring", None) or op.__name__.removesuffix("_op"))
        other = given.__clause_element__() if hasattr(given, "__clause_element__") else given
        if not isinstance(other, ColumnElement) or isinstance(other.type, NullType):
            return None
        if op in _ROUNDING and not (op is operators.mul and isinstance(other.type, Integer)):
            return _rounded(str(other))
        if op in _OF_ONE_UNIT | _MEMBERSHIP and scale_of(other) != self.scale:
            return _of_other_unit(str(other), self.scale)
        return None

    def _exact(self, value: object) -> Decimal:
        if isinstance(value, bool) or not isinstance(value, (Decimal, int)):
            raise InexactNumber(f"{shown(value)} is a {type(value).__name__}, not an exact number.")
        number = Decimal(value)
        if not number.is_finite():
            raise InexactNumber(f"{shown(value)} is not a number.")
        units = number.scaleb(self.scale, _EXACT)
        if units != units.to_integral_value():
            raise InexactNumber(f"{shown(value)} has more than {self.scale} decimal places.")
        if units.copy_abs() >= 10**self.precision:
            raise InexactNumber(f"{shown(value)} has more than {self.precision} digits.")
        return number


class Money(ExactNumeric):
    """An exact amount of money, ``NUMERIC(18, 2)`` by default; ``Mapped[Decimal]`` uses it.

    It is an `ExactNumeric` with a telling name. Store the currency in another column.
    """

    cache_ok = True


def scale_of(operand: Any) -> int | None:
    """Return the decimal places of an exact number; ``None`` for anything else."""
    kind = getattr(operand, "type", None)
    return kind.scale if isinstance(kind, ExactNumeric) else None


def _operands(op: Any, given: Any) -> Any:
    """Return the other operands: for IN each of its values."""
    if op not in _MEMBERSHIP:
        return given
    if isinstance(given[0], SelectBase):
        return (given[0].scalar_subquery(),)
    return given[0] if isinstance(given[0], (list, tuple, set, frozenset)) else given


def _of_other_unit(operand: str, scale: int) -> NotSupported:
    return NotSupported(
        f"{operand} does not have {scale} decimal places: on SQLite the two are integers of different units.",
        hint="Give both columns the same scale, or compute in Python.",
    )


def _rounded(operand: str) -> NotSupported:
    return NotSupported(
        f"A number cannot be multiplied or divided by {operand} in SQL: the result would be rounded.",
        hint="Load the number, and compute and round it in Python.",
    )


def meaningless(operation: str, *, hint: str = "Load the number, and compute in Python.") -> NotSupported:
    """Return the error for an operation that SQLite would apply to the counts of smallest units."""
    return NotSupported(
        f"On SQLite {operation} would use the count of smallest units instead of the number.", hint=hint
    )


class utc_now(FunctionElement[datetime]):  # noqa: N801 - reads as a SQL function
    """The server's clock in UTC, to the microsecond (millisecond on SQLite); constant within a statement.

    Use it for ``server_default`` and ``onupdate``, so that all writers share one clock. On PostgreSQL it is the start
    of the transaction, like ``now()``.
    """

    type = UTCDateTime()
    name = "utc_now"
    inherit_cache = True


@compiles(utc_now, "postgresql")
def _postgresql_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "now()"


@compiles(utc_now, "sqlite")
def _sqlite_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    # Six digits, as SQLAlchemy writes them, because SQLite compares the text character by character.
    return "(strftime('%Y-%m-%d %H:%M:%f000', 'now'))"


@compiles(utc_now, "mysql")
@compiles(utc_now, "mariadb")
def _mariadb_now(element: utc_now, compiler: SQLCompiler, **kw: Any) -> str:
    return "(utc_timestamp(6))"
