"""The schedule of faults: drawn from a seed, so that the same seed brings the same weather."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

__all__ = ["Fault", "Plan", "plan"]

Fault = Callable[[Random], Awaitable[None]]
PAUSE: Final = 0.1, 0.4
"""Seconds between two faults: enough for work to be done, too little for peace."""


@dataclass(frozen=True)
class Plan:
    """One fault to come."""

    pause: float
    fault: str
    seed: int
    """Of what is random in the fault itself."""


def plan(faults: Iterable[str], seed: int | str) -> Iterator[Plan]:
    """Yield faults for ever: each of them once in every round, in an order that is new each time."""
    random = Random(seed)
    while True:
        deck = list(faults)
        random.shuffle(deck)
        for name in deck:
            yield Plan(random.uniform(*PAUSE), name, random.getrandbits(32))


async def bring(plans: Iterator[Plan], faults: Mapping[str, Fault], seconds: float, *, at_least: int = 0) -> list[str]:
    """Bring one planned fault after the other, and return the names of those that came.

    They come for *seconds*, and go on until *at_least* so many have come: a slow machine brings few in a second.
    """
    loop = asyncio.get_running_loop()
    end, came = loop.time() + seconds, list[str]()
    for planned in plans:
        await asyncio.sleep(planned.pause)
        if loop.time() > end and len(came) >= at_least:
            break
        await faults[planned.fault](Random(planned.seed))
        came.append(planned.fault)
    return came
