"""The values in a page cursor: as the database stores them, encoded as JSON, and checked when they come back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import cache
from math import isfinite, isnan
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Dialect,
    Double,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Time,
    Uuid,
)
from sqlalchemy.types import NullType, TypeDecorator, TypeEngine, UserDefinedType

from ..errors import InvalidCursor, NotSupported

__all__ = ["Stored", "bits_of", "engine_type", "read_values", "write_values"]


class Stored(TypeDecorator[Any]):
    """A column's values as the database stores them, read and bound without its type's conversions.

    A cursor needs exact values, and a conversion may lose some of that: SQLite's numbers are rounded to the column's
    scale, its text is parsed into times, and a decorator may fold case or truncate. SQLite returns numbers, text and
    bytes as they are stored; the values of other drivers are exact without the decorators.

    Args:
        kind: The type of the column.

    Raises:
        InvalidCursor: When a value is bound that cannot have been read from such a column.
    """

    impl = NullType
    cache_ok = True

    def __init__(self, kind: TypeEngine[Any]) -> None:
        super().__init__()
        self.kind = kind

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Omit decorators, and on SQLite every conversion."""
        if dialect.name == "sqlite":
            return NullType()
        inner = engine_type(self.kind, dialect)
        # Read as the other kind of number, a value would lose digits.
        if isinstance(inner, Float):
            return Double() if inner.asdecimal else inner
        if isinstance(inner, UserDefinedType) and dialect.name == "postgresql":
            return inner.adapt(_with_cast(type(inner)))  # type: ignore[arg-type]  # a class, and so hashable
        return Numeric(inner.precision, inner.scale) if isinstance(inner, Numeric) else inner

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """Accept only a value that the column can hold."""
        if dialect.name == "sqlite":
            allowed = _fits_sqlite(engine_type(self.kind, dialect), value)
        else:
            inner = self.load_dialect_impl(dialect).dialect_impl(dialect)
            value = _as_read(inner, value)
            allowed = _fits_server(inner, value, dialect)
        if not allowed:
            raise InvalidCursor("The cursor holds a value that its column cannot have.")
        if dialect.name == "postgresql" and isinstance(value, str) and _is_padded(self.kind):
            return value.rstrip(" ")  # padding is read, but would count when it is sent as text
        return value


@cache
def _with_cast(kind: type[UserDefinedType[Any]]) -> type[UserDefinedType[Any]]:
    """Return a subtype that casts its values: PostgreSQL cannot parse a value of a composite type without a cast."""
    return type(kind.__name__, (kind,), {"render_bind_cast": True})


def engine_type(kind: TypeEngine[Any], dialect: Dialect) -> TypeEngine[Any]:
    """Return the type that *kind* becomes on this database, without variants and decorators."""
    inner: TypeEngine[Any] = kind.dialect_impl(dialect)
    while isinstance(inner, TypeDecorator):
        inner = inner.impl_instance.dialect_impl(dialect)
    return inner


def _is_padded(kind: TypeEngine[Any]) -> bool:
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return isinstance(kind, CHAR)


def bits_of(inner: TypeEngine[Any]) -> int:
    """Return the widest integer, in bits, that can be sent to a column of this type without an error."""
    if getattr(inner, "unsigned", False):
        return 65
    # If values are cast to the column's type, a wider integer is an error; otherwise it just equals no value.
    if not inner.render_bind_cast or isinstance(inner, BigInteger):
        return 64
    return 16 if isinstance(inner, SmallInteger) else 32


def write_values(values: Sequence[Any]) -> bytes:
    """Return the values as JSON.

    Raises:
        NotSupported: For a value that has no JSON form here.
    """
    return json.dumps([_pack(value) for value in values], separators=(",", ":")).encode()


def read_values(body: bytes, count: int) -> list[Any]:
    """Decode *count* values.

    Raises:
        InvalidCursor: When *body* is not the output of `write_values` for that many values.
    """
    try:
        written = json.loads(body)
        values = [_unpack(value) for value in written] if type(written) is list else []
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError) as error:
        raise InvalidCursor("The cursor is damaged.") from error
    if len(values) != count:
        raise InvalidCursor("The cursor is damaged.")
    return values


