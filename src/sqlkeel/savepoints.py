"""Savepoints on engines that are not ours, and of shards: each takes back all that was written in it."""

from __future__ import annotations

from sqlalchemy import Connection, event, orm
from sqlalchemy.orm import SessionTransaction

from .engines.backend import begin_for_savepoint
from .sync_session import SyncSession

__all__: list[str] = []


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
