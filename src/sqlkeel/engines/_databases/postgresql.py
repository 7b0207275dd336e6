"""PostgreSQL through asyncpg or psycopg."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Container, Mapping
from functools import cache
from math import ceil
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, orm, text

from ... import _sqlalchemy as private
from ... import errors
from ...errors import DatabaseFault
from .._backend import ABORTED, LIMITS, READ_ONLY, Backend, Diagnosis, Limits, info_of, unadapted
from .._faults import translate
from .._moments import refuse_words_for_moments
from .._plain import DataFault, NotSupportedFault, OperationalFault, ProgrammingFault, RaisedFault
from .._streams import begin_for_streams
from .._texts import refuse_notations
from .._traces import LeavesTraces
from .postgresql_statements import commits, leaves_traces

__all__ = [
    "NOTICE",
    "PostgreSQLBackend",
    "connection_class",
    "report_set_up",
    "set_locally",
    "settings_of",
]

_OPTIONS: Final = "options"
"""The libpq argument that holds settings for the session in one string."""

_NOT_SENT: Final = "22000"
"""asyncpg's code for an argument that it cannot encode; the server only uses it for errors raised in functions."""

_LONGEST: Final = 2**31 - 1
"""The longest limit that the server accepts, in milliseconds: three weeks."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_KINDS: Final[Mapping[str, type[DatabaseFault]]] = {
    "08007": errors.CommitUnknown,
    _NOT_SENT: errors.ValueRefused,
    "22001": errors.ValueRefused,
    "22003": errors.ValueRefused,
    "22007": errors.ValueRefused,
    "22008": errors.ValueRefused,
    "22009": errors.ValueRefused,
    "22015": errors.ValueRefused,
    # A pattern from a client, as for LIKE below.
    "2201B": errors.ValueRefused,
    "22021": errors.ValueRefused,
    "22023": DataFault,
    "22025": errors.ValueRefused,
    "22026": errors.ValueRefused,
    "2202E": errors.ValueRefused,
    "22P02": errors.ValueRefused,
    # A NUL in a JSON document.
    "22P05": errors.ValueRefused,
    # NaN for an integer.
    "0A000": NotSupportedFault,
    "42804": ProgrammingFault,
    "42846": ProgrammingFault,
    "42883": ProgrammingFault,
    "23001": errors.ForeignKeyViolation,
    "23502": errors.NotNullViolation,
    "23503": errors.ForeignKeyViolation,
    "23505": errors.UniqueViolation,
    "23514": errors.CheckViolation,
    "23P01": errors.ExclusionViolation,
    "25006": errors.ReadOnlyViolation,
    "25P02": errors.TransactionAborted,
    "25P03": errors.ConnectionLost,
    "28000": errors.AuthenticationFailed,
    "28P01": errors.AuthenticationFailed,
    "3D000": errors.DatabaseMissing,
    "40001": errors.SerializationFailure,
    "40P01": errors.Deadlock,
    "42501": errors.PermissionDenied,
    "42703": errors.SchemaMissing,
    "42P01": errors.SchemaMissing,
    "53000": errors.OutOfResources,
    "53100": errors.OutOfResources,
    "53200": errors.OutOfResources,
    "53300": errors.DatabaseUnavailable,
    "53400": errors.OutOfResources,
    # Too many dimensions for an array.
    "54000": OperationalFault,
    "55P03": errors.LockTimeout,
    "57014": errors.StatementTimeout,
    "57P01": errors.ConnectionLost,
    "57P02": errors.ConnectionLost,
    "57P03": errors.DatabaseUnavailable,
}

_UNSENT_BY_PSYCOPG: Final[Mapping[str, Diagnosis]] = {
    "DataError": Diagnosis(errors.ValueRefused),
    "NotSupportedError": Diagnosis(NotSupportedFault, mistyped=True),
    "ProgrammingError": Diagnosis(ProgrammingFault, mistyped=True),
}
"""psycopg's own errors, which have no code: a NUL in a text, mixed types in a list, a class that it cannot send."""

_UNCONNECTED: Final[Mapping[re.Pattern[str], type[DatabaseFault]]] = {
    re.compile(r'FATAL:\s+database ".*" does not exist'): errors.DatabaseMissing,
    re.compile(r"FATAL:\s+(?:password authentication failed|role .* does not exist|no pg_hba\.conf entry)"): (
        errors.AuthenticationFailed
    ),
    re.compile(r"fe_sendauth: no password supplied"): errors.AuthenticationFailed,
}
"""The server's English messages before there is a connection; libpq does not pass on their codes."""

