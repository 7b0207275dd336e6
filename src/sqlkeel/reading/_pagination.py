"""Pages by position in the order: the last page costs as much as the first, and no row is skipped or repeated."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, Generic, TypeAlias, TypeVar

from sqlalchemy import (
    ARRAY,
    JSON,
    BindParameter,
    ClauseElement,
    Column,
    ColumnElement,
    Dialect,
    Double,
    Enum,
    Float,
    FromClause,
    Integer,
    Label,
    Result,
    Select,
    Table,
    UnaryExpression,
    and_,
    false,
    literal,
    or_,
    type_coerce,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, QueryableAttribute
from sqlalchemy.orm.exc import UnmappedColumnError
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import OrderByList
from sqlalchemy.types import TypeEngine

from .. import _sqlalchemy as private
from ..errors import ConfigurationError, InvalidCursor, InvalidValue, NotSupported, UnknownField, shown
from ..types._stored import Stored, read_values, write_values

__all__ = ["Keyset", "OrderBy", "Page", "check_bound"]

T = TypeVar("T")
_Term: TypeAlias = QueryableAttribute[Any] | ColumnElement[Any] | OrderByList
OrderBy: TypeAlias = _Term | Sequence[_Term]
"""Columns of the model, one or several, each plain or with ``.desc()``."""

_KEYS: Final = "sqlkeel.page_keys"
"""The key in a metadata's ``info`` for the parts of the orders that pages have used."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a longer list, and the cursors of the neighbouring pages.

    Pass ``next`` as ``after=`` and ``previous`` as ``before=``; ``None`` means that there is no such page.
    """

    items: list[T]
    next: str | None = None
    previous: str | None = None

    @property
    def has_next(self) -> bool:
        """Whether more rows follow."""
        return self.next is not None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


class _Key:
    """One part of the order: a column of the model, its direction, and whether it can be NULL (NULLs come last)."""

    def __init__(
        self, attribute: str, column: ColumnElement[Any], *, descending: bool, nullable: bool, place: int | None = None
    ) -> None:
        self.attribute = attribute
        self.column = column
        """The column as the database keeps it: its type's own comparisons, bindings and readings are left out."""

        self.descending = descending
        self.nullable = nullable
        self.place = place
        """The position of an integer key value in an object's identity, which has the value as the row stores it."""

    @cached_property
    def forwards(self) -> list[ColumnElement[Any]]:
        return self._order(backwards=False)

    @cached_property
    def backwards(self) -> list[ColumnElement[Any]]:
        return self._order(backwards=True)

    def _order(self, *, backwards: bool) -> list[ColumnElement[Any]]:
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
        """Return a bound on the first column alone, which an index can use; it cannot use the OR."""
        if self.nullable or value is None:
            return None
        down = self.descending != backwards
        at = self._bound(value)
        bound: ColumnElement[bool] = self.column <= at if down else self.column >= at
        return bound

    def _bound(self, value: Any) -> ColumnElement[Any]:
        # A bind parameter even for True and False, which SQLAlchemy would render inline and refuse to order.
        return literal(value, self.column.type)


def _entity_of(row: Any) -> int:
    return id(row[0])


