"""`sqlkeel demo`: the tour on a terminal."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

import httpx
from rich.console import Console

from sqlkeel import Database

from .app import create_app
from .report import Report
from .server import listen, serving
from .source import installed
from .target import empty_database
from .tour.plan import STEPS
from .tour.step import Row, Tour

__all__ = ["run"]

PORT = 8000


async def run(
    *, database_url: str | None = None, serve: bool = False, keep: bool = False, command: str = "sqlkeel demo"
) -> int:
    """Run the tour, print its rows and the total, and return the exit code: 0 if all checks have passed.

    Args:
        database_url: An empty database; ``None`` for a temporary SQLite file.
        serve: After the tour, serve on port 8000 until Ctrl-C.
        keep: Keep the tables, or the file.
        command: The command that the user types to run the tour again.

    Raises:
        KeelError: When the database cannot be used, or the port is taken.
    """
    # asyncmy logs each note of the server as a warning, such as one that MariaDB ignores the name of a primary key.
    logging.getLogger("asyncmy").setLevel(logging.ERROR)
    console = Console()
    with listen(PORT if serve else 0) as opened:
        console.print("Making the tables of the demo, and starting its service …")
        async with (
            empty_database(database_url, keep=keep) as db,
            Database(db.url) as witness,
            serving(create_app(db), opened) as address,
        ):
            console.print(f"On {db.dialect}, {address}: {len(STEPS)} steps.\n", highlight=False, soft_wrap=True)
            rows = await _walk(console, db, witness, address)
            if serve:
                await _serve(console, address)
            else:
                console.print(f"Next: {command} --serve goes on serving, with a page of links.", soft_wrap=True)
            if keep:
                console.print(f"Kept: {db.url.render_as_string(hide_password=True)}", soft_wrap=True)
    return 0 if all(row.passed for row in rows) else 1


async def _walk(console: Console, db: Database, witness: Database, address: str) -> Sequence[Row]:
    report = Report(console, steps=len(STEPS))
    async with httpx.AsyncClient(base_url=address, timeout=60, trust_env=False) as http:
        tour = Tour(db, witness, http, list(installed()), report.advance)
        with report.walk():
            for step in STEPS:
                report.begin(step)
                report.add(await tour.take(step))
    report.end()
    return report.rows


async def _serve(console: Console, address: str) -> None:
    console.print(f"Serving {address}/ until Ctrl-C.", soft_wrap=True)
    with suppress(asyncio.CancelledError):
        await wait_for_interrupt()


async def wait_for_interrupt() -> None:
    """Wait until the task is cancelled: asyncio cancels the task on Ctrl-C."""
    await asyncio.Event().wait()
