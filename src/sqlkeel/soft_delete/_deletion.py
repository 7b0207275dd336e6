"""Soft-delete a row and all rows below it, set by set, and restore exactly these rows."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, or_, orm, select, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstanceState, Mapper
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.collections import collection_adapter
from sqlalchemy.orm.interfaces import ONETOMANY

from ..engines._backend import backend_for, begin_for_savepoint, unique_violation
from ..errors import ForeignKeyViolation, NotFound, NoTransaction, RestoreConflict, TransientFault, UsageError
from ..models._key_columns import VALUES_AT_ONCE, key_in, plain_key, portions, row_value
from ..models._keys import uuid7
from ..models._relations import is_soft
from ..models._row_keys import among
from ..sessions._holding import AnySyncSession, refuse_foreign, session_in
from ..sessions._rewinding import expunge, note_read
from ..sessions._routes import refuse_reading, shard_of, writing_connection
from ..sessions._session import reload_expired
from ..types._exact import utc_now
from ..versions._version import find_conflict
from ._edges import Edge, edges_above, edges_below, tree_below
from ._marks import Mark, kinds, next_version

__all__ = ["Deletion", "DeletionOfMany", "below_deleted", "refuse_below_deleted", "restore"]


class _Marking:
    """Marks rows as deleted, and all rows that belong to them.

    Each statement marks all rows of one class, so the number of statements does not grow with the number of rows.

    Args:
        session: The session; the objects of the marked rows leave it.
        state: The state of the object to delete; ``None`` for a deletion by keys.
    """

    def __init__(self, session: orm.Session, state: InstanceState[Any] | None = None) -> None:
        self.session = session
        self.state = state
        self.id = uuid7()
        self.moment: datetime
        self.marked: dict[Mapper[Any], None] = {}

    def _begin(self, mapper: Mapper[Any]) -> None:
        self.moment = self._execute(mapper, select(utc_now())).scalar_one()

    def _mark(self, mapper: Mapper[Any], conditions: Iterable[ColumnElement[bool]]) -> int:
        mark = Mark(mapper)
        values = {mark.at: self.moment, mark.deletion: self.id, **next_version(mapper, mark.table)}
        statement = update(mark.table).where(*conditions, mark.at.is_(None)).values(values)
        marked: int = self._execute(mapper, statement).rowcount
        if marked:
            self.marked[mapper] = None
        return marked

    def _mark_below(self, top: Mapper[Any]) -> None:
        """Mark the rows that belong to the marked rows of *top*, level by level."""
        _move_companions(self._connection(top), Mark(top), self.id)
        level = [top]
        while level:
            below: dict[Mapper[Any], None] = {}
            for mapper in level:
                just_marked = Mark(mapper).deletion == self.id
                self._refuse_restricted(mapper, just_marked)
                for edge in edges_below(mapper):
                    if self._mark(edge.target, [edge.match_all(just_marked)]):
                        _move_companions(self._connection(edge.target), Mark(edge.target), self.id)
                        below[edge.target] = None
            level = list(below)

    def _connection(self, mapper: Mapper[Any]) -> Connection:
        return writing_connection(self.session, mapper, self.state)

    def _execute(self, mapper: Mapper[Any], statement: Any) -> Any:
        return self._connection(mapper).execute(statement)

    def _refuse_restricted(self, mapper: Mapper[Any], just_marked: ColumnElement[bool]) -> None:
        for edge in edges_below(mapper, restricting=True):
            rows = select(*edge.below).select_from(edge.target.persist_selectable)
            mark = Mark(edge.target)
            live = rows.where(*edge.rows(just_marked), mark.at.is_(None)).limit(1)
            # A locking read: a snapshot would miss a row that was inserted since, and show one that is already gone.
            live = live.with_for_update(read=True, of=mark.table)
            if self._execute(edge.target, live).first() is not None:
                columns = tuple(column.name for column in edge.below)
                raise ForeignKeyViolation(table=edge.below[0].table.name, columns=columns)

    def _forget(self) -> None:
        """Remove the objects of the marked rows from the session and from loaded collections."""
        gone = {}
        if (own := self._own()) is not None:
            # The object may be in no session or in another one, and the database may return its key in another form.
            gone[id(own)] = own
            set_committed_value(own, "deleted_at", self.moment)
            set_committed_value(own, "deletion_id", self.id)
        for written, objects in self._loaded_by_columns().items():
            gone |= {id(obj): obj for obj in self._note_marks(written, objects)}
        expunge(self.session, gone.values())
        _drop_from_collections(self.session, gone)

    def _own(self) -> Any:
        return None if self.state is None else self.state.obj()

    def _loaded_by_columns(self) -> dict[tuple[Any, ...], list[Any]]:
        """Return the loaded objects whose rows may be marked, grouped by the columns to read again."""
        tables = {Mark(mapper).table for mapper in self.marked}
        written: dict[Mapper[Any], tuple[Any, ...]] = {}
        found: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
        held = (state.obj() for state in list(self.session.identity_map.all_states()) if self._is_near(state))
        for obj in {id(obj): obj for obj in (*held, self._own()) if obj is not None}.values():
            mapper = sa_inspect(obj).mapper
            if mapper not in written:
                written[mapper] = _written(mapper, tables)
            if written[mapper]:
                found[written[mapper]].append(obj)
        return found

    def _is_near(self, state: InstanceState[Any]) -> bool:
        """Return whether an object is from the same database; two shards may have rows with the same key."""
        return shard_of(self.session, state) == shard_of(self.session, self.state)

    def _note_marks(self, written: tuple[Any, ...], objects: list[Any]) -> Iterator[Any]:
        mapper = sa_inspect(objects[0]).mapper
        mark = Mark(mapper)
        loaded: dict[Any, list[Any]] = defaultdict(list)
        for obj in objects:
            loaded[sa_inspect(obj).identity].append(obj)
        rows = mark.table if {column.table for column in written} == {mark.table} else mapper.persist_selectable
        statement = select(*mark.key, *written).select_from(rows).where(mark.deletion == self.id)
        if len(loaded) <= VALUES_AT_ONCE:
            keys = [plain_key(key) for key in loaded]
            statement = statement.where(row_value(mark.key).in_(keys))
        for row in self._execute(mapper, statement):
            for obj in loaded.get(tuple(row[: len(mark.key)]), ()):
                for column, value in zip(written, row[len(mark.key) :], strict=True):
                    set_committed_value(obj, sa_inspect(obj).mapper.get_property_by_column(column).key, value)
                yield obj


class Deletion(_Marking):
    """Marks the row of an object and all below it."""

    def __init__(self, session: orm.Session, obj: Any) -> None:
        super().__init__(session, sa_inspect(obj))
        self.obj = obj

    def check(self) -> None:
        """Refuse an object that cannot be deleted, before any statement is sent.

        Raises:
            UsageError: When the object was never saved.
            ReadOnlySession: When the session is read-only.
        """
        if sa_inspect(self.obj).identity is None:
            raise UsageError(f"{self.obj!r} was never saved; expunge it instead of deleting it.")
        refuse_reading(self.session, "delete rows")  # before run(): a read-only connection cannot open a savepoint

    def run(self) -> None:
        """Mark the row and the rows that belong to it.

        Raises:
            NotFound: When the row is already deleted or gone.
            VersionConflict: When another session changed it since it was read.
            ForeignKeyViolation: When a relationship that restricts still has live rows; nothing is marked then.
        """
        state = sa_inspect(self.obj)
        mapper: Mapper[Any] = state.mapper
        self.session.flush()
        self._read_expired_version(state)
        restricts = any(any(edges_below(one, restricting=True)) for one in tree_below(mapper))
        with _savepoint(self.session, mapper, state) if restricts else nullcontext():
            self._begin(mapper)
            if not self._mark(mapper, _match_as_read(state)):
                raise _missing(self.session, state)
            self._mark_below(mapper)
        self._forget()

    def _read_expired_version(self, state: Any) -> None:
        """Load an expired version. The caller has not read an older one that the deletion would have to check."""
        version = state.mapper.version_id_col
        if version is None or self.obj not in self.session:
            return
        try:
            getattr(self.obj, state.mapper.get_property_by_column(version).key)
        except orm.exc.ObjectDeletedError:
            raise NotFound(state.mapper.class_.__name__, plain_key(state.identity)) from None


class DeletionOfMany(_Marking):
    """Marks the rows of many keys, and the rows that belong to them, as one deletion; all are in one database."""

    def __init__(self, session: orm.Session, mapper: Mapper[Any]) -> None:
        super().__init__(session)
        self.mapper = mapper

    def run(self, identities: Sequence[tuple[Any, ...]]) -> int:
        """Mark the rows with these *identities*, and the rows that belong to them; return the number of the former.

        Raises:
            ForeignKeyViolation: When a relationship that restricts still has live rows; nothing is marked then.
            NoTransaction: When each statement commits by itself.
        """
        mapper, key = self.mapper, Mark(self.mapper).key
        self.session.flush()
        with _savepoint(self.session, mapper):
            self._begin(mapper)
            of_class = self._of_class()
            some = portions(identities, len(key), values=1 if _is_made_by_row(mapper) else VALUES_AT_ONCE)
            marked = sum(self._mark(mapper, [among(key, portion), *of_class]) for portion in some)
            if marked:
                self._mark_below(mapper)
        if marked:
            self._forget()
        return marked

    def _of_class(self) -> list[ColumnElement[bool]]:
        """Return the conditions for the rows of the class, in a statement on the table with `deleted_at`."""
        conditions, mark = kinds(self.mapper), Mark(self.mapper)
        if self.mapper.persist_selectable is mark.table:
            return conditions
        rows = select(*mark.key).select_from(self.mapper.persist_selectable).where(*conditions).subquery()
        return [row_value(mark.key).in_(select(rows))]


def _is_made_by_row(mapper: Mapper[Any]) -> bool:
    """Return whether a Python function computes a value that each marked row gets, such as its ``updated_at``.

    A statement calls the function once, so each row needs its own statement.
    """
    mark = Mark(mapper)
    functions = (getattr(column.onupdate, "is_callable", False) for column in mark.table.columns)
    made = (isinstance(value, ColumnElement) for value in next_version(mapper, mark.table).values())
    return any(functions) or not all(made)


def _written(mapper: Mapper[Any], tables: Collection[Any]) -> tuple[Any, ...]:
    """Return the mapped columns that a deletion changes; none if the mapper's mark is in none of *tables*."""
    if not is_soft(mapper) or (mark := Mark(mapper)).table not in tables:
        return ()
    versions = [mapper.version_id_col] if mapper.version_id_col is not None else []
    moved = [column for column in mapper.columns if getattr(column, "onupdate", None) is not None]
    among = {mark.table, *(one.table for one in mark.companions())}
    written = dict.fromkeys([mark.at, mark.deletion, *versions, *moved])
    return tuple(column for column in written if column.table in among)


