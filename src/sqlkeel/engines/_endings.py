"""How a transaction ends: who closes the connection on which COMMIT or ROLLBACK failed, and which COMMIT is refused."""

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
"""The methods by which SQLAlchemy's dialects end a transaction, and a part of one."""

_BEGIN: Final = "do_begin"

_END: Final = "sqlkeel_end"
"""The attribute of an error with the name of the method that it came from: SQLAlchemy says so nowhere."""

_FAILED: Final = "sqlkeel_failed_end"
"""Where a connection's ``info`` keeps that one of its ends failed."""


def install(engine: Engine, backend: Backend) -> None:
    """Watch the ends of transactions of *engine*, whose dialect nobody else uses.

    SQLAlchemy takes every COMMIT for the end of the transaction, one that the server refused too: it sends no ROLLBACK
    and keeps the connection, and whoever gets it next commits both. It takes every RELEASE for the end of a savepoint.
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
        # Also one that is in a transaction behind SQLAlchemy's back: by a driver's own commit() that failed, by a BEGIN
        # as text.
        if raw is not None and (record.info.pop(_FAILED, False) or backend.in_transaction(raw)):
            record.invalidate()


def close_failed(context: ExceptionContext, backend: Backend) -> bool:
    """Have the connection closed where COMMIT or ROLLBACK failed on it, and tell whether it will be.

    Whatever the reason was: to tell those after which the transaction is over from those after which it is not would
    take a list for each server.
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
    context.invalidate_pool_on_disconnect = False  # the other connections are sound
    return True


def failed_in_commit(context: ExceptionContext, error: BaseException) -> bool:
    """Tell whether an error comes from a COMMIT, or may come from one.

    SQLAlchemy calls a dialect's method without a statement to begin, to commit and to roll back, and each of them says
    here which it was. An error that does not is taken for one of COMMIT: somebody has replaced the method, or
    SQLAlchemy commits by another one. Whoever runs the work again because of it would do it twice.
    """
    end = getattr(error, _END, None)
    if end is not None:
        return end in _COMMITS
    return context.connection is not None and context.statement is None and context.execution_context is None


def doom(connection: Connection, cause: BaseException, backend: Backend) -> None:
    """Make COMMIT fail where the server would only pretend to commit, or would commit half of the transaction.

    PostgreSQL answers the COMMIT of a failed transaction with a ROLLBACK and no error. After a deadlock MariaDB, and
    after an interrupted write SQLite, have rolled back and are outside of any transaction: what follows would stay. A
    savepoint whose end failed leaves what its block wrote in the transaction.
    """
    info_of(connection).setdefault(ABORTED, cause)  # the first: all that follow fail because of it
    # Only now, and only to this connection: an engine that is listened to pays for it with each statement.
    event.listen(connection, "commit", _refuse_commit)
    event.listen(connection, "rollback", _forget)
    if backend.savepoint_recovers:
        event.listen(connection, "rollback_savepoint", _forget)
    else:
        event.listen(connection, "before_cursor_execute", _refuse_statement)


def end_lost(connection: Connection) -> None:
    """Have our own error refuse what is asked of a transaction whose connection is gone.

    SQLAlchemy refuses it with an error that advises to roll back in the middle, and calls no event before. The private
    method of this one object is what costs nothing while no connection breaks.
    """
    private.refuse_use(connection, _refuse_lost)


def aborted(cause: BaseException) -> TransactionAborted:
    """Return the error of a transaction that the server has given up because of *cause*."""
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
    """Return what it means that a statement of a COMMIT failed: COMMIT PREPARED is one, and is read as any other."""
    if not isinstance(error, ConnectionLost):
        return error
    return CommitUnknown(
        f"{CommitUnknown.__doc__}", orig=error.orig, statement=error.statement, connection_invalidated=True
    )


def _mark(connection: Connection | PoolProxiedConnection) -> None:
    # Those of two-phase transactions get the Connection, the others what the pool gave out.
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
        # SQLAlchemy takes every COMMIT for the end of the transaction, and would not roll back.
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
    # It does not keep the error: that leads to the connection, which nobody but the garbage collector would free.
    raise TransactionAborted("The connection broke, or a statement was cancelled, and the error was swallowed.")


def _forget(connection: Connection, *rest: Any) -> None:
    # One that broke has nothing to forget, and an error here would replace the cancellation that broke it.
    if not connection.invalidated:
        info_of(connection).pop(ABORTED, None)
