"""What can happen to a PostgreSQL."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from sqlkeel.testing import PostgreSQLServer, Server
from tests.faults.stand import BANK, ServerStand
from tests.faults.weather import Fault

__all__ = ["AsyncpgStand", "PsycopgStand", "kill_everything"]

# A write of a page can be cut in two by SIGKILL; the rest of the launcher's settings lose nothing but power cuts.
SAFE = {"full_page_writes": "on", "synchronous_commit": "on", "restart_after_crash": "on"}
# A server that ends waits for who has connected while it started, and said nothing since.
PROMPT = {"authentication_timeout": "1s"}
OURS = f"datname = '{BANK}' and pid <> pg_backend_pid() and backend_type = 'client backend'"


class PostgreSQLStand(ServerStand):
    """PostgreSQL, whichever driver talks to it."""

    launcher = PostgreSQLServer
    settings = SAFE | PROMPT
    connections = f"select count(*) from pg_stat_activity where {OURS}"
    busy = f"""
        select format('connection %s is %s, after: %s', pid, state, query) from pg_stat_activity
         where {OURS} and state <> 'idle'
        union all
        select format('connection %s holds a lock of type %s', pid, locktype) from pg_locks
         where database = (select oid from pg_database where datname = '{BANK}') and pid <> pg_backend_pid()
        union all
        select format('prepared transaction %s', gid) from pg_prepared_xacts
    """

    def server_faults(self) -> Mapping[str, Fault]:
        """Return what can happen to the server and its backends."""
        return {
            "backends terminated": self.terminate,
            "statements cancelled": self.cancel,
            "backend SIGKILLed": self.kill_backend,
            "server SIGKILLed": self.kill,
            "server stopped at once": self.crash,
            "server restarted": self.stop,
        }

    async def terminate(self, random: Random) -> None:
        """End about half of the backends."""
        async with self.direct() as connection:
            await connection.exec_driver_sql(
                f"select pg_terminate_backend(pid) from pg_stat_activity where {OURS} and random() < 0.5"
            )

    async def cancel(self, random: Random) -> None:
        """Cancel whatever statement runs in them."""
        async with self.direct() as connection:
            await connection.exec_driver_sql(f"select pg_cancel_backend(pid) from pg_stat_activity where {OURS}")

    async def kill_backend(self, random: Random) -> None:
        """Kill one backend; the server then ends all others and recovers."""
        async with self.direct() as connection:
            pids = (await connection.exec_driver_sql(f"select pid from pg_stat_activity where {OURS}")).scalars().all()
        if pids:
            with suppress(ProcessLookupError):
                os.kill(random.choice(pids), signal.SIGKILL)

    async def kill(self, random: Random) -> None:
        """Kill every process of the server at once."""
        await self.restart(lambda: kill_everything(self.server))

    async def crash(self, random: Random) -> None:
        """Stop without a checkpoint: the backends say goodbye."""
        await self.restart(self.server.crash)

    async def stop(self, random: Random) -> None:
        """Stop in good order: transactions are rolled back."""
        await self.restart(self.server.stop)


class AsyncpgStand(PostgreSQLStand):
    """PostgreSQL through asyncpg."""

    driver = "asyncpg"


class PsycopgStand(PostgreSQLStand):
    """PostgreSQL through psycopg."""

    driver = "psycopg"


def kill_everything(server: Server) -> None:
    """Send SIGKILL to the server and all of its children, the parent first so that it cannot notice."""
    pid = int((server.data / "postmaster.pid").read_text().splitlines()[0])
    children = list(_children(pid))
    for victim in (pid, *children):
        with suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    server.crash()  # it is dead: this only tells the launcher
    for child in children:
        _await_death(child)


def _await_death(pid: int) -> None:
    """Wait until a killed process holds nothing any more: its shared memory keeps the next server from starting."""
    while _state(pid) not in {None, "Z"}:
        time.sleep(0.01)


def _state(pid: int) -> str | None:
    try:
        return _fields(Path(f"/proc/{pid}/stat"))[0]
    except OSError:
        return None


def _children(pid: int) -> Iterator[int]:
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if _fields(entry)[1] == str(pid):
                yield int(entry.parent.name)


def _fields(entry: Path) -> list[str]:
    """Return what follows the name of a process, which stands in parentheses and may hold spaces: state, parent, …."""
    return entry.read_text().rpartition(")")[2].split()