def _move_companions(connection: Connection, mark: Mark, deletion: uuid.UUID) -> None:
    """Update versions and timestamps in the other tables of the rows with this *deletion*."""
    for one in mark.companions():
        keys = select(*mark.key).where(mark.deletion == deletion)
        connection.execute(update(one.table).where(row_value(one.key).in_(keys)).values(one.values))


def restore(session: AnySyncSession, obj: Any) -> None:
    """Restore *obj* and exactly the rows that were deleted with it.

    Rows that were deleted separately before stay deleted. If one row cannot be restored, none is.

    Raises:
        NotFound: When the row is not deleted, or no longer exists.
        RestoreConflict: When a live row now has one of the unique values.
        UsageError: When the parent row is deleted: restore the parent first, or only the parent. Also when *obj* was
            never written, when another session holds it, or when this session holds another object for the same row.
    """
    session = session_in(session)
    refuse_foreign(session, obj, model=type(obj), call="restore()")
    state = sa_inspect(obj)
    mapper: Mapper[Any] = state.mapper
    deletion = obj.deletion_id
    if deletion is None or state.identity is None:
        raise NotFound(f"deleted {mapper.class_.__name__}", plain_key(state.identity))
    refuse_reading(session, "restore rows")
    if session.autoflush:
        session.flush()
    connection = writing_connection(session, mapper, state)
    refuse_below_deleted(connection, mapper, lambda column: getattr(obj, mapper.get_property_by_column(column).key))
    tree = tree_below(mapper)
    try:
        with _savepoint(session, mapper, state):
            connections = {below: writing_connection(session, below, state) for below in tree}
            restored = [below for below in tree if _unmark(connections[below], below, deletion)]
            _refuse_moved_below_deleted(session, state)
    except IntegrityError as error:
        conflict = _conflict(connection, mapper, error)
        if conflict is None:
            raise
        raise conflict from error
    if mapper not in restored:
        raise NotFound(f"deleted {mapper.class_.__name__}", plain_key(state.identity))
    _take_back(session, obj, tree, deletion)


