"""Keep loaded relationships consistent when foreign keys change: no object stays linked to its former parent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import BindParameter, Null, event, inspect, orm
from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, RelationshipDirection, RelationshipProperty
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.exc import UnmappedColumnError

from .. import _sqlalchemy as private
from ..models._row_keys import are_exact
from ._new_rows import forget_empty, has_called_empty
from ._refresh import load_again
from ._rewinding import note_read
from ._sync_session import SyncSession

__all__ = ["Joined", "keys_held", "keys_of", "relink"]

_LINKS = "sqlkeel.links"
"""The key in a metadata's ``info`` for the links of each mapper."""


_Keys: TypeAlias = Mapping[InstanceState[Any], Mapping[str, Any]]
"""Foreign keys of objects, by the objects' states, because a dataclass instance may not be hashable."""


class _Link(NamedTuple):
    """A relationship along a foreign key: the referencing attributes, and the referenced attributes."""

    relation: RelationshipProperty[Any]
    below: tuple[str, ...]
    above: tuple[str, ...]


class _Links(NamedTuple):
    """The relationships along a mapper's foreign keys, to its parents and from its parents."""

    up: tuple[_Link, ...]
    down: tuple[_Link, ...]
    keys: frozenset[str]


def _links_of(mapper: Mapper[Any]) -> _Links:
    mappers = mapper.registry.mappers
    known = mapper.registry.metadata.info.setdefault(_LINKS, {})
    if (mapper, len(mappers)) not in known:
        up = [
            _link(one, mapper, one.mapper) for one in mapper.relationships if _is(one, RelationshipDirection.MANYTOONE)
        ]
        relations = dict.fromkeys(relation for other in mappers for relation in other.relationships)
        below = [one for one in relations if _is(one, RelationshipDirection.ONETOMANY) and mapper.isa(one.mapper)]
        down = [_link(one, mapper, one.parent) for one in below]
        found = [link for link in (*up, *down) if link is not None]
        keys = frozenset(key for link in found for key in link.below)
        known[mapper, len(mappers)] = _Links(tuple(filter(None, up)), tuple(filter(None, down)), keys)
    links: _Links = known[mapper, len(mappers)]
    return links


class _Linked(dict[Mapper[Any], frozenset[str]]):
    """The foreign keys of mappers while many objects are examined; each mapper is asked only once."""

    def __missing__(self, mapper: Mapper[Any]) -> frozenset[str]:
        keys = self[mapper] = _links_of(mapper).keys
        return keys


def _is(relation: RelationshipProperty[Any], direction: RelationshipDirection) -> bool:
    return relation.direction is direction and relation.lazy not in {"dynamic", "write_only", "noload"}


def _link(relation: RelationshipProperty[Any], below: Mapper[Any], above: Mapper[Any]) -> _Link | None:
    upwards = relation.direction is RelationshipDirection.MANYTOONE
    pairs = [pair if upwards else pair[::-1] for pair in relation.local_remote_pairs or ()]
    try:
        return _Link(
            relation,
            tuple(below.get_property_by_column(column).key for column, _ in pairs),
            tuple(above.get_property_by_column(column).key for _, column in pairs),
        )
    except UnmappedColumnError:
        return None  # the column is not mapped to an attribute, so nothing can change it


def keys_held(session: orm.Session, mapper: Mapper[Any]) -> _Keys:
    """Return the foreign keys of a mapper's loaded objects, for a later comparison by `relink`.

    They are stored by state, because an object may equal another one, or not be hashable, such as a dataclass.
    """
    linked = {one: _links_of(one).keys for one in mapper.self_and_descendants}
    if not any(linked.values()):
        return {}
    # Runs for each upsert() over everything that the session holds, so it only takes a quick look at each object.
    states = [state for state in session.identity_map.all_states() if state.mapper in linked]
    return {state: {key: state.dict[key] for key in linked[state.mapper] if key in state.dict} for state in states}


def keys_of(objects: Iterable[Any]) -> _Keys:
    """Return the loaded foreign keys of these objects, for a later comparison by `relink`."""
    held, linked = {}, _Linked()
    for state in map(orm.attributes.instance_state, objects):
        if keys := linked[state.mapper]:
            held[state] = {key: state.dict[key] for key in keys if key in state.dict}
    return held


