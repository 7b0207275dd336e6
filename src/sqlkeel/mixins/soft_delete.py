"""Rows that are marked as deleted instead of removed, never shown, and brought back exactly."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from datetime import datetime
from typing import Any, Final, NamedTuple
from weakref import WeakSet

from sqlalchemy import ColumnElement, Table, Uuid, event, orm, select, tuple_, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Mapped,
    Mapper,
    ORMExecuteState,
    RelationshipProperty,
    mapped_column,
    with_loader_criteria,
)
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.interfaces import ONETOMANY, UserDefinedOption

from ..errors import ForeignKeyViolation, NotFound, ReadOnlySession, RestoreConflict, UniqueViolation, UsageError
from ..keys import uuid7
from ..session import SyncSession, reload_expired
from ..types import UTCDateTime, utc_now
from .version import find_conflict

__all__ = ["SoftDeleteMixin", "restore"]

_KEYS_AT_ONCE = 500


class SoftDeleteMixin:
    """``deleted_at`` and ``deletion_id``: a deleted row stays in its table and out of every answer.

    ``session.delete(obj)`` and ``Repository.delete`` mark the row, and every row that a relation made with `children`
    would have taken along, with one ``deletion_id`` and one time, one statement for each level. ORM queries then leave
    them out: entities, joins (in ON, so outer joins stay outer), EXISTS, subqueries, eager and lazy loads,
    ``update()`` and ``delete()`` statements. ``execution_options(include_deleted=True)``, on a statement or a whole
    session, shows them, and what is loaded later from the objects found. Plain SQL text and Core statements on the
    table are yours to filter.

    Use `unique_live` for what must be unique, and a real delete where the law wants data gone.
    """

    __soft_delete__ = True

    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime(), default=None, index=True, sort_order=903)
    deletion_id: Mapped[uuid.UUID | None] = mapped_column(Uuid(), default=None, index=True, sort_order=904)

    @hybrid_property
    def is_deleted(self) -> bool:
        """Whether the row is deleted; in a query, the condition that it is."""
        return self.deleted_at is not None

    @is_deleted.inplace.expression
    @classmethod
    def _is_deleted(cls) -> ColumnElement[bool]:
        return cls.deleted_at.is_not(None)

    def __delete_from__(self, session: orm.Session) -> None:
        """Do what ``session.delete(self)`` is to do."""
        _Deletion(session, self).run()


def _is_live(cls: Any) -> ColumnElement[bool]:
    # A function of the module, not a lambda: every loaded object carries it, and must stay picklable.
    condition: ColumnElement[bool] = cls.deleted_at.is_(None)
    return condition


# Made once: made for each statement, it costs as much as the rest of the statement's preparation.
_ONLY_LIVE = with_loader_criteria(SoftDeleteMixin, _is_live, include_aliases=True)


class _Shown(UserDefinedOption):
    """Marks objects that were asked for with ``include_deleted``: their lazy loads show deleted rows, too."""

    propagate_to_loaders = True


_SHOWN = _Shown()

# Most statements are about models that cannot be soft-deleted, and pay nothing for it.
_WITH_SOFT_DELETE: Final[WeakSet[orm.registry]] = WeakSet()


@event.listens_for(SoftDeleteMixin, "after_mapper_constructed", propagate=True)
def _note_registry(mapper: Mapper[Any], cls: type) -> None:
    _WITH_SOFT_DELETE.add(mapper.registry)


@event.listens_for(SyncSession, "do_orm_execute")
def _leave_out_deleted(state: ORMExecuteState) -> None:
    if state.is_column_load or not (state.is_select or state.is_update or state.is_delete or state.is_insert):
        return
    mapper = state.bind_mapper
    if mapper is not None and mapper.registry not in _WITH_SOFT_DELETE:
        return
    shown = state.execution_options.get("include_deleted", False)
    if not shown and state.is_relationship_load:
        shown = any(isinstance(option, _Shown) for option in state.user_defined_options)
    option = _SHOWN if shown else _ONLY_LIVE
    statement: Any = state.statement
    if option not in getattr(statement, "_with_options", ()):
        state.statement = statement.options(option)


class _Edge(NamedTuple):
    """A foreign key along which a deletion goes, from the table above to the one below."""

    relation: RelationshipProperty[Any]
    owner: Mapper[Any]
    above: tuple[Any, ...]
    below: tuple[Any, ...]

    def among(self, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Match the rows below those that meet the conditions."""
        # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
        keys = select(*self.above).select_from(self.owner.persist_selectable).where(*conditions).subquery()
        below: Any = self.below[0] if len(self.below) == 1 else tuple_(*self.below)
        matched: ColumnElement[bool] = below.in_(select(keys))
        return matched


