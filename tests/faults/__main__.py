"""The command: ``python -m tests.faults --database postgresql+asyncpg --seconds 60 --workers 16 --seed 1``."""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from tests.faults.mariadb import AsyncmyStand
from tests.faults.postgresql import AsyncpgStand, PsycopgStand
from tests.faults.run import Result, run_on_server
from tests.faults.sqlite import run_on_file
from tests.faults.stand import ServerStand

__all__ = ["main"]

Run = Callable[..., Coroutine[Any, Any, Result]]


def _on(kind: type[ServerStand]) -> Run:
    async def run(*, seconds: float, workers: int, seed: int) -> Result:
        return await run_on_server(kind, seconds=seconds, workers=workers, seed=seed)

    return run


RUNS: Final[dict[str, Run]] = {
    "postgresql+asyncpg": _on(AsyncpgStand),
    "postgresql+psycopg": _on(PsycopgStand),
    "mariadb": _on(AsyncmyStand),
    "sqlite": run_on_file,
}


def main(
    database: Annotated[list[str] | None, typer.Option(help=f"{', '.join(RUNS)}; each in turn if left out.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long the faults come, for each database.")] = 60,
    workers: Annotated[int, typer.Option(min=1, help="Concurrent customers.")] = 16,
    seed: Annotated[int | None, typer.Option(help="Brings the same faults in the same order again.")] = None,
) -> None:
    """Run a bank while everything around it breaks, and look for a cent that is missing. Exit 1 if anything is."""
    names = database or list(RUNS)
    if unknown := [name for name in names if name not in RUNS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: one of {', '.join(RUNS)}")
    seed = secrets.randbelow(10**6) if seed is None else seed
    # What the drivers and the pool say of broken connections is the weather itself.
    for noisy in ("psycopg", "sqlkeel.pool"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    # Where nobody looks on, a table that is cut to a screen's width loses the figures that it is for.
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(f"seed {seed}: repeat with --seconds {seconds:g} --workers {workers} --seed {seed}")
    results: dict[str, Result] = {}
    for name in names:
        results[name] = asyncio.run(RUNS[name](seconds=seconds, workers=workers, seed=seed))
        _complain(console, name, results[name])
    console.print(_overview(results))
    for title, counters in {
        "faults": {name: result.faults for name, result in results.items()},
        "interruptions": {name: result.book.interrupted for name, result in results.items()},
        "errors that customers saw": {name: Counter(result.book.reasons.values()) for name, result in results.items()},
    }.items():
        console.print(_counts(title, counters))
    raise typer.Exit(any(result.violations for result in results.values()))


def _complain(console: Console, name: str, result: Result) -> None:
    for violation, times in Counter(result.violations).items():
        console.print(f"[red]{name}[/]: {violation}" + (f" ({times} times)" if times > 1 else ""), highlight=False)


def _overview(results: dict[str, Result]) -> Table:
    columns = ["asked", "acknowledged", "failed", "unknown", "no answer", "of these there", "in the books", "faults"]
    table = Table("database", *columns, "violations")
    for name, result in results.items():
        book = result.book
        numbers = [len(book.asked), *(len(book.those(o)) for o in ("acknowledged", "failed", "unknown", None))]
        numbers += [result.unclear_there, result.there, result.faults.total(), len(result.violations)]
        table.add_row(name, *(f"{number:,}" for number in numbers))
    return table


def _counts(title: str, counters: dict[str, Counter[str]]) -> Table:
    table = Table(title, *counters)
    for what in sorted({what for counter in counters.values() for what in counter}):
        table.add_row(what, *(f"{counter[what]:,}" if counter[what] else "" for counter in counters.values()))
    return table


if __name__ == "__main__":
    typer.run(main)
