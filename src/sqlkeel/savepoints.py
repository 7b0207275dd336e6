"""Savepoints on engines that are not ours: none is the transaction itself, so that its release commits nothing."""

from __future__ import annotations

from sqlalchemy import Connection, event
from sqlalchemy.orm import SessionTransaction

from .engines.backend import begin_for_savepoint
from .sync_session import SyncSession

__all__: list[str] = []


@SyncSession.at_savepoint
def _begin_before(session: SyncSession, _: SessionTransaction) -> None:
    root = session.get_transaction()
    for connection in root.connections if root is not None else ():
        begin_for_savepoint(connection)


@event.listens_for(SyncSession, "after_begin")
def _begin_below(session: SyncSession, transaction: SessionTransaction, connection: Connection) -> None:
    # The first statement of a session comes in a savepoint.
    if session.in_nested_transaction() and transaction.parent is None:
        begin_for_savepoint(connection)
