"""A condition on live rows for places where SQLAlchemy adds none; it only applies if deleted rows are hidden.

A statement may run with and without deleted rows, and its SELECTs belong to the user. So a condition that we write into
one must have no effect if deleted rows are shown.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from typing import Any, Final

from sqlalchemy import Boolean, ColumnElement, Join, SelectBase, exists
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.visitors import InternalTraversal, replacement_traverse

from .. import _sqlalchemy as private
from ..models._key_columns import tables_with_keys
from ..models._relations import is_soft
from ._live import OF_BASES, closed_alias, is_live
from ._marks import Mark, soft_parts

__all__ = ["ENTITY", "HIDING", "Living", "living", "living_in_tables", "stands_apart", "without_class"]

ENTITY: Final = "parententity"
"""The name of SQLAlchemy's annotation for the class or alias that a part of a statement belongs to."""

HIDING: Final = "sqlkeel.hides_deleted"
"""The name of the entry, shared by all SELECTs of a statement, that it is compiled to hide deleted rows."""


def without_class(condition: ColumnElement[bool], *, of: Container[Any] | None = None) -> ColumnElement[bool]:
    """Remove the annotations for some or all classes from a condition, but not from SELECTs inside it."""

    def forget(element: Any, **options: Any) -> Any:
        if isinstance(element, SelectBase):
            return element
        entity = private.notes_of(element).get(ENTITY)
        if entity is None or (of is not None and entity not in of):
            return None
        return private.without_notes(element, [ENTITY, "parentmapper"], clone=True)

    return replacement_traverse(condition, {}, forget)


class Living(ColumnElement[bool]):
    """A condition that disappears if the statement shows deleted rows, or runs in a session that is not ours.

    It is true for a row that an outer join filled with NULLs. It adds no table to the statement.
    """

    type = Boolean()
    inherit_cache = True
    _traverse_internals = [("condition", InternalTraversal.dp_clauseelement)]

    def __init__(self, condition: ColumnElement[bool], *about: Any) -> None:
        self.about = about  # its subject, because two aliases of a class compare as equal
        # Without the class, or SQLAlchemy adds its own condition on it, even to what an alias hides.
        self.condition = without_class(condition)

    def get_children(self, **options: Any) -> tuple[()]:
        """Yield no parts: SQLAlchemy decides by the columns of an ON clause which tables it joins."""
        return ()

    def self_group(self, against: Any = None) -> Living:
        """Return the condition itself: it has its own parentheses."""
        return self


@compiles(Living)
def _write(element: Living, compiler: Any, **options: Any) -> str:
    hiding = private.shared_notes_of(compiler).get(HIDING)
    return f"({compiler.process(element.condition, **options)})" if hiding else "1 = 1"


def living(entity: Any) -> Living:
    """Match the live rows of a class in the FROM clause."""
    return Living((is_live if is_soft(entity.mapper) else OF_BASES[0])(entity.entity), entity)


def stands_apart(entity: Any) -> bool:
    """Return whether the mark may be in another table than the named columns."""
    whole = entity.selectable
    return isinstance(whole, Join) or (entity.is_mapper and whole is not entity.persist_selectable)


def living_in_tables(entity: Any, tables: Iterable[Any]) -> Iterator[Living]:
    """Yield the conditions for a class of which only these *tables* are in the FROM clause."""
    named = set(tables)
    for mark in map(Mark, [entity.mapper] if is_soft(entity.mapper) else soft_parts(entity.mapper)):
        for table, columns in tables_with_keys(entity.mapper):
            key = [_in_named(entity, column, named) for column in columns]
            if any(one is None for one in key):
                continue
            at = _in_named(entity, mark.at, named) if table is mark.table else None
            yield Living(at.is_(None) if at is not None else ~_has_dead(mark, key), entity, mark.mapper, table)


def _in_named(entity: Any, column: Any, tables: set[Any]) -> Any:
    own = column if entity.is_mapper else entity.selectable.corresponding_column(column)
    return own if own is not None and own.table in tables else None


def _has_dead(mark: Mark, key: list[Any]) -> Any:
    other = closed_alias(mark.table)
    same = [other.c[one.key] == column for one, column in zip(mark.key, key, strict=True)]
    found = exists().select_from(other).where(*same, other.c[mark.at.key].is_not(None))
    return found.correlate_except(other)
