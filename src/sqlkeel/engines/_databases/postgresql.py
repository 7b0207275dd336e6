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
"""The argument of libpq that holds settings for the session, in one text."""

_NOT_SENT: Final = "22000"
"""What asyncpg calls an argument that it cannot encode; the server says it only for who raises it in a function."""

_LONGEST: Final = 2**31 - 1
"""The longest limit that the server takes, in milliseconds: three weeks."""

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
    # A pattern that a client has written, as the one of LIKE below.
    "2201B": errors.ValueRefused,
    "22021": errors.ValueRefused,
    "22023": DataFault,
    "22025": errors.ValueRefused,
    "22026": errors.ValueRefused,
    "2202E": errors.ValueRefused,
    "22P02": errors.ValueRefused,
    # A NUL in a JSON document.
    "22P05": errors.ValueRefused,
    # NaN for a whole number.
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
    # More dimensions than an array has.
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
"""What its own errors say, which have no code: a NUL in a text, mixed types in a list, a class that it cannot send."""

_UNCONNECTED: Final[Mapping[re.Pattern[str], type[DatabaseFault]]] = {
    re.compile(r'FATAL:\s+database ".*" does not exist'): errors.DatabaseMissing,
    re.compile(r"FATAL:\s+(?:password authentication failed|role .* does not exist|no pg_hba\.conf entry)"): (
        errors.AuthenticationFailed
    ),
    re.compile(r"fe_sendauth: no password supplied"): errors.AuthenticationFailed,
}
"""What the server says, in English, to psycopg before there is a connection: libpq passes no code on."""

_CLASSES: Final[Mapping[str, type[DatabaseFault]]] = {"08": errors.ConnectionLost, "P0": RaisedFault}
"""What is raised for the other states of a class; psycopg takes what a function raises for a wrong statement."""

# A cancellation that comes again at every await (anyio's) stops the driver before it has told the server. With this the
# server notices within half a second that nobody listens, ends the statement and lets its locks go.
NOTICE: Final = {"client_connection_check_interval": "500"}

# The id alone is no name. A server that is killed forgets the last ids it has given, and gives them to others: it may
# then call committed what was another transaction. So it is noted how far the log was written, and how far it had been
# read the last time that the server recovered; a log that was read again, but not so far, has lost this transaction.
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
"""The function of the server that finds that a prepared statement would return other columns than it did."""

_VALUES_OF: Final[Mapping[str, Container[str]]] = {
    "42601": {"jsonpath_gram.y", "jsonpath_scan.l", "tsquery.c", "tsvector_parser.c"},
    "54000": {"indextuple.c", "nbtutils.c", "to_tsany.c", "tsvector.c"},
}
"""The files of the server that call a wrong value a wrong syntax, in a language of their own, or one that is too long
for an index or a list of words a limit of the program."""

_PERHAPS_OF_A_VALUE: Final = {DataFault, NotSupportedFault, OperationalFault, ProgrammingFault}
"""What a statement may be refused with for a value, or for itself."""

_INTERNAL: Final = "XX000"
_GONE: Final = ("cache lookup failed for", "could not open relation with OID")
"""What the server says where a prepared statement names a type or a table by a number that is gone.

There is no code for it, and the words of internal errors are not translated.
"""

_NEVER: Final = "0/0"
"""Where the log begins: how far a server has read it again that was stopped in good order."""


