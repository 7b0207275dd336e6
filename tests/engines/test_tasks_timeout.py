"""Work that is cancelled by a timeout of its own, or by somebody else's."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from sqlkeel.engines._tasks import finish
from tests.engines.task_work import Failure, Work, cancel


class TestOwnTimeout:
    """Work whose own timeout expires, while its task is cancelled or not: the two are told apart."""

    async def test_it_is_its_callers_task(self) -> None:
        """What the work sees as the running task, before and after it has waited, is who waits for it."""

        async def work() -> list[object]:
            before = asyncio.current_task()
            await asyncio.sleep(0.001)
            return [before, asyncio.current_task()]

        assert await finish(work()) == [asyncio.current_task()] * 2

    @pytest.mark.parametrize("times", [1, 3])
    async def test_it_expires_in_a_task_that_was_cancelled_meanwhile(self, times: int) -> None:
        """The work gets its TimeoutError; the caller is cancelled behind it, and the count is right."""
        work = Work()
        counts: list[int] = []

        async def give_up() -> None:
            async with asyncio.timeout(None) as limit:
                work.steps.append("begun")
                await work.go_on.wait()
                limit.reschedule(0)
                await asyncio.Event().wait()

        async def caller() -> None:
            with pytest.raises(TimeoutError):
                await finish(give_up())
            with pytest.raises(asyncio.CancelledError, match=f"cancellation {times - 1}"):
                await asyncio.sleep(0)
            counts.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]

        await work.cancelled_meanwhile(caller(), times=times)

        assert counts == [times]

    async def test_it_expires_at_once_and_so_does_the_callers(self) -> None:
        """Both in one turn of the event loop: each gets its own."""
        errors: list[str] = []

        async def work() -> None:
            try:
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            except TimeoutError:
                errors.append("of the work")

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await finish(work())
                await asyncio.sleep(0)

        assert errors == ["of the work"]
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_cancel_scope_of_the_work_is_one(self) -> None:
        """One of anyio's inside ends what it is around."""

        async def work() -> bool:
            with anyio.move_on_after(0.01) as scope:
                await asyncio.Event().wait()
            await asyncio.sleep(0)
            return scope.cancelled_caught

        assert await finish(work())
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_group_of_the_work_is_one(self) -> None:
        """A task that fails in it cancels its siblings and its body, and not the caller."""

        async def fail() -> None:
            await asyncio.sleep(0)
            raise Failure

        async def work() -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail())
                await asyncio.Event().wait()

        with pytest.raises(ExceptionGroup):
            await finish(work())

        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_one_around_other_work_waits_for_that(self) -> None:
        """Work inside of work: the outer one's timeout does not cut the inner one in two."""
        steps: list[str] = []

        async def work() -> None:
            async with asyncio.timeout(0.01):
                steps.append(await finish(asyncio.sleep(0.03, result="done")))
                await asyncio.sleep(0)
                steps.append("never")

        with pytest.raises(TimeoutError):
            await finish(work())

        assert steps == ["done"]
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_one_of_work_inside_of_it_ends_that(self) -> None:
        """Work inside of work has timeouts of its own."""

        async def inner() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        async def work() -> str:
            with pytest.raises(TimeoutError):
                await finish(inner())
            return await asyncio.sleep(0, result="done")

        assert await finish(work()) == "done"
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_bare_yield_is_not_cut_short(self) -> None:
        """A turn of the event loop is waited for as anything else."""
        work = Work()

        async def turns() -> None:
            work.steps.append("begun")
            while not work.go_on.is_set():  # noqa: ASYNC110 - the turns are the point
                await asyncio.sleep(0)
            work.steps.append("ended")

        task = await work.cancelled_meanwhile(finish(turns()))

        assert work.steps == ["begun", "ended"]
        assert task.exception() is None

    async def test_turns_with_other_waits_between_are_not(self) -> None:
        """However often a driver lets others have their turn."""
        work = Work()

        async def turns() -> None:
            await work.run()
            for _ in range(1100):
                await asyncio.sleep(0)
                await asyncio.wait_for(asyncio.sleep(0), 1)
            work.steps.append("done")

        await work.cancelled_meanwhile(finish(turns()))

        assert work.steps[-1] == "done"

    async def test_work_that_waits_for_its_cancellation_gets_it(self) -> None:
        """A checkpoint of anyio's asks for one turn after the other until it is cancelled; that ends."""
        with anyio.CancelScope() as scope:
            scope.cancel()
            await finish(anyio.lowlevel.checkpoint_if_cancelled())

        assert scope.cancelled_caught
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


class TestForeign:
    """A cancellation that is not the work's, whoever has made what cancels."""

    async def test_a_task_of_the_work_does_not_cancel_it(self) -> None:
        """A task that it has started cancels the caller, as any task may: the work ends first."""
        steps: list[str] = []

        async def work(caller: asyncio.Task[Any]) -> str:
            asyncio.create_task(cancel(caller, 1)).add_done_callback(lambda _: steps.append("cancelled"))
            return await asyncio.sleep(0.01, result="done")

        async def caller() -> None:
            steps.append(await finish(work(asyncio.current_task())))  # type: ignore[arg-type]
            await asyncio.sleep(0)

        task = asyncio.create_task(caller())
        await asyncio.wait({task})

        assert steps == ["cancelled", "done"]
        assert task.cancelled()

    async def test_a_debugging_loop_is_no_other(self) -> None:
        """Its futures and tasks know where they were made, and that is all."""
        asyncio.get_running_loop().set_debug(True)
        work = Work()

        task = await work.cancelled_meanwhile(finish(work.run()), times=2)

        asyncio.get_running_loop().set_debug(False)
        assert task.result() == "result"
