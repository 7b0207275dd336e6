"""A deletion that marks: a row and all below it, set by set, and brought back exactly."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Subquery, Table, literal, or_, orm, select, tuple_, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.interfaces import ONETOMANY

from ..errors import ForeignKeyViolation, NotFound, ReadOnlySession, RestoreConflict, UniqueViolation, UsageError
from ..holding import refuse_foreign
from ..keys import uuid7
from ..session import SyncSession, reload_expired
from ..types import utc_now
from .version import find_conflict

__all__ = ["Deletion", "Edge", "below_deleted", "deleted_at", "edges_above", "refuse_below_deleted", "restore"]

_KEYS_AT_ONCE = 500
_LEVELS_AT_ONCE = 500


class Edge(NamedTuple):
    """A foreign key along which a deletion goes, from the table above to the one below."""

    relation: RelationshipProperty[Any]
    owner: Mapper[Any]
    above: tuple[Any, ...]
    below: tuple[Any, ...]

    def among(self, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Match the rows below those that meet the conditions."""
        # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
        keys = select(*self.above).select_from(self.owner.persist_selectable).where(*conditions).subquery()
        return self._within(keys)

    def below_all(self, marked: ColumnElement[bool]) -> ColumnElement[bool]:
        """Match the rows below the marked ones; in a tree of one table, living rows of many levels at once."""
        table = _table(self.relation.mapper)
        if self.owner.persist_selectable is not table:
            return self.among(marked)
        level = literal(0).label("sqlkeel_level")
        reached = select(*self.above, level).where(marked).cte("reached", recursive=True, nesting=True)
        row = table.alias()
        up = [row.c[below.key] == reached.c[above.key] for above, below in zip(self.above, self.below, strict=True)]
        # MariaDB raises an error after 1,000 steps; and a tree may have grown into a circle.
        up += [row.c.deleted_at.is_(None), reached.c.sqlkeel_level < _LEVELS_AT_ONCE]
        step = select(*(row.c[above.key] for above in self.above), reached.c.sqlkeel_level + 1).where(*up)
        reached = reached.union(step)
        return self._within(select(*(reached.c[above.key] for above in self.above)).subquery())

    def _within(self, keys: Subquery) -> ColumnElement[bool]:
        below: Any = self.below[0] if len(self.below) == 1 else tuple_(*self.below)
        matched: ColumnElement[bool] = below.in_(select(keys))
        return matched


class Deletion:
    """Marks a row and all below it, set by set: the number of statements does not grow with the rows."""

    def __init__(self, session: orm.Session, obj: Any) -> None:
        self.session = session
        self.obj = obj
        self.id = uuid7()
        self.moment: datetime
        self.marked: dict[Mapper[Any], None] = {}

    def run(self) -> None:
        """Mark the row and what belongs to it.

        Raises:
            NotFound: When the row is deleted or gone already.
            VersionConflict: When somebody else changed it since it was read.
            ForeignKeyViolation: When a relation that restricts still has live rows; nothing is marked then.
        """
        state = sa_inspect(self.obj)
        mapper: Mapper[Any] = state.mapper
        if state.identity is None:
            raise UsageError(f"{self.obj!r} was never saved; expunge it instead of deleting it.")
        _refuse_reading(self.session)
        self.session.flush()
        self._read_expired_version(state)
        restricts = any(any(_edges_below(one, restricting=True)) for one in _tree(mapper))
        with self.session.begin_nested() if restricts else nullcontext():
            self.moment = self.session.execute(select(utc_now())).scalar_one()
            if not self._mark(mapper, _match_as_read(state)):
                raise _missing(self.session, state)
            self._descend(mapper)
        self._forget()

    def _read_expired_version(self, state: Any) -> None:
        """Read a version that has expired as reading the attribute would: nobody has seen another one."""
        version = _version(state.mapper, _table(state.mapper))
        if version is None or self.obj not in self.session:
            return
        try:
            getattr(self.obj, state.mapper.get_property_by_column(version).key)
        except orm.exc.ObjectDeletedError:
            raise NotFound(state.mapper.class_.__name__, _plain_key(state.identity)) from None

    def _mark(self, mapper: Mapper[Any], conditions: Iterable[ColumnElement[bool]]) -> bool:
        table = _table(mapper)
        values = {table.c.deleted_at: self.moment, table.c.deletion_id: self.id, **_bump(mapper, table)}
        statement = update(table).where(*conditions, table.c.deleted_at.is_(None)).values(values)
        if not self.session.execute(statement).rowcount:  # type: ignore[attr-defined]  # a cursor result
            return False
        self.marked[mapper] = None
        return True

    def _descend(self, top: Mapper[Any]) -> None:
        level = [top]
        while level:
            below: dict[Mapper[Any], None] = {}
            for mapper in level:
                just_marked = _table(mapper).c.deletion_id == self.id
                self._refuse_restricted(mapper, just_marked)
                for edge in _edges_below(mapper):
                    if self._mark(edge.relation.mapper, [edge.below_all(just_marked)]):
                        below[edge.relation.mapper] = None
            level = list(below)

    def _refuse_restricted(self, mapper: Mapper[Any], just_marked: ColumnElement[bool]) -> None:
        for edge in _edges_below(mapper, restricting=True):
            table = _table(edge.relation.mapper)
            live = select(*edge.below).where(edge.among(just_marked), table.c.deleted_at.is_(None)).limit(1)
            if self.session.execute(live).first() is not None:
                raise ForeignKeyViolation(table=table.name, columns=tuple(column.name for column in edge.below))

    def _forget(self) -> None:
        """Take the marked rows out of the session and out of the loaded collections they are in."""
        gone = {id(obj): obj for mapper in self.marked for obj in self._note_marks(mapper)}
        for obj in gone.values():
            if obj in self.session:
                self.session.expunge(obj)
        _drop_from_collections(self.session, gone)

    def _note_marks(self, mapper: Mapper[Any]) -> Iterator[Any]:
        objects = _loaded(self.session, mapper)
        if sa_inspect(self.obj).mapper.isa(mapper):
            objects.append(self.obj)  # it may belong to no session, or to another
        loaded = {sa_inspect(obj).identity: obj for obj in objects}
        if not loaded:
            return
        table = _table(mapper)
        keys = tuple(table.primary_key)
        versions = [version] if (version := _version(mapper, table)) is not None else []
        written = [table.c.deleted_at, table.c.deletion_id, *versions, *_moved(table)]
        names = [mapper.get_property_by_column(column).key for column in written]
        statement = select(*keys, *written).where(table.c.deletion_id == self.id)
        if len(loaded) <= _KEYS_AT_ONCE:
            target: Any = keys[0] if len(keys) == 1 else tuple_(*keys)
            statement = statement.where(target.in_([key[0] if len(keys) == 1 else key for key in loaded]))
        for row in self.session.execute(statement):
            obj = loaded.get(tuple(row[: len(keys)]))
            if obj is not None:
                for name, value in zip(names, row[len(keys) :], strict=True):
                    set_committed_value(obj, name, value)
                yield obj


