"""The command: ``python -m benchmarks [ROWS] [--quick] [--only WORD]``."""

from __future__ import annotations

import asyncio
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import asyncpg
import sqlalchemy
import typer
from rich.console import Console
from rich.table import Table

from sqlkeel.testing import PostgreSQLServer

from . import embedded, importing, requests, writing
from .measure import Case, Measured, measure
from .stand import Stand, open_stand


def main(
    rows: Annotated[int, typer.Argument(help="Rows for the works that write many.")] = 20_000,
    quick: Annotated[bool, typer.Option(help="A tenth of the rows, and three rounds: to see that it runs.")] = False,
    rounds: Annotated[int, typer.Option(min=3, help="How often everything is measured.")] = 7,
    only: Annotated[str, typer.Option(help="Measure only works whose name contains this.")] = "",
) -> None:
    """Measure sqlkeel, plain SQLAlchemy and the bare driver side by side.

    The database is that of DATABASE_URL (PostgreSQL; tables named sqlkeel_benchmark_… are dropped and made there), or a
    throw-away server. Times depend on the machine; the ratios are what to look at.
    """
    if quick:
        rows, rounds = max(rows // 10, 1), 3
    with ExitStack() as stack:
        url = os.environ.get("DATABASE_URL") or stack.enter_context(PostgreSQLServer()).url()
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asyncio.run(_run(url, directory, rows, rounds, only))


async def _run(url: str, directory: Path, rows: int, rounds: int, only: str) -> None:
    console = Console()
    async with open_stand(url, rows) as stand:
        server = await stand.driver.fetchval("SHOW server_version")
        table = _table(f"{rows:,} rows, median of {rounds} rounds; PostgreSQL {server}")
        for case in _cases(stand, directory):
            if only in case.name:
                _report(table, case, await measure(case, rounds))
        console.print(table)


def _cases(stand: Stand, directory: Path) -> Iterator[Case]:
    yield from writing.cases(stand)
    yield from embedded.cases(directory, stand.rows)
    yield from requests.cases(stand)
    yield from importing.cases()


def _table(title: str) -> Table:
    versions = f"SQLAlchemy {sqlalchemy.__version__}, asyncpg {asyncpg.__version__}, Python {platform.python_version()}"
    table = Table(
        title=f"{title}, {versions}", caption="with x: times the limit's time; without: share of the limit's rate"
    )
    for name in ("work", "who"):
        table.add_column(name)
    for name in ("ms", "ratio", "middle half", "to reach"):
        table.add_column(name, justify="right")
    return table


def _report(table: Table, case: Case, results: list[Measured]) -> None:
    for place, result in enumerate(results):
        is_ours = place == 1
        low, high = result.spread
        mark = "" if case.is_rate else "x"
        holds = result.ratio >= case.reach if case.is_rate else result.ratio <= case.reach
        sign = "≥" if case.is_rate else "≤"
        goal = f"{sign} {case.reach:.2f}{mark} {'✓' if holds else '✗'}" if is_ours else ""
        table.add_row(
            case.name if place == 0 else "",
            result.name,
            f"{result.milliseconds:,.2f}",
            f"{result.ratio:.2f}{mark}",
            f"{low:.2f} … {high:.2f}",
            goal,
            style="bold" if is_ours else None,
            end_section=place == len(results) - 1,
        )


if __name__ == "__main__":
    typer.run(main)
