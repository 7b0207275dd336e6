"""Primary keys as callers pass them: their shape, their types, and the row that each identifies."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID
from weakref import WeakKeyDictionary

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    CompoundSelect,
    Dialect,
    Enum,
    Integer,
    Select,
    String,
    Uuid,
    and_,
    bindparam,
    false,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.elements import Grouping
from sqlalchemy.types import TypeDecorator, TypeEngine

from ..errors import InvalidKey, shown
from ..types._stored import bits_of, engine_type
from ._public_ids import PublicID

__all__ = ["SINGLE", "RowKeys", "among", "are_exact", "keys_of", "pairs", "refusal_of_shape", "refusal_of_unhashable"]

SINGLE: Final = (str, bytes, bytearray, memoryview, Mapping)
"""Iterables that count as one key or one row, not as a list of them."""
_EXACT: Final = {int, UUID}
"""Types whose values Python and every database consider equal in the same cases."""
_ASKED_AT_ONCE: Final = 100
"""SQLite takes 500 parts of a UNION, and MariaDB is slow with more."""
_DIGITS: Final = 20
"""How long the longest number of 64 bits is, with its sign."""
_NESTED: Final = 100
"""SQLite allows expressions up to a depth of 1,000, and each OR adds one."""


def among(columns: Sequence[Any], identities: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Return the condition that a row has one of these keys, each value bound with its column's type."""
    if len(columns) == 1:
        # Typed: SQLAlchemy takes a list's type from its first value, and PostgreSQL would truncate 1.5 after a 1.
        values = [identity[0] for identity in identities]
        given = bindparam(None, values, type_=columns[0].type, unique=True, expanding=True)
        one: ColumnElement[bool] = columns[0].in_(given)
        return one
    if not any(_calls_sql(column.type) or _is_array(column.type) for column in columns):
        return tuple_(*columns).in_(identities)
    # Not a list of tuples: SQLAlchemy omits a type's SQL functions and casts there. psycopg then sends small numbers as
    # smallint[], which PostgreSQL does not compare with integer[].
    # psycopg sends small numbers as smallint[], which PostgreSQL does not compare with integer[].
    each = [and_(*_equal(columns, identity)) for identity in identities]
    return or_(false(), *(Grouping(or_(*each[n : n + _NESTED])) for n in range(0, len(each), _NESTED)))


def pairs(columns: Sequence[Any], identities: Sequence[tuple[Any, ...]]) -> Iterator[Select[Any] | CompoundSelect[Any]]:
    """Yield statements that return, for each key with a row, the key's position and the row's own key."""
    for start in range(0, len(identities), _ASKED_AT_ONCE):
        places = range(start, min(start + _ASKED_AT_ONCE, len(identities)))
        asked = [
            select(literal_column(str(place)), *columns).where(*_equal(columns, identities[place])) for place in places
        ]
        yield asked[0] if len(asked) == 1 else union_all(*asked)


def _equal(columns: Sequence[Any], identity: tuple[Any, ...]) -> list[ColumnElement[bool]]:
    return [
        column == bindparam(None, value, type_=column.type, unique=True)
        for column, value in zip(columns, identity, strict=True)
    ]


def _calls_sql(kind: TypeEngine[Any]) -> bool:
    return kind.bind_expression(bindparam("value")) is not None


def _is_array(kind: TypeEngine[Any]) -> bool:
    while isinstance(kind, TypeDecorator):
        kind = kind.impl_instance
    return isinstance(kind, ARRAY)


def are_exact(identities: Iterable[tuple[Any, ...]]) -> bool:
    """Return whether the database considers two of these keys equal only if Python does."""
    return {type(value) for identity in identities for value in identity} <= _EXACT