def restore(session: orm.Session, obj: Any) -> None:
    """Bring back *obj* and exactly the rows that were deleted with it.

    What was deleted before, on its own, stays deleted. Nothing is restored when one row cannot be.

    Raises:
        NotFound: When the row is not deleted, or gone.
        RestoreConflict: When a live row has taken a unique value meanwhile.
        UsageError: When the row above it is deleted, which is to be restored first or instead; when *obj* was never
            written, is held by another session, or another object of the row by this one.
    """
    refuse_foreign(session, obj, model=type(obj), call="restore()")
    state = sa_inspect(obj)
    mapper: Mapper[Any] = state.mapper
    deletion = obj.deletion_id
    if deletion is None or state.identity is None:
        raise NotFound(f"deleted {mapper.class_.__name__}", _plain_key(state.identity))
    _refuse_reading(session)
    refuse_below_deleted(session, mapper, lambda column: getattr(obj, mapper.get_property_by_column(column).key))
    tree = _tree(mapper)
    try:
        with session.begin_nested():
            restored = [below for below in tree if _unmark(session, below, deletion)]
    except UniqueViolation as error:
        raise RestoreConflict(
            table=error.table,
            columns=error.columns,
            constraint=error.constraint,
            orig=error.orig,
            statement=error.statement,
        ) from error
    if mapper not in restored:
        raise NotFound(f"deleted {mapper.class_.__name__}", _plain_key(state.identity))
    _take_back(session, obj, tree, deletion)


def _unmark(session: orm.Session, mapper: Mapper[Any], deletion: uuid.UUID) -> bool:
    table = _table(mapper)
    values = {table.c.deleted_at: None, table.c.deletion_id: None, **_bump(mapper, table)}
    statement = update(table).where(table.c.deletion_id == deletion).values(values)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # a cursor result


def _take_back(session: orm.Session, obj: Any, tree: Iterable[Mapper[Any]], deletion: uuid.UUID) -> None:
    """Read again what was restored, as far as it is loaded; *obj* brings its loaded children with it."""
    if obj not in session:
        session.add(obj)
    for mapper in tree:
        for other in _loaded(session, mapper):
            if sa_inspect(other).dict.get("deletion_id") == deletion:
                session.expire(other, [prop.key for prop in sa_inspect(other).mapper.column_attrs])
        reload_expired(session, mapper)


def _refuse_reading(session: orm.Session) -> None:
    # Before a savepoint is opened, which a connection without a transaction cannot.
    if isinstance(session, SyncSession) and session.read_only:
        raise ReadOnlySession("The session was opened for reading, and is asked to delete or restore.")


