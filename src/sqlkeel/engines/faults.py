"""Turn a driver's error into a typed one, with the table and columns that the models know."""

from __future__ import annotations

from traceback import walk_tb
from types import SimpleNamespace
from typing import Any, Final, cast

from sqlalchemy import Connection, Engine, ForeignKeyConstraint, Table, event
from sqlalchemy.engine import ExceptionContext

from ..errors import (
    CommitUnknown,
    ConnectionLost,
    ConstraintViolation,
    DatabaseFault,
    DatabaseUnavailable,
    NotNullViolation,
    TransactionAborted,
    ValueRefused,
)
from .backend import ABORTED, CONNECT_ARGUMENTS, Backend, Diagnosis, backend_for

__all__ = ["WRITTEN", "install", "translate"]

WRITTEN: Final = "sqlkeel_written_table"
"""The execution option that names the table which a statement writes, where the statement itself is only text."""


def install(engine: Engine, backend: Backend) -> None:
    """Make *engine* raise the errors of `sqlkeel.errors`; each is also what SQLAlchemy would have raised."""

    @event.listens_for(engine, "handle_error", retval=True)
    def translate(context: ExceptionContext) -> BaseException | None:
        original = context.original_exception
        if not isinstance(original, Exception) or context.sqlalchemy_exception is None:
            return None
        fault = _fault(context, original, backend.diagnose(original))
        connection = context.connection
        if connection is not None and not context.is_disconnect and backend.aborts(original, connection):
            _doom(connection, fault or context.sqlalchemy_exception, backend)
        return fault

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        # asyncpg lets an OSError of the socket through, which no listener of SQLAlchemy sees.
        record.info[CONNECT_ARGUMENTS] = kwargs
        try:
            return dialect.connect(*args, **kwargs)
        except (OSError, TimeoutError) as error:
            raise DatabaseUnavailable(_unreachable(engine), orig=error) from error


def translate(connection: Connection, error: Exception, *, statement: str, table: Table) -> DatabaseFault:
    """Return the typed error for what a driver raised in a call that did not pass through SQLAlchemy.

    A connection that broke is taken out of the pool, as SQLAlchemy would.
    """
    backend = backend_for(connection.engine.url)
    lost = connection.dialect.is_disconnect(cast("Any", error), connection.connection.dbapi_connection, None)
    context: Any = SimpleNamespace(
        connection=connection,
        dialect=connection.dialect,
        engine=connection.engine,
        execution_context=SimpleNamespace(execution_options={WRITTEN: table}),
        is_disconnect=lost,
        statement=statement,
    )
    # The driver refuses what it cannot encode with any kind of error, a TypeError for one.
    fault = _fault(context, error, backend.diagnose(error)) or ValueRefused(
        f"A value does not fit its column of {table.name}.", orig=error, statement=statement
    )
    if lost:
        connection.invalidate(error)
    elif backend.aborts(error, connection):
        _doom(connection, fault, backend)
    return fault


def _doom(connection: Connection, cause: Exception, backend: Backend) -> None:
    """Make COMMIT fail where the server would only pretend to commit, or would commit half of the transaction.

    PostgreSQL answers the COMMIT of a failed transaction with a ROLLBACK and no error. After a deadlock MariaDB, and
    after an interrupted write SQLite, have rolled back and are outside of any transaction: what follows would stay.
    """
    connection.info.setdefault(ABORTED, cause)  # the first: all that follow fail because of it
    # Only now, and only to this connection: an engine that is listened to pays for it with each statement.
    event.listen(connection, "commit", _refuse_commit)
    event.listen(connection, "rollback", _forget)
    if backend.savepoint_recovers:
        event.listen(connection, "rollback_savepoint", _forget)
    else:
        event.listen(connection, "before_cursor_execute", _refuse_statement)


def _refuse_commit(connection: Connection) -> None:
    if cause := connection.info.pop(ABORTED, None):
        # SQLAlchemy takes every COMMIT for the end of the transaction, and would not roll back.
        connection.connection.rollback()
        raise _aborted(cause)


def _refuse_statement(connection: Connection, *rest: Any) -> None:
    if cause := connection.info.get(ABORTED):
        raise _aborted(cause)


def _forget(connection: Connection, *rest: Any) -> None:
    # One that broke has nothing to forget, and an error here would replace the cancellation that broke it.
    if not connection.invalidated:
        connection.info.pop(ABORTED, None)


def _aborted(cause: Exception) -> TransactionAborted:
    error = TransactionAborted(
        "An earlier statement failed, and the server rolled the whole transaction back; nothing of it is written.",
        orig=getattr(cause, "orig", cause),
        statement=getattr(cause, "statement", None),
    )
    error.__cause__ = cause
    return error


def _fault(context: ExceptionContext, original: Exception, diagnosis: Diagnosis | None) -> DatabaseFault | None:
    committing = _is_raised_by_commit(original)
    if context.is_disconnect and context.connection is not None and not committing:
        # Whatever the server refused before that: the transaction is gone, and no savepoint is left to go back to.
        diagnosis = Diagnosis(ConnectionLost)
    if diagnosis is None:
        # psycopg's errors have no SQLSTATE before there is a connection.
        if not context.is_disconnect and not _failed_to_connect(context, original):
            return None
        diagnosis = Diagnosis(ConnectionLost)
    if issubclass(diagnosis.kind, ConstraintViolation):
        return _violation(context, original, diagnosis)
    kind = diagnosis.kind
    if kind is TransactionAborted and context.connection is not None:
        return _aborted(context.connection.info.get(ABORTED, original))
    if kind is ConnectionLost:
        kind = _kind_of_loss(context.connection, committing=committing)
    message = f"{kind.__doc__}".partition("\n")[0]
    if context.connection is None and context.engine is not None:
        message = _unreachable(context.engine)
    if kind is not ValueRefused:
        message = f"{message} The database says: {_first_line(original)}"
    return kind(
        message,
        orig=original,
        statement=context.statement,
        connection_invalidated=context.is_disconnect,
    )


def _is_raised_by_commit(error: Exception) -> bool:
    # SQLAlchemy says so nowhere else: BEGIN, COMMIT and ROLLBACK fail in the same context.
    return any(frame.f_code.co_name == "do_commit" for frame, _ in walk_tb(error.__traceback__))


def _failed_to_connect(context: ExceptionContext, original: Exception) -> bool:
    driver: Any = context.dialect.dbapi
    return context.connection is None and isinstance(original, (driver.OperationalError, driver.InterfaceError))


def _kind_of_loss(connection: Connection | None, *, committing: bool) -> type[DatabaseFault]:
    """Tell a connection that was never made, one lost with its work, and one lost when the work was being committed."""
    if connection is None:
        return DatabaseUnavailable
    return CommitUnknown if committing else ConnectionLost


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
    """Find the constraint in the models, by its name or (SQLite names none) by its columns."""
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
    # MariaDB's errors are (number, text); the others are their text. The first line holds no values of the row.
    text = str(error.args[-1]) if error.args else type(error).__name__
    return text.partition("\n")[0].removeprefix("<class 'asyncpg.exceptions.").strip()


def _unreachable(engine: Engine) -> str:
    url = engine.url
    where = f"{url.host or 'localhost'}:{url.port}" if url.port else f"{url.host or url.database}"
    return f"No connection to {where} could be made."
