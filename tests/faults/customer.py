"""One process with customers of a bank in an SQLite file; says on its standard output what they were told."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random

from sqlalchemy import QueuePool

from sqlkeel import Database
from tests.faults.bank import Book, Outcome
from tests.faults.network import People
from tests.faults.run import watched
from tests.faults.tellers import Teller
from tests.faults.weather import plan

__all__ = ["Journal"]


class Journal(Book):
    """A book whose every line is out of the process, and survives it, before the next thing is done."""

    def ask(self, number: uuid.UUID) -> None:
        """Note that a transfer is asked for."""
        super().ask(number)
        _say("ask", number)

    def tell(self, number: uuid.UUID, outcome: Outcome, reason: str = "") -> None:
        """Note what the customer was told."""
        super().tell(number, outcome, reason)
        _say(outcome, f"{number} {reason}")

    def hook(self, number: uuid.UUID) -> None:
        """Note that the `on_commit` hook of a transfer ran."""
        _say("hook", number)

    def interrupt(self, how: str) -> None:
        """Note that a customer was interrupted."""
        _say("interrupted", how)

    def complain(self, what: str, error: BaseException | None = None) -> None:
        """Note what must not happen at all."""
        super().complain(what, error)
        _say("complaint", self.complaints[-1].replace("\n", " "))


async def _serve(path: Path, workers: int, seed: str) -> None:
    size = max(2, workers // 2)
    journal = Journal()
    url = f"sqlite+aiosqlite:///{path}"
    database = Database(url, pool_size=size, max_overflow=1, pool_timeout=0.5, lock_timeout=2)
    async with database, watched(journal):
        tellers = [Teller(database, journal, Random(f"{seed}/{number}")) for number in range(workers)]
        tasks = [asyncio.create_task(teller.work()) for teller in tellers]
        async with _weather(People(database, tellers, size + 1), seed):
            await asyncio.to_thread(sys.stdin.read)
        for teller in tellers:
            teller.stopped = True
        await asyncio.gather(*tasks)
        for pool in [engine.pool for engine in database.engines]:
            if isinstance(pool, QueuePool) and pool.checkedout():
                journal.complain(f"the pool misses {pool.checkedout()} connections")


@asynccontextmanager
async def _weather(people: People, seed: str) -> AsyncIterator[None]:
    async def bring() -> None:
        for planned in plan(people.faults(), seed):
            await asyncio.sleep(planned.pause)
            _say("fault", planned.fault)
            await people.faults()[planned.fault](Random(planned.seed))

    task = asyncio.create_task(bring())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


def _say(word: str, what: object) -> None:
    # One write, shorter than a pipe takes in one piece: a line is there as a whole or not at all.
    os.write(1, f"{word} {str(what)[:2000]}\n".encode())


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
