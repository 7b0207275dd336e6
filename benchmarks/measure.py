"""Measure contenders against a limit, interleaved, and say how far apart they are."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Case", "Measured", "measure"]

Work = Callable[[], Awaitable[Any]]


async def nothing() -> None:
    """Prepare nothing."""


@dataclass(frozen=True)
class Case:
    """One kind of work: the least that it can cost, and who else does it.

    ``reach`` is the ratio that sqlkeel has to reach: a rate (the limit's time by ours, 1.00 is the best) where
    ``is_rate``, else a cost (our time by the limit's).
    """

    name: str
    limit: Work
    contenders: dict[str, Work]
    reach: float
    is_rate: bool = True
    before: Work = nothing
    """Runs before each measurement, and is not measured."""

    repeat: int = 1
    """How often the work is done for one measurement, where once is too short to measure."""

    clock: Callable[[], float] = time.perf_counter
    """What is measured, in seconds."""


@dataclass
class Measured:
    """The times of one contender, and the ratios of each round to the limit of the same round."""

    name: str
    times: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    @property
    def milliseconds(self) -> float:
        """The median time of one piece of work."""
        return statistics.median(self.times) * 1000

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)

    @property
    def spread(self) -> tuple[float, float]:
        """Between which ratios the middle half of the rounds lies."""
        quarters = statistics.quantiles(self.ratios, n=4)
        return quarters[0], quarters[2]


async def measure(case: Case, rounds: int) -> list[Measured]:
    """Run everyone once to warm up, then everyone in turn, in each round."""
    works = {"the limit": case.limit, **case.contenders}
    results = {name: Measured(name) for name in works}
    for work in works.values():
        await _timed(case, work)
    for _ in range(rounds):
        for name, work in works.items():
            results[name].times.append(await _timed(case, work))
        least = results["the limit"].times[-1]
        for result in results.values():
            took = result.times[-1]
            result.ratios.append(least / took if case.is_rate else took / least)
    return list(results.values())


async def _timed(case: Case, work: Work) -> float:
    await case.before()
    gc.collect()
    start = case.clock()
    for _ in range(case.repeat):
        await work()
    return (case.clock() - start) / case.repeat
