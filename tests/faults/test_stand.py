"""Tests of the place where the bank is put through the weather."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from tests.faults.postgresql import AsyncpgStand


class TestDirect:
    async def test_a_server_that_recovers_is_waited_for(self) -> None:
        """A direct connection comes about although the server has just lost a process and lets nobody in."""
        async with AsyncpgStand.open(workers=2) as stand:
            async with stand.direct() as connection:
                pid = (await connection.exec_driver_sql("select pg_backend_pid()")).scalar_one()
            await _kill_one(stand)

            async with stand.direct() as connection:
                again = (await connection.exec_driver_sql("select pg_backend_pid()")).scalar_one()

        assert again != pid


async def _kill_one(stand: AsyncpgStand) -> None:
    """Kill a process that the server cannot lose without ending all others, and wait until it has noticed."""
    async with stand.direct() as witness, stand.direct() as connection:
        found = await connection.exec_driver_sql("select pid from pg_stat_activity where backend_type = 'checkpointer'")
        os.kill(found.scalar_one(), signal.SIGKILL)
        with suppress(DBAPIError):
            await witness.exec_driver_sql("select pg_sleep(20)")