_MICROSECOND: Final = timedelta(microseconds=1)
_PACK: Final[dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]]] = {
    datetime: ("t", datetime.isoformat, datetime.fromisoformat),
    date: ("d", date.isoformat, date.fromisoformat),
    time: ("c", time.isoformat, time.fromisoformat),
    UUID: ("u", str, UUID),
    Decimal: ("n", str, Decimal),
    timedelta: ("p", lambda value: str(value // _MICROSECOND), lambda text: int(text) * _MICROSECOND),
    bytes: ("b", bytes.hex, bytes.fromhex),
}
_UNPACK: Final = {tag: read for tag, _, read in _PACK.values()}
_PLAIN: Final = (type(None), bool, int, float, str)


def _pack(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    for kind, (tag, write, _) in _PACK.items():
        if isinstance(value, kind):
            return {tag: write(value)}
    raise NotSupported(f"A {type(value).__name__} cannot be stored in a cursor.", hint="Order by another column.")


def _unpack(value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if type(value) is not dict or len(value) != 1:
        raise TypeError("neither a plain value nor a tagged one")
    [(tag, text)] = value.items()
    if type(text) is not str:
        raise TypeError("a tagged value is a text")
    return _UNPACK[tag](text)


_SQLITE_CLASSES: Final[tuple[tuple[Any, tuple[type, ...]], ...]] = (
    ((Boolean, Integer), (int,)),
    (Numeric, (int, float)),
    (LargeBinary, (bytes, str)),
    ((String, Date, DateTime, Time, Interval, Uuid), (str,)),
)


def _fits_sqlite(inner: TypeEngine[Any], value: Any) -> bool:
    """Return whether a SQLite column of this declared type can hold the value."""
    classes = next(
        (classes for kinds, classes in _SQLITE_CLASSES if isinstance(inner, kinds)), (int, float, str, bytes)
    )
    if type(value) not in classes:
        return False
    return not isnan(value) if isinstance(value, float) else _is_sound(value, inner)


def _fits_server(inner: TypeEngine[Any], value: Any, dialect: Dialect) -> bool:
    """Return whether a column of this type can hold the value, so that the driver can send it."""
    is_postgresql = dialect.name == "postgresql"
    own = inner.__module__.startswith("sqlalchemy.dialects.postgresql") and inner.__visit_name__ != "OID"
    if own and _class_of(inner) is None and type(value) is not str:
        return False  # addresses, bit strings and text search vectors are read as plain strings
    if type(value) is not (_class_of(inner) or type(value)):
        return False
    match value:
        case datetime() | time():
            return _has_zone(value, is_postgresql and bool(getattr(inner, "timezone", False)))
        case Decimal():
            return _is_number(value, wide=is_postgresql)
        case float():
            return is_postgresql or isfinite(value)
        case str() if isinstance(inner, Uuid):
            return _is_uuid(value)
        case str() if is_postgresql and "\0" in value:
            return False
    return _is_sound(value, inner)


def _as_read(inner: TypeEngine[Any], value: Any) -> Any:
    """Return a string as an instance of the str subclass that the driver returns, for example for BIT."""
    kind = _class_of(inner)
    if type(value) is not str or kind is None or kind is str or not issubclass(kind, str):
        return value
    try:
        return kind(value)
    except ValueError:
        return value


def _class_of(inner: TypeEngine[Any]) -> type[Any] | None:
    try:
        kind = inner.python_type
    except NotImplementedError:
        return None
    return None if kind is object else kind  # SQLAlchemy does not know it; the value is sent unchanged


def _is_sound(value: Any, inner: TypeEngine[Any]) -> bool:
    """Return whether the driver can send the value: an integer in range, or a string without surrogates."""
    if inner.__visit_name__ == "OID":  # unsigned, and not an Integer; compared by name to avoid importing the dialect
        return type(value) is int and 0 <= value < 1 << 32
    if isinstance(value, int):
        half = 1 << (bits_of(inner) - 1)
        return -half <= value < half
    if isinstance(value, str):
        return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)
    return True


def _has_zone(value: datetime | time, zoned: bool) -> bool:
    if (value.tzinfo is not None) is not zoned:
        return False
    try:
        if isinstance(value, datetime) and zoned:
            value.astimezone(UTC)
    except OverflowError:
        return False
    return True


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _is_number(value: Decimal, *, wide: bool) -> bool:
    """Return whether the database supports such a number: up to the manuals' limits, and NaN only on PostgreSQL."""
    if not value.is_finite():
        return wide and not value.is_snan()
    exponent: Any = value.as_tuple().exponent
    return bool(value.adjusted() < (131_072 if wide else 65) and exponent >= (-16_383 if wide else -38))
