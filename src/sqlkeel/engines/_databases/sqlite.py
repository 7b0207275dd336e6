"""SQLite through aiosqlite: real transactions, enforced foreign keys, and writers that queue."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import suppress
from math import ceil
from typing import Any, Final
from weakref import WeakSet

import aiosqlite
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from ...errors import (
    CheckViolation,
    DatabaseBusy,
    DatabaseFault,
    DatabaseUnavailable,
    ForeignKeyViolation,
    InvalidURL,
    NotNullViolation,
    NotSupported,
    OutOfResources,
    PermissionDenied,
    ReadOnlyViolation,
    SchemaChanged,
    SchemaMissing,
    StatementTimeout,
    UniqueViolation,
    ValueRefused,
)
from .. import _drivers as drivers
from .._backend import LIMITS, READ_ONLY, Backend, Diagnosis, Limits, driver_of, info_of, unadapted
from .._plain import ProgrammingFault
from .._traces import RESTORED, LeavesTraces
from .sqlite_statements import commits, leaves_traces

__all__ = ["SQLiteBackend"]

_BEGUN: Final = "sqlkeel_begun"
_WAS_OPEN: Final = "sqlkeel_was_open"
"""The key on a stock engine's connection that records whether its last statement was sent in a transaction."""
_TIMER: Final = "sqlkeel_timer"
_INTERRUPT_AGAIN: Final = 0.01
_CLOSED: Final = (ValueError, sqlite3.ProgrammingError)
"""The errors of aiosqlite and sqlite3 for a closed connection."""
_DRIVER_WAIT: Final = 5_000
_FOREVER: Final = 2**31 - 1
"""The longest lock wait, in milliseconds."""
_QUERY_ONLY: Final = "sqlkeel_query_only"
_IN_MEMORY: Final = {None, "", ":memory:"}

_OURS: Final = "sqlkeel opens the connection itself", "Change it in a 'connect' listener on db.engine.sync_engine."
_BEGINS: Final = (
    "the Database begins each transaction, with BEGIN IMMEDIATE",
    "Leave it out; use db.read() for reading, db.transaction(read_only=True) for one snapshot.",
)
_NOT_GIVEN: Final = {"isolation_level": _BEGINS, "autocommit": _BEGINS, "factory": _OURS, "async_creator_fn": _OURS}
"""Driver arguments that we set ourselves, each with the message and hint to show."""
_READ_FROM_URLS: Final = {*_NOT_GIVEN, "cached_statements", "check_same_thread", "detect_types", "timeout", "uri"}
"""Driver arguments that SQLAlchemy accepts in a URL."""

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
    3: PermissionDenied,
    5: DatabaseBusy,
    6: DatabaseBusy,
    8: ReadOnlyViolation,
    7: OutOfResources,
    9: StatementTimeout,
    10: OutOfResources,
    13: OutOfResources,
    14: DatabaseUnavailable,
    17: SchemaChanged,
    18: ValueRefused,
    20: ValueRefused,
    23: PermissionDenied,
}