_CLASSES: Final[Mapping[str, type[DatabaseFault]]] = {"08": errors.ConnectionLost, "P0": RaisedFault}
"""The class for the other codes of an SQLSTATE class; psycopg raises ProgrammingError for an error of a function."""

# If a cancellation recurs at every await, as anyio's does, the driver cannot tell the server. With this setting the
# server notices within half a second that the client is gone, ends the statement and releases its locks.
NOTICE: Final = {"client_connection_check_interval": "500"}

# The transaction id alone is not enough. A server that crashes forgets the last ids and assigns them again, so it might
# report another transaction as committed. So the ticket contains the position in the log, and the position up to which
# the server replayed the log at its last recovery. A log that was replayed again, but not that far, has lost this
# transaction.
_TICKET: Final = """
SELECT CASE WHEN pg_current_xact_id_if_assigned() IS NOT NULL THEN
    concat_ws(' ', pg_current_xact_id_if_assigned(), pg_current_wal_insert_lsn(), pg_last_wal_replay_lsn())
END
"""
_FATE: Final = text("""
SELECT CASE
    WHEN pg_is_in_recovery() THEN NULL
    WHEN pg_last_wal_replay_lsn() <> CAST(CAST(:replayed AS text) AS pg_lsn)
         AND pg_last_wal_replay_lsn() < CAST(CAST(:written AS text) AS pg_lsn) THEN 'aborted'
    ELSE pg_xact_status(CAST(CAST(:number AS text) AS xid8))
END
""")
_REVALIDATES: Final = {"RevalidateCachedQuery"}
"""The server function that detects that a prepared statement would now return other columns."""

_VALUES_OF: Final[Mapping[str, Container[str]]] = {
    "42601": {"jsonpath_gram.y", "jsonpath_scan.l", "tsquery.c", "tsvector_parser.c"},
    "54000": {"indextuple.c", "nbtutils.c", "to_tsany.c", "tsvector.c"},
}
"""Source files of the server that report a wrong value with the code of a syntax error or a program limit: the parsers
of jsonpath and text search, and the code for indexes and text search vectors, for which the value is too long."""

_PERHAPS_OF_A_VALUE: Final = {DataFault, NotSupportedFault, OperationalFault, ProgrammingFault}
"""Classes of errors that may be caused by a value, or by the statement itself."""

_INTERNAL: Final = "XX000"
_GONE: Final = ("cache lookup failed for", "could not open relation with OID")
"""The server's message for a prepared statement that refers to a dropped type or table by its id.

It has no code of its own, and messages of internal errors are not translated.
"""

_NEVER: Final = "0/0"
"""The beginning of the log: the replay position of a server that was shut down cleanly."""