def _conflict(connection: Connection, mapper: Mapper[Any], error: IntegrityError) -> RestoreConflict | None:
    """Return the conflict for a violation of a unique constraint; ``None`` for any other violation."""
    found = unique_violation(error, connection.engine.url)
    if found is None:
        return None
    return RestoreConflict(
        table=found.table or Mark(mapper).table.name,
        columns=found.columns,
        constraint=found.constraint,
        orig=error.orig,
        statement=error.statement,
    )


def _unmark(connection: Connection, mapper: Mapper[Any], deletion: uuid.UUID) -> bool:
    mark = Mark(mapper)
    _move_companions(connection, mark, deletion)
    values = {mark.at: None, mark.deletion: None, **next_version(mapper, mark.table)}
    statement = update(mark.table).where(mark.deletion == deletion).values(values)
    return bool(connection.execute(statement).rowcount)


def _take_back(session: orm.Session, obj: Any, tree: Iterable[Mapper[Any]], deletion: uuid.UUID) -> None:
    """Reload the objects of restored rows; first add *obj*, and with it its loaded children, to the session again."""
    if obj not in session:
        session.add(obj)
    for mapper in tree:
        for other in _loaded(session, mapper):
            state = sa_inspect(other)
            if state.dict.get("deletion_id") == deletion:
                note_read(session, [other])
                # A union of tables has the name of the class as a column without an attribute.
                session.expire(other, [prop.key for prop in state.mapper.column_attrs if prop.key in state.manager])
        reload_expired(session, mapper)


