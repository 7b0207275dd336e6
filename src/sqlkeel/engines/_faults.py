"""Translate a driver's error to a typed one, with the table and columns from the models."""

from __future__ import annotations

import re
from itertools import dropwhile, islice
from traceback import clear_frames
from types import SimpleNamespace
from typing import Any, Final, cast

from sqlalchemy import Connection, Dialect, Engine, ForeignKeyConstraint, Table, event, exc
from sqlalchemy.engine import ExceptionContext

from .. import _sqlalchemy as private
from ..errors import (
    CommitUnknown,
    ConfigurationError,
    ConnectionLost,
    ConstraintViolation,
    DatabaseFault,
    DatabaseMissing,
    DatabaseUnavailable,
    InvalidValue,
    KeelError,
    NotNullViolation,
    StatementTimeout,
    StatementTooLarge,
    TransactionAborted,
    UnreadableValue,
    ValueRefused,
)
from . import _endings as endings
from ._addresses import address_of
from ._backend import ABORTED, READ_ONLY, Backend, Diagnosis, backend_for, info_of
from ._fitting import execution_of, only_unchecked_column, unfit_column
from ._plain import PLAIN, DataFault
from ._reading import is_of_reading, unreadable

__all__ = ["WRITTEN", "install", "translate"]

WRITTEN: Final = "sqlkeel_written_table"
"""The execution option with the table that a statement writes, if the statement is only text."""

_CONNECTING: Final = "sqlkeel_connecting"
"""The attribute of an error that was raised before there was a connection."""

_UNKNOWN: Final = r"(?:unexpected keyword argument|invalid connection option) ['\"](\w+)['\"]"
"""The message of a driver about an unknown argument; the rest of the message may contain a value."""

_OTHER_NAMES: Final = {
    "sslmode": "With asyncpg write ?ssl=require; pass certificates as connect_args={'ssl': an SSLContext}.",
    "ssl": "With psycopg write ?sslmode=require.",
}
"""Options that have another name in another driver."""

_UNFIT: Final = (ValueError, TypeError, ArithmeticError, AttributeError, LookupError, RecursionError)
"""Errors that types and drivers raise for values they cannot convert: invalid UTF-8, deeply nested lists."""


