"""What can happen to a MariaDB."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from random import Random

from sqlalchemy.exc import DBAPIError

from sqlkeel.testing import MariaDBServer
from tests.faults.stand import BANK, ServerStand
from tests.faults.weather import Fault

__all__ = ["AsyncmyStand"]

# A write of a page can be cut in two by SIGKILL; the rest of the launcher's settings lose nothing but power cuts.
SAFE = {"innodb-doublewrite": "1", "innodb-flush-log-at-trx-commit": "2"}
OURS = f"db = '{BANK}' and id <> connection_id()"


class AsyncmyStand(ServerStand):
    """MariaDB through asyncmy."""

    driver = "asyncmy"
    launcher = MariaDBServer
    settings = SAFE
    create_database = f"create database {BANK} character set utf8mb4"
    connections = f"select count(*) from information_schema.processlist where {OURS}"
    busy = f"""
        select concat('connection ', id, ' has an open transaction, and runs: ', coalesce(info, 'nothing'))
          from information_schema.innodb_trx join information_schema.processlist on id = trx_mysql_thread_id
         where {OURS}
        union all
        select concat('connection ', id, ' runs: ', info) from information_schema.processlist
         where {OURS} and info is not null
    """

    def server_faults(self) -> Mapping[str, Fault]:
        """Return what can happen to the server and its backends."""
        return {
            "backends terminated": self.terminate,
            "statements cancelled": self.cancel,
            "server SIGKILLed": self.kill,
            "server restarted": self.stop,
        }

    async def terminate(self, random: Random) -> None:
        """End about half of the backends."""
        await self._kill("kill connection", random, share=0.5)

    async def cancel(self, random: Random) -> None:
        """Cancel whatever statement runs in them."""
        await self._kill("kill query", random, share=1.0)

    async def kill(self, random: Random) -> None:
        """Kill the server."""
        await self.restart(self.server.crash)

    async def stop(self, random: Random) -> None:
        """Stop in good order: transactions are rolled back."""
        await self.restart(self.server.stop)

    async def _kill(self, how: str, random: Random, *, share: float) -> None:
        async with self.direct() as connection:
            found = await connection.exec_driver_sql(f"select id from information_schema.processlist where {OURS}")
            for number in [number for number in found.scalars().all() if random.random() < share]:
                with suppress(DBAPIError):  # it was ending by itself
                    await connection.exec_driver_sql(f"{how} {number}")
