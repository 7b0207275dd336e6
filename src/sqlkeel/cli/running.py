"""Work of a command that needs a database: opened for it, and closed without a complaint."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..sessions._database import Database

__all__ = ["run_with"]

T = TypeVar("T")


def run_with(database: Database, work: Callable[[Database], Awaitable[T]]) -> T:
    """Return what *work* makes of a database, in an event loop of its own; the database is closed then."""
    # Its driver logs every note of MariaDB as a warning.
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    others = set(threading.enumerate())

    async def run() -> T:
        try:
            async with database:
                return await work(database)
        finally:
            _join_drivers(others)

    return asyncio.run(run())


def _join_drivers(others: set[threading.Thread]) -> None:
    """Let the threads of the SQLite driver end before the loop closes; one that could not connect would complain."""
    for thread in set(threading.enumerate()) - others:
        if thread.daemon:
            thread.join(1)
