"""One migrator at a time: a connection that is prepared for migrations and holds the migration lock."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from ..engines._tasks import finish
from ..errors import MigrationError
from ._databases import Migrator, migrator_for

__all__ = ["LOCK_TIMEOUT", "WAIT", "turn"]

LOCK_TIMEOUT: Final = 3.0
"""Seconds a DDL statement waits for a lock. Later statements wait behind it, so this is short."""

WAIT: Final = 900.0
"""Seconds to wait for another migrator to finish."""

_PAUSE: Final = 0.1


@asynccontextmanager
async def turn(
    engine: AsyncEngine, *, lock_timeout: float = LOCK_TIMEOUT, wait: float = WAIT
) -> AsyncIterator[AsyncConnection]:
    """Open the connection on which migrations run, once no other migrator is running.

    The lock belongs to this connection. It is released when the connection closes, even if the process is killed.

    Raises:
        MigrationError: When another migrator has not finished after *wait* seconds, or the result cannot be kept.
    """
    backend = migrator_for(engine.dialect.name)
    async with engine.connect() as connection:
        try:
            await connection.run_sync(backend.prepare, lock_timeout)
            await _wait_for_turn(connection, backend, wait)
            yield connection
            await connection.run_sync(backend.verify)
            await connection.commit()
        finally:
            await finish(connection.run_sync(backend.restore))


async def _wait_for_turn(connection: AsyncConnection, backend: Migrator, wait: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + wait
    while not await connection.run_sync(backend.try_lock):
        if loop.time() > deadline:
            raise MigrationError(
                f"Another migration has been running on this database for {wait:g} s.",
                hint="Wait for it, or find out what it is waiting for; its lock ends with its connection.",
            )
        await asyncio.sleep(_PAUSE * random.uniform(0.5, 1.5))  # noqa: S311 - spreads the retries; not security
