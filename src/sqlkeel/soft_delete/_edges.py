"""The foreign keys that a deletion follows from parent rows to child rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Subquery, and_, literal, select
from sqlalchemy.orm import Mapper, RelationshipProperty, aliased
from sqlalchemy.orm.interfaces import ONETOMANY
from sqlalchemy.sql import operators

from .. import _sqlalchemy as private
from ..errors import NotSupported
from ..models._key_columns import row_value
from ..models._relations import is_soft
from ._marks import Mark, kinds, rows_of, soft_parts

__all__ = ["Edge", "edges_above", "edges_below", "tree_below"]

_LEVELS_AT_ONCE = 500


class Edge(NamedTuple):
    """A foreign key that a deletion follows, from the rows of *owner* to those of *target*."""

    relation: RelationshipProperty[Any]
    owner: Mapper[Any]
    target: Mapper[Any]
    above: tuple[Any, ...]
    below: tuple[Any, ...]

    @property
    def is_plain(self) -> bool:
        """Whether the foreign key alone determines which rows belong together."""
        joined: Any = self.relation.primaryjoin
        parts = joined.clauses if getattr(joined, "operator", None) is operators.and_ else [joined]
        pairs = [{local, remote} for local, remote in self.relation.local_remote_pairs or ()]
        return all(
            getattr(part, "operator", None) is operators.eq and {part.left, part.right} in pairs for part in parts
        )

    def rows(self, marked: ColumnElement[bool]) -> list[ColumnElement[bool]]:
        """Match the children of the *marked* rows, in a statement that selects from all tables of the target."""
        if not self.is_plain:
            return [row_value(Mark(self.target).key).in_(select(self._related(marked)))]
        return [row_value(self.below).in_(select(self._keys(marked))), *kinds(self.target)]

    def _keys(self, marked: ColumnElement[bool]) -> Subquery:
        # A derived table, because MariaDB refuses a subquery on the table that is being updated (error 1093).
        keys = select(*self.above).select_from(self.owner.persist_selectable).where(marked, *kinds(self.owner))
        return keys.subquery()

    def _related(self, marked: ColumnElement[bool]) -> Subquery:
        """Select the rows of a relationship with its own join condition, joined as SQLAlchemy does it."""
        if not self.target.isa(self.relation.mapper) or self.target.concrete:
            raise NotSupported(
                f"{self.relation} has its own condition, which cannot be evaluated for {self.target.class_.__name__}.",
                hint="Mark these rows with an update() statement before you delete the parent.",
            )
        above = aliased(self.owner.class_)
        key, mark = Mark(self.owner).key, Mark(self.target)
        keys = [getattr(above, self.owner.get_property_by_column(one).key) for one in self.owner.primary_key]
        owner = row_value(keys)
        marked_keys = select(*key).select_from(self.owner.persist_selectable).where(marked).subquery()
        related = getattr(above, self.relation.key).of_type(self.target.class_)
        found = select(*mark.key).select_from(above).join(related).where(owner.in_(select(marked_keys))).subquery()
        private.forget_plugin(found)  # otherwise SQLAlchemy takes the outer UPDATE for one of the parent class
        return found

    def match(self, marked: ColumnElement[bool]) -> ColumnElement[bool]:
        """Match the children of the *marked* rows, in a statement on the table that holds the mark."""
        mark, rows = Mark(self.target), self.rows(marked)
        kind: Any = self.target.polymorphic_on
        tables = {column.table for column in (*self.below, *([kind] if rows[1:] else []))}
        if not self.is_plain or tables == {mark.table}:
            return and_(*rows)
        keys = select(*mark.key).select_from(self.target.persist_selectable).where(*rows).subquery()
        return row_value(mark.key).in_(select(keys))  # type: ignore[no-any-return]  # a condition

    def match_all(self, marked: ColumnElement[bool]) -> ColumnElement[bool]:
        """Match the children of the *marked* rows; in a tree in one table, live rows of many levels at once."""
        mark, some = Mark(self.target), kinds(self.owner) + kinds(self.target)
        if self.owner.persist_selectable is not mark.table or some or not self.is_plain:
            return self.match(marked)
        level = literal(0).label("sqlkeel_level")
        reached = select(*self.above, level).where(marked).cte("reached", recursive=True, nesting=True)
        row = mark.table.alias()
        up = [row.c[below.key] == reached.c[above.key] for above, below in zip(self.above, self.below, strict=True)]
        # MariaDB raises an error after 1,000 recursions, and a tree may contain a cycle.
        up += [row.c[mark.at.key].is_(None), reached.c.sqlkeel_level < _LEVELS_AT_ONCE]
        step = select(*(row.c[above.key] for above in self.above), reached.c.sqlkeel_level + 1).where(*up)
        reached = reached.union(step)
        keys = select(*(reached.c[above.key] for above in self.above)).subquery()
        return row_value(self.below).in_(select(keys))  # type: ignore[no-any-return]  # a condition


def edges_below(mapper: Mapper[Any], *, restricting: bool = False) -> Iterator[Edge]:
    """Yield the foreign keys that a deletion follows or, if *restricting*, those whose live children prevent it."""
    # The rows may be of any subclass, which may have its own relationships.
    relations = dict.fromkeys(relation for one in rows_of(mapper) for relation in one.relationships)
    for relation in relations:
        takes_along = relation.passive_deletes == "all" if restricting else relation.cascade.delete
        if relation.direction is ONETOMANY and takes_along and not relation.viewonly:
            owner = relation.parent if relation.parent.isa(mapper) else mapper
            for target in soft_parts(relation.mapper):
                yield _edge(relation, owner, target)


def _edge(relation: RelationshipProperty[Any], owner: Mapper[Any], target: Mapper[Any]) -> Edge:
    above, below = zip(*relation.local_remote_pairs or (), strict=True)
    if target not in rows_of(relation.mapper):
        # A subclass table (concrete inheritance) has its own copies of these columns.
        below = tuple(target.columns[relation.mapper.get_property_by_column(column).key] for column in below)
    return Edge(relation, owner, target, above, below)


def edges_above(mapper: Mapper[Any]) -> Iterator[tuple[Mapper[Any], Edge]]:
    """Yield the foreign keys by which a deletion reaches or restricts rows of *mapper*, with the parent's mapper."""
    for above in filter(is_soft, mapper.registry.mappers):
        if above.inherits is not None and is_soft(above.inherits) and not above.concrete:
            continue  # its base class has the relationships of all its rows
        for edge in (*edges_below(above), *edges_below(above, restricting=True)):
            if mapper in rows_of(edge.target) and edge.is_plain:
                yield above, edge


def tree_below(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the mapper and all mappers whose rows a deletion may reach."""
    found = [mapper]
    for above in found:
        found.extend(edge.target for edge in edges_below(above) if edge.target not in found)
    return found