class RowKeys:
    """The primary keys of one model's rows.

    A value that cannot be compared with the column is refused; databases would find nothing, raise an error, or read
    ``"3abc"`` as 3. A string counts as a UUID if it can be parsed as one. Values that only the database considers
    equal, such as strings in another case, are left to the database.

    Args:
        mapper: The model's mapper.
        dialect: The database's dialect, for the range of its integers.
    """

    def __init__(self, mapper: Mapper[Any], dialect: Dialect) -> None:
        self.mapper = mapper
        self.columns = mapper.primary_key
        self.name = mapper.class_.__name__
        self._parts = [_Part(self.name, column, dialect) for column in self.columns]
        self._is_counted = [part.kind is int for part in self._parts] == [True]
        self.are_exact: Final = all(part.kind in _EXACT for part in self._parts)
        """Whether the database considers two keys of this model equal only if Python does."""

    def identity(self, key: Any) -> tuple[Any, ...] | None:
        """Return the values of one key in the order of the columns; ``None`` if no row can have it.

        Raises:
            InvalidKey: When the shape of the key, or the type of a value, does not fit the model.
        """
        values = [part.read(value) for part, value in zip(self._parts, self._split(key), strict=True)]
        return None if any(value is _ABSENT for value in values) else tuple(values)

    def identities(self, keys: Iterable[Any]) -> list[tuple[Any, ...]]:
        """Return the values of many keys, without keys that no row can have.

        Raises:
            InvalidKey: As `identity` does.
        """
        if not isinstance(keys, Iterable) or isinstance(keys, SINGLE):
            raise InvalidKey(f"Keys of {self.name} have to be a list, not {shown(keys)}.", hint=_as_list(keys))
        given = list(keys)
        if self._is_counted and set(map(type, given)) <= {int}:
            part = self._parts[0]
            if not given or (part.holds(min(given)) and part.holds(max(given))):
                return list(zip(given, strict=False))
        found = map(self.identity, given)
        return [identity for identity in found if identity is not None]

    def pairs(self, identities: Sequence[tuple[Any, ...]]) -> Iterator[Select[Any] | CompoundSelect[Any]]:
        """Yield statements that return, for each key with a row, the key's position and the row's own key."""
        yield from pairs(self.columns, identities)

    def equal(self, identity: tuple[Any, ...]) -> list[ColumnElement[bool]]:
        """Return the conditions that a row has this key, each value bound with its column's type."""
        return _equal(self.columns, identity)

    def _split(self, key: Any) -> tuple[Any, ...]:
        if isinstance(key, Mapping):
            names = self._names()
            if set(key) != set(names):
                raise InvalidKey(f"The key of {self.name} is {', '.join(names)}, not {', '.join(map(str, key))}.")
            return tuple(key[name] for name in names)
        given = key if isinstance(key, tuple) else (key,)
        if len(given) != len(self.columns):
            message = f"The key of {self.name} has {len(self.columns)} columns, not {len(given)}."
            raise InvalidKey(message, hint=f"Its key is {', '.join(self._names())}.")
        return given

    def _names(self) -> list[str]:
        return [self.mapper.get_property_by_column(column).key for column in self.columns]


_made: Final[WeakKeyDictionary[Dialect, dict[Mapper[Any], RowKeys]]] = WeakKeyDictionary()


def keys_of(mapper: Mapper[Any], dialect: Dialect) -> RowKeys:
    """Return the keys of a model's rows, cached per database, because every lookup by key needs them."""
    known = _made.setdefault(dialect, {})
    if mapper not in known:
        known[mapper] = RowKeys(mapper, dialect)
    return known[mapper]


def refusal_of_unhashable(error: TypeError) -> InvalidKey | None:
    """Return our error if SQLAlchemy failed with *error* because a part of a key is not hashable, such as a list."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or not str(trace.tb_frame.f_globals.get("__name__")).startswith("sqlalchemy.orm."):
        return None
    found = [one for one in trace.tb_frame.f_locals.values() if _is_identity_key(one)]
    parts = [(sa_inspect(model), value) for model, identity, _ in found for value in enumerate(identity)]
    return next((_unhashable(mapper, *part) for mapper, part in parts if not _is_hashable(part[1])), None)


def refusal_of_shape(mapper: Mapper[Any], key: Any) -> InvalidKey | None:
    """Return our error for a key whose number of values SQLAlchemy refuses."""
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    if isinstance(key, Mapping):
        fits = set(key) == set(names)
    else:
        fits = len(key if isinstance(key, (list, tuple, set, frozenset)) else (key,)) == len(names)
    if fits:
        return None
    name = mapper.class_.__name__
    shape = names[0] if len(names) == 1 else f"({', '.join(names)})"
    return InvalidKey(f"{shown(key)} is not a key of {name}.", hint=f"session.get({name}, {shape})")


def _is_identity_key(value: Any) -> bool:
    """Return whether the value is SQLAlchemy's identity key: class, primary key, and token."""
    return type(value) is tuple and len(value) == 3 and type(value[1]) is tuple and hasattr(value[0], "__mapper__")


