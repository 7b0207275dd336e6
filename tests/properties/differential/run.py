"""Run many cases on one database: which were tried, and where the two ways disagreed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from sqlkeel import Database
from tests.properties.differential.cases import Case
from tests.properties.differential.draws import draw_case
from tests.properties.differential.examine import examine
from tests.properties.differential.models import Pool, pool
from tests.properties.differential.schemas import schema_names
from tests.properties.differential.shrink import shrink

__all__ = ["MODELS", "Disagreement", "Report", "case_of", "examined", "models_for", "try_cases"]

MODELS: Final = 40
"""Models of one seed."""

SHOWN: Final = 5
"""Disagreements that are made small; further ones are only counted."""


@dataclass(frozen=True)
class Disagreement:
    """A case in which the two ways differ."""

    driver: str
    seed: int
    number: int
    what: tuple[str, ...]
    case: Case

    def __str__(self) -> str:
        again = (
            f"python -m tests.properties.differential --database {self.driver} --seed {self.seed} --case {self.number}"
        )
        return "\n".join([f"{self.what[0]}", *self.what[1:4], str(self.case), f"again: {again}"])


@dataclass
class Report:
    """What a run has shown."""

    examples: int = 0
    tried: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many steps of each verb met each type and feature."""

    refused: list[str] = field(default_factory=list)
    disagreements: list[Disagreement] = field(default_factory=list)
    further: int = 0

    @property
    def complaints(self) -> list[str]:
        """Everything that is wrong, to be printed."""
        found = [*self.refused, *map(str, self.disagreements)]
        return [*found, f"... and {self.further} more"] if self.further else found

    def add(self, other: Report) -> None:
        """Take in what another run has shown."""
        self.examples += other.examples
        self.tried += other.tried
        self.refused += other.refused
        self.disagreements += other.disagreements
        self.further += other.further


@contextmanager
def models_for(database: Database, *, seed: int) -> Iterator[Pool]:
    """Make the models of a seed, and forget them afterwards."""
    made = pool(database.dialect, seed=str(seed), count=MODELS, schemas=schema_names(database))
    try:
        yield made
    finally:
        made.dispose()


def case_of(models: Pool, *, seed: int, number: int) -> Case:
    """Return the case with a number: the same, whenever and wherever it is asked for."""
    made = models.made[number % len(models.made)]
    return draw_case(made, Random(f"{seed}/{models.database}/{number}"))


async def try_cases(
    database: Database,
    models: Pool,
    *,
    seed: int,
    numbers: Iterable[int],
    until: float | None = None,
    note: Callable[[Disagreement], None] | None = None,
) -> Report:
    """Try these cases, but none that would begin after *until*, of `time.monotonic`."""
    report = Report(refused=[f"no model of plan {one}" for one in models.refused])
    for number in numbers:
        if until is not None and time.monotonic() > until:
            break
        case = case_of(models, seed=seed, number=number)
        what = await examined(database, case)
        report.examples += 1
        _count(report, case)
        if what and len(report.disagreements) >= SHOWN:
            report.further += 1
        elif what:
            found = await _small(database, case, what, seed=seed, number=number)
            report.disagreements.append(found)
            if note is not None:
                note(found)
    return report


async def _small(database: Database, case: Case, what: list[str], *, seed: int, number: int) -> Disagreement:
    async def disagrees(smaller: Case) -> bool:
        try:
            return _kind(await examine(database, smaller)) == _kind(what)
        except Exception:  # noqa: BLE001 - a smaller case may make no sense
            return False

    smallest = await shrink(case, disagrees)
    told = await examined(database, smallest) or what
    driver = "mariadb" if database.dialect == "mariadb" else database.engine.dialect.driver
    driver = "sqlite" if database.dialect == "sqlite" else driver
    return Disagreement(driver, seed, number, tuple(told), smallest)


async def examined(database: Database, case: Case) -> list[str]:
    """Return what differs, or why the case could not be tried."""
    try:
        return await examine(database, case)
    except Exception as error:  # noqa: BLE001 - the run goes on, and shows the case
        return [f"the case could not be tried: {type(error).__name__}: {error}"]


def _kind(what: list[str]) -> str:
    """Return the verb, or the table, and the error: what a smaller case must have in common."""
    return ":".join(what[0].split(":")[:2])[:40] if what else ""


def _count(report: Report, case: Case) -> None:
    for step in case.steps:
        given = {case.made.fields[name].name for row in step.rows for name in row if name in case.made.fields}
        given |= {case.made.fields[step.order[0]].name} if step.order else set()
        for what in {f"type {name}" for name in given} | {
            one for one in case.made.labels if not one.startswith("type ")
        }:
            report.tried[step.verb, what] += 1
