"""The command: ``python -m suites orm async --database postgresql --workers 2``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from sqlalchemy import NullPool, create_engine

from sqlkeel.testing import PostgreSQLServer
from suites.differences import Verdict, compare, known
from suites.plugin import ASYNC, NEEDS, REPORT, STOCK
from suites.sources import fetch, install
from suites.suite import DATABASES, SUITES, Suite

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
PREPARED = (
    "CREATE SCHEMA test_schema",
    "CREATE SCHEMA test_schema_2",
    "CREATE EXTENSION hstore",
    "CREATE EXTENSION citext",
)
"""What SQLAlchemy's README asks of a PostgreSQL that its tests are run on."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(SUITES)}; each in turn if left out.")] = None,
    database: Annotated[list[str] | None, typer.Option(help=f"{', '.join(DATABASES)}; both if left out.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that share the tests of a suite.")] = 2,
    folder: Annotated[Path | None, typer.Option(help="Where the sources are kept, if not for this run.")] = None,
    only: Annotated[str, typer.Option(help="An expression as for pytest's -k.")] = "",
    stock: Annotated[bool, typer.Option("--stock", help="Run with SQLAlchemy's own sessions, to compare.")] = False,
) -> None:
    """Run other people's tests with our sessions. Exit 1 where one fails that is not listed, or a listed one passes."""
    for given, choices in ((names or [], SUITES), (database or [], DATABASES)):
        if unknown := [name for name in given if name not in choices]:
            raise typer.BadParameter(f"{', '.join(unknown)}: one of {', '.join(choices)}")
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    good = True
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sqlkeel-suites-")))
        place.mkdir(parents=True, exist_ok=True)
        urls = _Urls(stack)
        for name in names or SUITES:
            for on in [one for one in database or DATABASES if one in SUITES[name].drivers]:
                console.rule(f"{name} on {on}")
                outcomes = _run(name, urls.of(SUITES[name], on), place.resolve(), workers, only, stock=stock)
                verdict = compare(outcomes, {} if stock else known(name, on), whole=not only)
                _tell(console, verdict)
                good = good and verdict.is_good
    raise typer.Exit(not good)


class _Urls:
    """The databases; a PostgreSQL is started where the first suite asks for it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._server: PostgreSQLServer | None = None

    def of(self, suite: Suite, database: str) -> str:
        """Return the URL for the driver that *suite* uses on *database*."""
        driver = suite.drivers[database]
        if database == "sqlite":
            return driver
        if self._server is None:
            self._server = self._stack.enter_context(PostgreSQLServer())
            self._send("postgres", ["CREATE DATABASE test"])
            self._send("test", PREPARED)
        return self._server.url("test", driver=driver)

    def _send(self, database: str, statements: Sequence[str]) -> None:
        assert self._server is not None, "it was started"
        # Without a pool: the workers copy this database, which nobody may be connected to then.
        url = self._server.url(database, driver="psycopg")
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)


def _run(name: str, url: str, folder: Path, workers: int, only: str, *, stock: bool) -> dict[str, str]:
    suite = SUITES[name]
    source = fetch(suite, folder)
    report = folder / f"{name}.json"
    report.unlink(missing_ok=True)
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src"), str(source)]),
        "DATABASE_URL": url,
        NEEDS: str(install(suite, folder)),
        REPORT: str(report),
        **({ASYNC: "1"} if name == "async" else {}),
        **({STOCK: "1"} if stock else {}),
    }
    # -s: SQLAlchemy's tests would else take the package from their own source, which is not compiled.
    command = [sys.executable, "-s", "-m", "pytest", "-p", "suites.plugin", *suite.options, *_options(suite, url)]
    command += ["-q", "-r", "N", "--tb", "no", "--disable-warnings", "--maxfail", "0", "-p", "no:cacheprovider"]
    command += ["-n", str(workers if suite.parallel else 0), *(["-k", only] if only else []), *suite.paths]
    subprocess.run(command, cwd=source, env=environment, check=False)  # noqa: S603 - its outcome is in the report
    if not report.exists():
        raise typer.BadParameter(f"pytest has not run the suite {name}")
    return dict(json.loads(report.read_text()))


def _options(suite: Suite, url: str) -> Iterator[str]:
    if suite.distribution == "sqlalchemy":
        yield from ("--dburi", url)
    for path in suite.left_out:
        yield from ("--ignore", path)


def _tell(console: Console, verdict: Verdict) -> None:
    console.print(f"{verdict.passed:,} pass, {verdict.listed} fail as listed")
    for test, error in verdict.unlisted.items():
        console.print(f"[red]fails and is not listed[/]: {escape(test)}\n    {escape(error)}")
    for test in verdict.outdated:
        console.print(f"[red]is listed and does not fail[/]: {escape(test)}")


if __name__ == "__main__":
    typer.run(main)
