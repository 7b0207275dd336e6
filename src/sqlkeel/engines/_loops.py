"""Event loops: a connection belongs to the loop that opened it, and is replaced when that loop is closed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event, exc

from ..errors import UsageError
from . import _drivers as drivers

__all__ = ["belongs_elsewhere", "bind_to_loop", "running_loop"]

_Loops = WeakKeyDictionary[Any, asyncio.AbstractEventLoop]

_CLOSES: Final = ("do_close", "do_terminate")
"""The methods by which SQLAlchemy's dialects close a connection; the asynchronous ones wait for the driver."""

_LOOP: Final = "sqlkeel_loop"
"""The key in the pool's record of a connection for the loop that opened it."""

_ONE_EACH: Final = (
    "Create a Database in each event loop, or await db.dispose() in one before another uses it. From a thread: "
    "asyncio.run_coroutine_threadsafe(work(), loop)."
)


def belongs_elsewhere() -> UsageError:
    """Return the error for using connections of another event loop."""
    return UsageError("Another event loop, which is still open, uses connections of this pool.", hint=_ONE_EACH)


def running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread; ``None`` if there is none."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def bind_to_loop(engine: Engine) -> None:
    """Restrict each connection to its own event loop; replace it when that loop is closed.

    So two ``asyncio.run`` calls with one `Database`, or a test runner with a loop for each test, continue with new
    connections. Those of the closed loop cannot be closed cleanly, because nothing can be awaited there; their sockets
    are shut down.
    """
    loops: _Loops = WeakKeyDictionary()
    dialect: Any = engine.dialect
    for name in _CLOSES:
        setattr(dialect, name, _closing(getattr(dialect, name), loops))

    @event.listens_for(engine, "connect")
    def note(raw: Any, record: Any) -> None:
        loops[raw.driver_connection] = record.info[_LOOP] = asyncio.get_running_loop()

    @event.listens_for(engine, "checkout")
    def check(raw: Any, record: Any, proxy: Any) -> None:
        loop = record.info.get(_LOOP)
        if loop is None or loop is asyncio.get_running_loop():
            return
        if not loop.is_closed():
            raise belongs_elsewhere()
        for driver in [driver for driver, its in loops.items() if its.is_closed()]:
            _cut(driver)
        raise exc.DisconnectionError("The event loop of the connection is closed.")


def _closing(usual: Callable[[Any], None], loops: _Loops) -> Callable[[Any], None]:
    """Close a connection of another loop without waiting, because its answer would arrive in that loop or never."""

    def close(raw: Any) -> None:
        loop = loops.get(raw.driver_connection)
        if loop is None or loop is running_loop() or (running_loop() is None and not loop.is_closed()):
            usual(raw)
        else:
            _cut(raw.driver_connection)

    return close


def _cut(driver: Any) -> None:
    """Shut down a connection's socket from any thread; the server then ends its side at once.

    Closing the transport would need its loop.
    """
    transport = drivers.transport_of(driver)
    found = None if transport is None else transport.get_extra_info("socket")
    if found is None or found.fileno() < 0:
        return
    # A second handle, because uvloop's socket cannot be shut down and the transport closes the first one itself.
    with socket.fromfd(found.fileno(), found.family, found.type) as handle, suppress(OSError):  # may be closed already
        handle.shutdown(socket.SHUT_RDWR)
