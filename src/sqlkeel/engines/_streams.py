"""Streams: results whose rows are still on the server, and what else the connection may do meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Final, cast
from weakref import WeakSet

from sqlalchemy import Connection, Engine, Result, event
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy
from sqlalchemy.pool import PoolResetState

from .. import _sqlalchemy as private
from ..errors import NotSupported
from . import _drivers as drivers
from ._backend import driver_of

__all__ = ["begin_for_streams", "refuse_beside_streams", "watch"]

logger = logging.getLogger("sqlkeel.session")

_OPEN: Final = "sqlkeel_streams"
"""The key in a connection's ``info`` for its streams: their contexts, each of which lives as long as its result."""

_BEGUN: Final = "sqlkeel_stream_transaction"
"""The key that records a transaction that was begun for streams."""

_BESIDE: Final = "MariaDB sends the rows of a stream one after the other; another statement would discard the rest."
_INSTEAD: Final = (
    "Read the stream to its end first, or close it: await result.close(). Repository.iterate() reads in statements of "
    "their own, and a second session has a connection of its own. Load relations without a stream, or by join."
)


def begin_for_streams(engine: Engine) -> None:
    """Begin a read-only transaction for each stream on autocommit connections.

    PostgreSQL keeps the rows of a stream only within a transaction (manual, DECLARE). It ends with the last stream, or
    when the connection returns to the pool.
    """
    has_streamed = False  # So an engine that never streams does not check the connection for each statement.

    def before(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        nonlocal has_streamed
        if not (has_streamed or context.execution_options.get("stream_results")):
            return
        has_streamed = True
        info = _info(context)
        streams = info.get(_OPEN)
        if streams is None:
            if not context.execution_options.get("stream_results"):
                return
            info[_OPEN] = streams = WeakSet()
        if not streams and info.pop(_BEGUN, False):
            # The streams were abandoned, or a statement in between has failed and their rows are gone.
            _send(context.root_connection, "COMMIT")
        if context.execution_options.get("stream_results"):
            if not info.get(_BEGUN):
                _send(context.root_connection, "BEGIN READ ONLY")
                info[_BEGUN] = True
            streams.add(context)

    def before_without_parameters(cursor: Any, statement: str, context: Any) -> None:
        before(cursor, statement, (), context)

    event.listen(engine, "do_execute", before)
    event.listen(engine, "do_execute_no_params", before_without_parameters)

    @event.listens_for(engine, "handle_error")
    def forget(context: Any) -> None:
        connection = context.connection
        if connection is not None and not connection.invalidated and not context.is_disconnect:
            connection.info.get(_OPEN, WeakSet()).clear()

    @event.listens_for(engine, "reset")
    def end(raw: Any, record: Any, state: PoolResetState) -> None:
        if record is None:
            return  # detached, so it will be closed
        record.info.pop(_OPEN, None)
        if record.info.pop(_BEGUN, False) and not state.terminate_only:
            cursor = raw.cursor()
            cursor.execute("ROLLBACK")
            cursor.close()


def refuse_beside_streams(engine: Engine) -> None:
    """Refuse a statement while a stream of the same connection has unread rows, which the driver would discard."""
    has_streamed = False  # as above

    def before(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        nonlocal has_streamed
        if not (has_streamed or context.execution_options.get("stream_results")):
            return
        has_streamed = True
        info = _info(context)
        if info.get(_OPEN) and _is_sending(context):
            raise NotSupported(_BESIDE, hint=_INSTEAD)
        if context.execution_options.get("stream_results"):
            info[_OPEN] = WeakSet((context,))

    def before_without_parameters(cursor: Any, statement: str, context: Any) -> None:
        before(cursor, statement, (), context)

    event.listen(engine, "do_execute", before)
    event.listen(engine, "do_executemany", before)
    event.listen(engine, "do_execute_no_params", before_without_parameters)

    @event.listens_for(engine, "reset")
    def forget(raw: Any, record: Any, state: PoolResetState) -> None:
        if record is not None:  # it is None for a detached connection
            record.info.pop(_OPEN, None)


def watch(result: Result[Any], use: Callable[[], AbstractContextManager[Any]]) -> None:
    """If *result* is a stream, read each row as a *use* of the session, and end its transaction afterwards."""
    private.watch_rows(result, lambda strategy: _Watched(strategy, use))


class _Watched(BufferedRowCursorFetchStrategy):
    """Reads the rows of a stream; an undocumented class, but the only one that every row passes."""

    __slots__ = ("_inner", "_use")

    def __init__(self, inner: BufferedRowCursorFetchStrategy, use: Callable[[], AbstractContextManager[Any]]) -> None:
        self._inner = inner
        self._use = use

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def fetchone(self, result: Any, dbapi_cursor: Any, hard_close: bool = False) -> Any:
        if private.rows_ahead(self._inner):  # a buffered row needs no waiting, so no other task can interfere
            return self._inner.fetchone(result, dbapi_cursor, hard_close)
        with self._reading(result):
            return self._inner.fetchone(result, dbapi_cursor, hard_close)

    def fetchmany(self, result: Any, dbapi_cursor: Any, size: int | None = None) -> Any:
        with self._reading(result):
            return self._inner.fetchmany(result, dbapi_cursor, size)

    def fetchall(self, result: Any, dbapi_cursor: Any) -> Any:
        with self._reading(result):
            return self._inner.fetchall(result, dbapi_cursor)

    def yield_per(self, result: Any, dbapi_cursor: Any, num: int) -> None:
        self._inner.yield_per(result, dbapi_cursor, num)

    def soft_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.soft_close(result, dbapi_cursor)
        _end(result, dbapi_cursor)

    def hard_close(self, result: Any, dbapi_cursor: Any) -> None:
        self._inner.hard_close(result, dbapi_cursor)
        _end(result, dbapi_cursor)

    @contextmanager
    def _reading(self, result: Any) -> Iterator[None]:
        with self._use():
            yield


def _is_sending(context: Any) -> bool:
    """Ask asyncmy: if a caller exhausts or closes a stream of `AsyncConnection`, only the driver knows."""
    return drivers.has_unread_rows(driver_of(context.root_connection))


def _info(context: Any) -> dict[Any, Any]:
    try:
        return cast("dict[Any, Any]", context.root_connection.info)
    except NotImplementedError:  # while the dialect initialises its first connection, which has no info yet
        return {}


def _end(result: Any, cursor: Any) -> None:
    """End the transaction of a stream after its last row was read, or after it was abandoned."""
    connection: Connection = result.connection
    if connection.closed or connection.invalidated:
        return
    info = connection.info
    streams = info.get(_OPEN, WeakSet())
    streams.discard(result.context)
    if streams or not info.pop(_BEGUN, False):
        return
    try:
        if cursor is not None:
            cursor.close()  # before the transaction ends, because psycopg sends a CLOSE
        _send(connection, "COMMIT")
    except BaseException as error:
        connection.invalidate(error)
        if not isinstance(error, Exception):
            raise
        logger.exception("The connection broke when a stream was closed; its rows were read.")


def _send(connection: Connection, statement: str) -> None:
    """Send a statement that bypasses SQLAlchemy, which considers this connection as autocommit."""
    cursor = connection.connection.cursor()
    try:
        cursor.execute(statement)
    finally:
        cursor.close()
