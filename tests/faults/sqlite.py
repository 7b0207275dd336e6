"""SQLite: two processes share the file, and are killed in the middle of everything."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import uuid
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Final

from sqlalchemy import NullPool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from tests.faults.bank import Book, audit, found, open_accounts
from tests.faults.run import Result

__all__ = ["run_on_file"]

PROCESSES: Final = 2
KILL: Final = "process SIGKILLed"
ROOT: Final = Path(__file__).parents[2]


async def run_on_file(*, seconds: float, workers: int, seed: int, at_least: int = 0) -> Result:
    """Let processes with *workers* customers come and be killed, then look at the books."""
    result = Result(seed, Book())
    with tempfile.TemporaryDirectory(prefix="sqlkeel-faults-") as directory:
        path = Path(directory) / "bank.db"
        async with _direct(path) as connection:
            await open_accounts(connection)
        await _kill_and_replace(_Customers(path, workers, result), seconds, at_least)
        async with _direct(path) as connection:
            result.violations += await audit(connection, result.book)
            result.unclear_there, result.there = await found(connection, result.book)
            result.violations += await _leftovers(connection)
    return result


class _Customers:
    """The processes, and what they have said."""

    def __init__(self, path: Path, workers: int, result: Result) -> None:
        self.path = path
        self.workers = max(1, workers // PROCESSES)
        self.result = result
        self.started = 0
        self.readers: dict[Process, asyncio.Task[None]] = {}

    async def start(self) -> Process:
        """Start one more process."""
        self.started += 1
        arguments = [str(self.path), str(self.workers), f"{self.result.seed}/{self.started}"]
        command = [sys.executable, "-m", "tests.faults.customer", *arguments]
        process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=PIPE, stdout=PIPE)
        self.readers[process] = asyncio.create_task(self._read(process))
        return process

    async def kill(self, process: Process) -> None:
        """Kill it, and hear out what it had said."""
        process.kill()
        await process.wait()
        await self.readers[process]
        self.result.faults[KILL] += 1

    async def finish(self, process: Process) -> None:
        """Ask it to come to an end."""
        assert process.stdin is not None
        process.stdin.close()
        if code := await process.wait():
            self.result.violations.append(f"a process ended with {code}")
        await self.readers[process]

    async def _read(self, process: Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            word, _, rest = line.decode().rstrip("\n").partition(" ")
            _write_down(self.result, word, rest)


def _write_down(result: Result, word: str, rest: str) -> None:
    """Enter one line of a process into the book."""
    book = result.book
    match word:
        case "complaint":
            book.complain(rest)
        case "fault":
            result.faults[rest] += 1
        case "interrupted":
            book.interrupt(rest)
        case "ask":
            book.ask(uuid.UUID(rest))
        case "hook":
            book.hook(uuid.UUID(rest))
        case "acknowledged" | "failed" | "unknown":
            number, _, reason = rest.partition(" ")
            book.tell(uuid.UUID(number), word, reason)
        case _:
            book.complain(f"a process said {word!r}")


async def _kill_and_replace(customers: _Customers, seconds: float, at_least: int) -> None:
    loop, random = asyncio.get_running_loop(), Random(customers.result.seed)
    end = loop.time() + seconds
    running = [await customers.start() for _ in range(PROCESSES)]
    while loop.time() < end or customers.result.faults[KILL] < at_least:
        await asyncio.sleep(random.uniform(0.5, 2.0))
        victim = random.randrange(PROCESSES)
        await customers.kill(running[victim])
        running[victim] = await customers.start()
    await asyncio.sleep(1.0)
    # A busy machine may have killed each process before its first transfer.
    while not customers.result.book.those("acknowledged"):  # noqa: ASYNC110 - the reader of their lines sets no event
        await asyncio.sleep(0.05)
    await asyncio.gather(*map(customers.finish, running))


@asynccontextmanager
async def _direct(path: Path) -> AsyncIterator[AsyncConnection]:
    engine = create_async_engine(f"sqlite+aiosqlite:///{path}", poolclass=NullPool)
    async with engine.connect() as connection:
        yield connection
        await connection.commit()


async def _leftovers(connection: AsyncConnection) -> list[str]:
    await connection.commit()
    left = [*(await connection.exec_driver_sql("PRAGMA integrity_check")).scalars()]
    try:
        await connection.exec_driver_sql("PRAGMA busy_timeout=0")
        await connection.exec_driver_sql("BEGIN IMMEDIATE")
    except DBAPIError as error:
        left.append(f"the file is locked: {error}")
    return [what for what in left if what != "ok"]
