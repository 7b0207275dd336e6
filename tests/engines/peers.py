"""The server's view of our connections: who runs, and an end to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from sqlkeel.database import Database

__all__ = ["SLOW", "committing", "kill", "own_id", "soon", "statements_running", "under_way"]

OWN_ID = {"postgresql": "select pg_backend_pid()", "mariadb": "select connection_id()"}
KILL = {"postgresql": "select pg_terminate_backend({}, 5000)", "mariadb": "kill {}"}
RUNNING = {
    "postgresql": "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
    " and pid <> pg_backend_pid() and backend_type = 'client backend'",
    "mariadb": "select count(*) from information_schema.processlist where db = database() and command = 'Query'"
    " and id <> connection_id()",
}
COMMITTING = (
    "select count(*) from pg_stat_activity where datname = current_database() and state = 'active'"
    " and query ilike 'commit%'"
)
SLOW = {
    "postgresql": "select pg_sleep(20)",
    "mariadb": "select sleep(20)",
    "sqlite": "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n",
}
"""A statement that nobody wants to wait for."""


async def own_id(connection: AsyncConnection | AsyncSession, database: Database) -> int:
    """Return the server's number of this connection."""
    found = await connection.execute(text(OWN_ID[database.dialect]))
    return int(found.scalar_one())


async def kill(database: Database, number: int) -> None:
    """End a connection from another one, as an administrator or a failover would."""
    async with database.engine.connect() as connection:
        await connection.execute(text(KILL[database.dialect].format(number)))


async def statements_running(database: Database) -> int:
    """Count what other connections to this database are running now."""
    async with database.engine.connect() as connection:
        return int((await connection.execute(text(RUNNING[database.dialect]))).scalar_one())


async def under_way(database: Database) -> None:
    """Wait until a server works on a statement; SQLite is a library, and begins whenever its thread does."""
    if database.dialect != "sqlite":
        assert await soon(lambda: statements_running(database))


async def committing(database: Database) -> bool:
    """Tell whether PostgreSQL works on a COMMIT now."""
    async with database.engine.connect() as connection:
        return bool(await connection.scalar(text(COMMITTING)))


async def soon(claim: Callable[[], object], *, seconds: float = 5.0) -> bool:
    """Wait until *claim* holds, and tell whether it came to that."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        held = claim()
        if asyncio.iscoroutine(held):
            held = await held
        if held or asyncio.get_running_loop().time() > deadline:
            return bool(held)
        await asyncio.sleep(0.01)