def refuse_below_deleted(session: orm.Session, mapper: Mapper[Any], value_of: Callable[[Any], Any]) -> None:
    """Refuse to bring back a row, of which *value_of* tells the value in a column, where the row above it is deleted.

    Raises:
        UsageError: Names what is to be restored first or instead.
    """
    for above, edge in edges_above(mapper):
        match = [column == value_of(below) for column, below in zip(edge.above, edge.below, strict=True)]
        if _table(above) is _table(mapper):
            # A row may be above itself.
            match.append(or_(*(column != value_of(column) for column in _table(mapper).primary_key)))
        rows = select(1).select_from(edge.owner.persist_selectable).where(*match)
        if session.execute(rows.where(deleted_at(above).is_not(None)).limit(1)).first():
            raise below_deleted(mapper, edge)


def below_deleted(mapper: Mapper[Any], edge: Edge) -> UsageError:
    """Return the error for a row that would live below a deleted one."""
    name = edge.owner.class_.__name__
    return UsageError(
        f"The {mapper.class_.__name__} belongs to a {name} that is deleted.",
        hint=f"Restore the {name}; it brings back what was deleted together with it.",
    )


def edges_above(mapper: Mapper[Any]) -> Iterator[tuple[Mapper[Any], Edge]]:
    """Yield the foreign keys along which a deletion reaches or regards rows of *mapper*, with the model above."""
    for above in filter(_is_soft, mapper.registry.mappers):
        for edge in (*_edges_below(above), *_edges_below(above, restricting=True)):
            if mapper.isa(edge.relation.mapper):
                yield above, edge


def deleted_at(mapper: Mapper[Any]) -> Any:
    """Return the column that holds the mark."""
    return _table(mapper).c.deleted_at


def _drop_from_collections(session: orm.Session, gone: Mapping[int, Any]) -> None:
    for state in list(session.identity_map.all_states()):
        obj = state.obj()
        for relation in state.mapper.relationships if obj is not None else ():
            value = state.dict.get(relation.key)
            if value is None or relation.lazy in {"dynamic", "write_only"}:
                continue
            if relation.uselist:
                members = list(collection_adapter(value))
                live = [member for member in members if id(member) not in gone]
                if len(live) < len(members):
                    set_committed_value(obj, relation.key, live)
            elif id(value) in gone and relation.direction is ONETOMANY:
                set_committed_value(obj, relation.key, None)


def _match_as_read(state: Any) -> list[ColumnElement[bool]]:
    """Match the row of an object, if it still has the version that was read."""
    mapper = state.mapper
    table = _table(mapper)
    keys = [column == value for column, value in zip(table.primary_key, state.identity, strict=True)]
    version = _version(mapper, table)
    if version is None:
        return keys
    return [*keys, version == state.dict.get(mapper.get_property_by_column(version).key)]


def _missing(session: orm.Session, state: Any) -> Exception:
    mapper, identity = state.mapper, state.identity
    if mapper.version_id_col is not None:
        expected = state.dict.get(mapper.get_property_by_column(mapper.version_id_col).key)
        conflict = find_conflict(session.connection(), mapper, identity, expected)
        row: Any = None if conflict is None else conflict.current_row
        if conflict is not None and row is not None and row["deleted_at"] is None:
            return conflict
    return NotFound(mapper.class_.__name__, _plain_key(identity))


def _plain_key(identity: Any) -> Any:
    return identity[0] if identity is not None and len(identity) == 1 else identity


def _loaded(session: orm.Session, mapper: Mapper[Any]) -> list[Any]:
    states = list(session.identity_map.all_states())
    return [obj for state in states if state.mapper.isa(mapper) and (obj := state.obj()) is not None]


def _version(mapper: Mapper[Any], table: Table) -> Any:
    version = mapper.version_id_col
    return version if version is not None and version.table is table else None


def _bump(mapper: Mapper[Any], table: Table) -> dict[Any, Any]:
    version, following = _version(mapper, table), mapper.version_id_generator
    if version is None or not callable(following):
        return {}  # none, or one that the server makes
    return {version: version + 1 if isinstance(version.type, Integer) else following(None)}


def _moved(table: Table) -> list[Any]:
    return [column for column in table.columns if column.onupdate is not None]


def _table(mapper: Mapper[Any]) -> Any:
    """Return the table that holds the mark: the base table where the model is joined from several."""
    return mapper.columns["deleted_at"].table


def _is_soft(mapper: Mapper[Any]) -> bool:
    return bool(getattr(mapper.class_, "__soft_delete__", False))


def _edges_below(mapper: Mapper[Any], *, restricting: bool = False) -> Iterator[Edge]:
    # The rows of a table may be of any subclass, whose own relations lead further.
    relations = dict.fromkeys(relation for one in mapper.self_and_descendants for relation in one.relationships)
    for relation in relations:
        takes_along = relation.passive_deletes == "all" if restricting else relation.cascade.delete
        if relation.direction is ONETOMANY and takes_along and _is_soft(relation.mapper):
            above, below = zip(*relation.local_remote_pairs or (), strict=True)
            yield Edge(relation, relation.parent if relation.parent.isa(mapper) else mapper, above, below)


def _tree(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    found = [mapper]
    for above in found:
        found.extend(edge.relation.mapper for edge in _edges_below(above) if edge.relation.mapper not in found)
    return found
