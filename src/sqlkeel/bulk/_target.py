"""What bulk statements need to know about a model: its fields, keys, unique constraints and special columns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from sqlalchemy import (
    ClauseElement,
    Column,
    ColumnElement,
    Dialect,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, QueryableAttribute

from ..errors import InvalidValue, NotSupported, UnknownField
from ..sessions._refresh import kinds
from ..soft_delete._soft_delete import SoftDeleteMixin
from ._columns import replaces_null
from ._defaults import Made
from ._families import live, versions_below

__all__ = ["Target", "Unique"]

Predicate = Callable[[Index], ColumnElement[bool] | None]


@dataclass(frozen=True)
class Unique:
    """A unique constraint or index; ``where`` is the condition of a partial index."""

    name: str | None
    columns: tuple[Column[Any], ...]
    where: ColumnElement[bool] | None = None


class Target:
    """A model as the bulk functions see it: one table, and columns by attribute name.

    Raises:
        NotSupported: For a model with several tables.
    """

    def __init__(self, model: type[Any]) -> None:
        mapper: Mapper[Any] = sa_inspect(model)
        if len(mapper.tables) != 1 or not isinstance(mapper.local_table, Table):
            raise NotSupported(
                f"{model.__name__} is stored in several tables, or in none.",
                hint="Write such objects with session.add_all(); bulk functions write a single table.",
            )
        self.model = model
        self.mapper = mapper
        self.name = model.__name__
        self.table: Table = mapper.local_table
        self.fields: dict[str, Column[Any]] = dict(self._fields())

    def _fields(self) -> Iterator[tuple[str, Column[Any]]]:
        for attribute in self.mapper.column_attrs:
            column = attribute.columns[0]
            if isinstance(column, Column) and column.table is self.table:
                yield attribute.key, column

    @cached_property
    def key(self) -> tuple[str, ...]:
        """The attribute names of the primary key."""
        return tuple(self.field(column) for column in self.mapper.primary_key)

    @cached_property
    def version(self) -> str | None:
        """The name of the version attribute; ``None`` if there is none."""
        column = self.mapper.version_id_col
        return None if column is None else self.field(column)

    def field(self, column: ColumnElement[Any]) -> str:
        """Return the name of the attribute for a column."""
        return self.mapper.get_property_by_column(cast("Column[Any]", column)).key

    def check(self, fields: Iterable[str]) -> None:
        """Refuse a field that the model does not have, and one that the database computes.

        MariaDB would ignore the value of a computed column and count the row as written.

        Raises:
            UnknownField: Names the field, and those that exist.
            InvalidValue: Names the generated column.
        """
        for field in fields:
            if field not in self.fields:
                raise UnknownField(
                    f"{self.name} has no column attribute {field!r}.",
                    hint=f"It has {', '.join(self.fields)}.",
                )
            if self.fields[field].computed is not None:
                raise InvalidValue(
                    f"{self.name}.{field} is computed by the database, and cannot be written.", hint="Leave it out."
                )

    def columns(self, fields: Iterable[str]) -> tuple[Column[Any], ...]:
        """Return the columns of *fields*, in that order."""
        return tuple(self.fields[field] for field in fields)

    @cached_property
    def is_soft_deletable(self) -> bool:
        """Whether rows are soft-deleted."""
        return issubclass(self.model, SoftDeleteMixin)

    @cached_property
    def guards(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions that a row of the table belongs to the model: it is live and of its class."""
        return (*live(self.mapper), *self.kinds)

    @cached_property
    def kinds(self) -> tuple[ColumnElement[bool], ...]:
        """The conditions that a row of the table is of the model's class, live or deleted."""
        return tuple(kinds(self.mapper))

    def constants(self, given: Collection[str], dialect: Dialect) -> dict[str, Any]:
        """Return what the ORM itself writes into a new row: the row's class, its first version, and ``None``.

        ``None`` is included for types that store a value for it.

        Raises:
            NotSupported: When the class is abstract and the rows do not name a subclass.
        """
        found: dict[str, Any] = {}
        kind = self.mapper.polymorphic_on
        if self.mapper.polymorphic_abstract and kind not in self.columns(given):
            raise NotSupported(
                f"{self.name} is abstract and has no rows of its own, so the class of a row is unknown.",
                hint="Write rows of a subclass.",
            )
        if kind is not None and self.mapper.polymorphic_identity is not None and kind in set(self.fields.values()):
            found[self.field(kind)] = self.mapper.polymorphic_identity
        column, first = self.mapper.version_id_col, self.mapper.version_id_generator
        if column is not None and column.server_default is None and callable(first):
            found[self.field(column)] = first(None)
        found |= dict.fromkeys(self.blanks({*given, *found}, dialect))
        return {field: value for field, value in found.items() if field not in given}

    def blanks(self, given: Collection[str], dialect: Dialect) -> list[str]:
        """Return the fields that a new row omits and whose type stores a value for ``None``."""
        left_out = ((field, column) for field, column in self.fields.items() if field not in given)
        return [field for field, column in left_out if replaces_null(column, dialect)]

    def touched(self, given: Collection[str]) -> dict[Column[Any], Any]:
        """Return columns that the database changes with every update and that were not given: timestamps, versions.

        Raises:
            NotSupported: When that depends on the class of a row, and the class is given.
        """
        columns = set(self.columns(given))
        onupdates: dict[Any, Any] = {column: column.onupdate for column in self._left_out(columns)}
        found = {column: one.arg for column, one in onupdates.items() if one is not None and not one.is_callable}
        version: Any = self.mapper.version_id_col
        following = self.mapper.version_id_generator
        if self.version is not None and following is not False:
            found[version] = version + 1 if isinstance(version.type, Integer) else cast("Any", following)(None)
        return {**found, **versions_below(self.mapper, columns)}

    def _left_out(self, given: Collection[Column[Any]]) -> Iterator[Column[Any]]:
        # From the table, not the model, because a flush also changes columns of other classes in the same table.
        return (column for column in self.table.columns if column not in given)

    def touched_by_row(self, given: Collection[str]) -> dict[Column[Any], Any]:
        """Return the functions that compute a new value for each updated row, for columns that were not given."""
        columns: set[Any] = {*self.columns(given), self.mapper.version_id_col}
        return {column: column.onupdate for column in self._left_out(columns) if _is_called(column)}

    def touched_once(self, given: Mapping[str, Any]) -> dict[Column[Any], Any]:
        """Return everything that changes when one row is updated with these values."""
        made = Made(self.columns(given), self.touched_by_row(given))
        by_row = made.of_row({self.fields[field].key: value for field, value in given.items()})
        return {**self.touched(given), **by_row}

    def names(self, given: Iterable[QueryableAttribute[Any]], *, of: str) -> list[str]:
        """Return the names of the attributes in an argument, whose name is *of*.

        Raises:
            UnknownField: When it is not a list of attributes, or one of them does not belong to the model.
        """
        if isinstance(given, str | ClauseElement | QueryableAttribute) or not isinstance(given, Iterable):
            raise self._no_attributes(given, of)
        return [self._name(one, of) for one in given]

    def _name(self, given: Any, of: str) -> str:
        if isinstance(given, Column) and given in set(self.fields.values()):
            return self.field(given)
        if not isinstance(given, QueryableAttribute) or not self._has(given.parent):
            raise self._no_attributes(given, of)
        return given.key

    def _has(self, owner: Any) -> bool:
        return isinstance(owner, Mapper) and (self.mapper.isa(owner) or owner.isa(self.mapper))

    def _no_attributes(self, given: Any, of: str) -> UnknownField:
        name = given if isinstance(given, str) else getattr(given, "key", None)
        meant = name if name in self.fields else next(iter(self.fields))
        shown = repr(given) if isinstance(given, str) else given
        return UnknownField(
            f"{of} takes a list of attributes of {self.name}, not {shown}.", hint=f"{of}=[{self.name}.{meant}]"
        )

    def unique(self, on: Collection[str], predicate: Predicate) -> Unique:
        """Find the unique constraint over exactly the attributes *on*, in any order.

        Raises:
            NotSupported: When there is none; the hint names those that exist.
        """
        wanted = {*on}
        self.check(wanted)
        known = list(self._uniques(predicate))
        for unique in known:
            if {self.field(column) for column in unique.columns} == wanted:
                return unique
        names = "; ".join(sorted(", ".join(f"{self.name}.{self.field(c)}" for c in unique.columns) for unique in known))
        raise NotSupported(
            f"{self.name} has no unique constraint on {', '.join(sorted(wanted))}, so a row cannot be found by it.",
            hint=f"These are unique: {names}.",
        )

    def _uniques(self, predicate: Predicate) -> Iterator[Unique]:
        mapped = set(self.fields.values())
        for constraint in self.table.constraints:
            if isinstance(constraint, PrimaryKeyConstraint | UniqueConstraint) and not constraint.deferrable:
                columns = tuple(constraint.columns)
                if columns and mapped.issuperset(columns):
                    yield Unique(_text(constraint.name), columns)
        for index in self.table.indexes:
            plain = tuple(part for part in index.expressions if isinstance(part, Column))
            if index.unique and len(plain) == len(index.expressions) and mapped.issuperset(plain):
                yield Unique(_text(index.name), plain, predicate(index))

    def refuse_null(self, fields: Iterable[str], values: Iterable[Any]) -> None:
        """Refuse NULL in a unique key: NULLs are not equal, so every call would insert another row.

        Raises:
            InvalidValue: Names the field.
        """
        for field, value in zip(fields, values, strict=True):
            if value is None:
                raise InvalidValue(
                    f"{self.name}.{field} is None. NULLs are not equal, so every call would insert another row.",
                    hint="Give it a value, or insert the row.",
                )


def _is_called(column: Column[Any]) -> bool:
    onupdate: Any = column.onupdate
    return onupdate is not None and bool(onupdate.is_callable)


def _text(name: object) -> str | None:
    return name if isinstance(name, str) else None
