"""Exclude deleted rows of other classes that an ``update()`` or ``delete()`` names, as in UPDATE … FROM."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnClause, Delete, Join, SelectBase, Table, Update
from sqlalchemy.orm import Mapper
from sqlalchemy.sql.visitors import replacement_traverse

from .. import _sqlalchemy as private
from ..errors import NotSupported
from ..models._conditions import conditions_of
from ..models._relations import is_soft
from ._live import OF_BASES, is_live, is_live_written
from ._living import ENTITY
from ._marks import Mark, has_mark, rows_of, soft_parts
from ._unmarked import MarkingOption, parts_of

__all__ = ["ReadingOption", "conditions_beside", "refuse_inner_writes"]


class ReadingOption(MarkingOption):
    """A `MarkingOption` that refuses an UPDATE or DELETE inside a SELECT if it cannot exclude deleted rows."""

    __slots__ = ()
    _traverse_internals = MarkingOption._traverse_internals

    def process_compile_state(self, compile_state: Any) -> None:
        """Do the usual work of such an option, and check the statement that it belongs to."""
        super().process_compile_state(compile_state)
        statement = getattr(compile_state, "select_statement", None)
        if statement is not None:
            refuse_inner_writes(statement)


def conditions_beside(statement: Any, *, own_too: bool = False) -> Iterator[Any]:
    """Yield the conditions that exclude deleted rows of the other classes in a statement that writes one class.

    With *own_too*, also yield those for the written rows, which the options of a statement normally add.
    """
    own = _written(statement)
    if own_too and own is not None and has_mark(own.mapper):
        yield from _alive(own, set())
    for entity, tables in _named(statement).items():
        if not _is_same_row(statement.table if own is None else own, entity):
            yield from _alive(entity, tables)


def _written(statement: Any) -> Any:
    """Return the class that a statement writes.

    Raises:
        NotSupported: For an alias or a join, for which SQLAlchemy adds no condition, or one on other rows.
    """
    own = private.notes_of(statement.table).get(ENTITY)
    if isinstance(statement.table, Join) and (own is None or statement.table != own.selectable):
        named = (private.notes_of(part).get(ENTITY) for part in parts_of(statement.table))
        if any(has_mark(entity.mapper) for entity in named if entity is not None):
            raise _join()
    if own is not None and own.is_aliased_class and has_mark(own.mapper):
        raise _alias(own.mapper)
    return own


def _named(statement: Any) -> dict[Any, set[Any]]:
    """Return the classes and aliases that have a mark, each with the tables of its named columns."""
    values = [part for pair in private.values_of(statement).items() for part in pair]
    elements = [part for part in (*conditions_of(statement), *values) if hasattr(part, "get_children")]
    found: dict[Any, set[Any]] = {}
    for part in parts_of(*elements, without=lambda part: isinstance(part, SelectBase)):
        entity = private.notes_of(part).get(ENTITY)
        if entity is not None and has_mark(entity.mapper):
            tables = found.setdefault(entity, set())
            tables.update([part.table] if isinstance(part, ColumnClause) else ())
    return found


def _is_same_row(own: Any, entity: Any) -> bool:
    """Return whether a class refers to the written row itself, or to another part of it (see `joined`)."""
    if isinstance(own, Table):  # a statement on the table covers all its rows
        return entity.is_mapper and own in entity.mapper.tables
    if not own.is_mapper or not entity.is_mapper:
        return entity is own
    return entity in _line(own) or own in _line(entity)


def _line(mapper: Mapper[Any]) -> Iterator[Mapper[Any]]:
    """Yield the mapper and its base mappers whose tables also hold its rows."""
    for one in mapper.iterate_to_root():
        yield one
        if one.concrete:
            return


def _alive(entity: Any, tables: set[Any]) -> Iterator[Any]:
    mapper = entity.mapper
    if entity.is_mapper:
        if not all(table is mapper.local_table for table in tables):
            # Without these SQLAlchemy would produce a cross join of the tables.
            yield from (one.inherit_condition for one in _line(mapper) if one.inherit_condition is not None)
        yield _without_class((is_live_written if is_soft(mapper) else OF_BASES[True])(entity.entity))
    elif isinstance(entity.selectable, Join):
        raise _too_many_tables(mapper)
    else:
        yield (is_live if is_soft(mapper) else OF_BASES[False])(entity.entity)


def _without_class(condition: Any) -> Any:
    """Refer to the columns by their tables only: otherwise a SELECT in the condition would get conditions too."""

    def bare(element: Any, **_: Any) -> Any:
        return private.without_notes(element) if ENTITY in private.notes_of(element) else None

    return replacement_traverse(condition, {}, bare)


def _join() -> NotSupported:
    return NotSupported(
        "update() of a join would find deleted rows.",
        hint="Update the class itself, and name the other one in a condition: update(A).where(A.b_id == B.id).",
    )


def _alias(mapper: Mapper[Any]) -> NotSupported:
    name = mapper.class_.__name__
    return NotSupported(
        f"update() and delete() of an alias of {name} would write deleted rows too.",
        hint=f"Write {name} itself, and use the alias for the other rows: other = aliased({name}).",
    )


def _too_many_tables(mapper: Mapper[Any]) -> NotSupported:
    name, key = mapper.class_.__name__, mapper.get_property_by_column(mapper.primary_key[0]).key
    return NotSupported(
        f"update() and delete() cannot join the tables of an alias of {name}: deleted rows of it would be found.",
        hint=f"Name {name} itself, or ask in a subquery: .where(... .in_(select(alias.{key}).where(...))).",
    )


def refuse_inner_writes(statement: Any) -> None:
    """Refuse an UPDATE or DELETE in a CTE that would reach deleted rows: it only accepts conditions on its own table.

    Raises:
        NotSupported: Names the class.
    """
    for part in parts_of(statement):
        if isinstance(part, Update | Delete) and part is not statement:
            own: Any = private.notes_of(part.table).get(ENTITY)
            if any(True for _ in conditions_beside(part)) or (own is not None and _is_marked_elsewhere(own.mapper)):
                raise _inner_write(part)


def _is_marked_elsewhere(mapper: Mapper[Any]) -> bool:
    if is_soft(mapper):
        return Mark(mapper).table is not mapper.local_table
    return any(part in rows_of(mapper) and Mark(part).table is not mapper.local_table for part in soft_parts(mapper))


def _inner_write(statement: Any) -> NotSupported:
    word = "update" if isinstance(statement, Update) else "delete"
    return NotSupported(
        f"{word}() of {statement.table.description} inside another statement would find deleted rows.",
        hint="Execute it separately, or pass include_deleted=True and write the conditions yourself.",
    )
