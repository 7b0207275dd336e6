"""Rows that are marked as deleted instead of removed, never shown, and brought back exactly."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

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
from sqlalchemy.orm.interfaces import ONETOMANY

from ..errors import ForeignKeyViolation, NotFound, RestoreConflict, UniqueViolation, UsageError, VersionConflict
from ..keys import uuid7
from ..session import SyncSession
from ..types import UTCDateTime, utc_now

__all__ = ["SoftDeleteMixin", "restore"]


class SoftDeleteMixin:
    """``deleted_at`` and ``deletion_id``: a deleted row stays in its table and out of every answer.

    ``session.delete(obj)`` and ``Repository.delete`` mark the row, and every row that a relation made with `children`
    would have taken along, with one ``deletion_id`` and one time, one statement for each level. ORM queries then leave
    them out: entities, joins (in ON, so outer joins stay outer), EXISTS, subqueries, eager and lazy loads,
    ``update()`` and ``delete()`` statements. ``execution_options(include_deleted=True)`` shows them. Plain SQL text
    and Core statements on the table are yours to filter.

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
        _Deletion(session).delete(self)


def _is_live(cls: Any) -> ColumnElement[bool]:
    # A function of the module, not a lambda: every loaded object carries it, and must stay picklable.
    condition: ColumnElement[bool] = cls.deleted_at.is_(None)
    return condition


# Made once: made for each statement, it costs as much as the rest of the statement's preparation.
_ONLY_LIVE = with_loader_criteria(SoftDeleteMixin, _is_live, include_aliases=True)


@event.listens_for(SyncSession, "do_orm_execute")
def _leave_out_deleted(state: ORMExecuteState) -> None:
    if state.is_column_load or state.execution_options.get("include_deleted", False):
        return
    if state.is_select or state.is_update or state.is_delete or state.is_insert:
        statement: Any = state.statement
        if _ONLY_LIVE not in getattr(statement, "_with_options", ()):
            state.statement = statement.options(_ONLY_LIVE)


class _Edge(NamedTuple):
    """A foreign key along which a deletion goes, from the table above to the one below."""

    relation: RelationshipProperty[Any]
    above: tuple[Any, ...]
    below: tuple[Any, ...]


