"""Refresh the objects that a session holds for the rows of a bulk call, as if a new session had loaded them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from sqlalchemy import Column, Select, event, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstanceState, Mapper, selectinload, undefer

from ..models._key_columns import portions
from ..models._row_keys import among, are_exact, pairs
from ..sessions._links import Joined, keys_of, relink
from ..sessions._locks import apart, holds_lock, note_locked
from ..sessions._rewinding import expunge, note_read

__all__ = ["Held", "Identity", "newly_loaded"]


Identity = tuple[Any, ...]


class Held:
    """The objects of *model* that a session holds, by the identity of their rows."""

    def __init__(self, session: AsyncSession, model: type[Any]) -> None:
        self.session = session
        self.model = model

    @cached_property
    def objects(self) -> dict[Identity, Any]:
        """The objects by identity; computed on first use from everything that the session holds."""
        found: dict[Identity, Any] = {}
        for obj in list(self.session.sync_session.identity_map.values()):
            if isinstance(obj, self.model) and (identity := sa_inspect(obj).identity) is not None:
                found[identity] = obj
        return found

    def among(self, keys: Iterable[Identity]) -> list[Any]:
        """Return the objects whose rows may be among *keys*.

        If the database may match a key differently than Python does (a text in another case, a number as text), return
        all of them.
        """
        if not self.objects:
            return []
        keys = list(keys)
        if are_exact((*keys, *self.objects)) and not _of_two_types(keys, self.objects):
            return [self.objects[key] for key in dict.fromkeys(keys) if key in self.objects]
        return [*self.objects.values()]

    def joined(self) -> Joined:
        """Return the recorder of collections that gain rows, to be passed to `renew`."""
        return Joined(self.session.sync_session, sa_inspect(self.model))

    def note_locked(self, identities: Iterable[Identity]) -> None:
        """Make later reads refresh the objects of these rows, which the call has locked.

        On MariaDB, the snapshot may have an older state of a row that the call did not have to write.
        """
        objects = [self.objects[identity] for identity in identities if identity in self.objects]
        # Tables of subclasses were not locked.
        alone = [obj for obj in objects if len(sa_inspect(obj).mapper.tables) == 1]
        note_locked(self.session.sync_session, alone)

    async def renew(
        self, objects: Iterable[Any], written: Iterable[Column[Any]], joined: Iterable[tuple[Any, str]] = ()
    ) -> None:
        """Reload everything that *objects* have loaded, and relationships that depend on a column in *written*.

        Also reload the collections that rows have *joined*.

        Unflushed changes of an object are kept, except in columns that were written. Attributes are reloaded and not
        expired, because async code could not lazy-load them.
        """
        objects = {id(obj): obj for obj in objects}.values()
        note_read(self.session.sync_session, objects)
        columns, before = set(written), keys_of(objects)
        groups: dict[tuple[Mapper[Any], bool], list[InstanceState[Any]]] = defaultdict(list)
        for obj in objects:
            state: InstanceState[Any] = sa_inspect(obj)
            groups[state.mapper, holds_lock(self.session.sync_session, state)].append(state)
        for (mapper, locked), states in groups.items():
            for some in portions(states, len(mapper.primary_key)):
                await self._renew(mapper, some, columns, locked=locked)
        # The other side: collections that have lost or gained a row.
        await self.session.run_sync(relink, before, joined)

    async def complete(self, objects: Iterable[Any]) -> None:
        """Load into new *objects* what RETURNING did not return: the values of ``column_property()``."""
        groups: dict[Mapper[Any], list[InstanceState[Any]]] = defaultdict(list)
        for state in map(sa_inspect, objects):
            if state.expired_attributes:
                groups[state.mapper].append(state)
        for mapper, states in groups.items():
            for some in portions(states, len(mapper.primary_key)):
                await self._load(_rows_of(mapper, some), include_deleted=True)
                await self._renew_by_itself(mapper, [state for state in some if state.expired_attributes])

    async def _renew(
        self, mapper: Mapper[Any], states: Sequence[InstanceState[Any]], written: set[Column[Any]], *, locked: bool
    ) -> None:
        relations = [
            relation
            for relation in mapper.relationships
            if not written.isdisjoint(relation.local_columns) and any(relation.key in state.dict for state in states)
        ]
        # Only the query that loaded a query_expression() can load it.
        read = [one for one in mapper.column_attrs if one.strategy_key != (("query_expression", True),)]
        fields = {attribute.key: written.isdisjoint(attribute.columns) for attribute in read}
        deferred: set[str] = set()
        for state in states:
            kept = {name for name, untouched in fields.items() if untouched and name in state.committed_state}
            loaded = [name for name in fields if name in state.dict and name not in kept]
            deferred.update(name for name in loaded if mapper.attrs[name].deferred)
            about = [relation.key for relation in relations if relation.key in state.dict]
            self.session.sync_session.expire(state.obj(), [*loaded, *about])
        statement = _rows_of(mapper, states)
        options = [undefer(getattr(mapper.class_, name)) for name in sorted(deferred)]
        again = statement.options(*options)
        if locked:
            again = again.options(*apart(mapper)).with_for_update(of=[*mapper.tables])
        await self._load(again, include_deleted=True)
        if relations:
            loads = [selectinload(getattr(mapper.class_, relation.key)) for relation in relations]
            await self._load(statement.options(*loads), include_deleted=False)
        await self._renew_by_itself(mapper, [state for state in states if state.expired_attributes & fields.keys()])

    async def _renew_by_itself(self, mapper: Mapper[Any], states: Sequence[InstanceState[Any]]) -> None:
        """Reload objects whose row has another spelling of the key: the object has "ann", the type stores "Ann"."""
        there = await self._places(mapper, [state.identity or () for state in states])
        with self.session.sync_session.no_autoflush:
            for state in (states[place] for place in sorted(there)):
                await self.session.refresh(state.obj(), sorted(state.expired_attributes))

    async def _places(self, mapper: Mapper[Any], identities: Sequence[Identity]) -> set[int]:
        """Return the positions of the keys that have a row, by the database's comparison."""
        places: set[int] = set()
        for statement in pairs(mapper.primary_key, identities):
            found = await self.session.execute(statement, bind_arguments={"mapper": mapper})
            places.update(place for place, *_ in found)
        return places

    async def _load(self, statement: Select[Any], *, include_deleted: bool) -> None:
        with self.session.sync_session.no_autoflush:
            found = await self.session.execute(statement, execution_options={"include_deleted": include_deleted})
            found.unique().all()

    async def forget(self, keys: Iterable[Identity]) -> None:
        """Remove the objects from the session whose rows were deleted by *keys*."""
        if not self.objects:
            return
        objects = self.among(keys)
        if len(objects) == len(self.objects):
            objects = await self._gone(objects)
        expunge(self.session.sync_session, objects)

    async def _gone(self, objects: Sequence[Any]) -> list[Any]:
        """Return those of *objects* whose rows do not exist."""
        mapper: Mapper[Any] = sa_inspect(self.model)
        there: set[Identity] = set()
        with self.session.sync_session.no_autoflush:
            for some in portions(objects, len(mapper.primary_key)):
                states = [sa_inspect(obj) for obj in some]
                statement = _rows_of(mapper, states).with_only_columns(*mapper.primary_key)
                found = await self.session.execute(statement, execution_options={"include_deleted": True})
                there.update(tuple(row) for row in found)
            missed = [obj for obj in objects if sa_inspect(obj).identity not in there]
            places = await self._places(mapper, [sa_inspect(obj).identity or () for obj in missed])
        return [obj for place, obj in enumerate(missed) if place not in places]


@contextmanager
def newly_loaded(session: AsyncSession) -> Iterator[list[Any]]:
    """Collect the objects that a block loads and that the session did not hold before."""
    found: list[Any] = []

    def note(_: Any, obj: Any) -> None:
        found.append(obj)

    event.listen(session.sync_session, "loaded_as_persistent", note)
    try:
        yield found
    finally:
        event.remove(session.sync_session, "loaded_as_persistent", note)


def _of_two_types(keys: Iterable[Identity], held: Iterable[Identity]) -> bool:
    """Return whether a part of the given keys has another type than the same part in the objects' keys."""
    return any(len(set(map(type, part))) > 1 for part in zip(*keys, *held, strict=True))


def _rows_of(mapper: Mapper[Any], states: Sequence[InstanceState[Any]]) -> Select[Any]:
    return select(mapper.class_).where(among(mapper.primary_key, [state.identity or () for state in states]))
