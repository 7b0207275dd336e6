"""Subclasses in a bulk write: their rows are in the table of the class too, and may need a version or a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Table, case, literal, select
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors

from ..errors import NotSupported
from ..models._key_columns import key_in, row_value
from ..sessions._refresh import rows_below
from ..soft_delete._marks import Companion, Mark, next_version, rows_of, soft_parts
from ..timestamps import TimestampMixin
from ..types._exact import utc_now

__all__ = ["companions", "has_soft_rows", "live", "refuse_companions", "refuse_unreadable", "versions_below"]


def has_soft_rows(mapper: Mapper[Any]) -> bool:
    """Return whether the class, or a subclass in its table, soft-deletes its rows."""
    return any(_marks(mapper))


def live(mapper: Mapper[Any]) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions that a row in the mapper's table is live, whatever its class."""
    own = mapper.local_table
    found: dict[Any, ColumnElement[bool]] = {}
    for mark in _marks(mapper):
        found.setdefault(mark.at, mark.at.is_(None) if mark.table is own else ~_is_dead(mark, own))
    return tuple(found.values())


def _marks(mapper: Mapper[Any]) -> Iterator[Mark]:
    rows = rows_of(mapper)
    return (Mark(part) for part in soft_parts(mapper) if part in rows)


def _is_dead(mark: Mark, own: Any) -> ColumnElement[bool]:
    other = mark.table.alias()
    dead = select(*(other.c[column.key] for column in mark.key)).where(other.c[mark.at.key].is_not(None))
    # Not EXISTS: this is also used in ON CONFLICT, and SQLAlchemy does not correlate with the table of an INSERT.
    found: ColumnElement[bool] = row_value(key_in(mark.mapper, own)).in_(dead)
    return found


def versions_below(mapper: Mapper[Any], given: Collection[Any]) -> dict[Any, ColumnElement[Any]]:
    """Return the version columns that subclasses have in the mapper's table, with their next value in such rows.

    Raises:
        NotSupported: When the class of the row is among the columns *given*, and decides how the version is counted.
    """
    found: dict[Any, dict[Any, tuple[Any, list[Mapper[Any]]]]] = defaultdict(dict)
    for below in rows_below(mapper):
        for column, following in next_version(below, mapper.local_table).items():
            if column is not mapper.version_id_col:
                counting = found[column].setdefault(below.version_id_generator, (following, []))
                counting[1].append(below)
    moves = _moves_class(mapper, given) if found else False
    return {column: _following(mapper, column, [*ways.values()], moves=moves) for column, ways in found.items()}


def _moves_class(mapper: Mapper[Any], given: Collection[Any]) -> bool:
    kind = mapper.polymorphic_on
    return kind is None or any(part in given for part in visitors.iterate(kind))


def _following(
    mapper: Mapper[Any], column: Any, ways: list[tuple[Any, list[Mapper[Any]]]], *, moves: bool
) -> ColumnElement[Any]:
    kind: Any = mapper.polymorphic_on
    values = [value if isinstance(value, ColumnElement) else literal(value, column.type) for value, _ in ways]
    if moves:
        # For rows of other classes too, because MariaDB may evaluate the class after the row has been changed.
        if len(values) > 1:
            raise _counted_by_class(mapper, column, [of[0] for _, of in ways])
        return values[0]
    classes = [[one.polymorphic_identity for one in of if one.polymorphic_identity is not None] for _, of in ways]
    return case(*((kind.in_(those), value) for those, value in zip(classes, values, strict=True)), else_=column)


def _counted_by_class(mapper: Mapper[Any], column: Any, below: list[Mapper[Any]]) -> NotSupported:
    names = " and ".join(one.class_.__name__ for one in below)
    return NotSupported(
        f"The rows change the class of a {mapper.class_.__name__}, and {names} count {column.name} differently.",
        hint=f"Write rows of one class at a time: {below[0].class_.__name__} instead of {mapper.class_.__name__}.",
    )


def companions(mapper: Mapper[Any]) -> list[Companion]:
    """Return the subclass tables that hold a version or timestamp for rows of the mapper's table."""
    found: dict[Any, Companion] = {}
    for below in rows_below(mapper):
        for table in below.tables:
            values = {} if table is mapper.local_table else {**next_version(below, table), **_dated(below, table)}
            if values:
                known = found.setdefault(table, Companion(table, key_in(below, table), {}))
                known.values.update(values)
    return list(found.values())


def _dated(mapper: Mapper[Any], table: Any) -> dict[Any, Any]:
    column: Any = mapper.columns["updated_at"] if issubclass(mapper.class_, TimestampMixin) else None
    return {} if column is None or column.table is not table else {column: utc_now()}


def refuse_unreadable(mapper: Mapper[Any], *, in_order: bool = False) -> None:
    """Refuse to return objects of written rows if RETURNING cannot provide all their columns.

    *in_order* is set for many rows, which SQLAlchemy sorts by a column of the base class.

    Raises:
        NotSupported: When objects are read from a join or union of tables, or an expression determines their class.
    """
    table, kind = mapper.local_table, mapper.polymorphic_on
    is_known = mapper.selectable is table and (kind is None or kind in set(table.columns))
    if in_order:
        is_known = is_known and all(isinstance(one.persist_selectable, Table) for one in mapper.iterate_to_root())
    if not is_known:
        raise NotSupported(
            f"A statement that writes cannot return a {mapper.class_.__name__}: it is read from several tables, or an "
            "expression determines its class.",
            hint="Write such rows with insert_many() or upsert_many(), and load them with Repository.get_many().",
        )


def refuse_companions(mapper: Mapper[Any]) -> None:
    """Refuse an upsert if the version or timestamp of some rows is in another table.

    Raises:
        NotSupported: Names the columns.
    """
    columns = [f"{one.table.name}.{column.name}" for one in companions(mapper) for column in one.values]
    if columns:
        name = mapper.class_.__name__
        raise NotSupported(
            f"An upsert of {name} would not update {', '.join(columns)} of the rows that it changes.",
            hint=f"Use Repository.update_many() of {name}, which updates them; update=[] only inserts missing rows.",
        )