class _Deletion:
    """Marks a row and all below it, set by set: the number of statements does not grow with the rows."""

    def __init__(self, session: orm.Session) -> None:
        self.session = session
        self.id = uuid7()

    def delete(self, obj: SoftDeleteMixin) -> None:
        """Mark *obj* and what belongs to it.

        Raises:
            NotFound: When the row is deleted or gone already.
            VersionConflict: When somebody else changed it since it was read.
            ForeignKeyViolation: When a relation that restricts still has live rows.
        """
        self.session.flush()
        state = sa_inspect(obj)
        mapper: Mapper[Any] = state.mapper
        if state.identity is None:
            raise UsageError(f"{obj!r} was never saved; expunge it instead of deleting it.")
        self.moment: datetime = self.session.execute(select(utc_now())).scalar_one()
        table = _table(mapper)
        match = [column == value for column, value in zip(table.primary_key, state.identity, strict=True)]
        version = _version_column(mapper, table)
        if version is not None:
            match.append(version == state.dict.get(mapper.get_property_by_column(version).key))
        if not self._mark(mapper, match):
            raise self._missing(mapper, state)
        self._refuse_restricted(mapper)
        self._descend([mapper])

    def _mark(self, mapper: Mapper[Any], conditions: Iterable[ColumnElement[bool]]) -> bool:
        table = _table(mapper)
        values = {table.c.deleted_at: self.moment, table.c.deletion_id: self.id, **_bump(mapper, table)}
        statement = update(table).where(*conditions, table.c.deleted_at.is_(None)).values(values)
        marked: int = self.session.execute(statement).rowcount  # type: ignore[attr-defined]  # a cursor result
        if marked:
            _forget_deleted(self.session, mapper, self.id)
        return bool(marked)

    def _descend(self, level: Sequence[Mapper[Any]]) -> None:
        while level:
            below: dict[Mapper[Any], None] = {}
            for mapper in level:
                for edge in _edges_below(mapper):
                    target = edge.relation.mapper
                    if self._mark(target, [_among(edge, _table(mapper), self.id)]):
                        self._refuse_restricted(target)
                        below[target] = None
            level = list(below)

    def _refuse_restricted(self, mapper: Mapper[Any]) -> None:
        for edge in _edges_below(mapper, restricting=True):
            table = _table(edge.relation.mapper)
            live = select(*edge.below).where(_among(edge, _table(mapper), self.id), table.c.deleted_at.is_(None))
            if self.session.execute(live.limit(1)).first() is not None:
                raise ForeignKeyViolation(table=table.name, columns=tuple(column.name for column in edge.below))

    def _missing(self, mapper: Mapper[Any], state: Any) -> Exception:
        name, identity = mapper.class_.__name__, state.identity
        key = identity[0] if len(identity) == 1 else identity
        if mapper.version_id_col is None:
            return NotFound(name, key)
        table = _table(mapper)
        match = [column == value for column, value in zip(table.primary_key, identity, strict=True)]
        row = (
            self.session.execute(select(table).where(*match, table.c.deleted_at.is_(None)).with_for_update(read=True))
            .mappings()
            .one_or_none()
        )
        if row is None:
            return NotFound(name, key)
        expected = state.dict.get(mapper.get_property_by_column(mapper.version_id_col).key)
        return VersionConflict(name, key, expected=expected, current=row[mapper.version_id_col.name], row=dict(row))


def restore(session: orm.Session, obj: SoftDeleteMixin) -> None:
    """Bring back *obj* and exactly the rows that were deleted with it.

    What was deleted before, on its own, stays deleted. Nothing is restored when one row cannot be.

    Raises:
        NotFound: When the row is not deleted, or gone.
        RestoreConflict: When a live row has taken a unique value meanwhile.
        UsageError: When the row was deleted together with the one above it, which is to be restored instead.
    """
    state = sa_inspect(obj)
    mapper: Mapper[Any] = state.mapper
    deletion = obj.deletion_id
    if deletion is None or state.identity is None:
        raise NotFound(f"deleted {mapper.class_.__name__}", state.identity)
    _refuse_part(session, mapper, obj, deletion)
    try:
        with session.begin_nested():
            restored = [below for below in _tree(mapper) if _unmark(session, below, deletion)]
    except UniqueViolation as error:
        raise RestoreConflict(
            table=error.table,
            columns=error.columns,
            constraint=error.constraint,
            orig=error.orig,
            statement=error.statement,
        ) from error
    if mapper not in restored:
        raise NotFound(f"deleted {mapper.class_.__name__}", state.identity)
    _take_back(session, obj)


def _unmark(session: orm.Session, mapper: Mapper[Any], deletion: uuid.UUID) -> bool:
    table = _table(mapper)
    values = {table.c.deleted_at: None, table.c.deletion_id: None, **_bump(mapper, table)}
    statement = update(table).where(table.c.deletion_id == deletion).values(values)
    return bool(session.execute(statement).rowcount)  # type: ignore[attr-defined]  # a cursor result


def _take_back(session: orm.Session, obj: SoftDeleteMixin) -> None:
    if obj not in session:
        session.add(obj)
    session.refresh(obj, [prop.key for prop in sa_inspect(obj).mapper.column_attrs])


