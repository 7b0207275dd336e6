"""Relationships of a newly inserted row that must be empty, so that reading them needs no statement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from weakref import WeakSet

from sqlalchemy import Column, orm
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.interfaces import MANYTOONE
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BooleanClauseList

__all__ = ["NewRow", "called_empty", "forget_empty", "has_called_empty"]


_CALLED_EMPTY: Final = "sqlkeel_called_empty"
"""The key in a session's ``info`` for the states of objects with a relationship that was assumed empty."""


class NewRow:
    """An object before its INSERT, to be completed after it: ``row = NewRow(obj)``, flush, ``row.complete()``.

    A collection must be empty if its rows reference, by a foreign key, a value that was generated for this row. Without
    a foreign key, with another join condition, or with a key that the caller chose, rows may have existed before; then
    the relationship stays unloaded. Rows inserted by a trigger are not seen.
    """

    def __init__(self, obj: Any) -> None:
        self.obj = obj
        self.state: Any = sa_inspect(obj)
        mapper, given = self.state.mapper, self.state.dict
        self._unset = [prop for prop in mapper.column_attrs if given.get(prop.key) is None]
        self._written = {
            table for relation in mapper.relationships if given.get(relation.key) for table in _tables(relation)
        }

    def complete(self) -> None:
        """Set the empty relationships, so that reading them needs no statement."""
        loaded = self.state.dict
        made = {column for prop in self._unset if loaded.get(prop.key) is not None for column in prop.columns}
        for relation in self.state.mapper.relationships:
            if relation.key in loaded or relation.viewonly or relation.lazy in {"dynamic", "write_only"}:
                continue
            if relation.direction is MANYTOONE:
                is_empty = any(_compares(relation, pair) for pair in self._unset_pairs(relation))
            else:
                # Two relationships may contain the same rows.
                is_empty = self._written.isdisjoint(_tables(relation)) and _awaits_rows(relation, made)
            if is_empty:
                set_committed_value(self.obj, relation.key, () if relation.uselist else None)
                self._note()

    def _note(self) -> None:
        if self.state.session is not None:
            self.state.session.info.setdefault(_CALLED_EMPTY, WeakSet()).add(self.state)

    def _unset_pairs(self, relation: RelationshipProperty[Any]) -> Iterable[tuple[Any, Any]]:
        return [pair for pair in relation.synchronize_pairs if self._is_null(pair[1])]

    def _is_null(self, column: Any) -> bool:
        key = self.state.mapper.get_property_by_column(column).key
        if key in self.state.dict:
            return self.state.dict[key] is None
        return isinstance(column, Column) and column.default is None and column.server_default is None


def called_empty(session: orm.Session, key: str) -> list[Any]:
    """Return the objects whose relationship *key* is empty, perhaps only because `create` assumed that."""
    states = list(session.info.get(_CALLED_EMPTY, ()))
    return [obj for state in states if (obj := state.obj()) is not None and not state.dict.get(key, True)]


def has_called_empty(session: orm.Session, obj: object = None) -> bool:
    """Return whether a relationship of *obj*, or of any object, was assumed empty in this session."""
    states = session.info.get(_CALLED_EMPTY, ())
    return bool(states) if obj is None else sa_inspect(obj) in states


def forget_empty(session: orm.Session, mapper: Mapper[Any]) -> None:
    """Unload the relationships that were assumed empty if a statement may have given them rows of *mapper*."""
    reached: dict[Mapper[Any], list[str]] = {}
    # Each bulk verb runs this over all new objects of the session, so it only takes a quick look at each.
    for state in list(session.info.get(_CALLED_EMPTY, ())):
        if state.mapper not in reached:
            reached[state.mapper] = list(_leading_to(mapper, state.mapper))
        for key in reached[state.mapper]:
            if not state.dict.get(key, True) and key not in state.committed_state and state.session is session:
                session.expire(state.obj(), [key])


def _leading_to(mapper: Mapper[Any], start: Mapper[Any]) -> Iterable[str]:
    for relation in start.relationships:
        if relation.direction is not MANYTOONE and (mapper.isa(relation.mapper) or relation.mapper.isa(mapper)):
            yield relation.key


def _tables(relation: RelationshipProperty[Any]) -> list[Any]:
    between = [] if relation.secondary is None else [relation.secondary]
    return between or list(relation.mapper.tables)


def _awaits_rows(relation: RelationshipProperty[Any], made: set[Any]) -> bool:
    """Return whether the rows reference a value in *made* by a foreign key."""
    return any(
        local in made and remote.references(local) and _compares(relation, (local, remote))
        for local, remote in relation.synchronize_pairs
    )


def _compares(relation: RelationshipProperty[Any], pair: tuple[Any, Any]) -> bool:
    """Return whether the join requires the two columns to be equal, possibly among other conditions."""
    clause = relation.primaryjoin
    conjuncts = (
        clause.clauses if isinstance(clause, BooleanClauseList) and clause.operator is operators.and_ else [clause]
    )
    return any(
        isinstance(one, BinaryExpression) and one.operator is operators.eq and {one.left, one.right} == set(pair)
        for one in conjuncts
    )
