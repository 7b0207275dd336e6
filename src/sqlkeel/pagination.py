"""Pages by position in the order: the last costs what the first does, and no row is skipped or seen twice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final, Generic, TypeVar
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    ColumnElement,
    Double,
    Enum,
    Float,
    Select,
    UnaryExpression,
    and_,
    false,
    literal,
    or_,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import QueryableAttribute
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeEngine

from .choice import Choice
from .errors import InvalidCursor, NotSupported, UnknownField

__all__ = ["Keyset", "Page"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a longer list, and the cursors that lead on.

    Pass ``next`` as ``after=`` and ``previous`` as ``before=``; ``None`` means that there is nothing there.
    """

    items: list[T]
    next: str | None = None
    previous: str | None = None

    @property
    def has_next(self) -> bool:
        """Whether rows follow."""
        return self.next is not None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class _Key:
    """One part of the order: a column of the model, its direction, and whether it can be NULL (which comes last)."""

    attribute: str
    column: Any
    descending: bool
    nullable: bool

    def order(self, *, backwards: bool) -> list[ColumnElement[Any]]:
        down = self.descending != backwards
        by_value = self.column.desc() if down else self.column.asc()
        if not self.nullable:
            return [by_value]
        empty = self.column.is_(None)
        return [empty.desc() if backwards else empty.asc(), by_value]

    def beyond(self, value: Any, *, backwards: bool) -> ColumnElement[bool]:
        if value is None:
            filled: ColumnElement[bool] = self.column.is_not(None)
            return filled if backwards else false()
        down = self.descending != backwards
        at = self._bound(value)
        further: ColumnElement[bool] = self.column < at if down else self.column > at
        return or_(further, self.column.is_(None)) if self.nullable and not backwards else further

    def same(self, value: Any) -> ColumnElement[bool]:
        same: ColumnElement[bool] = self.column.is_(None) if value is None else self.column == self._bound(value)
        return same

    def reach(self, value: Any, *, backwards: bool) -> ColumnElement[bool] | None:
        """Bound the first column alone: what an index can start from, where it cannot from an OR."""
        if self.nullable or value is None:
            return None
        down = self.descending != backwards
        at = self._bound(value)
        bound: ColumnElement[bool] = self.column <= at if down else self.column >= at
        return bound

    def write(self, row: Any) -> Any:
        """Return the row's value as JSON has it."""
        value = getattr(row, self.attribute)
        return _pack(self.column.type.stored[value] if self._is_choice and value is not None else value)

    def read(self, written: Any) -> Any:
        """Return the value again; one that was never written is damage."""
        value = _unpack(written)
        return self.column.type.members[value] if self._is_choice and value is not None else value

    @property
    def _is_choice(self) -> bool:
        return isinstance(self.column.type, Choice)

    def _bound(self, value: Any) -> ColumnElement[Any]:
        # A parameter even for True and False, which SQLAlchemy would write out and refuse to compare by order.
        return literal(value, self.column.type)