def install(engine: Engine, backend: Backend) -> None:
    """Make *engine* raise the errors of `sqlkeel.errors`; each also inherits from SQLAlchemy's error."""
    endings.install(engine, backend)

    @event.listens_for(engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        fault = _read(context, backend)
        if endings.close_failed(context, backend) and fault is not None:
            fault.connection_invalidated = True
        if context.is_disconnect and context.connection is not None:
            endings.end_lost(context.connection)
        # An earlier listener has already returned an error of its own, which the project expects.
        return fault if getattr(context, "chained_exception", None) is None else None

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        try:
            # SQLAlchemy stops at the first listener that returns a connection, so call the caller's listeners here.
            for listener in islice(dropwhile(lambda one: one is not connect, dialect.dispatch.do_connect), 1, None):
                if (made := listener(dialect, record, args, kwargs)) is not None:
                    return made
            return _connected(dialect, args, backend.arguments(kwargs))
        except BaseException as error:
            # psycopg's unfinished connection is referenced by a frame in a cycle with the error, so the server would
            # keep the connection until the garbage collector runs.
            clear_frames(error.__traceback__)
            setattr(error, _CONNECTING, True)
            # asyncpg lets an OSError of the socket through, which no listener of SQLAlchemy sees.
            if (name := re.search(_UNKNOWN, str(error))) is not None:
                raise ConfigurationError(
                    f"{engine.dialect.driver} has no option {name[1]!r}, but the URL or connect_args contain it.",
                    hint=_OTHER_NAMES.get(name[1], "Leave it out, or look up its name in the driver's manual."),
                ) from error
            if isinstance(error, OSError):
                raise DatabaseUnavailable(_unreachable(engine), orig=error) from error
            raise


def _connected(dialect: Any, args: Any, kwargs: Any) -> Any:
    try:
        return dialect.connect(*args, **kwargs)
    except Exception as error:
        if not _is_of_encoding(error):
            if type(error) not in (TypeError, ValueError, AttributeError) or re.search(_UNKNOWN, str(error)):
                raise  # asyncpg derives errors of its own from them
            raise ConfigurationError(
                f"{dialect.driver} does not accept the value of an option in the URL or connect_args.",
                hint="A URL passes strings; pass a number or an object as connect_args={'timeout': 30}.",
            ) from error
        clear_frames(error.__traceback__)
    # Raised outside the handler, because the original error contains the text, which may be the password.
    raise ConfigurationError(
        f"{dialect.driver} cannot encode the host, the user, the password or the name of the database.",
        hint="Each part of a host has 1 to 63 characters, and a string cannot have half of a surrogate pair.",
    )


def _is_of_encoding(error: BaseException | None) -> bool:
    """Return whether a driver could not encode a text; asyncpg wraps that in its own error."""
    while error is not None and (not isinstance(error, UnicodeError) or isinstance(error, UnicodeDecodeError)):
        error = error.__cause__
    return error is not None


def translate(connection: Connection, error: Exception, *, statement: str, table: Table | None = None) -> DatabaseFault:
    """Return the typed error for what a driver raised in a call outside SQLAlchemy.

    A broken connection is removed from the pool, as SQLAlchemy would do.
    """
    raw: Any = connection.connection.dbapi_connection
    error, wrapped = _adapted_by(raw, connection.dialect, error)
    lost = connection.dialect.is_disconnect(cast("Any", error), raw, None)
    context: Any = SimpleNamespace(
        connection=connection,
        dialect=connection.dialect,
        engine=connection.engine,
        execution_context=SimpleNamespace(execution_options={WRITTEN: table}),
        is_disconnect=lost,
        original_exception=error,
        sqlalchemy_exception=wrapped,
        statement=statement,
    )
    fault = _read(context, backend_for(connection.engine.url))
    if context.is_disconnect:
        connection.invalidate(error)
        endings.end_lost(connection)
    # The driver may refuse a value that it cannot encode with any kind of error.
    if fault is None:
        fault = refused = ValueRefused("", orig=error, statement=statement)
        refused.locate(None if table is None else table.name)
    return fault


def _read(context: ExceptionContext, backend: Backend) -> DatabaseFault | None:
    """Return the typed error and handle its connection; ``None`` if neither database nor driver raised it."""
    original, connection = context.original_exception, context.connection
    if isinstance(original, InvalidValue) and original.column is None:
        execution = context.execution_context or execution_of(original)
        column = unfit_column(execution, context.dialect, refusal=original)
        if column is not None:
            original.locate(column.table.name, column.name)
    if not isinstance(original, Exception) or isinstance(original, KeelError | exc.SQLAlchemyError):
        return None
    original, wrapped = _adapt(context, original)
    if (met := backend.met(original)) is not original:
        original, wrapped = met, None
    if is_of_reading(original):
        diagnosis: Diagnosis | None = Diagnosis(UnreadableValue)
    else:
        diagnosis = backend.diagnose(original) or _diagnose(context, original, wrapped)
        if backend.is_too_large(context):
            diagnosis = Diagnosis(StatementTooLarge)
    fault = _fault(context, original, diagnosis, backend) if diagnosis is not None else None
    if connection is not None and not context.is_disconnect:
        if diagnosis is not None and diagnosis.spoils:
            context.is_disconnect = True
        elif backend.leaves_unsent(original, connection):
            context.is_disconnect = True
            context.invalidate_pool_on_disconnect = False
        elif backend.aborts(original, connection):
            endings.doom(connection, fault or original, backend)
    if fault is not None:
        fault.connection_invalidated = context.is_disconnect
    return fault


def _adapt(context: ExceptionContext, error: Exception) -> tuple[Exception, exc.StatementError | None]:
    """Return what SQLAlchemy's adapter makes of a driver's error, and SQLAlchemy's error for that.

    The adapter does not convert asyncpg's errors from fetching the rows of a stream, such as a lost connection.
    """
    connection, dialect = context.connection, context.dialect
    fetching = context.statement is None and context.execution_context is not None
    if connection is None or not fetching or context.sqlalchemy_exception is not None or connection.invalidated:
        return error, context.sqlalchemy_exception
    raw: Any = connection.connection.dbapi_connection
    adapted, wrapped = _adapted_by(raw, dialect, error)
    if wrapped is not None:
        context.is_disconnect = context.is_disconnect or dialect.is_disconnect(cast("Any", adapted), raw, None)
    return adapted, wrapped


def _adapted_by(raw: Any, dialect: Dialect, error: Exception) -> tuple[Exception, exc.StatementError | None]:
    driver_error: Any = dialect.loaded_dbapi.Error
    try:
        private.raise_adapted(raw, error)
    except driver_error as adapted:
        return adapted, cast(
            "exc.StatementError", exc.DBAPIError.instance(None, None, adapted, driver_error, dialect=dialect)
        )
    except Exception:  # noqa: BLE001 - the error itself, which is not the driver's
        return error, None
    return error, None


def _diagnose(context: ExceptionContext, original: Exception, wrapped: exc.StatementError | None) -> Diagnosis | None:
    """Diagnose an error without a meaningful code by its class."""
    if isinstance(wrapped, exc.DBAPIError):
        # psycopg's errors have no SQLSTATE before there is a connection.
        if context.is_disconnect or _failed_to_connect(context):
            return Diagnosis(ConnectionLost)
        return Diagnosis(PLAIN.get(type(wrapped), DatabaseFault))
    if wrapped is None and isinstance(original, OSError | EOFError):
        # A timeout of the driver, which leaves the statement running, or of its socket.
        late = isinstance(original, TimeoutError) and not endings.failed_in_commit(context, original)
        return Diagnosis(StatementTimeout if late else ConnectionLost, spoils=True)
    if isinstance(original, _UNFIT) and context.statement is not None:
        return Diagnosis(ValueRefused)
    return Diagnosis(ConnectionLost) if context.is_disconnect else None


def _fault(context: ExceptionContext, original: Exception, diagnosis: Diagnosis, backend: Backend) -> DatabaseFault:
    committing = endings.failed_in_commit(context, original)
    # A statement that is too large would break the next connection too.
    stays = committing or diagnosis.kind is StatementTooLarge
    if context.is_disconnect and context.connection is not None and not stays:
        # Whatever the server's earlier error was: the transaction is gone, and there is no savepoint to return to.
        diagnosis = Diagnosis(ConnectionLost)
    kind = diagnosis.kind
    if issubclass(kind, ConstraintViolation):
        return _violation(context, original, diagnosis)
    if kind is TransactionAborted and context.connection is not None:
        return endings.aborted(info_of(context.connection).get(ABORTED, original))
    if kind is ConnectionLost or (kind is StatementTimeout and diagnosis.spoils):
        kind = _kind_of_loss(context, kind, committing=committing or _commits(context, backend))
    if kind is UnreadableValue:
        return unreadable(context.execution_context, original, context.statement)
    if kind is ValueRefused:
        return _refused(context, original, diagnosis.columns[0] if diagnosis.columns else None)
    if issubclass(kind, DataFault) and isinstance(context.execution_context, SimpleNamespace):
        return _refused(context, original, None)  # a COPY contains only values
    if diagnosis.mistyped and unfit_column(context.execution_context, context.dialect) is not None:
        return _refused(context, original, None)
    message = f"{kind.__doc__}".partition("\n")[0]
    if issubclass(kind, DatabaseUnavailable) and context.engine is not None:
        message = _unreachable(context.engine)
    message = f"{message} The database says: {_first_line(original)}"
    fault = kind(message, orig=original, statement=context.statement)
    if kind is DatabaseUnavailable and backend.unavailable is not None:
        fault.hint = backend.unavailable
    if kind is DatabaseMissing and context.connection is None and context.engine is not None:
        fault.hint = _how_to_make(context.engine) or fault.hint
    return fault


def _refused(context: ExceptionContext, original: Exception, column: str | None) -> ValueRefused:
    """Return the error with the column whose value was refused, from the database's error or from the values."""
    written = _written_table(context)
    table = None if written is None else written.name
    if column is None:
        execution, dialect = context.execution_context or execution_of(original), context.dialect
        found = unfit_column(execution, dialect)
        if found is None:
            found = only_unchecked_column(execution, dialect)
        table, column = (table, None) if found is None else (found.table.name, found.name)
    fault = ValueRefused("", orig=original, statement=context.statement)
    fault.locate(table, column)
    return fault


def _failed_to_connect(context: ExceptionContext) -> bool:
    wrapped = context.sqlalchemy_exception
    return context.connection is None and isinstance(wrapped, exc.OperationalError | exc.InterfaceError)


def _kind_of_loss(context: ExceptionContext, kind: type[DatabaseFault], *, committing: bool) -> type[DatabaseFault]:
    """Distinguish a connection that was never made, one lost with its work, and one lost during COMMIT."""
    if context.connection is None and hasattr(context.original_exception, _CONNECTING):
        return DatabaseUnavailable
    return CommitUnknown if committing else kind


def _commits(context: ExceptionContext, backend: Backend) -> bool:
    """Return whether the failed statement is a COMMIT, or sends one, on a connection that may write."""
    connection, statement = context.connection, context.statement
    if connection is None or connection.invalidated or statement is None:
        return False
    if connection.engine.get_execution_options().get(READ_ONLY) == "always":
        return False
    return backend.commits_by_itself(connection) or backend.commits(statement)


def _violation(context: ExceptionContext, original: Exception, found: Diagnosis) -> ConstraintViolation:
    written = _written_table(context)
    table, columns, constraint = found.table, found.columns, found.constraint
    if written is not None:
        if found.primary_key:
            columns = _column_names(written.primary_key)
        known = None if found.kind is NotNullViolation else _known(written, constraint, table, columns)
        if known is not None:
            table, columns, constraint = known
        table = table or written.name
    assert issubclass(found.kind, ConstraintViolation)
    return found.kind(table=table, columns=columns, constraint=constraint, orig=original, statement=context.statement)


def _written_table(context: ExceptionContext) -> Table | None:
    execution = context.execution_context
    compiled = getattr(execution, "compiled", None)
    table = getattr(getattr(compiled, "statement", None), "table", None)
    if execution is not None and WRITTEN in execution.execution_options:
        table = execution.execution_options[WRITTEN]
    return table if isinstance(table, Table) else None


def _known(
    written: Table, constraint: str | None, table: str | None, columns: tuple[str, ...]
) -> tuple[str, tuple[str, ...], str | None] | None:
    """Find the constraint in the models by its name or, on SQLite, which reports no names, by its columns."""
    tables = [written, *(other for other in written.metadata.tables.values() if other is not written)]
    for candidate in tables:
        if table is not None and candidate.name != table:
            continue
        known: Any
        for known in (*candidate.constraints, *candidate.indexes):
            names = _column_names(known)
            if constraint is not None and known.name == constraint:
                return candidate.name, names or columns, constraint
            if constraint is None and columns and names == columns and getattr(known, "unique", True):
                return candidate.name, columns, str(known.name) if known.name else None
    return None


def _column_names(known: Any) -> tuple[str, ...]:
    if isinstance(known, ForeignKeyConstraint):
        return tuple(known.column_keys)
    return tuple(column.name for column in getattr(known, "columns", ()))


def _first_line(error: Exception) -> str:
    # MariaDB's errors are (number, text), others only have text. The first line contains no values of the row.
    text = str(error.args[-1]) if error.args else type(error).__name__
    return text.partition("\n")[0].removeprefix("<class 'asyncpg.exceptions.").strip()


def _unreachable(engine: Engine) -> str:
    return f"No connection to {address_of(engine.url)} could be made."


def _how_to_make(engine: Engine) -> str | None:
    name = engine.url.database
    if not name:
        return None
    return f"Create it: CREATE DATABASE {engine.dialect.identifier_preparer.quote(name)}. sqlkeel only creates tables."