def _unhashable(mapper: Mapper[Any], place: int, value: Any) -> InvalidKey:
    column: Any = mapper.primary_key[place]
    hint = "Use a tuple, if the column accepts one."
    refusal = InvalidKey(f"{shown(value)} is a {type(value).__name__}, which cannot be part of a key.", hint=hint)
    refusal.locate(column.table.name, column.name)
    return refusal


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


_ABSENT: Final = object()


class _Part:
    """One column of a primary key."""

    def __init__(self, model: str, column: ColumnElement[Any], dialect: Dialect) -> None:
        self.place = f"{model}.{column.key}"
        self.kind = _kind_of(column.type)
        inner = engine_type(column.type, dialect)
        self.takes_nul = not inner.render_bind_cast
        bits = bits_of(inner)
        self.smallest, self.largest = -(1 << (bits - 1)), (1 << (bits - 1)) - 1

    def holds(self, value: int) -> bool:
        """Return whether the column can hold the integer."""
        return self.smallest <= value <= self.largest

    def read(self, value: Any) -> Any:
        """Return the value in the type of the column; ``_ABSENT`` if no row can have it."""
        if value is None:
            return _ABSENT
        if self.kind is int:
            number = self._number(value)
            return number if self.holds(number) else _ABSENT
        if self.kind is UUID:
            return value if isinstance(value, UUID) else self._uuid(value)
        if self.kind is str and not isinstance(value, str):
            raise self._refusal(value, "a text", f"str({shown(value)})")
        if not _is_hashable(value):
            raise self._refusal(value, "one value", "get_many([key, ...]) takes several keys")
        return _ABSENT if isinstance(value, str) and not self._may_hold(value) else value

    def _may_hold(self, text: str) -> bool:
        # PostgreSQL refuses a NUL in text.
        if "\0" in text and not self.takes_nul:
            return False
        return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)

    def _number(self, value: Any) -> int:
        try:
            return operator.index(value)
        except TypeError:
            raise self._refusal(value, "an integer", _as_number(value)) from None

    def _uuid(self, value: Any) -> UUID:
        try:
            return UUID(value)
        except (ValueError, TypeError, AttributeError):
            raise self._refusal(value, "a UUID", "UUID(text)") from None

    def _refusal(self, value: Any, wanted: str, hint: str) -> InvalidKey:
        return InvalidKey(f"{self.place} is {wanted}; {shown(value)} is a {type(value).__name__}.", hint=hint)


def _as_list(keys: Any) -> str:
    """Return a hint how to write several keys as a list."""
    if isinstance(keys, AsyncIterable):
        return "[key async for key in keys]"
    if isinstance(keys, Mapping):
        return f"[{shown(keys)}] for one key, list(mapping) for those of a mapping"
    return "[key, ...]" if keys is None else f"[{shown(keys)}]"


def _as_number(value: Any) -> str:
    """Return a hint how to write the key; suggest a conversion only if it works."""
    if isinstance(value, (list, set, frozenset)):
        return "get_many([key, ...]) takes several keys"
    if isinstance(value, (UUID, PublicID)):
        return "get_by_public_id(id), if the model has the DualIDMixin"
    try:
        int(value)
    except (ValueError, TypeError, OverflowError):
        if isinstance(value, str) and len(value) > _DIGITS:
            return "get(1), the number itself; pass a public id to get_by_public_id(id)"
        return "get(1), the number itself"
    return f"int({shown(value)})"


def _kind_of(kind: TypeEngine[Any]) -> type[Any] | None:
    """Return the class of the key's values if the type alone decides about equality; otherwise ``None``."""
    if isinstance(kind, Integer):
        return int
    if isinstance(kind, Uuid) and kind.as_uuid:
        return UUID
    return str if isinstance(kind, String) and not isinstance(kind, Enum) else None
