"""Event loops: a connection belongs to the one that has opened it, and is replaced when that one is closed."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from sqlalchemy import Engine, event, exc

from ..errors import UsageError

__all__ = ["bind_to_loop"]

_LOOP: Final = "sqlkeel_loop"
_ELSEWHERE: Final = "The pool gave out a connection of another event loop, which is still open."
_ONE_EACH: Final = (
    "Make a Database in each event loop, or await db.dispose() in one before another uses it. From a thread: "
    "asyncio.run_coroutine_threadsafe(work(), loop)."
)


def bind_to_loop(engine: Engine) -> None:
    """Let each connection be used in its own event loop only; one of a loop that is closed is replaced.

    Two ``asyncio.run`` over one `Database`, and a test runner with a loop for each test, go on with new connections.
    Those of the closed loop cannot be closed in good order, for nothing can be awaited there: their sockets end with
    the objects.
    """

    @event.listens_for(engine, "connect")
    def note(raw: Any, record: Any) -> None:
        record.info[_LOOP] = asyncio.get_running_loop()

    @event.listens_for(engine, "checkout")
    def check(raw: Any, record: Any, proxy: Any) -> None:
        loop = record.info.get(_LOOP)
        if loop is None or loop is asyncio.get_running_loop():
            return
        if not loop.is_closed():
            raise UsageError(_ELSEWHERE, hint=_ONE_EACH)
        # Without this the pool would close it, and wait for that in the wrong loop.
        record.dbapi_connection = None
        raise exc.DisconnectionError("The event loop of the connection is closed.")