@contextmanager
def _savepoint(session: orm.Session, mapper: Mapper[Any], state: InstanceState[Any] | None = None) -> Iterator[None]:
    connection = writing_connection(session, mapper, state)
    if backend_for(connection.engine.url).commits_by_itself(connection):
        name = mapper.class_.__name__
        raise NoTransaction(
            f"This connection commits each statement by itself, but deleting or restoring a {name} takes several "
            "statements in one transaction."
        )
    begin_for_savepoint(connection)  # a SyncSession does this itself, but a stock session does not
    fault: TransientFault | None = None
    try:
        with session.begin_nested():
            try:
                yield
            except TransientFault as error:
                fault = error
                raise
    except Exception:
        if fault is not None:
            # As in Session.savepoint: the savepoint may be gone, and the error about that would hide the fault.
            raise fault  # noqa: B904 - the fault is the cause, not the consequence
        raise


def refuse_below_deleted(connection: Connection, mapper: Mapper[Any], value_of: Callable[[Any], Any]) -> None:
    """Refuse to restore a row whose parent is deleted; *value_of* returns the row's value for a column.

    Raises:
        UsageError: Names the parent to restore first or instead.
    """
    for above, edge in edges_above(mapper):
        match = [column == value_of(below) for column, below in zip(edge.above, edge.below, strict=True)]
        mark = Mark(above)
        if mark.table is Mark(mapper).table:
            # A row may be its own parent.
            match.append(or_(*(column != value_of(column) for column in mapper.primary_key)))
        rows = select(mark.at).select_from(edge.owner.persist_selectable).where(*match)
        # Lock the parent even if it seems live: a snapshot may be old, and another session may delete the parent next.
        found = connection.execute(rows.with_for_update(read=True, of=mark.table))
        if any(at is not None for at in found.scalars()):
            raise below_deleted(mapper, edge)


