"""Column types that store a value exactly or refuse it."""

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
"""Never rounds, whatever the thread's own context does."""

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
    """A moment: aware datetimes only, kept to the microsecond, UTC on the way back.

    ``timestamptz`` on PostgreSQL, ``DATETIME(6)`` in UTC on MariaDB, text in UTC on SQLite. The drivers would take a
    naive datetime and guess its zone; this type refuses it.

    Raises:
        NaiveDatetime: When a value without a time zone is bound.
        InvalidValue: When something other than a datetime is bound; arithmetic with moments belongs into Python.
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
            hint = (
                "datetime.fromisoformat(text), with the zone in the text: 2026-07-01T09:30:00+02:00."
                if isinstance(value, str)
                else "datetime.now(timezone.utc) - timedelta(days=30): compute the moment before the statement."
            )
            raise InvalidValue(f"A {type(value).__name__} is no moment.", hint=hint)
        if value.utcoffset() is None:
            raise NaiveDatetime(f"{shown(value)} has no time zone.")
        moment = value.astimezone(UTC)
        return moment if dialect.name == "postgresql" else moment.replace(tzinfo=None)

    def process_result_value(self, value: datetime | str | None, dialect: Dialect) -> datetime | None:
        """Return the moment in UTC; where a column and a value meet, in COALESCE, MariaDB makes text of both."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if isinstance(value, str) else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


class ExactNumeric(TypeDecorator[Decimal]):
    """A decimal number of fixed scale: no float, no NaN, no silent rounding, on every database.

    ``NUMERIC(precision, scale)`` on PostgreSQL and MariaDB. SQLite has no decimals, so the number is kept there as a
    whole number of its smallest unit (thousandths for ``scale=3``), and sums, comparisons and order in SQL stay exact.
    Multiply with whole numbers in SQL, with anything else in Python. ``avg()`` is refused there: sum and count instead.

    Args:
        precision: All digits, at most 18 where SQLite is used.
        scale: Digits behind the point.

    Raises:
        InexactNumber: When a float, NaN, infinity or a value with more digits than fit is bound.
        NotSupported: In an expression whose result would be rounded, or mean something else on SQLite.
    """

    impl = Numeric
    cache_ok = True

    class Comparator(TypeDecorator.Comparator[Decimal], Numeric.Comparator[Decimal]):
        """Refuses to meet a column of another scale; values are checked when they are bound."""

        def operate(self, op: Any, *other: Any, **kwargs: Any) -> ColumnElement[Any]:
            """Check the columns on the other side."""
            kind = cast("ExactNumeric", self.type)
            # An equality may be asked for and never sent: SQLAlchemy looks for columns in lists of others.
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
        """Use integers where there are no decimals."""
        if dialect.name == "sqlite":
            if self.precision > 18:
                raise NotSupported(
                    f"{type(self).__name__}(precision={self.precision}) does not fit SQLite's 64-bit integers.",
                    hint="Use a precision of at most 18.",
                )
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(Numeric(self.precision, self.scale))

    def process_bind_param(self, value: Decimal | int | None, dialect: Dialect) -> Any:
        """Return the exact number in the database's own form, or refuse it."""
        if value is None:
            return None
        number = self._exact(value)
        return int(number.scaleb(self.scale, _EXACT)) if dialect.name == "sqlite" else number

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        """Return the number with exactly *scale* digits behind the point."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return Decimal(value).scaleb(-self.scale, _EXACT)
        return Decimal(value).quantize(Decimal(1).scaleb(-self.scale), context=_EXACT)

    def coerce_compared_value(self, op: Any, value: Any) -> TypeEngine[Any]:
        """Check the other side of a comparison or sum as such a number, and a factor as a whole number."""
        if op is operators.mul and isinstance(value, int):
            return Integer()
        if op in _ROUNDING:
            raise _rounded(shown(value))
        return self

    def refusal_between(self, op: Any, given: Any) -> NotSupported | None:
        """Say why the number does not meet another one in arithmetic or a comparison, on either side of it."""
        return self.refusal_of(op, given) if op in _OF_ONE_UNIT | _ROUNDING else None

    def refusal_of(self, op: Any, given: Any) -> NotSupported | None:
        """Say why a number does not meet another operand, on whichever side of the operator it stands."""
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
            raise InexactNumber(f"{shown(value)} has more than {self.scale} digits behind the point.")
        if units.copy_abs() >= 10**self.precision:
            raise InexactNumber(f"{shown(value)} has more than {self.precision} digits.")
        return number


class Money(ExactNumeric):
    """An exact amount, ``NUMERIC(18, 2)`` unless told otherwise; ``Mapped[Decimal]`` is this.

    An `ExactNumeric` whose name says what it holds; keep the currency in a column of its own.
    """

    cache_ok = True


def scale_of(operand: Any) -> int | None:
    """Return the digits behind the point of an exact number, ``None`` of anything else."""
    kind = getattr(operand, "type", None)
    return kind.scale if isinstance(kind, ExactNumeric) else None


def _operands(op: Any, given: Any) -> Any:
    """Return what stands on the other side, for IN each of them."""
    if op not in _MEMBERSHIP:
        return given
    if isinstance(given[0], SelectBase):
        return (given[0].scalar_subquery(),)
    return given[0] if isinstance(given[0], (list, tuple, set, frozenset)) else given


def _of_other_unit(operand: str, scale: int) -> NotSupported:
    return NotSupported(
        f"{operand} is no number of {scale} digits behind the point: on SQLite the two are whole numbers of different "
        "units.",
        hint="Give both columns the same scale, or compute in Python.",
    )


def _rounded(operand: str) -> NotSupported:
    return NotSupported(
        f"A number is not multiplied with or divided by {operand} in SQL: the result would be rounded.",
        hint="Load the number, and compute and round it in Python.",
    )


def meaningless(operation: str, *, hint: str = "Load the number, and compute in Python.") -> NotSupported:
    """Return the refusal of an operation that SQLite would do with counts of smallest units."""
    return NotSupported(f"On SQLite {operation} would take a count of smallest units for the number.", hint=hint)


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
