"""The end of a transaction: close a connection whose COMMIT or ROLLBACK failed, and refuse a false COMMIT."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Connection, Engine, PoolProxiedConnection, event
from sqlalchemy.engine import ExceptionContext

from .. import _sqlalchemy as private
from ..errors import CommitUnknown, ConnectionLost, TransactionAborted
from ._backend import ABORTED, Backend, info_of
from ._tasks import belong_to_nobody, disown

__all__ = ["aborted", "close_failed", "doom", "end_lost", "failed_in_commit", "install"]

_COMMITS: Final = ("do_commit", "do_commit_twophase")
_ENDS: Final = (*_COMMITS, "do_rollback", "do_rollback_twophase", "do_prepare_twophase")
_CLOSES: Final = ("do_close", "do_terminate")
_SAVEPOINT_ENDS: Final = ("do_release_savepoint", "do_rollback_to_savepoint")
"""The methods by which SQLAlchemy's dialects end a savepoint."""

_BEGIN: Final = "do_begin"

_END: Final = "sqlkeel_end"
"""The attribute of an error with the name of the dialect method that raised it, which SQLAlchemy does not provide."""

_FAILED: Final = "sqlkeel_failed_end"
"""The key in a connection's ``info`` that records a failed COMMIT or ROLLBACK."""


def install(engine: Engine, backend: Backend) -> None:
    """Watch the ends of transactions of *engine*, which must not share its dialect.

    SQLAlchemy treats every COMMIT as the end of the transaction, even if the server refused it. It then sends no
    ROLLBACK and keeps the connection, and the next user of the connection would commit both transactions. In the same
    way it treats every RELEASE as the end of a savepoint.
    """
    dialect: Any = engine.dialect
    for name in _ENDS:
        setattr(dialect, name, _watched(name, backend.watched_end(getattr(dialect, name))))
    setattr(dialect, _BEGIN, _named(_BEGIN, getattr(dialect, _BEGIN)))
    for name in _CLOSES:
        setattr(dialect, name, _closing(getattr(dialect, name)))
    for name in _SAVEPOINT_ENDS:
        setattr(dialect, name, _dooming(getattr(dialect, name), backend))

    @event.listens_for(engine, "checkin")
    def close(raw: Any, record: Any) -> None:
        # Also a connection in a transaction that SQLAlchemy does not know of, from a failed commit() of the driver, or
        # BEGIN as SQL text.
        if raw is not None and (record.info.pop(_FAILED, False) or backend.in_transaction(raw)):
            record.invalidate()


def close_failed(context: ExceptionContext, backend: Backend) -> bool:
    """If COMMIT or ROLLBACK failed on the connection, mark it to be closed; return whether it is marked.

    This happens after any error, because only a list for each server could tell which errors end the transaction.
    """
    connection = context.connection
    if connection is None or connection.invalidated or context.is_disconnect:
        return False
    if getattr(context.original_exception, _END, None) not in _ENDS:
        return False
    pooled = connection.connection
    if backend.recovers(pooled.dbapi_connection):
        info_of(pooled).pop(_FAILED, None)
        return False
    context.is_disconnect = True
    context.invalidate_pool_on_disconnect = False  # the other connections are fine
    return True


def failed_in_commit(context: ExceptionContext, error: BaseException) -> bool:
    """Return whether an error comes from a COMMIT, or may come from one.

    SQLAlchemy begins, commits and rolls back with dialect methods and without a statement; our wrappers record which
    method raised the error. An unrecorded error counts as one of COMMIT, because other code may have replaced the
    method. If it counted as a ROLLBACK, the caller might retry work that was committed.
    """
    end = getattr(error, _END, None)
    if end is not None:
        return end in _COMMITS
    return context.connection is not None and context.statement is None and context.execution_context is None


