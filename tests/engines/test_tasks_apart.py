"""Work in a task of its own, and what becomes of it when the program ends."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import weakref
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from sqlkeel.engines._tasks import apart, current_task, finish
from tests.engines.task_work import Failure, Work


class TestApart:
    async def test_a_hook_that_cancels_its_caller_goes_on(self) -> None:
        """What it schedules is not of the end around it, though it is in the same context."""
        steps: list[str] = []

        async def hook(task: asyncio.Task[Any]) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)
            await asyncio.sleep(0.01)
            steps.append("ended")

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            await finish(apart(hook(task)))
            steps.append("before the cancellation")
            await asyncio.sleep(0)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(main())

        assert steps == ["ended", "before the cancellation"]

    async def test_it_is_another_task(self) -> None:
        """It has one of its own, in the same context."""
        known: ContextVar[int] = ContextVar("known", default=0)

        async def work() -> object:
            known.set(1)
            return current_task()

        assert await finish(apart(work())) not in {None, asyncio.current_task()}
        assert known.get() == 1

    async def test_inside_of_an_end_the_caller_does_not_cancel_it(self) -> None:
        """It ends with the work around it."""
        work = Work()

        task = await work.cancelled_meanwhile(finish(apart(work.run())))

        assert work.steps == ["begun", "ended"]
        assert task.exception() is None

    async def test_what_a_listener_has_scheduled_does_not_reach_it(self) -> None:
        """The group around its caller fails because of a listener: the hooks run to their end."""
        steps: list[str] = []

        async def fail() -> None:
            raise Failure

        async def work(group: asyncio.TaskGroup) -> str:
            group.create_task(fail())
            return await apart(asyncio.sleep(0.01, result="done"))

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                steps.append(await finish(work(group)))

        assert steps == ["done"]

    async def test_a_checkpoint_passes(self) -> None:
        """It does not see the cancel scope around its caller."""
        steps: list[str] = []

        with anyio.CancelScope() as scope:
            scope.cancel()
            await finish(apart(anyio.lowlevel.checkpoint_if_cancelled()))
            steps.append("done")

        assert steps == ["done"]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Have SIGINT answered as in a shell, which switches it off for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class TestEndOfTheProgram:
    def test_what_is_cancelled_with_all_tasks_ends(self) -> None:
        """asyncio.run() cancels every task when the program is over, and waits for them."""
        steps: list[str] = []

        async def work() -> None:
            await asyncio.sleep(0.01)
            steps.append("ended")

        async def main() -> None:
            steps.append(f"{asyncio.create_task(finish(work())).done()}")
            await asyncio.sleep(0)

        asyncio.run(main())

        assert steps == ["False", "ended"]

    def test_ctrl_c_waits_for_it(self, interruptible: None) -> None:
        """SIGINT cancels the main task: the work ends, and then the program with a KeyboardInterrupt."""
        steps: list[str] = []

        async def work() -> None:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.sleep(0.01)
            steps.append("ended")

        async def main() -> None:
            await finish(work())
            await asyncio.sleep(0)
            steps.append("never")

        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main())

        assert steps == ["ended"]

    async def test_what_nobody_waits_for_is_closed(self) -> None:
        """As any other coroutine that is dropped in the middle."""
        steps: list[str] = []

        async def work() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                steps.append("closed")

        async def caller() -> None:
            await finish(work())

        coroutine = caller()
        coroutine.send(None)
        coroutine.close()

        assert steps == ["closed"]

    async def test_nor_does_a_cancellation_come_back_there(self) -> None:
        """There is no event loop that could count it."""
        coroutine = finish(Work().run())
        waits_for = coroutine.send(None)
        waits_for.cancel()

        coroutine.close()

        assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED

    async def test_an_error_is_not_held(self) -> None:
        """The frames of an error that came out of a future lead to nothing that only the garbage collector frees."""
        failing = [asyncio.get_running_loop().create_future()]
        asyncio.get_running_loop().call_soon(failing[0].set_exception, Failure())

        async def wait() -> None:
            await failing.pop()

        held: list[weakref.ref[Failure]] = []

        gc.disable()
        try:
            await finish(wait())
        except Failure as error:
            held.append(weakref.ref(error))
        await asyncio.sleep(0)
        gc.enable()

        assert [failure() for failure in held] == [None]

    def test_a_future_of_another_loop_is_refused(self) -> None:
        """As asyncio does it, and the work hears of it."""
        other = asyncio.new_event_loop()
        foreign = other.create_future()

        async def work() -> None:
            await foreign

        with pytest.raises(RuntimeError, match="attached to a different loop"):
            asyncio.run(finish(work()))
        other.close()