def _refuse_moved_below_deleted(session: orm.Session, state: Any) -> None:
    """Refuse to restore a row if another session has moved it below a deleted parent since the caller read it."""
    mapper: Mapper[Any] = state.mapper
    keys = {
        column: mapper.get_property_by_column(column).key for _, edge in edges_above(mapper) for column in edge.below
    }
    read = {key: column for column, key in keys.items() if key not in state.committed_state}
    if not read:
        return
    match = [column == value for column, value in zip(mapper.primary_key, state.identity, strict=True)]
    statement = select(*read.values()).select_from(mapper.persist_selectable).where(*match)
    connection = writing_connection(session, mapper, state)
    row = connection.execute(statement.with_for_update(read=True)).first()
    if row is not None and any(state.dict.get(key) != value for key, value in zip(read, row, strict=True)):
        now = {**state.dict, **dict(zip(read, row, strict=True))}
        refuse_below_deleted(connection, mapper, lambda column: now[mapper.get_property_by_column(column).key])


def below_deleted(mapper: Mapper[Any], edge: Edge) -> UsageError:
    """Return the error for a row that would be live while its parent is deleted."""
    name = edge.owner.class_.__name__
    return UsageError(
        f"The {mapper.class_.__name__} belongs to a {name} that is deleted.",
        hint=f"Restore the {name}; that also restores what was deleted with it.",
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
                    note_read(session, [obj])
                    set_committed_value(obj, relation.key, live)
            elif id(value) in gone and relation.direction is ONETOMANY:
                note_read(session, [obj])
                set_committed_value(obj, relation.key, None)


def _match_as_read(state: Any) -> list[ColumnElement[bool]]:
    """Match the row of an object if it still has the version that was read."""
    mapper: Mapper[Any] = state.mapper
    mark, version = Mark(mapper), mapper.version_id_col
    keys = [column == value for column, value in zip(mark.key, state.identity, strict=True)]
    if version is None:
        return keys
    as_read: Any = version == state.dict.get(mapper.get_property_by_column(version).key)
    if version.table is not mark.table:
        as_read = row_value(mark.key).in_(select(*key_in(mapper, version.table)).where(as_read))
    return [*keys, as_read]


def _missing(session: orm.Session, state: Any) -> Exception:
    mapper, identity = state.mapper, state.identity
    if mapper.version_id_col is not None:
        expected = state.dict.get(mapper.get_property_by_column(mapper.version_id_col).key)
        conflict = find_conflict(writing_connection(session, mapper, state), mapper, identity, expected)
        row: Any = None if conflict is None else conflict.current_row
        if conflict is not None and row is not None and row["deleted_at"] is None:
            return conflict
    return NotFound(mapper.class_.__name__, plain_key(identity))


def _loaded(session: orm.Session, mapper: Mapper[Any]) -> list[Any]:
    states = list(session.identity_map.all_states())
    return [obj for state in states if state.mapper.isa(mapper) and (obj := state.obj()) is not None]
