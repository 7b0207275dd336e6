"""Work that the tests of tasks interrupt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.engines.peers import soon

T = TypeVar("T")


class Failure(Exception):
    """What goes wrong in a test."""


class Work:
    """Work that says when it is under way, and goes on when it is told to."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.go_on = asyncio.Event()

    async def run(self) -> str:
        """Begin, wait, end."""
        self.steps.append("begun")
        await self.go_on.wait()
        self.steps.append("ended")
        return "result"

    async def fail(self) -> None:
        """Begin, wait, fail."""
        await self.run()
        raise Failure

    async def cancelled_meanwhile(self, caller: Coroutine[Any, Any, T], *, times: int = 1) -> asyncio.Task[T]:
        """Cancel *caller* while it waits for this work, then let the work go on; return the task when it is over."""
        task = asyncio.create_task(caller)
        assert await soon(lambda: self.steps)
        await cancel(task, times)
        self.go_on.set()
        await asyncio.wait({task})
        return task


async def cancel(task: asyncio.Task[Any], times: int) -> None:
    """Cancel *task* again and again, as a caller does who has no patience."""
    for number in range(times):
        task.cancel(f"cancellation {number}")
        await asyncio.sleep(0)
