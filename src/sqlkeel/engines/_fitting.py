"""Find out after an error which value does not fit its column, if neither the database nor the driver tells."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Cast,
    Column,
    Date,
    DateTime,
    Dialect,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Time,
    TypeCoerce,
    Uuid,
)
from sqlalchemy.engine import ExecutionContext
from sqlalchemy.engine.interfaces import BindTyping
from sqlalchemy.sql import operators, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, ExpressionClauseList, False_, True_
from sqlalchemy.types import NullType, TypeEngine

from ..types._stored import engine_type

__all__ = ["execution_of", "fits", "only_unchecked_column", "unfit_column"]

_OTHER_CLASSES: Final = (Boolean, DateTime, Date, Time, Interval)
_FAMILIES: Final[tuple[tuple[type[Any], ...], ...]] = (
    (Integer, Numeric, Float),
    (String,),
    (DateTime, Date),
    (Uuid,),
    (JSON,),
    (ARRAY,),
)
"""The types that a server compares with each other if it knows the types of both; others only with themselves."""
_WIDER: Final[Mapping[type[Any], Any]] = {datetime: date, time: (time, datetime)}
"""Values of other types that a column accepts: a date for a datetime, and a datetime for a time."""
_LIKE: Final[Mapping[type[Any], type[Any]]] = {time: timedelta}
"""A family that SQLAlchemy lacks, because each database has its own type for durations."""
_COMPARING: Final = frozenset(
    {
        operators.eq,
        operators.ne,
        operators.lt,
        operators.le,
        operators.gt,
        operators.ge,
        operators.in_op,
        operators.not_in_op,
        operators.between_op,
        operators.not_between_op,
        operators.is_distinct_from,
        operators.is_not_distinct_from,
        operators.like_op,
        operators.not_like_op,
        operators.ilike_op,
        operators.not_ilike_op,
    }
)
"""Operators whose operands have the same family: not adding a duration to a datetime, or a lookup in JSON."""
_CONSTANTS: Final[Mapping[type[Any], bool]] = {True_: True, False_: False}
"""Expressions that SQLAlchemy renders as constants instead of binding them."""
_PLAIN: Final = (bool, int, float, complex, Decimal, Mapping, bytes, date, time, timedelta, UUID)
_OF_PYTHON: Final = sys.stdlib_module_names - {"ipaddress"}
"""The modules whose objects never fit a PostgreSQL-specific type: functions, ranges, patterns."""
_TAKEN: Final[Mapping[str, tuple[type[Any], ...]]] = {"HSTORE": (dict,), "MONEY": (int, Decimal), "OID": (int,)}
"""PostgreSQL-specific types that accept other values than a string or their own objects."""
_DIMENSIONS: Final = 6
"""The maximum number of dimensions of a PostgreSQL array."""


def unfit_column(execution: Any, dialect: Dialect, *, refusal: Exception | None = None) -> Column[Any] | None:
    """Return the column of a value in the statement that does not fit, or whose type raised *refusal*."""
    compiled = getattr(execution, "compiled", None)
    rows = getattr(execution, "compiled_parameters", None) or ()
    if not isinstance(compiled, SQLCompiler):  # SQL text, or DDL, which has no parameters
        return None
    for strict in (False, True):
        for name, bind in compiled.binds.items():
            values = [one for row in rows for one in _values_of(name, bind, row)]
            if not all(fits(one, bind.type, dialect, strict=strict, refusal=refusal) for one in values):
                return _column_of(compiled, name, bind)
    return None if refusal is not None else _column_of_another_type(compiled, rows, dialect)


def only_unchecked_column(execution: Any, dialect: Dialect) -> Column[Any] | None:
    """Return the only column with values that we cannot judge, of a database-specific type.

    For a value that the server has refused if all others fit.
    """
    compiled = getattr(execution, "compiled", None)
    if not isinstance(compiled, SQLCompiler):
        return None
    rows = getattr(execution, "compiled_parameters", None) or ()
    unchecked = {
        _column_of(compiled, name, bind)
        for name, bind in compiled.binds.items()
        if _check_of(engine_type(_item_of(bind.type), dialect)) is None
        and any(one is not None for row in rows for one in _values_of(name, bind, row))
    }
    return unchecked.pop() if len(unchecked) == 1 else None


def _item_of(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return kind.item_type if isinstance(kind, ARRAY) else kind


def _check_of(kind: TypeEngine[Any]) -> Callable[[Any, Any], bool] | None:
    """Return the check for values of this type; ``None`` if there is none."""
    return next((check for kinds, check in _CHECKS if isinstance(kind, kinds)), None)


def execution_of(error: BaseException) -> Any:
    """Return the execution in which a type raised *error*, before SQLAlchemy has attached it."""
    trace: TracebackType | None = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        if isinstance(owner, ExecutionContext):
            return owner
        trace = trace.tb_next
    return None


def _values_of(name: str, bind: BindParameter[Any], row: Mapping[str, Any]) -> list[Any]:
    """Return the values of a parameter; for a list in IN, each member has its own numbered parameter."""
    if bind.expanding and name not in row:
        return [value for other, value in row.items() if other.startswith(f"{name}_")]
    return [row[name]] if name in row else []


def _column_of(compiled: Any, name: str, bind: BindParameter[Any]) -> Column[Any] | None:
    """Return the column that a parameter is assigned to or compared with."""
    compared = list(_comparisons(compiled))
    for column, other in compared:
        if isinstance(other, BindParameter) and other.key == bind.key:
            return column
    columns = getattr(getattr(compiled.statement, "table", None), "columns", {})
    if name in columns:
        return cast("Column[Any]", columns[name])
    # In an expression the parameter has the column's name and a number, if it got the column's type.
    named, _, _ = name.rpartition("_")
    near = (*columns, *(column for column, _ in compared))
    return next((column for column in near if column.key == named and column.type is bind.type), None)


def _column_of_another_type(compiled: Any, rows: Any, dialect: Dialect) -> Column[Any] | None:
    """Return the column that is compared with a value of another type, which SQLAlchemy binds unchanged."""
    for operator, column, other in _operations(compiled):
        values = _values_beside(column, other, compiled, rows)
        if _is_told_types(dialect) and NullType not in (type(other.type), type(column.type)):
            fit = (
                operator not in _COMPARING
                or _are_like(other.type, column.type, dialect)
                or all(one is None for one in values)
            )
        else:
            fit = all(fits(one, column.type, dialect, strict=True) for one in values)
        if not fit:
            return column
    return None


def _values_beside(column: Column[Any], other: Any, compiled: Any, rows: Any) -> list[Any]:
    """Return the values compared with the column that are sent or rendered with another type."""
    if isinstance(other, BindParameter) and other.type is not column.type:
        name = compiled.bind_names.get(other, other.key)
        return [one for row in rows for one in _values_of(name, other, row)]
    return [_CONSTANTS[type(other)]] if type(other) in _CONSTANTS else []


def _is_told_types(dialect: Dialect) -> bool:
    """Return whether statements tell the server the type of each value, which then compares types, not values."""
    return dialect.bind_typing is BindTyping.RENDER_CASTS


def _are_like(one: TypeEngine[Any], other: TypeEngine[Any], dialect: Dialect) -> bool:
    return _family(engine_type(one, dialect)) == _family(engine_type(other, dialect))


def _family(kind: TypeEngine[Any]) -> object:
    found = next((family for family in _FAMILIES if isinstance(kind, family)), None)
    python_type = _python_type(kind)
    return found or _LIKE.get(python_type) or (type(kind) if python_type is object else python_type)


def _python_type(kind: TypeEngine[Any]) -> type[Any]:
    try:
        return kind.python_type
    except NotImplementedError:  # types of other libraries may not define it
        return object


def _comparisons(compiled: Any) -> Iterator[tuple[Column[Any], Any]]:
    """Yield each column that is compared with something, and its operand."""
    return ((column, other) for _, column, other in _operations(compiled))


def _operations(compiled: Any) -> Iterator[tuple[Any, Column[Any], Any]]:
    """Yield the operator, a column on one side, and each operand on the other side."""
    for node in visitors.iterate(compiled.statement):
        if isinstance(node, BinaryExpression):
            for one, other in ((node.left, node.right), (node.right, node.left)):
                column = one.clause if isinstance(one, TypeCoerce) else one
                if isinstance(column, Column):
                    others = other.clauses if isinstance(other, ExpressionClauseList) else [other]
                    yield from (
                        (node.operator, column, each.clause if isinstance(each, Cast) else each) for each in others
                    )


def fits(
    value: Any, kind: TypeEngine[Any], dialect: Dialect, *, strict: bool = False, refusal: Exception | None = None
) -> bool:
    """Return whether a column of this type can hold *value*; *strict* rejects NaN, infinity and bools as numbers.

    It decides nothing: one of several values has been refused, and this finds out which. With a *refusal* that a type
    has raised, it looks for a value for which the type raises the same again.
    """
    if value is None:
        return True
    try:
        convert = kind.dialect_impl(dialect).bind_processor(dialect)
        bound = value if convert is None else convert(value)
    except Exception as error:  # noqa: BLE001 - a type may raise any error for a value that it does not accept
        return refusal is not None and (type(error), error.args) != (type(refusal), refusal.args)
    if refusal is not None:
        return True
    found = engine_type(kind, dialect)
    if bound is None:
        return True
    if isinstance(found, Enum):
        return not strict or not isinstance(bound, str) or bound in found.enums
    if isinstance(kind, ARRAY):
        return _fits_array(value, kind, dialect, strict=strict)
    if isinstance(found, _OTHER_CLASSES) or _python_type(found) is timedelta:
        if convert is not None and (bound is not value or isinstance(found, Boolean)):
            return True
        taken = _WIDER.get(found.python_type, found.python_type)
        return isinstance(bound, taken) and not (strict and convert is None and _is_aware(bound, found))
    check = _check_of(found)
    if check is None:
        return not strict or not _is_foreign(bound, found)
    return check(bound, found) and not (strict and _is_no_number(bound, found))


def _fits_array(value: Any, kind: ARRAY[Any], dialect: Dialect, *, strict: bool) -> bool:
    if not isinstance(value, Collection) or isinstance(value, (str, bytes, Mapping)):
        return False
    inner = (one for one in value if not isinstance(one, (list, tuple)))
    nested = (one for one in value if isinstance(one, (list, tuple)))
    if strict and not _has_shape(value):
        return False
    return all(fits(one, kind.item_type, dialect, strict=strict) for one in inner) and all(
        _fits_array(one, kind, dialect, strict=strict) for one in nested
    )


def _has_shape(value: Collection[Any]) -> bool:
    """Return whether nested lists are rectangular, with at most the dimensions that PostgreSQL allows."""
    level = list(value)
    for _ in range(_DIMENSIONS):
        lengths = {len(one) if isinstance(one, (list, tuple)) else None for one in level}
        if lengths <= {None}:
            return True
        if len(lengths) > 1:
            return False
        level = [each for one in level for each in one]
    return False


def _is_foreign(value: Any, kind: TypeEngine[Any]) -> bool:
    """Return whether it is a number, a list or a function for an address, a range or a bit string."""
    if not kind.__module__.startswith("sqlalchemy.dialects.postgresql"):
        return False  # a type of another library may accept anything
    if isinstance(value, (list, tuple, set)):
        return not value or any(isinstance(one, (str, list, *_PLAIN, type(None))) for one in value)
    if isinstance(value, str):
        return False
    if type(value) in _TAKEN.get(kind.__visit_name__, ()):
        return type(value) is int and abs(value) >= 2**63
    return isinstance(value, _PLAIN) or type(value).__module__.partition(".")[0] in _OF_PYTHON


def _is_aware(value: Any, kind: TypeEngine[Any]) -> bool:
    """Return whether it is an aware datetime for a column without a zone, which asyncpg refuses."""
    return isinstance(kind, DateTime) and not kind.timezone and getattr(value, "tzinfo", None) is not None


def _is_no_number(value: Any, kind: TypeEngine[Any]) -> bool:
    return _is_not_finite(value) or (isinstance(value, bool) and isinstance(kind, (Integer, Numeric, Float)))


def _is_not_finite(value: Any) -> bool:
    if isinstance(value, Decimal):
        return not value.is_finite()  # math.isfinite() raises an error for a signalling NaN
    return isinstance(value, float) and not math.isfinite(value)


def _fits_text(value: Any, kind: Any) -> bool:
    return isinstance(value, str) and len(value) <= (kind.length or math.inf) and _is_text(value)


def _fits_whole(value: Any, kind: Any) -> bool:
    bits = 64 if isinstance(kind, BigInteger) else 16 if isinstance(kind, SmallInteger) else 32
    return isinstance(value, int) and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def _fits_number(value: Any, kind: Any) -> bool:
    if not isinstance(value, (int, float, Decimal)):
        return False
    if isinstance(kind, Float):
        return not isinstance(value, int) or abs(value) < 2**1024
    digits = math.inf if kind.precision is None else float(kind.precision) - float(kind.scale or 0)
    return _is_not_finite(value) or digits > 1000 or abs(value) < 10.0**digits


def _fits_bytes(value: Any, kind: Any) -> bool:
    return isinstance(value, (bytes, bytearray, memoryview))


def _fits_uuid(value: Any, kind: Any) -> bool:
    try:
        return isinstance(value, UUID) or UUID(value) is not None
    except (ValueError, AttributeError, TypeError):
        return False


def _fits_document(value: Any, kind: Any) -> bool:
    try:
        given = json.loads(value) if isinstance(value, str) else getattr(value, "obj", value)
        written = json.dumps(given, allow_nan=False, ensure_ascii=False)
    except (ValueError, TypeError, RecursionError):
        return False
    return "\\u0000" not in written and _is_text(written)


def _is_text(value: str) -> bool:
    try:
        return b"\0" not in value.encode()
    except UnicodeEncodeError:
        return False


_CHECKS: Final = (
    (String, _fits_text),
    (Integer, _fits_whole),
    ((Numeric, Float), _fits_number),
    (LargeBinary, _fits_bytes),
    (Uuid, _fits_uuid),
    (JSON, _fits_document),
)
