"""One run: the bank opens, the weather comes, the weather goes, the books are audited."""

from __future__ import annotations

import asyncio
import gc
import io
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from tests.faults.bank import Book, audit, found
from tests.faults.stand import ServerStand
from tests.faults.tellers import Teller
from tests.faults.weather import bring, plan

__all__ = ["Result", "run_on_server", "watched"]

CALM_SECONDS: Final = 1.0
"""How long everybody works on after the last fault, at least."""

RECOVERY_SECONDS: Final = 60
"""How long it may take until a transfer succeeds again, and until everybody has come to an end."""


@dataclass
class Result:
    """What a run has shown."""

    seed: int
    book: Book
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    there: int = 0
    unclear_there: int = 0
    """Of the transfers that nobody could say it of: how many are there."""


async def run_on_server(
    kind: type[ServerStand], *, seconds: float, workers: int, seed: int, at_least: int = 0
) -> Result:
    """Put the bank through *seconds* of weather and *at_least* so many faults, and look at the books.

    The cyclic garbage collector is off: a connection that only it would give back is one that is lost.
    """
    book = Book()
    result = Result(seed, book)
    with _collector_off():
        async with kind.open(workers) as stand, watched(book):
            await _work_through_weather(stand, result, seconds=seconds, workers=workers, at_least=at_least)
            async with stand.direct() as connection:
                result.violations += await audit(connection, book)
                result.unclear_there, result.there = await found(connection, book)
            result.violations += await stand.leftovers()
    return result


async def _work_through_weather(
    stand: ServerStand, result: Result, *, seconds: float, workers: int, at_least: int
) -> None:
    seed, book = result.seed, result.book
    tellers = [Teller(stand.database, book, Random(f"{seed}/{number}")) for number in range(workers)]
    tasks = {asyncio.create_task(teller.work(), name=f"teller {n}") for n, teller in enumerate(tellers)}
    faults = stand.faults(tellers)
    result.faults.update(await bring(plan(faults, seed), faults, seconds, at_least=at_least))
    await stand.heal()
    result.violations += await _recover(book)
    for teller in tellers:
        teller.stopped = True
    result.violations += await _end(tasks)


@contextmanager
def _collector_off() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@asynccontextmanager
async def watched(book: Book) -> AsyncIterator[None]:
    """Complain of every task that is forgotten before it has ended; what else the drivers say is the weather."""
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if "destroyed" in context["message"]:
            book.complain(f"{context['message']} {context.get('task')}")

    loop.set_exception_handler(handle)
    try:
        yield
        gc.collect()
    finally:
        loop.set_exception_handler(before)


async def _recover(book: Book) -> list[str]:
    """See that work goes on by itself once the weather is fine."""
    before = len(book.those("acknowledged"))
    end = asyncio.get_running_loop().time() + RECOVERY_SECONDS
    await asyncio.sleep(CALM_SECONDS)
    while len(book.those("acknowledged")) == before:
        if asyncio.get_running_loop().time() > end:
            return ["no transfer succeeded after the last fault was taken back"]
        await asyncio.sleep(0.1)
    return []


async def _end(tasks: set[asyncio.Task[None]]) -> list[str]:
    """Wait for everybody, and describe who hangs and who fell."""
    done, hanging = await asyncio.wait(tasks, timeout=RECOVERY_SECONDS)
    fallen = [f"{task.get_name()} fell: {task.exception()!r}" for task in done if task.cancelled() or task.exception()]
    for task in hanging:
        where = io.StringIO()
        task.print_stack(file=where)
        fallen.append(f"{task.get_name()} hangs: {where.getvalue()}")
        task.cancel()
    return fallen