class PostgreSQLBackend(Backend):
    """The main database."""

    name = "postgresql"
    drivers = {"asyncpg": "postgres", "psycopg": "psycopg"}
    bound_to_loop = frozenset({"asyncpg"})
    savepoint_recovers = True
    _gives_tickets = True

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Send the limits in the start-up message: without a statement, and without anything to reset."""
        return {"connect_args": _connect_args(url, {**settings_of(limits), **NOTICE})}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of read-only connections that send neither BEGIN nor ROLLBACK."""
        settings = {**settings_of(limits), **NOTICE, "default_transaction_read_only": "on"}
        return {
            "connect_args": _connect_args(url, settings),
            "execution_options": {READ_ONLY: "always"},
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Append the caller's libpq options to ours, because the last value of a setting wins."""
        if _OPTIONS not in ours or _OPTIONS not in given:
            return dict(given)
        return {**given, _OPTIONS: f"{ours[_OPTIONS]} {given[_OPTIONS] or ''}".strip()}

    def install(self, engine: Engine, limits: Limits) -> None:
        """Check whether the server provides tickets, and allow readers to stream; limits are already set."""
        if engine.dialect.driver == "psycopg":
            refuse_notations(engine.dialect)
            refuse_words_for_moments(engine.dialect)
        event.listen(engine, "first_connect", self._try_ticket)
        report_set_up(engine)
        if engine.get_execution_options().get(READ_ONLY) == "always":
            begin_for_streams(engine)

    def traces(self, url: URL) -> LeavesTraces | None:
        """Tell statements that set, prepare, listen, lock or make something temporary for the whole session."""
        return leaves_traces

    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Put READ ONLY and the isolation level into the BEGIN message."""
        options: dict[str, Any] = {"postgresql_readonly": True} if read_only else {}
        return options if isolation is None else {**options, "isolation_level": isolation}

    def begin(self, session: orm.Session, options: Mapping[str, Any]) -> None:
        """Begin, and set the transaction's own limits in one SELECT."""
        connection = session.connection(execution_options=options)
        if limits := options.get(LIMITS):
            connection.exec_driver_sql(set_locally(settings_of(limits)))

    def transaction_ticket(self, session: orm.Session) -> str | None:
        """Return the id of the transaction, which it has once it has written."""
        root = session.get_transaction()
        connection = next(iter(root.connections), None) if root is not None else None
        if connection is None or connection.invalidated or not self._gives_tickets:
            return None
        if ABORTED in info_of(connection):
            return None
        raw: Any = connection.connection.dbapi_connection
        ticket: str | None
        try:
            # Directly through the driver, because every writing transaction pays for it.
            ticket = raw.run_async(_first_value)
        except Exception as error:
            raise translate(connection, error, statement=_TICKET) from error
        return ticket

    def was_committed(self, connection: Connection, ticket: str) -> bool | None:
        """Ask for the status of the transaction, which is "in progress" while the server executes COMMIT."""
        number, written, replayed = (*ticket.split(), _NEVER)[:3]
        status = connection.scalar(_FATE, {"number": number, "written": written, "replayed": replayed})
        return {"committed": True, "aborted": False}.get(status or "")

    def _try_ticket(self, connection: Any, record: Any) -> None:
        """Check whether the server allows reading its log position; Aurora has another log, and refuses."""
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT pg_current_wal_insert_lsn(), pg_last_wal_replay_lsn()")
        except Exception as error:
            # Feature not supported, object missing or not permitted, or wrong settings.
            if str(getattr(error, "sqlstate", None))[:2] not in {"0A", "42", "55"}:
                raise
            self._gives_tickets = False
        # Skipped after any other error: the pool closes the connection, and a rollback after a cancellation would fail.
        cursor.close()
        connection.rollback()

    def aborts(self, error: Any, connection: Connection) -> bool:
        """Return whether the server refused anything, which ends the transaction; COMMIT then silently rolls back."""
        raw: Any = connection.connection.dbapi_connection
        state = getattr(error, "sqlstate", None)
        return state is not None and not _is_unsent(error) and not raw.autocommit

    def leaves_unsent(self, error: Any, connection: Connection) -> bool:
        """Return whether asyncpg has sent Parse before it checked the arguments, and then stopped.

        The server then waits with its locks on the tables, which blocks migrations; ROLLBACK would end that. After an
        InterfaceError (another task is in the middle of an operation) the state of the connection is unknown too.
        """
        raw: Any = connection.connection.dbapi_connection
        # If the error message cannot represent a value, asyncpg fails with a built-in Python error instead.
        is_of_value = connection.dialect.driver == "asyncpg" and type(error).__module__ == "builtins"
        is_unsent = _is_unsent(error) or is_of_value
        return type(error).__name__ == "InterfaceError" or (is_unsent and bool(raw.autocommit))

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the SQLSTATE; table, column and constraint are fields of the server's error."""
        if _is_outdated(error):
            return Diagnosis(errors.SchemaChanged, spoils=True)
        state = getattr(error, "sqlstate", None)
        kind = _KINDS.get(state or "") or _CLASSES.get(str(state)[:2])
        if _source_file(error) in _VALUES_OF.get(state or "", ()):
            kind = errors.ValueRefused
        if kind is None:
            return _without_state(error) if state is None else None
        column = _field(error, "column_name")
        return Diagnosis(
            kind,
            table=_field(error, "table_name"),
            columns=(column,) if column else (),
            constraint=_field(error, "constraint_name"),
            mistyped=kind in _PERHAPS_OF_A_VALUE,
        )

    def commits(self, statement: str) -> bool:
        """Return whether it is COMMIT, END, or PREPARE TRANSACTION, which another session may commit."""
        return commits(statement)

    def in_transaction(self, raw: Any) -> bool:
        """Read the status from the server's last answer."""
        driver = unadapted(raw)
        if hasattr(driver, "is_in_transaction"):
            return bool(driver.is_in_transaction())
        return bool(driver.info.transaction_status)  # 0 is idle

    def keeps_locks(self, connection: Connection) -> bool:
        """Return whether the driver is not in autocommit mode; then there is always a transaction."""
        raw: Any = connection.connection.dbapi_connection
        return not raw.autocommit

    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Acquire a transaction-level lock, which ends with the transaction; ``lock_timeout`` limits the wait."""
        function = "pg_try_advisory_xact_lock" if nowait else "pg_advisory_xact_lock"
        statement = text(f"SELECT {function}(hashtextextended(:name, 0))")
        return connection.scalar(statement, {"name": name}) is not False


def _is_unsent(error: Any) -> bool:
    return getattr(error, "sqlstate", None) == _NOT_SENT and _field(error, "severity") is None


def _is_outdated(error: Any) -> bool:
    """Return whether a prepared statement, or what the driver knows of a type, no longer fits the database.

    SQLAlchemy has a class for asyncpg's error. psycopg shows the server's error, whose code has other meanings too. The
    location in the server's source code is not translated, unlike the message.
    """
    state = getattr(error, "sqlstate", None)
    if state == _INTERNAL:
        return any(words in str(error) for words in _GONE)
    if state == "0A000":
        return _field(error, "source_function") in _REVALIDATES
    return type(error).__name__ == "InvalidCachedStatementError"


async def _first_value(driver: Any) -> Any:
    if hasattr(driver, "fetchval"):
        return await driver.fetchval(_TICKET)
    row = await (await driver.execute(_TICKET)).fetchone()
    return row[0]


@cache
def connection_class() -> type[Any]:
    """Return asyncpg's connection class, extended to close if BEGIN fails, and to send settings together with BEGIN.

    A separate message would cost asyncpg two more round trips.
    """
    import asyncpg  # only installed with PostgreSQL

    class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
        after_begin = ""

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            if not query.startswith("BEGIN"):
                status: str = await super().execute(query, *args, timeout=timeout)
                return status
            try:
                return str(await super().execute(query + self.after_begin))
            except asyncpg.PostgresError:
                # The BEGIN was cancelled, for instance. The driver would assume a transaction, and begin the next one
                # with a savepoint.
                self.terminate()
                raise

    return Connection


def report_set_up(engine: Engine) -> None:
    """Translate errors that asyncpg raises while SQLAlchemy sets its codecs on a new connection.

    Error listeners do not see these. It works with any pool, because the methods belong to the engine's own dialect.
    """
    for name in private.ASYNCPG_SET_UPS:
        if (usual := getattr(engine.dialect, name, None)) is not None:
            setattr(engine.dialect, name, _reported(usual))


def _reported(usual: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    import asyncpg  # only installed with PostgreSQL

    async def set_up(connection: Any) -> None:
        try:
            await usual(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            message = f"A new connection broke while it was being set up. The database says: {error}"
            raise errors.ConnectionLost(message, orig=error) from error

    return set_up


def set_locally(settings: Mapping[str, str]) -> str:
    """Return the SELECT that changes settings until the transaction ends."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


def settings_of(limits: Limits) -> dict[str, str]:
    """Return the server settings that enforce *limits*."""
    values = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    # Rounded up, because zero means no limit.
    return {name: str(min(ceil(seconds * 1000), _LONGEST)) for name, seconds in values.items() if seconds is not None}


def _connect_args(url: URL, settings: Mapping[str, str]) -> dict[str, Any]:
    if url.get_driver_name() == "asyncpg":
        return {"connection_class": connection_class(), "server_settings": dict(settings)}
    # The options in the URL, which connect_args would replace. They come last, so they win.
    given = url.query.get(_OPTIONS, ())
    parts = [given] if isinstance(given, str) else [*given]
    return {_OPTIONS: " ".join([*(f"-c {name}={value}" for name, value in settings.items()), *parts])}


def _source_file(error: Any) -> str | None:
    return _field(error, "source_file") or _field(error, "server_source_filename")


def _without_state(error: Exception) -> Diagnosis | None:
    said = str(error) if type(error).__name__ == "OperationalError" else ""
    kind = next((kind for pattern, kind in _UNCONNECTED.items() if pattern.search(said)), None)
    return _UNSENT_BY_PSYCOPG.get(type(error).__name__) if kind is None else Diagnosis(kind)


def _field(error: Any, name: str) -> str | None:
    # psycopg has the fields in ``diag``, asyncpg on the exception that SQLAlchemy's adapter carries.
    source = getattr(error, "diag", None) or getattr(error, "driver_exception", None) or error
    value = getattr(source, name, None)
    return str(value) if value else None