class _Deletion:
    """Marks a row and all below it, set by set: the number of statements does not grow with the rows."""

    def __init__(self, session: orm.Session, obj: SoftDeleteMixin) -> None:
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
        restricts = any(any(_edges_below(one, restricting=True)) for one in _tree(mapper))
        with self.session.begin_nested() if restricts else nullcontext():
            self.moment = self.session.execute(select(utc_now())).scalar_one()
            if not self._mark(mapper, _match_as_read(state)):
                raise _missing(self.session, state)
            self._descend(mapper)
        self._forget()

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
                    if self._mark(edge.relation.mapper, [edge.among(just_marked)]):
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
        table = _table(mapper)
        keys = tuple(table.primary_key)
        written = [table.c.deleted_at, table.c.deletion_id, *_bump(mapper, table), *_moved(table)]
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


def restore(session: orm.Session, obj: SoftDeleteMixin) -> None:
    """Bring back *obj* and exactly the rows that were deleted with it.

    What was deleted before, on its own, stays deleted. Nothing is restored when one row cannot be.

    Raises:
        NotFound: When the row is not deleted, or gone.
        RestoreConflict: When a live row has taken a unique value meanwhile.
        UsageError: When the row above it is deleted, which is to be restored first or instead.
    """
    state = sa_inspect(obj)
    mapper: Mapper[Any] = state.mapper
    deletion = obj.deletion_id
    if deletion is None or state.identity is None:
        raise NotFound(f"deleted {mapper.class_.__name__}", _plain_key(state.identity))
    _refuse_reading(session)
    _refuse_below_deleted(session, obj)
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


def _refuse_below_deleted(session: orm.Session, obj: Any) -> None:
    mapper: Mapper[Any] = sa_inspect(obj).mapper
    for above in filter(_is_soft, mapper.registry.mappers):
        for edge in _edges_below(above):
            if not mapper.isa(edge.relation.mapper):
                continue
            values = [getattr(obj, mapper.get_property_by_column(column).key) for column in edge.below]
            match = [column == value for column, value in zip(edge.above, values, strict=True)]
            rows = select(1).select_from(edge.owner.persist_selectable).where(*match)
            if session.execute(rows.where(_table(above).c.deleted_at.is_not(None)).limit(1)).first():
                name = edge.owner.class_.__name__
                raise UsageError(
                    f"{obj!r} belongs to a {name} that is deleted.",
                    hint=f"Restore the {name}; it brings back what was deleted together with it.",
                )


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
    versions = _bump(mapper, table)
    return keys + [version == state.dict.get(mapper.get_property_by_column(version).key) for version in versions]


def _missing(session: orm.Session, state: Any) -> Exception:
    mapper, identity = state.mapper, state.identity
    if mapper.version_id_col is not None:
        expected = state.dict.get(mapper.get_property_by_column(mapper.version_id_col).key)
        conflict = find_conflict(session.connection(), mapper, identity, expected)
        row: Any = None if conflict is None else conflict.row
        if conflict is not None and row is not None and row["deleted_at"] is None:
            return conflict
    return NotFound(mapper.class_.__name__, _plain_key(identity))


def _plain_key(identity: Any) -> Any:
    return identity[0] if identity is not None and len(identity) == 1 else identity


def _loaded(session: orm.Session, mapper: Mapper[Any]) -> list[Any]:
    states = list(session.identity_map.all_states())
    return [obj for state in states if state.mapper.isa(mapper) and (obj := state.obj()) is not None]


def _bump(mapper: Mapper[Any], table: Table) -> dict[Any, Any]:
    version = mapper.version_id_col
    return {version: version + 1} if version is not None and version.table is table else {}


def _moved(table: Table) -> list[Any]:
    return [column for column in table.columns if column.onupdate is not None]


def _table(mapper: Mapper[Any]) -> Any:
    """Return the table that holds the mark: the base table where the model is joined from several."""
    return mapper.columns["deleted_at"].table


def _is_soft(mapper: Mapper[Any]) -> bool:
    return issubclass(mapper.class_, SoftDeleteMixin)


def _edges_below(mapper: Mapper[Any], *, restricting: bool = False) -> Iterator[_Edge]:
    # The rows of a table may be of any subclass, whose own relations lead further.
    relations = dict.fromkeys(relation for one in mapper.self_and_descendants for relation in one.relationships)
    for relation in relations:
        takes_along = relation.passive_deletes == "all" if restricting else relation.cascade.delete
        if relation.direction is ONETOMANY and takes_along and _is_soft(relation.mapper):
            above, below = zip(*relation.local_remote_pairs or (), strict=True)
            yield _Edge(relation, relation.parent if relation.parent.isa(mapper) else mapper, above, below)


def _tree(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    found = [mapper]
    for above in found:
        found.extend(edge.relation.mapper for edge in _edges_below(above) if edge.relation.mapper not in found)
    return found
