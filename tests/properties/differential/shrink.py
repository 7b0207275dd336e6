"""Make a case that shows a disagreement as small as it can be."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any, Final

from tests.properties.differential.cases import Case, Step

__all__ = ["shrink"]

TRIES: Final = 80
"""How many smaller cases are looked at."""


async def shrink(case: Case, disagrees: Callable[[Case], Awaitable[bool]]) -> Case:
    """Return the smallest case found that still disagrees."""
    tries = TRIES
    progress = True
    while progress and tries > 0:
        progress = False
        for smaller in _smaller(case):
            tries -= 1
            if tries <= 0:
                break
            if await disagrees(smaller):
                case, progress = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    for place in range(len(case.steps) if len(case.steps) > 1 else 0):
        yield replace(case, steps=_without(case.steps, place))
    if case.changes:
        yield replace(case, changes=())
    if case.held:
        changed = {number for number, *_ in case.changes}
        yield replace(case, held=tuple(number for number in case.held if number in changed))
    last = len(case.rows) - 1
    if last > 0 and last not in case.held and all(step.row != last for step in case.steps):
        yield replace(case, rows=case.rows[:-1], classes=case.classes[:-1], deleted=case.deleted - {last})
    for place, step in enumerate(case.steps):
        for smaller in _smaller_steps(case, step):
            yield replace(case, steps=(*case.steps[:place], smaller, *case.steps[place + 1 :]))
    for number in case.held:
        if number not in {place for place, *_ in case.changes}:
            yield replace(case, held=tuple(one for one in case.held if one != number))


def _smaller_steps(case: Case, step: Step) -> Iterator[Step]:
    for place in range(len(step.rows) if len(step.rows) > 1 else 0):
        yield replace(step, rows=_without(step.rows, place))
    fixed = {*case.made.key, *case.made.unique, *step.on, *(step.update or ())}
    for name in dict.fromkeys(name for row in step.rows for name in row if name not in fixed):
        yield replace(step, rows=tuple({n: v for n, v in row.items() if n != name} for row in step.rows))


def _without(things: tuple[Any, ...], place: int) -> tuple[Any, ...]:
    return (*things[:place], *things[place + 1 :])