class SQLiteBackend(Backend):
    """The embedded database.

    The driver's own transaction control is switched off. It begins a transaction late and never before a SELECT, so
    that reads do not share a snapshot, a rolled-back savepoint keeps its changes, and two transactions that read and
    then write end with BUSY. Instead, BEGIN IMMEDIATE is sent when a transaction begins: one writer at a time, which
    waits before it has read anything.
    """

    name = "sqlite"
    unavailable = "Check that the folder exists and is writable, and that the file is a SQLite database."
    drivers = {"aiosqlite": ""}
    savepoint_recovers = False

    def in_memory(self, url: URL) -> bool:
        """Return whether the URL names a database in memory and not a file."""
        return (
            url.database in _IN_MEMORY or "mode=memory" in str(url.query.get("mode", "")) or "mode=memory" in str(url)
        )

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Switch the driver's transactions off; a database in memory has exactly one connection."""
        _refuse_arguments(url.query)
        _refuse_ignored(url)
        wait = _milliseconds(limits.lock) / 1000
        arguments = {"isolation_level": None, "timeout": wait, "async_creator_fn": _open, "factory": _Connection}
        # The dialect would consider a connection without the driver's transactions as autocommit.
        options: dict[str, Any] = {"connect_args": arguments, "skip_autocommit_rollback": False}
        if self.in_memory(url):
            options |= {"pool_size": 1, "max_overflow": 0}
        return options

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of connections without transactions; ``None`` for a database in memory, which has only one."""
        if self.in_memory(url):
            return None
        return {**self.engine_options(url, limits), "execution_options": {READ_ONLY: "always"}}

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Refuse arguments that would enable the driver's transactions, or replace our connections."""
        _refuse_arguments(given)
        return dict(given)

    def install(self, engine: Engine, limits: Limits) -> None:
        """Set the pragmas of each connection, begin each transaction, and stop statements that take too long."""
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

        _stop_late_statements(engine, limits)
        if not always:

            @event.listens_for(engine, "begin")
            def begin(connection: Connection) -> None:
                own = connection.get_execution_options().get(LIMITS)
                _begin(connection, limits, limits.changed_by(own))

    def traces(self, url: URL) -> LeavesTraces | None:
        """Tell statements that attach, set or make something temporary; a database in memory is its connection."""
        return None if self.in_memory(url) else leaves_traces

    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Mark a read-only transaction; each is serializable, even if a weaker level was requested."""
        return {READ_ONLY: True} if read_only else {}

    def aborts(self, error: Any, connection: Connection) -> bool:
        """Ask the connection: an interrupted write or a full disk ends the transaction, but has no code for that."""
        info = info_of(connection)
        was_open = info.get(_BEGUN, False) or info.get(_WAS_OPEN, False)
        return was_open and not driver_of(connection).in_transaction

    def watch(self, engine: Engine) -> None:
        """Record before each statement whether it is in a transaction; the driver begins one at the first write."""

        def note(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
            connection = context.root_connection
            info_of(connection)[_WAS_OPEN] = driver_of(connection).in_transaction

        event.listen(engine, "do_execute", note)
        event.listen(engine, "do_executemany", note)
        event.listen(engine, "do_execute_no_params", lambda cursor, statement, context: note(cursor, "", (), context))

    def in_transaction(self, raw: Any) -> bool:
        """Ask sqlite3; a closed connection counts as in a transaction, so that the pool drops it."""
        try:
            return bool(unadapted(raw).in_transaction)
        except _CLOSED:
            return True

    def watched_end(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse COMMIT on a closed connection, which SQLAlchemy's adapter of aiosqlite would ignore."""
        if usual.__name__ != "do_commit":
            return usual

        def watched(connection: Any, *args: Any, **options: Any) -> Any:
            raw = connection.dbapi_connection
            if _is_closed(raw):
                raise sqlite3.OperationalError("no active connection")
            return usual(connection, *args, **options)

        return watched

    def recovers(self, raw: Any) -> bool:
        """Roll back: a failed COMMIT (a deferred foreign key, BUSY) keeps the transaction and the write lock.

        Closing the connection would do the same, but would lose a database in memory.
        """
        try:
            raw.rollback()
        except sqlite3.Error:
            return False
        return not self.in_transaction(raw)

    def met(self, error: Exception) -> Exception:
        """Return the error about a value that the driver could not send, if an older error of SQLite hides it.

        Python 3.11 raises the library's last error there, which may come from an earlier statement. The actual error is
        its context, and has no traceback yet; an error that is being handled has one.
        """
        met = error.__context__
        said_again = hasattr(error, "sqlite_errorcode") and not hasattr(met, "sqlite_errorcode")
        return met if said_again and isinstance(met, Exception) and met.__traceback__ is None else error

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the extended result code; the column names are only in the text."""
        code = int(getattr(error, "sqlite_errorcode", None) or 0)
        text = str(error)
        if code == 1811 and text == "FOREIGN KEY constraint failed":
            # SQLite implements RESTRICT as a trigger, and reports it as one.
            return Diagnosis(ForeignKeyViolation)
        if code in _KINDS:
            return _constraint(_KINDS[code], text.partition(": ")[2])
        if code & 0xFF in _PRIMARY_KINDS:
            return Diagnosis(_PRIMARY_KINDS[code & 0xFF])
        # SQLITE_ERROR has no extended code for a missing table or column, or for a pattern of 50,000 bytes.
        if code == 1 and text.startswith(("no such table", "no such column")):
            return Diagnosis(SchemaMissing)
        if code == 1 and text.startswith("LIKE or GLOB pattern too complex"):
            return Diagnosis(ValueRefused)
        # The driver's own error for a class that it cannot send has no code.
        is_unsent = not code and isinstance(error, sqlite3.ProgrammingError)
        return Diagnosis(ProgrammingFault, mistyped=True) if is_unsent else None

    def begin_for_savepoint(self, connection: Connection) -> bool:
        """Begin a transaction on a stock engine, whose driver would wait for the first write.

        Otherwise the savepoint would be the outermost transaction, and releasing it would commit.
        """
        raw = driver_of(connection)
        left_out = not raw.in_transaction and raw.isolation_level is not None
        if left_out:
            connection.exec_driver_sql("BEGIN")
        return left_out

    def commits_by_itself(self, connection: Connection) -> bool:
        """Return ``False``: a savepoint outside a transaction is a transaction itself, and can be rolled back."""
        return False

    def commits(self, statement: str) -> bool:
        """Know COMMIT by its two names."""
        return commits(statement)

    def keeps_locks(self, connection: Connection) -> bool:
        """Return whether BEGIN IMMEDIATE holds the only lock, that of the whole database against other writers."""
        return bool(connection.info.get(_BEGUN)) and not connection.info.get(_QUERY_ONLY)

    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Do nothing: every other writer already waits for this transaction."""
        return True


