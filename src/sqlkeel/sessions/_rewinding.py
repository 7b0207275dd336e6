"""Savepoints: a rollback to one restores the rows on each database, and the objects of the session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeAlias
from weakref import WeakSet, ref

from sqlalchemy import Connection, event, orm
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import InstanceState, ORMExecuteState, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.orm.collections import collection_adapter

from .. import _sqlalchemy as private
from ..engines._backend import begin_for_savepoint
from ..errors import AlreadyFlushing
from ._behaviour import Behaviour, register
from ._sync_session import SyncSession

__all__ = ["drop_gone", "expunge", "note_made", "note_read"]

_NOTES: Final = "sqlkeel.rewinding"
"""The key in a session's ``info`` for the objects to restore, by savepoint or transaction."""

_READ: Final = "sqlkeel.rewinding.read"
"""The key for objects that were read inside the last savepoint that was rolled back."""

_UNWRITTEN: Final = "sqlkeel.rewinding.unwritten"
"""The key for the savepoints that were created by a flush listener before the flush had written anything."""

_Way: TypeAlias = Callable[[orm.Session, Any], None]
_State: TypeAlias = InstanceState[Any]
_Note: TypeAlias = tuple["ref[Any]", _Way]


class _Notes:
    """What to restore when a savepoint or transaction is rolled back."""

    def __init__(self) -> None:
        self.since: int = private.new_run()
        """SQLAlchemy's number of the last query before the savepoint: later queries ran inside the savepoint."""

        self.read: WeakSet[_State] = WeakSet()
        """The older objects that were refreshed with values that a statement inside the savepoint has written."""

        self.relations: set[Any] = set()
        """The relationships that were loaded by a separate statement inside the savepoint, of any object."""

        self.ways: list[_Note] = []
        """The other steps of the rollback, to be done in reverse order."""


def note_read(session: orm.Session, objects: Iterable[object]) -> None:
    """Record objects that were refreshed with values that a statement wrote; SQLAlchemy restores flushed values only.

    Without the record, the objects would keep these values after the rollback, and assigning one of the values again
    would write nothing.
    """
    if (savepoint := session.get_nested_transaction()) is not None:
        _notes_of(session, savepoint).read.update(map(orm.attributes.instance_state, objects))


def note_made(session: orm.Session, objects: Iterable[object]) -> None:
    """Record objects whose rows a statement inserted, so that a rollback removes them from the session."""
    _note(session, objects, _make_new)


def expunge(session: orm.Session, objects: Iterable[object]) -> None:
    """Remove objects from the session whose rows are gone; a rollback adds them again."""
    gone: list[object] = []

    def note(_: orm.Session, obj: object) -> None:
        gone.append(obj)  # the event also fires for objects that leave the session by a cascade

    event.listen(session, "persistent_to_detached", note)
    try:
        for obj in objects:
            if obj in session:
                session.expunge(obj)
    finally:
        event.remove(session, "persistent_to_detached", note)
    _note(session, gone, _take_in)


def _note(session: orm.Session, objects: Iterable[object], way: _Way) -> None:
    _keep(session, [(ref(obj), way) for obj in objects])


def _keep(session: orm.Session, notes: list[_Note]) -> None:
    """Keep notes until the innermost savepoint, or the transaction, ends."""
    transaction = session.get_nested_transaction()
    if transaction is None:
        # A rollback of the whole transaction expires all objects of the session, but does not add removed ones again.
        transaction, notes = session.get_transaction(), [(found, way) for found, way in notes if way is _take_in]
    if transaction is not None and notes:
        _notes_of(session, transaction).ways.extend(notes)


def _notes_of(session: orm.Session, transaction: SessionTransaction) -> _Notes:
    if _NOTES not in session.info:
        session.info[_NOTES] = {}
        event.listen(session, "after_rollback", _rewind)
        event.listen(session, "after_transaction_end", _pass_on)
    open_ones: dict[SessionTransaction, _Notes] = session.info[_NOTES]
    if transaction not in open_ones:
        open_ones[transaction] = _Notes()
    return open_ones[transaction]


class _Savepoints(Behaviour):
    """Begins the transaction around each savepoint, and records the objects that a rollback has to restore."""

    def at_savepoint(self, session: SyncSession, savepoint: SessionTransaction) -> None:
        _notes_of(session, savepoint)
        _begin_around(session)
        _note_unwritten(session, savepoint)

    def at_load_inside(self, state: ORMExecuteState) -> None:
        savepoint = state.session.get_nested_transaction()
        if savepoint is not None:
            path: Any = state.loader_strategy_path
            _notes_of(state.session, savepoint).relations.add(path.prop)


register(_Savepoints())


def _begin_around(session: SyncSession) -> None:
    """Begin the transaction in the database, because an engine that is not ours may wait for the first write."""
    root = session.get_transaction()
    for connection in root.connections if root is not None else ():
        begin_for_savepoint(connection)
    # For sharded sessions only: elsewhere the listener would run for each transaction without need.
    if session.connection_callable is not None and not event.contains(session, *_FLUSHES):
        event.listen(session, *_FLUSHES)


@event.listens_for(SyncSession, "after_begin")
def _begin_below(session: SyncSession, transaction: SessionTransaction, connection: Connection) -> None:
    # The session's first statement is inside a savepoint.
    if session.in_nested_transaction() and transaction.parent is None:
        begin_for_savepoint(connection)