class Keyset:
    """A total order of a model's rows: the requested columns, then the primary key.

    Args:
        model: The mapped class.
        order_by: Columns of the model, plain or with ``.desc()``. NULLs come last on every database.
        secret: Signs the cursors. With ``None`` a cursor is only bound to its order and filter; a forged one can only
            choose where the page starts.
        dialect: That of the database, for conditions that depend on it.

    Raises:
        UnknownField: When the order is not by columns of the model.
        NotSupported: When the database compares a column's values differently from how it sorts them: Enum, Float,
            JSON, ARRAY.
        ConfigurationError: When the secret is empty, so that anyone could sign, or is not bytes.
    """

    def __init__(
        self,
        model: type[Any],
        order_by: Sequence[Any] = (),
        *,
        secret: bytes | None = None,
        dialect: Dialect | None = None,
    ) -> None:
        mapper: Mapper[Any] = sa_inspect(model)
        self.model = model
        self.secret = b"" if secret is None else _checked(secret)
        self.dialect = dialect
        self.keys = [_key(mapper, element) for element in order_by]
        named = {key.attribute for key in self.keys}
        for column in mapper.primary_key:
            attribute = mapper.get_property_by_column(column).key
            if attribute not in named:
                self.keys.append(_key_of(mapper, attribute, descending=False))
        self.keys += _kind_in_union(mapper)
        self._read_beside = [key.column for key in self.keys if key.place is None]

    def order(self, *, backwards: bool = False) -> list[ColumnElement[Any]]:
        """Return the ORDER BY terms."""
        return [term for key in self.keys for term in (key.backwards if backwards else key.forwards)]

    def select(
        self, statement: Select[Any], *, size: int, after: str | None = None, before: str | None = None
    ) -> Select[Any]:
        """Return *statement* for one page and one extra row, which shows whether another page follows.

        After the entity, it selects the columns of the order as the row has them; `page` makes the cursors from these.
        An object that the session already held may be older than the row, or already changed.

        Raises:
            InvalidCursor: When the cursor is damaged or belongs to another order or filter, or, when the statement is
                sent, if it holds a value that its column cannot have.
            InvalidValue: When *size* is not positive, or both cursors are given.
        """
        check_bound("size", size, least=1)
        if after is not None and before is not None:
            raise InvalidValue("A page is after one cursor or before one, not both.", hint="Pass after= or before=.")
        backwards, cursor = before is not None, after if before is None else before
        if cursor is not None:
            values = self._read(cursor, self._fingerprint(statement))
            statement = statement.where(*self._beyond(values, backwards=backwards))
        beside = [column.label(f"sqlkeel_{place}") for place, column in enumerate(self._read_beside)]
        return statement.add_columns(*beside).order_by(*self.order(backwards=backwards)).limit(size + 1)

    def rows(self, result: Result[Any]) -> Sequence[Any]:
        """Return the rows for `page`; if only the entity is selected, the entities themselves."""
        if not self._read_beside:
            return result.scalars().unique().all()
        # Rows are unique by their entity: comparing the other columns takes longer than loading them.
        return result.unique(_entity_of).all()

    def page(
        self,
        statement: Select[Any],
        rows: Sequence[Any],
        *,
        size: int,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[Any]:
        """Build the page from the `rows` of `select`; *statement* is the one that was passed to it."""
        more, shown = len(rows) > size, list(rows[:size])
        if before is not None:
            shown.reverse()
        if not shown:
            return Page([])
        has_next, has_previous = (True, more) if before is not None else (more, after is not None)
        context = self._fingerprint(statement) if has_next or has_previous else ""
        return Page(
            [row[0] for row in shown] if self._read_beside else shown,
            next=self._write(shown[-1], context) if has_next else None,
            previous=self._write(shown[0], context) if has_previous else None,
        )

    def _beyond(self, values: Sequence[Any], *, backwards: bool) -> list[ColumnElement[bool]]:
        condition: ColumnElement[bool] = false()
        for key, value in reversed(list(zip(self.keys, values, strict=True))):
            condition = or_(key.beyond(value, backwards=backwards), and_(key.same(value), condition))
        reach = self.keys[0].reach(values[0], backwards=backwards)
        return [condition] if reach is None else [reach, condition]

    def _write(self, row: Any, context: str) -> str:
        entity, *beside = row if self._read_beside else (row,)
        identity = sa_inspect(entity).identity
        values = [beside.pop(0) if key.place is None else identity[key.place] for key in self.keys]
        body = write_values(values)
        cursor = base64.urlsafe_b64encode(self._sign(body, context) + body).decode().rstrip("=")
        if len(cursor) > _LONGEST:
            order = ", ".join(key.attribute for key in self.keys)
            raise NotSupported(
                f"A page of {self.model.__name__} by {order} ends at a row whose values are too long for a cursor.",
                hint="Order by a column with shorter values.",
            )
        return cursor

    def _read(self, cursor: str, context: str) -> list[Any]:
        if isinstance(cursor, str) and len(cursor) > _LONGEST:
            raise InvalidCursor("The cursor is too long.")
        try:
            raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError, TypeError) as error:
            raise InvalidCursor("The cursor is damaged.") from error
        signature, body = raw[:12], raw[12:]
        if not hmac.compare_digest(signature, self._sign(body, context)):
            raise InvalidCursor("The cursor does not belong to this list, its order or its filter.")
        values = read_values(body, len(self.keys))
        if any(value is None and not key.nullable for key, value in zip(self.keys, values, strict=True)):
            raise InvalidCursor("The cursor is damaged.")
        return values

    def _sign(self, body: bytes, context: str) -> bytes:
        order = ",".join(f"{key.attribute}{'-' if key.descending else '+'}" for key in self.keys)
        message = "\0".join((self.model.__name__, order, context)).encode() + b"\0" + body
        return hmac.new(self.secret, message, hashlib.sha256).digest()[:12]

    def _fingerprint(self, statement: Select[Any]) -> str:
        """Return a text that identifies a filter: its conditions and values, and whether deleted rows are included."""
        shown = "deleted rows too " if statement.get_execution_options().get("include_deleted") else ""
        clause = statement.whereclause
        if clause is None:
            return shown
        compiled: Any = clause.compile(dialect=self.dialect)
        names = compiled.bind_names.items()
        values = [(name, _told(bind, compiled.params[name], compiled.dialect)) for bind, name in names]
        return f"{shown}{compiled}{sorted(values)!r}"


