"""Locks that end with the transaction: on rows, in the order of their keys, and on a name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, orm, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import InstanceState, Mapper, SessionTransaction, selectinload, undefer

from ..engines._backend import Backend, backend_for
from ..errors import InvalidValue, LockTimeout, NoTransaction, NotSupported, UsageError
from ..models._key_columns import VALUES_AT_ONCE, portions
from ..models._row_keys import among, keys_of
from ._holding import AnySyncSession, session_in
from ._kept import Kept
from ._routes import refuse_detour, refuse_reading, writing_connection

__all__ = ["advisory_lock", "apart", "holds_lock", "lock_rows", "note_locked"]

M = TypeVar("M")

_held: WeakKeyDictionary[SessionTransaction, set[Any]] = WeakKeyDictionary()


def lock_rows(
    session: AnySyncSession, model: type[M], keys: Iterable[Any], *, nowait: bool = False, skip_locked: bool = False
) -> list[M]:
    """Implement ``Session.lock_rows``; with another session class, call ``await session.run_sync(lock_rows, …)``.

    Raises:
        InvalidKey: When the shape of a key, or the type of a value, does not fit the model.
        InvalidValue: When both *nowait* and *skip_locked* are given.
        LockTimeout: When a row is not free in time, or at once with *nowait*.
        NotSupported: When the session reads from another database than it writes to.
        NoTransaction: When no transaction would keep the locks.
        ReadOnlySession: When the session was opened for reading.
    """
    session = session_in(session)
    if nowait and skip_locked:
        raise InvalidValue("nowait and skip_locked exclude each other.", hint="Pass one of nowait and skip_locked.")
    mapper: Mapper[M] = sa_inspect(model)
    refuse_detour(session, mapper, "lock_rows()")
    wanted = _distinct(session, mapper, keys)
    _writer(session, mapper)
    # The rows are read again below, which would overwrite pending changes.
    session.flush()
    width = len(mapper.primary_key)
    if len(wanted) * width > VALUES_AT_ONCE:
        wanted.sort()
    found: list[M] = []
    for part in portions(wanted, width):
        rows = _lock(session, mapper, part, nowait=nowait, skip_locked=skip_locked)
        _complete(session, mapper, rows, nowait=nowait)
        found += rows
    note_locked(session, found)
    return found


def advisory_lock(session: AnySyncSession, name: str, *, nowait: bool = False) -> None:
    """Implement ``Session.advisory_lock``; with another session class, call ``await session.run_sync(…)``.

    Raises:
        LockTimeout: When the name is not free in time, or at once with *nowait*.
        NotSupported: When the session has several databases.
        NoTransaction: When no transaction would keep the lock.
        ReadOnlySession: When the session was opened for reading.
        UsageError: When the name is not a string: each database would convert other values to different names.
    """
    if not isinstance(name, str):
        raise UsageError(
            f"advisory_lock() takes a string as name, not {name!r}.",
            hint='await session.advisory_lock(f"invoice:{invoice.id}")',
        )
    connection, backend = _writer(session_in(session))
    if not backend.lock(connection, name, nowait=nowait):
        raise LockTimeout(f"Another transaction holds the lock {name!r}.")


def holds_lock(session: orm.Session, state: InstanceState[Any]) -> bool:
    """Return whether this transaction has locked the row, so that a plain read may return an older snapshot."""
    transaction = session.get_transaction()
    return transaction is not None and state.key in _held.get(transaction, ())


def _writer(session: orm.Session, mapper: Mapper[Any] | None = None) -> tuple[Connection, Backend]:
    """Return the connection of a transaction that may write and keeps its locks."""
    refuse_reading(session, "take a lock")
    if not session.autobegin and not session.in_transaction():
        raise NoTransaction("A lock ends with its transaction, but none has begun.")
    connection = _only_connection(session) if mapper is None else writing_connection(session, mapper)
    backend = backend_for(connection.engine.url)
    if not backend.keeps_locks(connection):
        raise NoTransaction("A lock ends with its transaction, but this connection is not in one that keeps locks.")
    return connection, backend


def _only_connection(session: orm.Session) -> Connection:
    """Return the connection of a session with a single database."""
    if session.binds or session.connection_callable is not None:
        raise NotSupported(
            "A name is locked in one database, but the session has several.",
            hint="Use a session of one of them: async with db.transaction() as session.",
        )
    return session.connection()


def _distinct(session: orm.Session, mapper: Mapper[Any], keys: Iterable[Any]) -> list[Any]:
    row_keys = keys_of(mapper, session.get_bind(mapper=mapper).dialect)
    return [*dict.fromkeys(row_keys.identities(keys))]


def _lock(session: orm.Session, mapper: Mapper[Any], keys: Sequence[Any], **how: bool) -> list[Any]:
    columns, deferred = mapper.primary_key, Kept(session, mapper).deferred
    statement = (
        select(mapper.class_)
        .where(among(columns, keys))
        .order_by(*columns)
        .options(*apart(mapper), *(undefer(getattr(mapper.class_, name)) for name in _own(mapper, deferred)))
        # Only its own tables: PostgreSQL refuses to lock the nullable side of an outer join.
        .with_for_update(of=[*mapper.tables], **how)
        .execution_options(populate_existing=True)
    )
    return list(session.scalars(statement).unique())


def _own(mapper: Mapper[Any], names: Iterable[str]) -> list[str]:
    return [name for name in names if name in mapper.column_attrs]


def apart(mapper: Mapper[Any]) -> list[Any]:
    """Return options that load eager joins separately: MariaDB would lock joined rows too, and in another order."""
    joined = [relation.key for relation in mapper.relationships if relation.lazy in {"joined", False}]
    return [selectinload(getattr(mapper.class_, key)) for key in joined]


def _complete(session: orm.Session, mapper: Mapper[Any], rows: Sequence[Any], *, nowait: bool) -> None:
    """Lock and load the subclass rows in tables that a query for the base class does not join."""
    states = [sa_inspect(row) for row in rows]
    for below in dict.fromkeys(state.mapper for state in states):
        if below.tables != mapper.tables:
            _lock(session, below, [state.identity for state in states if state.mapper is below], nowait=nowait)


def note_locked(session: orm.Session, rows: Sequence[Any]) -> None:
    """Make locking reads of this transaction refresh these objects."""
    transaction = session.get_transaction()
    if transaction is not None and rows:
        _held.setdefault(transaction, set()).update(sa_inspect(row).key for row in rows)
