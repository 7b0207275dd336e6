"""The command: ``python -m tests.properties.differential --seconds 1200 --database psycopg --seed 7``."""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from sqlkeel import Database
from sqlkeel.testing import MariaDBServer, PostgreSQLServer
from tests.fixtures.backend import Backend
from tests.fixtures.mariadb import MariaDBBackend
from tests.fixtures.postgresql import PostgreSQLBackend
from tests.fixtures.sqlite import SQLiteBackend
from tests.properties.differential.draws import VERBS
from tests.properties.differential.run import Disagreement, Report, case_of, examined, models_for, try_cases
from tests.properties.differential.schemas import tables_of

__all__ = ["main"]

DRIVERS: Final = {"sqlite": "aiosqlite", "asyncpg": "asyncpg", "psycopg": "psycopg", "mariadb": "asyncmy"}
CASES: Final = 400
"""Cases with the models of one seed; then come those of the next."""


def main(
    database: Annotated[list[str] | None, typer.Option(help=f"{', '.join(DRIVERS)}; each in turn if left out.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="How long, on each database.")] = 60,
    seed: Annotated[int | None, typer.Option(help="Where the models and cases begin.")] = None,
    case: Annotated[int | None, typer.Option(help="Only this case of the seed.")] = None,
) -> None:
    """Try random models, rows and verbs against plain SQLAlchemy. Exit 1 if anything differs."""
    names = database or list(DRIVERS)
    if unknown := [name for name in names if name not in DRIVERS]:
        raise typer.BadParameter(f"{', '.join(unknown)}: one of {', '.join(DRIVERS)}")
    first = secrets.randbelow(10**6) if seed is None else seed
    warnings.simplefilter("ignore")
    console = Console(width=None if sys.stdout.isatty() else 220)
    console.print(f"seed {first}: repeat with --seconds {seconds:g} --seed {first}")
    reports = {name: asyncio.run(_run(name, seconds, first, case, console)) for name in names}
    if case is None:
        console.print(_table(reports))
    for name, report in reports.items():
        wrong = len(report.disagreements) + report.further
        console.print(
            f"{name}: {report.examples:,} examples, {wrong} disagreements, {len(report.refused)} plans without a model"
        )
    raise typer.Exit(any(report.complaints for report in reports.values()))


async def _run(name: str, seconds: float, first: int, case: int | None, console: Console) -> Report:
    report = Report()
    until = time.monotonic() + seconds

    def note(found: Disagreement) -> None:
        console.print(f"{name}: {found}\n", markup=False, highlight=False, soft_wrap=True)

    async with _backend(name) as backend:
        for seed in itertools.count(first):
            report.add(await _round(backend, name, seed, case=case, until=until, note=note))
            if case is not None or time.monotonic() > until:
                break
    return report


async def _round(backend: Backend, name: str, seed: int, *, case: int | None, until: float, note: Any) -> Report:
    """Try the cases of one seed on an empty database."""
    await backend.clear()
    async with Database(backend.url(DRIVERS[name])) as database:
        with models_for(database, seed=seed) as models:
            async with tables_of(database, models.metadata):
                if case is None:
                    return await try_cases(database, models, seed=seed, numbers=range(CASES), until=until, note=note)
                one = case_of(models, seed=seed, number=case)
                what = await examined(database, one)
                if what:
                    note("\n".join([*what, str(one)]))
                return Report(examples=1, refused=what)


@asynccontextmanager
async def _backend(name: str) -> AsyncIterator[Backend]:
    """Give an empty database: of the server that the environment names, or of one of our own."""
    with ExitStack() as servers:
        backend: Backend
        if name == "sqlite":
            folder = servers.enter_context(tempfile.TemporaryDirectory())
            backend = SQLiteBackend(Path(folder) / "differential.db")
        elif name == "mariadb":
            url = os.environ.get("SQLKEEL_TEST_MARIADB") or servers.enter_context(MariaDBServer()).url()
            backend = await MariaDBBackend.open(url, f"sqlkeel_test_differential_{os.getpid()}")
        else:
            url = os.environ.get("SQLKEEL_TEST_POSTGRES") or servers.enter_context(PostgreSQLServer()).url()
            backend = await PostgreSQLBackend.open(url, f"sqlkeel_test_differential_{os.getpid()}")
        try:
            yield backend
        finally:
            await backend.close()


def _table(reports: dict[str, Report]) -> Table:
    """Show how often each verb met each type and feature."""
    tried = sum((report.tried for report in reports.values()), Report().tried)
    table = Table(Column("steps with", no_wrap=True), *(verb.replace("_", " ") for verb in VERBS), box=SIMPLE)
    for what in sorted({what for _, what in tried}):
        table.add_row(what, *(f"{tried[verb, what]:,}" if tried[verb, what] else "" for verb in VERBS))
    return table


if __name__ == "__main__":
    typer.run(main)
