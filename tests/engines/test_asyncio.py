"""Canaries of what asyncio does not promise: each says which feature breaks with a Python that changes the name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from typing import Any

import pytest

from sqlkeel.engines._tasks import finish, is_closing


class Future:
    """What looks like a future to a task, and notes what the task does with it."""

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        self.asked: list[str] = []
        self.callbacks: list[Any] = []

    def __await__(self) -> Generator[Any, None, None]:
        self._asyncio_future_blocking = True
        yield self

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop of the task."""
        return asyncio.get_running_loop()

    def add_done_callback(self, callback: Any, *, context: Any = None) -> None:
        """Note that the task waits."""
        self.asked.append("wait")
        self.callbacks.append((callback, context))

    def cancel(self, msg: Any = None) -> bool:
        """Note that the task is cancelled, and go on."""
        self.asked.append("cancel")
        return True


class TestFutures:
    async def test_a_task_waits_for_what_looks_like_a_future(self) -> None:
        """finish() could not keep a cancellation away from COMMIT: a COMMIT that was sent would be unknown."""
        future = Future()

        async def wait() -> None:
            await future

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        is_taken = not future._asyncio_future_blocking
        task.cancel()
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        ((callback, context),) = future.callbacks
        asyncio.get_running_loop().call_soon(callback, done, context=context)
        await task

        assert is_taken
        assert future.asked == ["wait", "cancel"]

    async def test_a_future_says_that_somebody_waits(self) -> None:
        """The same: what the work waits for would not be told from what is no future."""
        future = asyncio.get_running_loop().create_future()

        assert next(future.__await__()) is future
        assert future._asyncio_future_blocking is True

    async def test_a_cancellation_waits(self) -> None:
        """The work comes to its end, and the cancellation behind it."""
        ended: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0.01)
            ended.append("work")

        async def run() -> None:
            await finish(work())
            await asyncio.sleep(1)
            ended.append("more")

        task = asyncio.ensure_future(run())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert ended == ["work"]


class TestClosing:
    async def test_the_task_that_closes_a_generator(self) -> None:
        """A savepoint in a generator that was dropped would be taken for one that another task holds."""
        found: list[bool] = []

        async def numbers() -> AsyncIterator[int]:
            try:
                yield 1
            finally:
                found.append(is_closing(asyncio.current_task()))

        generator = numbers()
        await anext(generator)
        del generator
        await asyncio.sleep(0)
        await asyncio.sleep(0)

        assert found == [True]
        assert not is_closing(asyncio.current_task())