def _checked(secret: bytes) -> bytes:
    if isinstance(secret, bytes) and secret:
        return secret
    wrong = "empty" if secret == b"" else f"a {type(secret).__name__}, not bytes"
    raise ConfigurationError(
        f"The cursor_secret of the repository is {wrong}.",
        hint="Use 32 random bytes that all processes share, secrets.token_bytes(32); None leaves cursors unsigned.",
    )


def _told(bind: BindParameter[Any], value: Any, dialect: Dialect) -> Any:
    """Return a text for a value that is the same in every process."""
    if bind.expanding and isinstance(value, (list, tuple)):
        # Sorted, because the order of a set differs between processes.
        return sorted(_text_of(bind, one, dialect) for one in value)
    return _text_of(bind, value, dialect)


def _text_of(bind: BindParameter[Any], value: Any, dialect: Dialect) -> str:
    kind: Any = type(value)
    if kind.__repr__ is object.__repr__:
        # The default repr() contains a memory address; the value that is sent is stable.
        sent = bind.type.dialect_impl(dialect).bind_processor(dialect)
        value = value if sent is None else sent(value)
    try:
        return repr(value)
    except (ValueError, RecursionError):  # more digits than Python converts, or deep lists: the database refuses them
        return f"<{type(value).__name__}>"


_LONGEST: Final = 2**20
"""The maximum length of a cursor. A statement has its values three times; MariaDB drops a connection over 16 MB."""

_LARGEST: Final = 2**63 - 2
"""The largest page: we ask for one extra row, and LIMIT is a 64-bit number."""