def _open_in_shards(session: orm.Session, part: SessionTransaction) -> None:
    """Open the savepoint in the shards to which a flush is about to write.

    A ``ShardedSession`` flushes on the connections of the outer transaction, so a rollback to the savepoint would undo
    nothing. This runs when a flush opens its part of the transaction, directly after its listeners.
    """
    if part.nested or part.parent is None or not session.in_nested_transaction():
        return
    for obj in (*session.new, *session.dirty, *session.deleted):
        bind = session.get_bind(orm.object_mapper(obj), instance=obj)
        session.connection(bind_arguments={"bind": bind})


_FLUSHES: Final = ("after_transaction_create", _open_in_shards)


def _note_unwritten(session: SyncSession, savepoint: SessionTransaction) -> None:
    # Creating a savepoint flushes first. In a flush listener it cannot, so a rollback also undoes the older changes.
    is_writing = savepoint.parent is not None and savepoint.parent.origin is SessionTransactionOrigin.SUBTRANSACTION
    if not session.is_flushing or is_writing:
        return
    if _UNWRITTEN not in session.info:
        session.info[_UNWRITTEN] = WeakSet()
        event.listen(session, "after_soft_rollback", _remember_lost)
    session.info[_UNWRITTEN].add(savepoint)


def _remember_lost(session: SyncSession, ended: SessionTransaction) -> None:
    """Prevent COMMIT after a rollback in ``before_flush``, which has discarded the changes of the flush."""
    if ended in session.info[_UNWRITTEN]:
        session.leave_half_done(AlreadyFlushing("rolled back to a savepoint what the flush was to write"))


def _rewind(session: orm.Session) -> None:
    # Fires before SQLAlchemy restores what it has flushed: objects inserted inside are still in the session.
    transaction = session.get_nested_transaction() or session.get_transaction()
    kept: _Notes | None = session.info[_NOTES].pop(transaction, None)
    if kept is None:
        return
    new = [obj for found, way in kept.ways if way is _make_new and (obj := found()) is not None]
    # The last change first, so that an object that was inserted and then deleted ends outside the session.
    for found, way in reversed(kept.ways):
        if (obj := found()) is not None:
            way(session, obj)
    if transaction is not None and transaction.nested:
        _forget_read(
            session, kept, transaction, {*map(orm.attributes.instance_state, new), *private.new_states(transaction)}
        )


def _forget_read(session: orm.Session, kept: _Notes, savepoint: SessionTransaction, new: set[_State]) -> None:
    """Expire the objects that were read inside the savepoint, because the writes to their rows are undone."""
    states = [*session.identity_map.all_states(), *private.deleted_states(savepoint)]
    made = [state for state in states if private.run_of(state) > kept.since]
    leading = [*_leading_to(states, {*made, *new}), *_with_any(states, kept.relations)]
    for state in (*made, *(state for state in states if state in kept.read), *leading):
        if (obj := state.obj()) is not None:
            _forget(session, obj)
    session.info[_READ] = [ref(state) for state in made]


def _leading_to(states: Iterable[_State], others: set[_State]) -> list[_State]:
    """Return the states with a loaded relationship to one of *others*: it was loaded inside the savepoint as well."""
    return [state for state in states if not others.isdisjoint(_related(state))] if others else []


def _with_any(states: Iterable[_State], relations: set[Any]) -> list[_State]:
    """Return the states that have loaded one of these relationships: it may lack rows that the rollback restored."""
    return [
        state for state in states if any(one.key in state.dict and state.mapper.isa(one.parent) for one in relations)
    ]


def _related(state: _State) -> Iterator[_State]:
    for relation in state.mapper.relationships:
        value = state.dict.get(relation.key)
        if value is not None:
            members: Iterable[Any] = collection_adapter(value) if relation.uselist else [value]
            yield from map(orm.attributes.instance_state, members)


def drop_gone(session: orm.Session) -> None:
    """Remove the objects that were read inside a rolled-back savepoint and whose rows no longer exist."""
    for found in session.info.pop(_READ, ()):
        state = found()
        obj = None if state is None or not state.expired else state.obj()
        if obj is not None and obj in session:
            session.expunge(obj)


def _pass_on(session: orm.Session, ended: SessionTransaction) -> None:
    if (left := session.info[_NOTES].pop(ended, None)) is not None and ended.nested:
        _keep(session, left.ways)
        if (around := session.get_nested_transaction()) is not None:
            _notes_of(session, around).read.update(left.read)
            _notes_of(session, around).relations.update(left.relations)


def _forget(session: orm.Session, obj: Any) -> None:
    if obj in session:
        session.expire(obj)
    elif orm.object_session(obj) is session:
        # The object was deleted later. SQLAlchemy adds it again, and expires modified objects only.
        orm.attributes.flag_dirty(obj)


def _make_new(session: orm.Session, obj: Any) -> None:
    # Also for an object that was deleted later, because SQLAlchemy would add it to the session again.
    if orm.object_session(obj) is session:
        orm.make_transient(obj)  # as SQLAlchemy does with objects added inside


def _take_in(session: orm.Session, obj: Any) -> None:
    state = sa_inspect(obj)
    if not state.detached:
        return
    if (other := session.identity_map.get(state.key)) is not None:
        session.expunge(other)  # added after this one left: read while the row was deleted, or created again
    if isinstance(session, SyncSession):
        session.keep_values(state)
    for relation in state.mapper.relationships:
        vars(obj).pop(relation.key, None)  # the session would add every object that it leads to
    session.add(obj)
    session.expire(obj)
