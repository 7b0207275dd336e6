"""MariaDB through asyncmy."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, event, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import PoolResetState

from ... import _sqlalchemy as private
from ... import errors
from ...errors import DatabaseFault, NotSupported
from .._backend import (
    LIMITS,
    READ_ONLY,
    Backend,
    Diagnosis,
    Limits,
    info_of,
)
from .._forms import bytes_of, conversions
from .._moments import refuse_words_for_moments
from .._plain import OperationalFault, ProgrammingFault
from .._streams import refuse_beside_streams
from .._traces import RESTORED, LeavesTraces
from .mariadb_abandoned import SERVER, kill_abandoned_statements
from .mariadb_statements import commits, leaves_traces, variables_set

__all__ = ["MariaDBBackend"]

logger = logging.getLogger("sqlkeel.pool")

_FOREVER: Final = 31_536_000
"""The longest lock wait of MariaDB in seconds: a year."""

# https://mariadb.com/kb/en/mariadb-error-code-reference/
_KINDS: Final[Mapping[int, type[DatabaseFault]]] = {
    167: errors.ValueRefused,
    1020: errors.SerializationFailure,
    1021: errors.OutOfResources,
    1037: errors.OutOfResources,
    1038: errors.OutOfResources,
    1040: errors.DatabaseUnavailable,
    1041: errors.OutOfResources,
    1044: errors.AuthenticationFailed,
    1045: errors.AuthenticationFailed,
    1047: errors.DatabaseUnavailable,
    1048: errors.NotNullViolation,
    1049: errors.DatabaseMissing,
    1053: errors.ConnectionLost,
    1054: errors.SchemaMissing,
    1062: errors.UniqueViolation,
    1064: ProgrammingFault,
    1114: errors.OutOfResources,
    1135: errors.OutOfResources,
    1142: errors.PermissionDenied,
    1143: errors.PermissionDenied,
    1146: errors.SchemaMissing,
    1203: errors.DatabaseUnavailable,
    1205: errors.LockTimeout,
    1213: errors.Deadlock,
    1216: errors.ForeignKeyViolation,
    1217: errors.ForeignKeyViolation,
    1226: errors.OutOfResources,
    1227: errors.PermissionDenied,
    1153: errors.StatementTooLarge,
    1241: OperationalFault,
    1264: errors.ValueRefused,
    1265: errors.ValueRefused,
    1290: errors.ReadOnlyViolation,
    1292: errors.ValueRefused,
    1300: OperationalFault,
    1317: errors.StatementTimeout,
    1364: errors.NotNullViolation,
    1366: errors.ValueRefused,
    1370: errors.PermissionDenied,
    1406: errors.ValueRefused,
    # "Table definition has changed, please retry transaction".
    1412: errors.SchemaChanged,
    1451: errors.ForeignKeyViolation,
    1452: errors.ForeignKeyViolation,
    # "Failed to read auto-increment value": how InnoDB reports a deadlock over a table's counter.
    1467: errors.Deadlock,
    1586: errors.UniqueViolation,
    1690: errors.ValueRefused,
    1698: errors.AuthenticationFailed,
    1792: errors.ReadOnlyViolation,
    1927: errors.ConnectionLost,
    1969: errors.StatementTimeout,
    2002: errors.DatabaseUnavailable,
    2003: errors.DatabaseUnavailable,
    2006: errors.ConnectionLost,
    2013: errors.ConnectionLost,
    4025: errors.CheckViolation,
    4078: OperationalFault,
}
_ROLLED_BACK: Final = {1020, 1213, 1467}
_CLOSED: Final = {2006, 2013}
_TOO_LONG: Final = 1153
"""Above ``max_allowed_packet``: the server reports that, stops reading and closes the connection."""
_LOCK: Final = (
    "SELECT GET_LOCK(CONCAT('sqlkeel:', MD5(CONCAT(DATABASE(), CHAR(0), :name))), COALESCE(:wait, @@lock_wait_timeout))"
)
"""Hashed, because lock names are global to the server, not empty, and at most 192 bytes."""

_COMMAND: Final = "init_command"
_CONVERSIONS: Final = "conv"
_RELEASE: Final = "DO RELEASE_ALL_LOCKS()"

_LOCKS: Final = "sqlkeel_locks"
"""The key in a connection's ``info`` that records that it may hold such a lock."""