def relink(session: orm.Session, before: _Keys, joined: Iterable[tuple[Any, str]] = ()) -> None:
    """Unload the relationships that contradict a foreign key that has changed since *before*, and those *joined*.

    A synchronous session loads them at the next access. An asynchronous one could not, so they are reloaded at once,
    with one or two statements for each relationship.
    """
    stale: dict[tuple[Mapper[Any], str], dict[int, Any]] = defaultdict(dict)
    holders = _Above(session)
    for state, old in before.items():
        if state.obj() is None or old.items() <= state.dict.items():
            continue
        changed = {key: value for key, value in old.items() if key not in state.dict or state.dict[key] != value}
        for holder, name in _contradicted(holders, state, {**state.dict, **changed}, changed.keys()):
            stale[inspect(holder).mapper, name][id(holder)] = holder
    for holder, name in joined:
        stale[inspect(holder).mapper, name][id(holder)] = holder
    for (mapper, name), objects in stale.items():
        note_read(session, objects.values())
        for obj in objects.values():
            session.expire(obj, [name])
        if async_session(session) is not None:
            load_again(session, mapper, objects.values(), [name])


def _contradicted(
    holders: _Above, state: Any, old: Mapping[str, Any], changed: Iterable[str]
) -> Iterable[tuple[Any, str]]:
    """Yield the objects, each with the name of a relationship that contradicts the foreign keys."""
    links, names, obj = _links_of(state.mapper), set(changed), state.obj()
    for link in links.up:
        name = link.relation.key
        if names & set(link.below) and name in state.dict and not _refers(state.dict, link, state.dict[name]):
            yield obj, name
    for link in links.down:
        if names & set(link.below):
            for values, belongs in ((old, False), (state.dict, True)):
                for above in holders.find(link, values):
                    if _contains(above, link.relation, obj) is not belongs:
                        yield above, link.relation.key


def _refers(values: Mapping[str, Any], link: _Link, target: Any) -> bool:
    keys = [values.get(key) for key in link.below]
    if target is None:
        return None in keys
    return keys == [vars(target).get(key) for key in link.above]


class _Above:
    """The loaded parents that rows reference by a foreign key, and that have loaded the reverse relationship."""

    def __init__(self, session: orm.Session) -> None:
        self.session = session
        self._indexes: dict[_Link, dict[tuple[Any, ...], list[Any]]] = {}

    def find(self, link: _Link, values: Mapping[str, Any]) -> list[Any]:
        """Return the parents that the values reference: one, unless the foreign key covers only part of their key."""
        wanted = dict(zip(link.above, (values.get(key) for key in link.below), strict=True))
        if None in wanted.values():
            return []
        mapper = link.relation.parent
        names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
        if set(names) != wanted.keys():
            return self._index(link).get(tuple(wanted.values()), [])
        found = self.session.identity_map.get(mapper.identity_key_from_primary_key(tuple(wanted[n] for n in names)))
        return [found] if found is not None and link.relation.key in vars(found) else []

    def _index(self, link: _Link) -> dict[tuple[Any, ...], list[Any]]:
        """Return the parents by their referenced non-key columns; one pass over all objects for each relationship."""
        if link not in self._indexes:
            index = self._indexes[link] = defaultdict(list)
            for obj in list(self.session.identity_map.values()):
                if isinstance(obj, link.relation.parent.class_) and link.relation.key in vars(obj):
                    index[tuple(vars(obj).get(name) for name in link.above)].append(obj)
        return self._indexes[link]


