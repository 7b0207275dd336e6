"""The command: ``python -m suites.packages optuna jupyterhub --database mariadb``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from suites.packages.catalogue import CATALOGUE, DATABASES, VERDICTS, Package, load
from suites.packages.databases import Servers
from suites.sources import install_exactly

__all__ = ["main"]

ROOT: Final = Path(__file__).parents[2]
NAMES: Final = tuple(sorted(path.stem for path in CATALOGUE.glob("*.toml")))
GOOD: Final = VERDICTS[:2]
Tally = Counter[tuple[str, str]]
"""How often a rule has found something of which we think this."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(NAMES)}; all if left out.")] = None,
    database: Annotated[list[str] | None, typer.Option(help=f"{', '.join(DATABASES)}; all if left out.")] = None,
    folder: Annotated[Path | None, typer.Option(help="Where packages are installed, if not for this run.")] = None,
    every: Annotated[bool, typer.Option("--every", help="Print the findings that are judged, too.")] = False,
) -> None:
    """Try the models of packages. Exit 1 where one goes wrong, or a finding is false or judged by nobody."""
    for given, choices in ((names or [], NAMES), (database or [], DATABASES)):
        if unknown := [name for name in given if name not in choices]:
            raise typer.BadParameter(f"{', '.join(unknown)}: one of {', '.join(choices)}")
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False)
    with ExitStack() as stack:
        place = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sqlkeel-packages-")))
        trials = [_Trial(load(name), place.resolve(), console) for name in names or NAMES]
        servers = Servers(stack)
        good = [trial.run(servers, database or DATABASES, every=every) for trial in trials]
    console.print(_table({trial.package.name: trial.tally for trial in trials}))
    raise typer.Exit(not all(good))


class _Trial:
    """One package: what is found in it, and what becomes of it on each database."""

    def __init__(self, package: Package, folder: Path, console: Console) -> None:
        self.package, self.console = package, console
        self.needs = folder / package.name
        self.tally: Tally = Counter()

    def run(self, servers: Servers, databases: Any, *, every: bool) -> bool:
        """Tell how it goes, and return whether all is as it should be."""
        self.console.rule(f"{self.package.name}: {self.package.kind}")
        install_exactly(self.package.pins, self.needs)
        judged = self._lint(every=every)
        return all([judged, *[self._migrate(servers, one) for one in databases]])

    def _lint(self, *, every: bool) -> bool:
        findings = self._process()
        for finding in findings:
            verdict, because = self.package.judge(finding)
            self.tally[finding["rule"], verdict] += 1
            if every or verdict not in GOOD:
                place = f"{finding['rule']} {finding['where']}"
                self.console.print(escape(f"{verdict}: {place}: {finding['says']} {because}"))
        for one in (outdated := self.package.outdated(findings)):
            self.console.print(escape(f"judged, and not found: {one}"))
        return not outdated and all(verdict in GOOD for _, verdict in self.tally)

    def _migrate(self, servers: Servers, database: str) -> bool:
        if (reason := self.package.without.get(database)) is not None:
            self.console.print(f"{database}: not tried. {reason}")
            return True
        with tempfile.TemporaryDirectory() as name, servers.two_databases(database, Path(name)) as urls:
            wrong = self._process(name, *urls)
        self.console.print(f"{database}: {'wrong' if wrong else 'created, compared, migrated up and down'}")
        for one in wrong:
            self.console.print(f"    {escape(one)}")
        return not wrong

    def _process(self, *arguments: str) -> Any:
        """Import the models where nothing else has been imported."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
        command = [
            sys.executable,
            "-s",
            "-m",
            "suites.packages.trial",
            self.package.models,
            str(self.needs),
            *arguments,
        ]
        found = subprocess.run(command, cwd=self.needs, env=environment, check=False, capture_output=True, text=True)  # noqa: S603
        if found.returncode:
            raise typer.BadParameter(f"{self.package.name} cannot be imported.\n{found.stderr}")
        return json.loads(found.stdout)


def _table(tallies: Mapping[str, Tally]) -> Table:
    table = Table("package", "rule", *VERDICTS)
    for package, tally in tallies.items():
        for rule in sorted({rule for rule, _ in tally}):
            table.add_row(package, rule, *(str(tally[rule, verdict] or "") for verdict in VERDICTS))
    total = sum(tallies.values(), Counter())
    sums = [sum(count for (_, one), count in total.items() if one == verdict) for verdict in VERDICTS]
    table.add_section()
    table.add_row("", f"{sum(total.values())} in all", *map(str, sums))
    return table


if __name__ == "__main__":
    typer.run(main)