_ISOLATION: Final = "sqlkeel_isolation"
"""The execution option with the isolation level of one transaction."""

_REFUSED: Final = re.compile(r" for column (?:(?:`[^`]*`\.)*`|')([^`']+)[`'] at row \d+\Z")
_QUOTED: Final = re.compile(r"[`']([^`']+)[`']")


class MariaDBBackend(Backend):
    """MariaDB 10.11 and newer; MySQL is not supported."""

    name = "mariadb"
    drivers = {"asyncmy": "mariadb"}
    bound_to_loop = frozenset({"asyncmy"})
    savepoint_recovers = False

    def engine_options(self, url: URL, limits: Limits) -> dict[str, Any]:
        """Configure the session on connect: UTC, strict mode, the limits."""
        return {"connect_args": {_COMMAND: _init(url, limits), _CONVERSIONS: conversions()}}

    def reader_options(self, url: URL, limits: Limits) -> dict[str, Any] | None:
        """Return options of read-only connections on which each statement commits."""
        return {
            "connect_args": {_COMMAND: _init(url, limits), _CONVERSIONS: conversions(), "autocommit": True},
            "execution_options": {READ_ONLY: "always"},
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
        }

    def beside(self, ours: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Append the caller's settings to ours in the single statement that the driver sends on connect."""
        return {**given, _COMMAND: _with(ours[_COMMAND], given.get(_COMMAND))}

    def arguments(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the password in UTF-8, as the server expects it; asyncmy would encode a string as Latin 1."""
        password = given.get("password")
        return {**given, "password": password.encode(errors="surrogatepass")} if isinstance(password, str) else given

    def install(self, engine: Engine, limits: Limits) -> None:
        """Begin read-only transactions, set limits, and stop statements that no task waits for any more."""
        refuse_words_for_moments(engine.dialect)
        driver: Any = engine.dialect.loaded_dbapi  # a copy for this engine
        driver.Binary = bytes_of
        kill_abandoned_statements(engine, _connect)
        refuse_beside_streams(engine)
        if engine.get_execution_options().get(READ_ONLY) == "always":

            @event.listens_for(engine, "connect")
            def read_only_session(connection: Any, record: Any) -> None:
                cursor = connection.cursor()
                cursor.execute("SET SESSION TRANSACTION READ ONLY")
                cursor.close()

        else:
            event.listen(engine, "reset", _release_locks_of_returned)

            @event.listens_for(engine, "begin")
            def begin(connection: Connection) -> None:
                # Locks of an earlier transaction, if the connection was not returned to the pool in between.
                if connection.info.get(_LOCKS):
                    connection.exec_driver_sql(_RELEASE)
                    del connection.info[_LOCKS]  # only now: releasing may fail, and then they are still held
                options = connection.get_execution_options()
                _limit(connection, limits, limits.changed_by(options.get(LIMITS)))
                _characterize(connection, options)

    def traces(self, url: URL) -> LeavesTraces | None:
        """Tell statements that set, prepare, lock or make something temporary for the whole session."""
        return leaves_traces

    def begin_options(self, *, read_only: bool = False, isolation: str | None = None) -> dict[str, Any]:
        """Mark a transaction that is read-only or has an isolation level.

        SQLAlchemy's ``isolation_level`` would set it for the session and reset it after COMMIT. A connection that
        breaks in between would turn a committed transaction into an error.
        """
        options: dict[str, Any] = {READ_ONLY: True} if read_only else {}
        return options if isolation is None else {**options, _ISOLATION: isolation}

    def aborts(self, error: Any, connection: Connection) -> bool:
        """Return whether the error is a deadlock, which rolls everything back; later statements would stay."""
        number = _number(error)
        raw: Any = connection.connection.dbapi_connection
        return number in _ROLLED_BACK and not raw.get_autocommit()

    def leaves_unsent(self, error: Any, connection: Connection) -> bool:
        """Return whether the statement is too long, so that the server closes the connection.

        If the statement takes several packets, the driver may miss that error and report an unexpected packet.
        """
        return _number(error) == _TOO_LONG or _is_out_of_step(error)

    def is_too_large(self, context: ExceptionContext) -> bool:
        """Measure the statement if the server has closed the connection and the driver missed the error."""
        error, connection = context.original_exception, context.connection
        if connection is None or not (
            _is_out_of_step(error) or isinstance(error, OSError) or _number(error) in _CLOSED
        ):
            return False
        server = info_of(connection).get(SERVER)
        return server is not None and _length(context.statement, context.parameters) > server.packet

    def diagnose(self, error: Any) -> Diagnosis | None:
        """Read the error number; names of constraints and columns are only in the text, in quotes."""
        number = _number(error)
        if number is None or (kind := _KINDS.get(number)) is None:
            return None
        return _names(kind, number, str(error.args[1]) if len(error.args) > 1 else "")

    def in_transaction(self, raw: Any) -> bool:
        """Read the flag from the server's last successful answer."""
        driver: Any = raw.driver_connection
        return bool(driver.get_transaction_status())

    def watched_end(self, usual: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse COMMIT and ROLLBACK while another task waits for the answer to a statement.

        Other drivers refuse it or wait; asyncmy would take that answer for the answer to COMMIT.
        """

        def watched(connection: Any, *args: Any, **options: Any) -> Any:
            raw: Any = (connection.connection if isinstance(connection, Connection) else connection).dbapi_connection
            if private.is_waiting(raw):
                raise raw.dbapi.InterfaceError("cannot end the transaction: another task waits for a statement")
            return usual(connection, *args, **options)

        return watched

    def commits_by_itself(self, connection: Connection) -> bool:
        """Ask the driver, which knows the flag of the server's last answer; the dialect does not use it."""
        driver: Any = connection.connection.driver_connection
        return bool(driver.get_autocommit())

    def commits(self, statement: str) -> bool:
        """Know that DDL commits, and what else does."""
        return commits(statement)

    def keeps_locks(self, connection: Connection) -> bool:
        """Return whether the driver is not in autocommit mode; then there is always a transaction."""
        raw: Any = connection.connection.dbapi_connection
        return not raw.get_autocommit()

    def lock(self, connection: Connection, name: str, *, nowait: bool) -> bool:
        """Acquire a session-level lock, to be released after the transaction."""
        # Recorded first, because it may be granted after the task was cancelled.
        connection.info[_LOCKS] = True
        given = {"name": name, "wait": 0 if nowait else None}
        granted: int | None = connection.scalar(text(_LOCK), given, execution_options=RESTORED)
        return granted == 1


def _number(error: Any) -> int | None:
    number = error.args[0] if getattr(error, "args", None) else None
    return number if isinstance(number, int) else None


def _is_out_of_step(error: Any) -> bool:
    return type(error).__name__ == "InternalError" and _number(error) is None


def _length(statement: str | None, parameters: Any) -> int:
    """Return the minimum length of a statement; the driver's executemany sends short statements of a few rows."""
    rows = parameters if isinstance(parameters, list) else [parameters]
    values = ((row.values() if isinstance(row, Mapping) else row) or () for row in rows)
    longest = max((sum(len(one) for one in row if isinstance(one, str | bytes)) for row in values), default=0)
    return len(statement or "") + longest


def _release_locks_of_returned(raw: Any, record: Any, state: PoolResetState) -> None:
    # A connection that is being closed, or was detached, releases its locks by itself, and must not be used.
    if record is not None and not state.terminate_only:
        _release_locks(raw, record.info)


def _release_locks(raw: Any, info: dict[Any, Any]) -> None:
    if info.pop(_LOCKS, False):
        cursor = raw.cursor()
        cursor.execute(_RELEASE)
        cursor.close()


async def _connect(how: Mapping[str, Any]) -> Any:
    import asyncmy  # only installed with MariaDB

    return await asyncmy.connect(**MariaDBBackend().arguments(dict(how)))


def _limit(connection: Connection, usual: Limits, wanted: Limits) -> None:
    # MariaDB limits sessions, not transactions, so each transaction sets its own limits.
    if wanted != connection.info.get(LIMITS, usual):
        settings = ", ".join(f"{name} = {value}" for name, value in _settings(wanted).items())
        connection.exec_driver_sql(f"SET {settings}", execution_options=RESTORED)
        connection.info[LIMITS] = wanted


def _characterize(connection: Connection, options: Mapping[str, Any]) -> None:
    """Set read-only mode and isolation level for the next transaction."""
    kind = [f"ISOLATION LEVEL {options[_ISOLATION]}"] if _ISOLATION in options else []
    kind += ["READ ONLY"] if options.get(READ_ONLY) else []
    if kind:
        connection.exec_driver_sql(f"SET TRANSACTION {', '.join(kind)}")


def _init(url: URL, limits: Limits) -> str:
    settings = {name: value for name, value in _settings(limits).items() if value != "DEFAULT"}
    # Error messages in English, because names of columns and constraints are parsed from them.
    settings |= {
        "lc_messages": "'en_US'",
        "time_zone": "'+00:00'",
        "sql_mode": "CONCAT(@@sql_mode, ',STRICT_ALL_TABLES')",
    }
    return _with("SET " + ", ".join(f"{name} = {value}" for name, value in settings.items()), url.query.get(_COMMAND))


def _with(ours: str, given: Any) -> str:
    """Return one SET statement with our settings and the caller's.

    Raises:
        NotSupported: When the caller's statement cannot be appended to ours.
    """
    if not given:
        return ours
    variables = variables_set(given) if isinstance(given, str) else None
    if variables is None:
        raise NotSupported(
            "init_command can only set variables, together with the time zone, the SQL mode and the limits.",
            hint="Write a SET of variables, 'SET wait_timeout = 60'; send anything else in a 'connect' listener.",
        )
    return f"{ours}, {variables}"


def _settings(limits: Limits) -> dict[str, str]:
    statement = "DEFAULT" if limits.statement is None else f"{limits.statement:f}"
    lock, idle = _whole(limits.lock), _whole(limits.idle)
    # For InnoDB, zero means "do not wait", while it means no limit everywhere else.
    lock = str(_FOREVER) if lock == "0" else lock
    return {
        "max_statement_time": statement,
        "innodb_lock_wait_timeout": lock,
        "lock_wait_timeout": lock,
        "idle_transaction_timeout": idle,
    }


def _whole(seconds: float | None) -> str:
    return "DEFAULT" if seconds is None else str(ceil(seconds))


def _names(kind: type[DatabaseFault], number: int, text: str) -> Diagnosis:
    quoted = _QUOTED.findall(text)
    if kind is errors.NotNullViolation:
        return Diagnosis(kind, columns=tuple(quoted[:1]))
    if kind is errors.UniqueViolation:
        # The value precedes the name and may contain quotes.
        last = re.search(r"for key '([^']+)'$", text)
        name = last[1].rpartition(".")[2] if last else None
        return Diagnosis(kind, primary_key=True) if name == "PRIMARY" else Diagnosis(kind, constraint=name)
    if number in {1451, 1452}:
        found = re.search(r"\(`[^`]+`\.`([^`]+)`, CONSTRAINT `([^`]+)` FOREIGN KEY \(([^)]+)\)", text)
        if found:
            columns = tuple(_QUOTED.findall(found[3]))
            return Diagnosis(kind, table=found[1], constraint=found[2], columns=columns)
    if kind is errors.ValueRefused:
        # At the end of the text, because the value precedes it and may contain anything.
        refused = _REFUSED.search(text)
        return Diagnosis(kind, columns=(refused[1],) if refused else ())
    if kind is errors.CheckViolation:
        name = quoted[0] if quoted else None
        # The server's own check of a column, such as valid JSON.
        _, _, column = (name or "").partition(".")
        return Diagnosis(kind, constraint=name, columns=(column,) if column else ())
    # A tuple, which asyncmy writes as a SQL list, is a syntax error, or several columns instead of one.
    return Diagnosis(kind, mistyped=kind in (OperationalFault, ProgrammingFault))
