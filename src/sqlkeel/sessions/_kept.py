"""What objects have loaded, kept where SQLAlchemy unloads it: by reading a row over its object, or by a rollback."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

from sqlalchemy import orm
from sqlalchemy.orm import InstanceState, Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter

__all__ = ["Kept", "Values"]

Relations: TypeAlias = list[RelationshipProperty[Any]]


class Kept:
    """The loaded relationships and deferred columns of a mapper's objects; create it before the statement.

    ``populate_existing`` takes the columns from the row, as intended, but unloads everything else, and async code
    cannot lazy-load it again.
    """

    def __init__(self, session: orm.Session, mapper: Mapper[Any]) -> None:
        self._relations: list[tuple[Any, RelationshipProperty[Any], Any]] = []
        self._deferred: dict[InstanceState[Any], set[str]] = {}
        names = {one: _names(one) for one in mapper.self_and_descendants}
        if not any(relations or deferred for relations, deferred in names.values()):
            return
        for state in session.identity_map.all_states():
            if state.mapper in names and (obj := state.obj()) is not None:
                self._note(obj, state, *names[state.mapper])

    def _note(self, obj: Any, state: InstanceState[Any], relations: Relations, deferred: set[str]) -> None:
        for relation in relations:
            if relation.key in state.dict:
                value = state.dict[relation.key]
                value = list(collection_adapter(value)) if relation.uselist else value
                self._relations.append((obj, relation, value))
        if found := deferred & state.dict.keys():
            self._deferred[state] = found

    @property
    def deferred(self) -> set[str]:
        """The deferred columns that an object has loaded: pass them to ``undefer()`` if the statement accepts it."""
        return {name for names in self._deferred.values() for name in names}

    def restore(self) -> dict[InstanceState[Any], set[str]]:
        """Restore the relationships of the objects, and return the deferred columns that are still missing.

        The caller handles relationships whose foreign keys have changed in between.
        """
        for obj, relation, value in self._relations:
            if relation.key not in vars(obj):
                set_committed_value(obj, relation.key, value)
        return {state: lost for state, names in self._deferred.items() if (lost := names - state.dict.keys())}


class Values:
    """The values of a session's objects before the last rollback, which expires them all."""

    def __init__(self) -> None:
        self._values: list[tuple[object, dict[str, Any]]] = []
        self._loaded: dict[Any, frozenset[str]] = {}

    def renew(self, states: Iterable[InstanceState[Any]]) -> None:
        """Keep the values of these objects, and of no others."""
        self._values = []
        for state in states:
            self.note(state)

    def note(self, state: InstanceState[Any]) -> None:
        """Keep the values of one more object."""
        if (obj := state.obj()) is not None:
            self._values.append((obj, dict(state.dict)))

    def give_back(self) -> None:
        """Restore the values that the objects lack, and forget the kept values."""
        kept, self._values = self._values, []
        for obj, values in kept:
            for key in values.keys() - vars(obj).keys():
                set_committed_value(obj, key, values[key])

    def renew_loaded(self, states: Iterable[InstanceState[Any]]) -> None:
        """Keep the names of the attributes that these objects have loaded: a rolled-back savepoint reloads them."""
        self._loaded = {state.key: frozenset(state.dict) for state in states}

    def note_loaded(self, state: InstanceState[Any]) -> None:
        """Keep the names of the attributes that one more object has loaded."""
        self._loaded[state.key] = frozenset(state.dict)

    def take_loaded(self) -> dict[Any, frozenset[str]]:
        """Return, once, what the objects had loaded before the last savepoint was rolled back, by identity."""
        loaded, self._loaded = self._loaded, {}
        return loaded


def _names(mapper: Mapper[Any]) -> tuple[Relations, set[str]]:
    """Return the relationships of a mapper, and the names of its deferred columns."""
    # "dynamic" and "write_only" relationships send a statement for each use and never load anything.
    relations = [one for one in mapper.relationships if one.lazy not in {"dynamic", "write_only"}]
    return relations, {one.key for one in mapper.column_attrs if one.deferred}