class Joined:
    """The loaded relationships that may have gained rows which the session does not hold, each with its object.

    Rows that left a loaded collection need no such entry: the session holds them, because the collection was loaded.
    """

    def __init__(self, session: orm.Session, mapper: Mapper[Any]) -> None:
        self.session = session
        self.mapper = mapper
        self._found: dict[tuple[int, str], Any] = {}
        self._holders: dict[_Link, list[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __iter__(self) -> Iterator[tuple[Any, str]]:
        return ((holder, name) for (_, name), holder in self._found.items())

    def note(
        self, rows: Iterable[Mapping[str, Any]], *, assigned: Iterable[str], key: Sequence[str] | None = None
    ) -> None:
        """Record the relationships that may now contain rows which they have not loaded.

        Args:
            rows: The values of the rows, all with the same attributes.
            assigned: The attributes that are written; the rows may have others.
            key: The attributes that identify a row; without them, each item may be any number of rows.
        """
        names = set(assigned)
        links = dict.fromkeys(link for one in self.mapper.self_and_descendants for link in _links_of(one).down)
        meant = [link for link in links if not names.isdisjoint(link.below) and self._holders_of(link)]
        given = list(rows) if meant else []
        for link in meant:
            self._note(link, [name for name in link.below if name in names], given, key)

    def _note(
        self, link: _Link, known: Sequence[str], rows: Iterable[Mapping[str, Any]], key: Sequence[str] | None
    ) -> None:
        above, everyone = dict(zip(link.below, link.above, strict=True)), self._holders_of(link)
        index: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
        for holder in everyone:
            index[tuple(vars(holder).get(above[name]) for name in known)].append(holder)
        members = {id(holder): _keys_in(holder, link.relation, key) for holder in everyone if key is not None}
        is_exact = are_exact(index)
        for row in rows:
            values, own = tuple(row[name] for name in known), tuple(row[name] for name in key or ())
            if any(value is None for value in values):
                continue
            named = index.get(values, []) if _is_hashable((values, own)) else []
            if not any(own in members.get(id(holder), ()) for holder in named):
                chosen = named if is_exact and are_exact([values]) else everyone
                self._found |= {(id(holder), link.relation.key): holder for holder in chosen}

    def _holders_of(self, link: _Link) -> list[Any]:
        """Return the objects that have loaded the relationship and not changed it since the last flush."""
        if link not in self._holders:
            name, above = link.relation.key, link.relation.parent.class_
            held = [obj for obj in list(self.session.identity_map.values()) if isinstance(obj, above)]
            self._holders[link] = [
                obj for obj in held if name in vars(obj) and name not in inspect(obj).committed_state
            ]
        return self._holders[link]


def _is_hashable(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _keys_in(above: Any, relation: RelationshipProperty[Any], key: Iterable[str]) -> set[tuple[Any, ...]]:
    return {tuple(vars(member).get(name) for name in key) for member in _members(above, relation)}


def _contains(above: Any, relation: RelationshipProperty[Any], obj: Any) -> bool:
    return any(member is obj for member in _members(above, relation))


def _members(above: Any, relation: RelationshipProperty[Any]) -> Iterable[Any]:
    value = vars(above)[relation.key]
    if relation.uselist:
        members: Iterable[Any] = collection_adapter(value)
        return members
    return [] if value is None else [value]


@event.listens_for(SyncSession, "after_flush")
def _note_flushed(session: SyncSession, context: Any) -> None:
    moved, linked = {}, _Linked()
    for obj in session.dirty:
        state = orm.attributes.instance_state(obj)
        if keys := linked[state.mapper] & state.committed_state.keys():
            moved[state] = {key: state.committed_state[key] for key in keys}
    if moved:
        session.run_after_flush(partial(relink, session, moved))
    if has_called_empty(session) and session.new:
        session.run_after_flush(partial(_doubt_empty, session, list(session.new)))


def _doubt_empty(session: orm.Session, inserted: Iterable[Any]) -> None:
    """Unload the collections that `Repository.create` assumed empty and that lack a row inserted since."""
    holders = _Above(session)
    for obj in inserted:
        for link in _links_of(inspect(obj).mapper).down:
            for above in holders.find(link, vars(obj)):
                if has_called_empty(session, above) and not _contains(above, link.relation, obj):
                    session.expire(above, [link.relation.key])


# Inserted before the listeners of other modules, so that attributes which they reload are compared too.
@event.listens_for(SyncSession, "do_orm_execute", retval=True, insert=True)
def _note_updated(state: ORMExecuteState) -> Any:
    """Compare the foreign keys of loaded objects before and after an ``update()`` statement that sets one."""
    if state.statement.is_select:  # as in `joined`
        return None
    mapper = state.bind_mapper if state.is_update or state.is_insert else None
    if mapper is None:
        return None
    if state.is_insert:
        forget_empty(state.session, mapper)
        return None
    statement: Any = state.statement
    rows: Any = (state.parameters or ()) if state.is_executemany else [state.parameters or {}]
    values = private.values_of(statement)
    names = {key: _attribute(mapper, key) for key in {*values, *(key for row in rows for key in row)}}
    if all(_links_of(one).keys.isdisjoint(names.values()) for one in mapper.self_and_descendants):
        return None
    forget_empty(state.session, mapper)
    before = keys_held(state.session, mapper)
    result = state.invoke_statement()
    joined = Joined(state.session, mapper)
    for given in _alike({names[key]: _plain(value) for key, value in {**values, **row}.items()} for row in rows):
        joined.note(given, assigned=given[0], key=_key_among(mapper, given[0]) if state.is_executemany else None)
    relink(state.session, before, joined)
    return result


def _attribute(mapper: Mapper[Any], key: Any) -> str:
    """Return the name of the attribute for a name, a column or an attribute in a statement."""
    if isinstance(key, str) and key in mapper.attrs:
        return key
    name: str = getattr(key, "key", key)
    for one in mapper.self_and_descendants:
        for attribute in one.column_attrs:
            if any(column is key or column.key == name for column in attribute.columns):
                return attribute.key
    return name


def _plain(value: Any) -> Any:
    """Return the literal value in a statement, or the expression that computes it."""
    if isinstance(value, BindParameter) and not value.required and value.callable is None:
        return value.value
    return None if isinstance(value, Null) else value


def _alike(rows: Iterable[Mapping[str, Any]]) -> Iterable[list[Mapping[str, Any]]]:
    """Group the rows that have the same attributes."""
    alike: dict[frozenset[str], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        alike[frozenset(row)].append(row)
    return alike.values()


def _key_among(mapper: Mapper[Any], given: Iterable[str]) -> list[str] | None:
    key = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return key if set(key).issubset(given) else None