def _refuse_part(session: orm.Session, mapper: Mapper[Any], obj: Any, deletion: uuid.UUID) -> None:
    for above in mapper.registry.mappers:
        if not _is_soft(above):
            continue
        for edge in _edges_below(above):
            if not mapper.isa(edge.relation.mapper):
                continue
            values = [getattr(obj, mapper.get_property_by_column(column).key) for column in edge.below]
            table = _table(above)
            match = [table.c[column.name] == value for column, value in zip(edge.above, values, strict=True)]
            if session.execute(select(1).select_from(table).where(table.c.deletion_id == deletion, *match)).first():
                raise UsageError(
                    f"{obj!r} was deleted together with its {above.class_.__name__}.",
                    hint=f"Restore the {above.class_.__name__}; it brings its {edge.relation.key} back.",
                )


def _forget_deleted(session: orm.Session, mapper: Mapper[Any], deletion: uuid.UUID) -> None:
    """Take the rows just deleted out of the session and out of the loaded collections they are in."""
    loaded = {
        state.identity: obj
        for state in list(session.identity_map.all_states())
        if state.mapper.isa(mapper) and (obj := state.obj()) is not None
    }
    if not loaded:
        return
    table = _table(mapper)
    columns = (*table.primary_key, table.c.deleted_at, *_bump(mapper, table))
    gone = []
    for row in session.execute(select(*columns).where(table.c.deletion_id == deletion)):
        obj = loaded.get(tuple(row[: len(table.primary_key)]))
        if obj is None:
            continue
        set_committed_value(obj, "deleted_at", row[len(table.primary_key)])
        set_committed_value(obj, "deletion_id", deletion)
        for column, value in zip(columns[len(table.primary_key) + 1 :], row[len(table.primary_key) + 1 :], strict=True):
            set_committed_value(obj, mapper.get_property_by_column(column).key, value)
        session.expunge(obj)
        gone.append(obj)
    _drop_from_collections(session, gone)


def _drop_from_collections(session: orm.Session, gone: Sequence[Any]) -> None:
    dead = set(map(id, gone))
    for state in list(session.identity_map.all_states()):
        obj = state.obj()
        for relation in state.mapper.relationships if obj is not None and dead else ():
            value = state.dict.get(relation.key)
            if value is None:
                continue
            if not relation.uselist:
                if id(value) in dead and relation.direction is ONETOMANY:
                    set_committed_value(obj, relation.key, None)
            elif not isinstance(value, dict) and any(id(member) in dead for member in value):
                set_committed_value(obj, relation.key, type(value)(m for m in value if id(m) not in dead))


def _bump(mapper: Mapper[Any], table: Table) -> dict[Any, Any]:
    version = _version_column(mapper, table)
    return {} if version is None else {version: version + 1}


def _version_column(mapper: Mapper[Any], table: Table) -> Any:
    column = mapper.version_id_col
    return column if column is not None and column.table is table else None


def _table(mapper: Mapper[Any]) -> Any:
    """Return the table that holds the mark: the base table where the model is joined from several."""
    return mapper.columns["deleted_at"].table


def _is_soft(mapper: Mapper[Any]) -> bool:
    return issubclass(mapper.class_, SoftDeleteMixin)


def _edges_below(mapper: Mapper[Any], *, restricting: bool = False) -> Iterator[_Edge]:
    for relation in mapper.relationships:
        takes_along = relation.passive_deletes == "all" if restricting else relation.cascade.delete
        if relation.direction is ONETOMANY and takes_along and _is_soft(relation.mapper):
            above, below = zip(*relation.local_remote_pairs or (), strict=True)
            yield _Edge(relation, above, below)


def _tree(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    found = [mapper]
    for above in found:
        found.extend(edge.relation.mapper for edge in _edges_below(above) if edge.relation.mapper not in found)
    return found


def _among(edge: _Edge, above: Any, deletion: uuid.UUID) -> ColumnElement[bool]:
    # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
    keys = select(*(above.c[column.name] for column in edge.above)).where(above.c.deletion_id == deletion).subquery()
    below = edge.below[0] if len(edge.below) == 1 else tuple_(*edge.below)
    return below.in_(select(keys))