class _Connection(sqlite3.Connection):
    """A connection that releases its lock when it is closed.

    SQLite keeps a closed connection, and its lock, as long as a cursor exists; the cursor of an abandoned statement may
    exist for long. A cursor in the middle of its rows also keeps an interrupt pending, which would then hit the
    ROLLBACK.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()
        self._closed = False

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            for cursor in list(self._cursors):
                cursor.close()
            self.rollback()
        finally:
            super().close()


class _Driver(aiosqlite.Connection):
    """A connection that stops only once: on a cancellation SQLAlchemy stops it twice, and would wait forever."""

    _stopped: asyncio.Future[Any] | None = None

    def stop(self) -> asyncio.Future[Any] | None:
        if self._stopped is None:
            self._stopped = super().stop()
        return self._stopped


def _refuse_arguments(given: Mapping[str, Any]) -> None:
    """Refuse driver arguments that would silently be ignored, or would override ours.

    Raises:
        NotSupported: The hint says what to do instead.
    """
    for name, instead in _NOT_GIVEN.items():
        if given.get(name) is not None:
            raise NotSupported(f"{name} cannot be given to SQLite's driver: {instead[0]}.", hint=instead[1])


def _refuse_ignored(url: URL) -> None:
    """Refuse URL options that SQLAlchemy would silently drop; in a URI, SQLite itself reads the others.

    Raises:
        InvalidURL: Names the option.
    """
    if url.query.get("uri") is not None:
        return
    for name in url.query:
        if name not in _READ_FROM_URLS:
            raise InvalidURL(
                f"The URL has an option {name!r}, which aiosqlite does not have.",
                hint="Leave it out; write an option of SQLite itself in a URI: sqlite:///file:app.db?uri=true&...",
            )


def _open(database: str, **options: Any) -> aiosqlite.Connection:
    connection = _Driver(lambda: sqlite3.connect(database, **options), iter_chunk_size=64)
    drivers.thread_of(connection).daemon = True  # as in SQLAlchemy: the process may exit without closing it
    return connection


def _begin(connection: Connection, usual: Limits, wanted: Limits) -> None:
    options, info = connection.get_execution_options(), connection.info
    info[_BEGUN] = options.get("isolation_level") != "AUTOCOMMIT"
    if not info[_BEGUN]:
        return
    _leave_driver_transactions(connection)
    read_only = bool(options.get(READ_ONLY))
    # Both outside the transaction: BEGIN IMMEDIATE fails under query_only, and it is what waits for the lock.
    if read_only != info.get(_QUERY_ONLY, False):
        connection.exec_driver_sql(f"PRAGMA query_only={'ON' if read_only else 'OFF'}", execution_options=RESTORED)
        info[_QUERY_ONLY] = read_only
    if wanted.lock != info.get(LIMITS, usual.lock):
        connection.exec_driver_sql(f"PRAGMA busy_timeout={_milliseconds(wanted.lock)}", execution_options=RESTORED)
        info[LIMITS] = wanted.lock
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def _leave_driver_transactions(connection: Connection) -> None:
    """Switch the driver's own transactions off again, because SQLAlchemy switches them on after AUTOCOMMIT."""
    raw: Any = connection.connection.dbapi_connection
    if raw.isolation_level is not None:
        raw.isolation_level = None