def check_bound(name: str, value: int, *, least: int) -> None:
    """Refuse a number of rows that the database would refuse or treat as unlimited.

    Raises:
        InvalidValue: When it is not an integer of at least *least* that fits into 64 bits.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= _LARGEST:
        what = "A page has at least one row, not" if name == "size" else f"{name}= is a number of rows, not"
        raise InvalidValue(
            f"{what} {shown(value)}.", hint=f"{name}={max(least, 1) * 50}, an integer of at least {least}."
        )


def _kind_in_union(mapper: Mapper[Any]) -> list[_Key]:
    """Return the class name as a part of the order: in a union of tables, two rows may have equal keys."""
    kind: Any = mapper.polymorphic_on
    if not isinstance(getattr(kind, "table", None), FromClause) or isinstance(kind.table, Table):
        return []
    return [_Key(str(kind.key), kind, descending=False, nullable=False)]


def _key(mapper: Mapper[Any], element: Any) -> _Key:
    given, descending = element, False
    if isinstance(element, UnaryExpression) and element.modifier in {operators.desc_op, operators.asc_op}:
        descending = element.modifier is operators.desc_op
        element = element.element
    attribute = _attribute_of(mapper, element)
    if attribute is None:
        name = mapper.class_.__name__
        shown = given.__name__ if isinstance(given, type) else repr(given) if isinstance(given, str) else given
        raise UnknownField(f"A page of {name} cannot be ordered by {shown}.", hint=_order_meant(mapper, given))
    column = getattr(mapper.class_, attribute)
    if (hint := _disorder(getattr(column.type, "impl_instance", column.type))) is not None:
        raise NotSupported(f"A page of {mapper.class_.__name__} cannot be ordered by {attribute}.", hint=hint)
    return _key_of(mapper, attribute, descending=descending)


def _order_meant(mapper: Mapper[Any], given: Any) -> str:
    """Return a hint with the order that was probably meant: for a string, the attribute of that name."""
    name = mapper.class_.__name__
    if isinstance(given, str) and (field := given.lstrip("+-")) in mapper.column_attrs:
        return f"order_by=[{name}.{field}{'.desc()' if given.startswith('-') else ''}]"
    if callable(given) and not isinstance(given, type):
        return f"Call the method: order_by=[{name}.created_at.desc()]."
    return f"Order by columns of {name}: order_by=[{name}.created_at.desc()]."


def _attribute_of(mapper: Mapper[Any], element: Any) -> str | None:
    """Return the model's attribute for a column, by the column itself: another model's may have the same name."""
    clause = element.__clause_element__() if hasattr(element, "__clause_element__") else element
    while isinstance(clause, Label):
        clause = clause.element
    owner = (private.notes_of(clause) if isinstance(clause, ClauseElement) else {}).get("parententity")
    foreign = owner is not None and not (owner.is_mapper and mapper.isa(owner))
    if foreign or not isinstance(clause, Column):
        return None
    try:
        return str(mapper.get_property_by_column(clause).key)
    except UnmappedColumnError:
        return None


def _key_of(mapper: Mapper[Any], attribute: str, *, descending: bool) -> _Key:
    """Return a part of the order, cached because the type of its column is a new class, and slow to create."""
    known: dict[Any, _Key] = mapper.registry.metadata.info.setdefault(_KEYS, {})
    key = known.get((mapper, attribute, descending))
    if key is None:
        key = known[mapper, attribute, descending] = _made_key(mapper, attribute, descending=descending)
    return key


def _made_key(mapper: Mapper[Any], attribute: str, *, descending: bool) -> _Key:
    column = getattr(mapper.class_, attribute)
    names = [mapper.get_property_by_column(part).key for part in mapper.primary_key]
    of_identity = attribute in names and isinstance(column.type, Integer)
    return _Key(
        attribute,
        type_coerce(column, Stored(column.type)),
        descending=descending,
        nullable=attribute not in names and bool(column.nullable),
        place=names.index(attribute) if of_identity else None,
    )


def _disorder(kind: TypeEngine[Any]) -> str | None:
    """Return what to do instead if values of this type are not compared in the way they are sorted."""
    if isinstance(kind, Enum):
        return "Databases sort an Enum by position and compare it by name; order by a number or text."
    if isinstance(kind, Float) and not isinstance(kind, Double):
        return "MariaDB stores a Float in single precision, which equals no double that is sent; map it as Double."
    # A Python value that is not hashable is a document, a list, a mapping or an object, whatever the type is called.
    has_parts = isinstance(kind, (ARRAY, JSON)) or not kind.hashable
    return "Documents, arrays and mappings have no order; order by a number, a time or text." if has_parts else None
