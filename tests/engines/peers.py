"""The server's view of our connections: who runs, and an end to it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from sqlkeel.sessions import Database

__all__ = ["SLOW", "cancelled_at_each_step", "committing", "kill", "own_id", "soon", "statements_running", "under_way"]

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


async def soon(claim: Callable[[], object], *, seconds: float = 30.0) -> bool:
    """Wait until *claim* holds, and return whether it did; the limit is for a machine that does much else."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        held = claim()
        if asyncio.iscoroutine(held):
            held = await held
        if held or asyncio.get_running_loop().time() > deadline:
            return bool(held)
        await asyncio.sleep(0.01)


class _Cut:
    """Wait for something, and have its task cancelled at some of the moments at which it gives way to others."""

    def __init__(self, work: Awaitable[Any], moments: range) -> None:
        self.work, self.moments = work, moments
        self.reached = False

    def __await__(self) -> Generator[Any, Any, None]:
        steps, thrown, number = self.work.__await__(), None, 0
        while True:
            try:
                waited_for = steps.send(None) if thrown is None else steps.throw(thrown)
            except StopIteration:
                return
            thrown, number = None, number + 1
            if number in self.moments:
                self.reached = True
                asyncio.current_task().cancel()  # type: ignore[union-attr]  # a task is waiting
            try:
                yield waited_for
            except BaseException as error:  # noqa: BLE001 - the work decides what it means
                thrown = error


async def cancelled_at_each_step(work: Callable[[], Awaitable[Any]], *, times: int = 1) -> list[str]:
    """Do *work* again and again, cancelled at its first wait, at its second and so on; return how each ended.

    *times* is how many waits in a row are cancelled: anyio cancels every one.
    """
    ends: list[str] = []
    while True:
        moment = len(ends) + 1
        cut = _Cut(work(), range(moment, moment + times))

        async def run(cut: _Cut = cut) -> None:
            await cut

        task = asyncio.create_task(run())
        await asyncio.wait({task})
        if not cut.reached:
            return ends
        ends.append("cancelled" if task.cancelled() else repr(task.exception()))


async def number_of(database: Database) -> int:
    """Return the number that the server gave our connection."""
    async with database.engine.connect() as connection:
        return await own_id(connection, database)


async def is_gone(number: int, database: Database) -> bool:
    """Tell whether the server has ended that connection: by itself it looks only every five seconds."""
    counted = text("select count(*) from information_schema.processlist where id = :number")
    async with database.engine.connect() as connection:
        return not await connection.scalar(counted, {"number": number})
