"""Run the database work of a command: open the database for it, and close it quietly."""

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
    """Run *work* on a database in a new event loop, close the database, and return the result of *work*."""
    # asyncmy logs each NOTE of MariaDB as a warning.
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
    """Wait for the SQLite driver's threads before the loop closes; a failed connection would log an error otherwise."""
    for thread in set(threading.enumerate()) - others:
        if thread.daemon:
            thread.join(1)
