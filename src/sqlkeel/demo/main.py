"""`sqlkeel demo`: the tour on a terminal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import httpx
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sqlkeel import Database

from .app import create_app
from .server import listen, serving
from .source import installed
from .target import empty_database
from .tour.plan import STEPS
from .tour.step import Row, Tour

__all__ = ["run"]

PORT = 8000


async def run(*, database_url: str | None = None, serve: bool = False, keep: bool = False) -> int:
    """Walk the tour, print its table, and return the exit code: 0 where everything was as it has to be.

    Args:
        database_url: An empty database; ``None`` for a temporary SQLite file.
        serve: Go on serving on port 8000 until Ctrl-C.
        keep: Leave the tables, or the file, where they are.

    Raises:
        KeelError: When the database cannot be used, or the port is taken.
    """
    # asyncmy logs each note of the server as a warning, such as that a primary key needs no name.
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    console = Console()
    with listen(PORT if serve else 0) as opened:
        async with (
            empty_database(database_url, keep=keep) as db,
            Database(db.url) as witness,
            serving(create_app(db), opened) as address,
        ):
            rows = await _walk(console, db, witness, address)
            console.print(_table(rows, title=f"sqlkeel on {db.dialect}, {address}"))
            if serve:
                console.print(f"Serving {address}/docs until Ctrl-C.")
                with suppress(asyncio.CancelledError):
                    await wait_for_interrupt()
            if keep:
                console.print(f"Kept: {db.url.render_as_string(hide_password=True)}", soft_wrap=True)
    return 0 if all(row.passed for row in rows) else 1


async def _walk(console: Console, db: Database, witness: Database, address: str) -> list[Row]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    ) as bars:
        steps = bars.add_task("", total=len(STEPS), rate="")
        files = bars.add_task("files", total=None, rate="", visible=False)

        def advance(done: int, total: int) -> None:
            speed = bars.tasks[files].speed
            rate = f"{speed:,.0f}/s" if speed else ""
            bars.update(files, completed=done, total=total, visible=done < total, rate=rate)

        async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as http:
            tour = Tour(db, witness, http, list(installed()), advance)
            rows = []
            for step in STEPS:
                bars.update(steps, description=step.pattern)
                rows.append(await tour.take(step))
                bars.advance(steps)
            return rows


def _table(rows: Sequence[Row], *, title: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, expand=True)
    table.add_column("pattern", ratio=4)
    table.add_column("what was done", ratio=5)
    table.add_column("statements", justify="right")
    table.add_column("result", ratio=6)
    for row in rows:
        mark = "[green]✓[/]" if row.passed else "[red]✗[/]"
        table.add_row(escape(row.pattern), escape(row.done), str(row.statements), f"{mark} {escape(row.result)}")
    return table


async def wait_for_interrupt() -> None:
    """Wait until the task is cancelled, which is what asyncio makes of Ctrl-C."""
    await asyncio.Event().wait()