def _stop_late_statements(engine: Engine, limits: Limits) -> None:
    """Interrupt a statement that runs too long, or that no task waits for any more.

    SQLite has no time limit. A cancelled task would otherwise wait for the end of its statement.
    """

    @event.listens_for(engine, "before_cursor_execute")
    def start(connection: Connection, *rest: Any) -> None:
        seconds = limits.changed_by(connection.get_execution_options().get(LIMITS)).statement
        if seconds:
            interrupt = _driver(connection).interrupt
            connection.info[_TIMER] = asyncio.get_running_loop().call_later(seconds, interrupt)

    @event.listens_for(engine, "after_cursor_execute")
    def stop(connection: Connection, *rest: Any) -> None:
        _stop(connection.info)

    @event.listens_for(engine, "handle_error")
    def give_up(context: ExceptionContext) -> None:
        if context.connection is None or context.connection.invalidated:
            return
        _stop(info_of(context.connection))
        if isinstance(context.original_exception, asyncio.CancelledError):
            # Next, SQLAlchemy closes the connection, which waits for the statement.
            _interrupt_until_closed(_driver(context.connection))


def _stop(info: dict[Any, Any]) -> None:
    if timer := info.pop(_TIMER, None):
        timer.cancel()


def _interrupt_until_closed(driver: sqlite3.Connection) -> None:
    # Repeatedly, because an interrupt has no effect on a statement that the thread has not begun yet.
    with suppress(sqlite3.ProgrammingError):
        driver.interrupt()
        asyncio.get_running_loop().call_later(_INTERRUPT_AGAIN, _interrupt_until_closed, driver)


def _is_closed(raw: Any) -> bool:
    try:
        _ = unadapted(raw).in_transaction
    except _CLOSED:
        return True
    return False


def _driver(connection: Connection) -> sqlite3.Connection:
    return drivers.library_connection(driver_of(connection))


def _milliseconds(seconds: float | None) -> int:
    if seconds is None:
        return _DRIVER_WAIT
    return min(ceil(seconds * 1000), _FOREVER) or _FOREVER


def _constraint(kind: type[DatabaseFault], rest: str) -> Diagnosis:
    if kind is CheckViolation:
        return Diagnosis(kind, constraint=rest or None)
    if named := re.fullmatch(r"index '(.+)'", rest):
        return Diagnosis(kind, constraint=named[1])
    pairs = [part.rpartition(".")[::2] for part in rest.split(", ") if "." in part]
    table = pairs[0][0] if pairs else None
    return Diagnosis(kind, table=table, columns=tuple(column for _, column in pairs))