def doom(connection: Connection, cause: BaseException, backend: Backend) -> None:
    """Make COMMIT fail if the server would only pretend to commit, or would commit half of the transaction.

    PostgreSQL answers the COMMIT of a failed transaction with a ROLLBACK and no error. MariaDB after a deadlock, and
    SQLite after an interrupted write, have rolled back and are outside a transaction, so later statements would be
    committed. If the end of a savepoint failed, its changes are still in the transaction.
    """
    info_of(connection).setdefault(ABORTED, cause)  # the first error; later ones are its consequences
    # Only now and only on this connection, because a listener on the engine would cost time for each statement.
    event.listen(connection, "commit", _refuse_commit)
    event.listen(connection, "rollback", _forget)
    if backend.savepoint_recovers:
        event.listen(connection, "rollback_savepoint", _forget)
    else:
        event.listen(connection, "before_cursor_execute", _refuse_statement)


def end_lost(connection: Connection) -> None:
    """Make later calls of the connection raise our own error, because it has lost its database connection.

    SQLAlchemy's error would advise a rollback in the middle of the work, and SQLAlchemy has no event before it. We
    replace a private method of this one object, so working connections cost nothing.
    """
    private.refuse_use(connection, _refuse_lost)


def aborted(cause: BaseException) -> TransactionAborted:
    """Return the error for a transaction that the server has aborted because of *cause*."""
    error = TransactionAborted(
        "An earlier statement failed, and the server rolled the whole transaction back; nothing of it is written.",
        orig=getattr(cause, "orig", cause),
        statement=getattr(cause, "statement", None),
    )
    error.__cause__ = cause
    return error


def _closing(usual: Callable[..., Any]) -> Callable[..., Any]:
    def closing(*args: Any) -> Any:
        belong_to_nobody()
        return usual(*args)

    return closing


def _named(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
    def named(*args: Any) -> Any:
        try:
            return usual(*args)
        except BaseException as error:
            setattr(error, _END, name)
            raise

    return named


def _watched(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
    def watched(connection: Any, *args: Any, **options: Any) -> Any:
        disown()
        try:
            return usual(connection, *args, **options)
        except BaseException as error:
            failure = _unknown(error) if name in _COMMITS else error
            setattr(failure, _END, name)
            _mark(connection)
            if failure is error:
                raise
            raise failure from error
        finally:
            disown()

    return watched


def _unknown(error: BaseException) -> BaseException:
    """Return CommitUnknown for a connection lost during COMMIT; COMMIT PREPARED is diagnosed as a usual statement."""
    if not isinstance(error, ConnectionLost):
        return error
    return CommitUnknown(
        f"{CommitUnknown.__doc__}", orig=error.orig, statement=error.statement, connection_invalidated=True
    )


def _mark(connection: Connection | PoolProxiedConnection) -> None:
    # Two-phase methods receive the Connection, the others receive what the pool returned.
    if not isinstance(connection, Connection) or not connection.invalidated:
        info_of(connection)[_FAILED] = True


def _dooming(usual: Callable[..., Any], backend: Backend) -> Callable[..., Any]:
    def watched(connection: Connection, name: str) -> None:
        try:
            usual(connection, name)
        except BaseException as error:
            if not connection.invalidated:
                doom(connection, error, backend)
            raise

    return watched


def _refuse_commit(connection: Connection) -> None:
    if cause := info_of(connection).pop(ABORTED, None):
        # SQLAlchemy treats every COMMIT as the end of the transaction, and would not roll back.
        try:
            connection.dialect.do_rollback(connection.connection)
        except BaseException as error:
            connection.invalidate(error)
            if not isinstance(error, Exception):
                raise
        raise aborted(cause)


def _refuse_statement(connection: Connection, *rest: Any) -> None:
    if cause := info_of(connection).get(ABORTED):
        raise aborted(cause)


def _refuse_lost() -> None:
    # Without the original error, which refers to the connection; only the garbage collector would free that.
    raise TransactionAborted("The connection broke, or a statement was cancelled, and the error was swallowed.")


def _forget(connection: Connection, *rest: Any) -> None:
    # A broken connection has nothing to forget, and an error here would replace the cancellation that broke it.
    if not connection.invalidated:
        info_of(connection).pop(ABORTED, None)
