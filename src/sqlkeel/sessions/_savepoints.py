"""Savepoints on engines that are not ours, and of shards: each takes back all that was written in it."""

from __future__ import annotations

from weakref import WeakSet

from sqlalchemy import Connection, event, orm
from sqlalchemy.orm import SessionTransaction, SessionTransactionOrigin

from ..engines._backend import begin_for_savepoint
from ..errors import AlreadyFlushing
from ._sync_session import SyncSession

__all__: list[str] = []

_UNWRITTEN = "sqlkeel.savepoints.unwritten"
"""Where a session's ``info`` keeps the savepoints that were made when the flush had written nothing yet."""


@SyncSession.at_savepoint
def _begin_before(session: SyncSession, _: SessionTransaction) -> None:
    root = session.get_transaction()
    for connection in root.connections if root is not None else ():
        begin_for_savepoint(connection)
    # Only there: the listener would be called for each transaction of each session.
    if session.connection_callable is not None and not event.contains(session, *_FLUSHES):
        event.listen(session, *_FLUSHES)


@event.listens_for(SyncSession, "after_begin")
def _begin_below(session: SyncSession, transaction: SessionTransaction, connection: Connection) -> None:
    # The first statement of a session comes in a savepoint.
    if session.in_nested_transaction() and transaction.parent is None:
        begin_for_savepoint(connection)


def _open_in_shards(session: orm.Session, part: SessionTransaction) -> None:
    """Open the savepoint in the shards to which a flush is about to write.

    A ``ShardedSession`` flushes on the connections of the transaction around it, and a rollback to the savepoint would
    take nothing back. A flush opens a part of the transaction, as the first thing after its listeners.
    """
    if part.nested or part.parent is None or not session.in_nested_transaction():
        return
    for obj in (*session.new, *session.dirty, *session.deleted):
        bind = session.get_bind(orm.object_mapper(obj), instance=obj)
        session.connection(bind_arguments={"bind": bind})


_FLUSHES = "after_transaction_create", _open_in_shards


@SyncSession.at_savepoint
def _note_unwritten(session: SyncSession, savepoint: SessionTransaction) -> None:
    # A savepoint flushes first, and a rollback takes for its own what was not written before it.
    is_writing = savepoint.parent is not None and savepoint.parent.origin is SessionTransactionOrigin.SUBTRANSACTION
    if not session.is_flushing or is_writing:
        return
    if _UNWRITTEN not in session.info:
        session.info[_UNWRITTEN] = WeakSet()
        event.listen(session, "after_soft_rollback", _remember_lost)
    session.info[_UNWRITTEN].add(savepoint)


def _remember_lost(session: SyncSession, ended: SessionTransaction) -> None:
    """Have nothing committed after a rollback in ``before_flush``, with which what the flush was to write is gone."""
    if ended in session.info[_UNWRITTEN]:
        session.leave_half_done(AlreadyFlushing("rolled back to a savepoint what the flush was to write"))
