"""SQLite through aiosqlite: real transactions, foreign keys, one writer at a time without surprises."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import URL, AsyncAdaptedQueuePool, Connection, Engine, event
from sqlalchemy.pool import PoolResetState

from ..errors import (
    CheckViolation,
    DatabaseBusy,
    DatabaseFault,
    DatabaseUnavailable,
    ForeignKeyViolation,
    NotNullViolation,
    ReadOnlyViolation,
    SchemaMissing,
    UniqueViolation,
)
from .backend import Backend, Diagnosis, Limits

__all__ = ["SQLite"]

READ_ONLY: Final = "sqlkeel_read_only"
_QUERY_ONLY: Final = "sqlkeel_query_only"
_IN_MEMORY: Final = {None, "", ":memory:"}

# Extended result codes: https://www.sqlite.org/rescode.html
_KINDS: Final[Mapping[int, type[DatabaseFault]]] = {
    2067: UniqueViolation,
    1555: UniqueViolation,
    2579: UniqueViolation,
    787: ForeignKeyViolation,
    275: CheckViolation,
    1299: NotNullViolation,
}
_PRIMARY_KINDS: Final[Mapping[int, type[DatabaseFault]]] = {
    5: DatabaseBusy,
    6: DatabaseBusy,
    8: ReadOnlyViolation,
    14: DatabaseUnavailable,
}


class SQLite(Backend):
    """The embedded database.

    The driver's own transaction control is switched off: it begins late and never before a SELECT, so that reads are
    no snapshot, a rolled back savepoint survives, and two read-then-write transactions end in BUSY. Instead BEGIN
    IMMEDIATE is sent when a transaction begins: one writer at a time, waiting for its turn before it has read anything.
    """

    name = "sqlite"
    drivers = {"aiosqlite": ""}

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Switch the driver's transactions off; a database in memory has exactly one connection."""
        options: dict[str, Any] = {"connect_args": {"isolation_level": None, "timeout": limits.lock or 0}}
        if _in_memory(url):
            options |= {"poolclass": AsyncAdaptedQueuePool, "pool_size": 1, "max_overflow": 0}
        return options

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of connections that never begin; a database in memory has no second connection."""
        if _in_memory(url):
            return None
        return {**self.engine_options(url, limits), "execution_options": {READ_ONLY: "always"}}

    def install(self, engine: Engine) -> None:
        """Set the pragmas of each connection and begin each transaction."""
        always = engine.get_execution_options().get(READ_ONLY) == "always"

        @event.listens_for(engine, "connect")
        def set_pragmas(connection: Any, record: Any) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA foreign_keys=ON")
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            if always:
                cursor.execute("PRAGMA query_only=ON")
            cursor.close()

        event.listen(engine, "reset", _roll_back_failed_commit)
        if not always:
            event.listen(engine, "begin", _begin)

    def begin_options(self, *, read_only: bool) -> dict[str, Any]:
        """Mark a transaction that only reads."""
        return {READ_ONLY: True} if read_only else {}

    def limit_transaction(self, limits: Limits) -> str | None:
        """Return the pragma that limits the wait for the writer's turn."""
        return None if limits.lock is None else f"PRAGMA busy_timeout={int(limits.lock * 1000)}"

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the extended result code; which columns it is about stands only in the text."""
        code = int(getattr(error, "sqlite_errorcode", None) or 0)
        text = str(error)
        if code in _KINDS:
            return _constraint(_KINDS[code], text.partition(": ")[2])
        if code & 0xFF in _PRIMARY_KINDS:
            return Diagnosis(_PRIMARY_KINDS[code & 0xFF])
        # The general error has no code of its own for a missing table or column.
        if code == 1 and text.startswith(("no such table", "no such column")):
            return Diagnosis(SchemaMissing)
        return None


def _begin(connection: Connection) -> None:
    options = connection.get_execution_options()
    if options.get("isolation_level") == "AUTOCOMMIT":
        return
    read_only, info = bool(options.get(READ_ONLY)), connection.info
    if read_only != info.get(_QUERY_ONLY, False):
        # Outside the transaction: BEGIN IMMEDIATE fails under query_only.
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
        info[_QUERY_ONLY] = read_only
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _roll_back_failed_commit(connection: Any, record: Any, state: PoolResetState) -> None:
    # A COMMIT that fails (a deferred foreign key, BUSY) leaves SQLite in the transaction, holding the write lock;
    # SQLAlchemy takes every COMMIT for the end of one.
    if state.transaction_was_reset and connection.driver_connection.in_transaction:
        connection.rollback()


def _in_memory(url: URL) -> bool:
    return url.database in _IN_MEMORY or "mode=memory" in str(url.query.get("mode", "")) or "mode=memory" in str(url)


def _constraint(kind: type[DatabaseFault], rest: str) -> Diagnosis:
    if kind is CheckViolation:
        return Diagnosis(kind, constraint=rest or None)
    if named := re.fullmatch(r"index '(.+)'", rest):
        return Diagnosis(kind, constraint=named[1])
    pairs = [part.rpartition(".")[::2] for part in rest.split(", ") if "." in part]
    table = pairs[0][0] if pairs else None
    return Diagnosis(kind, table=table, columns=tuple(column for _, column in pairs))