class PostgreSQLBackend(Backend):
    """The main database."""

    name = "postgresql"
    drivers = {"asyncpg": "postgres", "psycopg": "psycopg"}
    bound_to_loop = frozenset({"asyncpg"})
    savepoint_recovers = True
    _gives_tickets = True

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Give the session its limits in the start-up message: no statement, and nothing to reset."""
        return {"connect_args": _connect_args(url, {**settings_of(limits), **NOTICE})}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of connections that the server lets only read, and that send no BEGIN and no ROLLBACK."""
        settings = {**settings_of(limits), **NOTICE, "default_transaction_read_only": "on"}
        return {
            "connect_args": _connect_args(url, settings),
            "execution_options": {READ_ONLY: "always"},
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Let what the caller says in the options of libpq follow ours: the last value of a setting holds."""
        if _OPTIONS not in ours or _OPTIONS not in given:
            return dict(given)
        return {**given, _OPTIONS: f"{ours[_OPTIONS]} {given[_OPTIONS] or ''}".strip()}

    def install(self, engine: Engine, limits: Limits) -> None:
        """See whether the server gives tickets, and let readers stream; all else is in the start-up message."""
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
        """Begin, and set the limits that the transaction has of its own, in one SELECT."""
        connection = session.connection(execution_options=options)
        if limits := options.get(LIMITS):
            connection.exec_driver_sql(set_locally(settings_of(limits)))

    def transaction_ticket(self, session: orm.Session) -> str | None:
        """Return the id of the transaction, which has one once it has written."""
        root = session.get_transaction()
        connection = next(iter(root.connections), None) if root is not None else None
        if connection is None or connection.invalidated or not self._gives_tickets:
            return None
        if ABORTED in info_of(connection):
            return None
        raw: Any = connection.connection.dbapi_connection
        ticket: str | None
        try:
            # Straight to the driver: every transaction that writes pays for it.
            ticket = raw.run_async(_first_value)
        except Exception as error:
            raise translate(connection, error, statement=_TICKET) from error
        return ticket

    def was_committed(self, connection: Connection, ticket: str) -> bool | None:
        """Ask for the status of the transaction, which is in progress while the server works on the COMMIT."""
        number, written, replayed = (*ticket.split(), _NEVER)[:3]
        status = connection.scalar(_FATE, {"number": number, "written": written, "replayed": replayed})
        return {"committed": True, "aborted": False}.get(status or "")

    def _try_ticket(self, connection: Any, record: Any) -> None:
        """See whether the server lets its log be looked at: Aurora keeps another one, and refuses."""
        cursor = connection.cursor()
        try:
            cursor.execute("SELECT pg_current_wal_insert_lsn(), pg_last_wal_replay_lsn()")
        except Exception as error:
            # Not supported, not there, not allowed, or not with these settings.
            if str(getattr(error, "sqlstate", None))[:2] not in {"0A", "42", "55"}:
                raise
            self._gives_tickets = False
        # Not after any other error: the pool closes the connection, and a rollback would fail over a cancellation.
        cursor.close()
        connection.rollback()

    def aborts(self, error: Any, connection: Connection) -> bool:
        """Know that whatever the server refuses ends the transaction, and that COMMIT then is a silent ROLLBACK."""
        raw: Any = connection.connection.dbapi_connection
        state = getattr(error, "sqlstate", None)
        return state is not None and not _is_unsent(error) and not raw.autocommit

    def leaves_unsent(self, error: Any, connection: Connection) -> bool:
        """Know that asyncpg has the statement parsed before it looks at the arguments, and then leaves it at that.

        The server waits for the rest with its locks on the tables, which stop a migration; ROLLBACK would end it. What
        a driver calls misuse of itself (another task is in the middle of something) leaves a connection that nobody
        knows enough of.
        """
        raw: Any = connection.connection.dbapi_connection
        # A value of which its message cannot say what it is ends the driver's error with one of Python's.
        is_of_value = connection.dialect.driver == "asyncpg" and type(error).__module__ == "builtins"
        is_unsent = _is_unsent(error) or is_of_value
        return type(error).__name__ == "InterfaceError" or (is_unsent and bool(raw.autocommit))

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the SQLSTATE; table, column and constraint are fields of the server's message."""
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
        """Know COMMIT by its two names, and PREPARE TRANSACTION, which somebody else may commit."""
        return commits(statement)

    def in_transaction(self, raw: Any) -> bool:
        """Read the status that the server sent with its last answer."""
        driver = unadapted(raw)
        if hasattr(driver, "is_in_transaction"):
            return bool(driver.is_in_transaction())
        return bool(driver.info.transaction_status)  # 0 is idle

    def keeps_locks(self, connection: Connection) -> bool:
        """Know that there is a transaction unless the driver commits each statement."""
        raw: Any = connection.connection.dbapi_connection
        return not raw.autocommit

    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Take a transaction-level lock, which ends however the transaction ends; ``lock_timeout`` limits the wait."""
        function = "pg_try_advisory_xact_lock" if nowait else "pg_advisory_xact_lock"
        statement = text(f"SELECT {function}(hashtextextended(:name, 0))")
        return connection.scalar(statement, {"name": name}) is not False


def _is_unsent(error: Any) -> bool:
    return getattr(error, "sqlstate", None) == _NOT_SENT and _field(error, "severity") is None


def _is_outdated(error: Any) -> bool:
    """Tell whether what the driver has prepared, or knows of a type, no longer fits the database.

    SQLAlchemy calls asyncpg's so; psycopg shows the server's message, of a code that means much else. The place in the
    server's source is not translated, as its words are.
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
    """Return asyncpg's connection, ended where a BEGIN fails, and with what else is to be sent together with BEGIN.

    A message of its own would cost asyncpg two more.
    """
    import asyncpg  # not installed where nobody uses it

    class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
        after_begin = ""

        async def execute(self, query: str, *args: Any, timeout: float | None = None) -> str:
            if not query.startswith("BEGIN"):
                status: str = await super().execute(query, *args, timeout=timeout)
                return status
            try:
                return str(await super().execute(query + self.after_begin))
            except asyncpg.PostgresError:
                # A cancelled one, for instance. The driver goes on as in a transaction, and would begin the next one
                # with a savepoint.
                self.terminate()
                raise

    return Connection


def report_set_up(engine: Engine) -> None:
    """Read what asyncpg raises while SQLAlchemy sets its codecs on a new connection, past all that reads errors.

    Whichever pool the caller has chosen: these methods are the dialect's, and the dialect is this engine's alone.
    """
    for name in private.ASYNCPG_SET_UPS:
        if (usual := getattr(engine.dialect, name, None)) is not None:
            setattr(engine.dialect, name, _reported(usual))


def _reported(usual: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    import asyncpg  # not installed where nobody uses it

    async def set_up(connection: Any) -> None:
        try:
            await usual(connection)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            message = f"A new connection broke while it was being set up. The database says: {error}"
            raise errors.ConnectionLost(message, orig=error) from error

    return set_up


def set_locally(settings: Mapping[str, str]) -> str:
    """Write the SELECT that changes settings until the transaction ends."""
    return "SELECT " + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in settings.items())


def settings_of(limits: Limits) -> dict[str, str]:
    """Return the settings of the server that keep *limits*."""
    values = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    # Rounded up: zero is no limit at all.
    return {name: str(min(ceil(seconds * 1000), _LONGEST)) for name, seconds in values.items() if seconds is not None}


def _connect_args(url: URL, settings: Mapping[str, str]) -> dict[str, Any]:
    if url.get_driver_name() == "asyncpg":
        return {"connection_class": connection_class(), "server_settings": dict(settings)}
    # The URL may have options of its own, which connect_args would replace. They come last, and so they hold.
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
    # psycopg keeps the fields in ``diag``, asyncpg on the exception that SQLAlchemy's adapter carries.
    source = getattr(error, "diag", None) or getattr(error, "driver_exception", None) or error
    value = getattr(source, name, None)
    return str(value) if value else None