class Keyset:
    """An order of a model's rows that is total: what was asked for, and then the key.

    Args:
        model: The mapped class.
        order_by: Columns of it, plain or with ``.desc()``. NULL comes last, on every database.
        secret: Signs the cursors. Without one a cursor is only bound to its order and filter; a forged one can still
            do no more than choose where the page starts.

    Raises:
        UnknownField: When the order is not by columns of the model.
        NotSupported: When a column's values are not compared as they are sorted: Enum, Float, JSON, ARRAY.
    """

    def __init__(self, model: type[Any], order_by: Sequence[Any] = (), *, secret: bytes = b"") -> None:
        mapper = sa_inspect(model)
        self.model = model
        self.secret = secret
        self.keys = [_key(model, element) for element in order_by]
        named = {key.attribute for key in self.keys}
        for column in mapper.primary_key:
            attribute = mapper.get_property_by_column(column).key
            if attribute not in named:
                self.keys.append(_Key(attribute, getattr(model, attribute), False, False))

    def order(self, *, backwards: bool = False) -> list[ColumnElement[Any]]:
        """Return the ORDER BY."""
        return [term for key in self.keys for term in key.order(backwards=backwards)]

    def select(
        self, statement: Select[T], *, size: int, after: str | None = None, before: str | None = None
    ) -> Select[T]:
        """Return *statement* for one page and one row more, which tells whether another page follows.

        Raises:
            InvalidCursor: When the cursor is damaged or was made for another order or filter.
            ValueError: When *size* is not positive, or both cursors are given.
        """
        if size < 1:
            raise ValueError(f"A page has at least one row, not {size}.")
        if after is not None and before is not None:
            raise ValueError("A page lies after one cursor or before one, not both.")
        backwards, cursor = before is not None, after if before is None else before
        context = _fingerprint(statement)
        if cursor is not None:
            statement = statement.where(*self._beyond(self._read(cursor, context), backwards=backwards))
        return statement.order_by(*self.order(backwards=backwards)).limit(size + 1)

    def page(
        self,
        statement: Select[T],
        rows: Sequence[T],
        *,
        size: int,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[T]:
        """Make the page of the *rows* that `select` brought; *statement* is the one that was given to it."""
        more, items = len(rows) > size, list(rows[:size])
        if before is not None:
            items.reverse()
        if not items:
            return Page([])
        context = _fingerprint(statement)
        first, last = (self._write(items[index], context) for index in (0, -1))
        has_next, has_previous = (True, more) if before is not None else (more, after is not None)
        return Page(items, next=last if has_next else None, previous=first if has_previous else None)

    def _beyond(self, values: Sequence[Any], *, backwards: bool) -> list[ColumnElement[bool]]:
        condition: ColumnElement[bool] = false()
        for key, value in reversed(list(zip(self.keys, values, strict=True))):
            condition = or_(key.beyond(value, backwards=backwards), and_(key.same(value), condition))
        reach = self.keys[0].reach(values[0], backwards=backwards)
        return [condition] if reach is None else [reach, condition]

    def _write(self, row: Any, context: str) -> str:
        values = [key.write(row) for key in self.keys]
        body = json.dumps(values, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._sign(body, context) + body).decode().rstrip("=")

    def _read(self, cursor: str, context: str) -> list[Any]:
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            signature, body = raw[:12], raw[12:]
            if hmac.compare_digest(signature, self._sign(body, context)):
                return [key.read(value) for key, value in zip(self.keys, json.loads(body), strict=True)]
        except (ValueError, TypeError, KeyError) as error:
            raise InvalidCursor("The cursor is damaged.") from error
        raise InvalidCursor("The cursor does not belong to this list, its order or its filter.")

    def _sign(self, body: bytes, context: str) -> bytes:
        order = ",".join(f"{key.attribute}{'-' if key.descending else '+'}" for key in self.keys)
        message = "\0".join((self.model.__name__, order, context)).encode() + b"\0" + body
        return hmac.new(self.secret, message, hashlib.sha256).digest()[:12]


def _key(model: type[Any], element: Any) -> _Key:
    descending = False
    if isinstance(element, UnaryExpression) and element.modifier in {operators.desc_op, operators.asc_op}:
        descending = element.modifier is operators.desc_op
        element = element.element
    annotations = getattr(element, "_annotations", {})
    name = annotations.get("proxy_key") or getattr(element, "key", None)
    attribute = getattr(model, name, None) if isinstance(name, str) else None
    owner = annotations.get("parententity")
    foreign = owner is not None and not (owner.is_mapper and sa_inspect(model).isa(owner))
    if foreign or not isinstance(attribute, QueryableAttribute) or not hasattr(attribute, "nullable"):
        raise UnknownField(
            f"A page of {model.__name__} cannot be ordered by {element}.",
            hint=f"Order by columns of {model.__name__}: order_by=[{model.__name__}.created_at.desc()].",
        )
    if (hint := _disorder(getattr(attribute.type, "impl_instance", attribute.type))) is not None:
        raise NotSupported(f"A page of {model.__name__} cannot be ordered by {name}.", hint=hint)
    return _Key(str(name), attribute, descending, bool(attribute.nullable))


def _disorder(kind: TypeEngine[Any]) -> str | None:
    """Say what to do instead where values of this type are not compared as they are sorted."""
    if isinstance(kind, Enum):
        return "Databases sort an Enum by position and compare it by name; order by a number or text."
    if isinstance(kind, Float) and not isinstance(kind, Double):
        return "MariaDB keeps a Float in single precision, which equals no value sent to it; map it as Double."
    return (
        "JSON and arrays have no order; order by a number, a time or text." if isinstance(kind, (ARRAY, JSON)) else None
    )


def _fingerprint(statement: Select[Any]) -> str:
    """Tell one filter from another: the text of the conditions with their values."""
    clause = statement.whereclause
    if clause is None:
        return ""
    compiled = clause.compile()
    return f"{compiled}{sorted(compiled.params.items(), key=lambda item: item[0])!r}"


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


def _pack(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    for kind, (tag, write, _) in _PACK.items():
        if isinstance(value, kind):
            return {tag: write(value)}
    raise NotSupported(f"A {type(value).__name__} cannot stand in a cursor.", hint="Order by another column.")


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        ((tag, text),) = value.items()
        return _UNPACK[tag](text)
    return value
