"""Tasks: what a cancellation does not cut in two, and a session that one task uses at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from sqlkeel.engines._tasks import belong_to_nobody, current_task, disown, finish, is_closing, ref_to
from tests.engines.peers import soon
from tests.engines.task_work import Failure, Work


class TestFinish:
    async def test_it_returns_the_result(self) -> None:
        """Without a cancellation it is a plain await."""
        assert await finish(asyncio.sleep(0, result=7)) == 7

    async def test_it_raises_what_the_work_raises(self) -> None:
        """An error of the work is the caller's."""

        async def fail() -> None:
            raise Failure

        with pytest.raises(Failure):
            await finish(fail())

    async def test_a_cancellation_of_the_work_itself_is_raised(self) -> None:
        """Work that was cancelled by somebody else has not ended well."""

        async def give_up() -> None:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await finish(give_up())

    async def test_what_is_set_in_the_work_is_set(self) -> None:
        """A context variable that it sets, before and after it waits, and one that it gives its former value back."""
        before, after = ContextVar("before", default=0), ContextVar("after", default=0)
        token = before.set(1)

        async def work() -> None:
            before.reset(token)
            after.set(1)
            await asyncio.sleep(0)
            after.set(after.get() + 1)

        await finish(work())

        assert (before.get(), after.get()) == (0, 2)

    async def test_what_the_caller_has_set_is_known(self) -> None:
        """The other way round."""
        given: ContextVar[int] = ContextVar("given", default=0)
        given.set(3)

        async def work() -> int:
            await asyncio.sleep(0)
            return given.get()

        assert await finish(work()) == 3

    async def test_a_context_of_ones_own_is_one(self) -> None:
        """What runs in a context that was copied sets nothing outside of it."""
        known: ContextVar[int] = ContextVar("known", default=0)

        async def work() -> None:
            known.set(1)

        async def caller() -> int:
            await finish(work())
            return known.get()

        assert await asyncio.create_task(caller()) == 1
        assert known.get() == 0

    @pytest.mark.parametrize("times", [1, 3])
    async def test_the_result_comes_before_the_cancellation(self, times: int) -> None:
        """What follows directly on the work knows that it has ended; the next await raises the cancellation."""
        work = Work()

        async def caller() -> None:
            work.steps.append(await finish(work.run()))
            await asyncio.sleep(0)
            work.steps.append("never")

        task = await work.cancelled_meanwhile(caller(), times=times)

        assert work.steps == ["begun", "ended", "result"]
        assert task.cancelled()

    async def test_an_error_comes_before_the_cancellation(self) -> None:
        """Work that fails raises its own error; who handles it is cancelled at the next await."""
        work = Work()

        async def caller() -> None:
            with pytest.raises(Failure):
                await finish(work.fail())
            work.steps.append("handled")
            await asyncio.sleep(0)

        task = await work.cancelled_meanwhile(caller())

        assert work.steps == ["begun", "ended", "handled"]
        assert task.cancelled()

    async def test_a_cancellation_that_is_on_its_way_waits_too(self) -> None:
        """One that came before the work began does not keep it from ending."""
        steps: list[str] = []

        async def caller() -> None:
            asyncio.current_task().cancel()  # type: ignore[union-attr]
            steps.append(await finish(asyncio.sleep(0.01, result="done")))
            await asyncio.sleep(0)
            steps.append("never")

        task = asyncio.create_task(caller())
        await asyncio.wait({task})

        assert steps == ["done"]
        assert task.cancelled()

    async def test_a_timeout_of_the_work_itself_is_one(self) -> None:
        """What keeps the caller's cancellation away does not keep the work from giving up by itself."""

        async def work() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await finish(work())

        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_it_is_raised_once(self) -> None:
        """Who catches the cancellation and cleans up is not cancelled again."""
        work = Work()

        async def caller() -> None:
            await finish(work.run())
            with pytest.raises(asyncio.CancelledError, match="cancellation 0"):
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            work.steps.append("clean")

        task = await work.cancelled_meanwhile(caller())

        assert work.steps[-1] == "clean"
        assert task.exception() is None

    async def test_a_caller_without_a_further_await_ends_well(self) -> None:
        """A cancellation that came too late to stop anything stops nothing."""
        work = Work()

        async def caller() -> None:
            await finish(work.run())

        task = await work.cancelled_meanwhile(caller())

        assert task.exception() is None

    async def test_the_count_of_cancellations_is_kept(self) -> None:
        """asyncio.timeout and TaskGroup count on Task.cancelling() being right."""
        work = Work()
        counts: list[int] = []

        async def caller() -> None:
            await finish(work.run())
            with pytest.raises(asyncio.CancelledError):
                await asyncio.sleep(0)
            counts.append(asyncio.current_task().cancelling())  # type: ignore[union-attr]

        await work.cancelled_meanwhile(caller())

        assert counts == [1]

    async def test_a_timeout_that_goes_on_is_a_timeout(self) -> None:
        """asyncio.timeout() recognises its own cancellation at the next await."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await finish(asyncio.sleep(0.05))
                await asyncio.sleep(0)

    async def test_a_timeout_that_ends_there_is_none(self) -> None:
        """It has nothing to cut short any more, and does not haunt what comes after it."""
        async with asyncio.timeout(0.01):
            done = await finish(asyncio.sleep(0.05, result="done"))
        await asyncio.sleep(0)

        assert done == "done"

    async def test_a_cancel_scope_that_goes_on_is_cancelled(self) -> None:
        """anyio, which cancels at every await again, recognises its own cancellation."""
        steps: list[str] = []

        with anyio.move_on_after(0.01) as scope:
            steps.append(await finish(asyncio.sleep(0.05, result="done")))
            await asyncio.sleep(0)
            steps.append("never")
        await asyncio.sleep(0)

        assert scope.cancelled_caught
        assert steps == ["done"]

    async def test_a_cancel_scope_that_ends_there_is_not(self) -> None:
        """Nothing of a scope that is over is left in its task."""
        with anyio.move_on_after(0.01) as scope:
            await finish(asyncio.sleep(0.05))
        await asyncio.sleep(0)

        assert not scope.cancelled_caught
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_group_gets_its_cancellation(self) -> None:
        """A task of a group whose sibling failed is cancelled after its work, and the group fails as usual."""
        steps: list[str] = []

        async def work() -> None:
            steps.append(await finish(asyncio.sleep(0.05, result="done")))
            await asyncio.sleep(0)
            steps.append("never")

        async def fail() -> None:
            await asyncio.sleep(0)
            raise Failure

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(work())
                group.create_task(fail())

        assert [type(error) for error in caught.value.exceptions] == [Failure]
        assert steps == ["done"]


class TestClosing:
    @pytest.mark.parametrize("by_hand", [False, True])
    async def test_a_task_that_closes_a_generator_is_known(self, by_hand: bool) -> None:
        """By the class of its coroutine: without that a block would join what is being rolled back."""
        closers: list[bool] = []

        async def generate() -> AsyncGenerator[int]:
            try:
                yield 1
            finally:
                closers.append(is_closing(asyncio.current_task()))

        generators = [generate()]
        await anext(generators[0])
        if by_hand:
            await generators[0].aclose()
        generators.clear()

        assert await soon(lambda: closers == [not by_hand])


class TestRef:
    async def test_it_is_the_same_for_a_task_as_long_as_that_lives(self) -> None:
        """A block is found by it; without a task there is none."""
        task = asyncio.create_task(asyncio.sleep(0))
        known = {ref_to(task): 1, ref_to(None): 2}

        assert (known[ref_to(task)], known[None], known.get(ref_to(asyncio.current_task()))) == (1, 2, None)
        await task


class TestDisown:
    """What is scheduled in the same work, by a listener, and is not the driver's."""

    async def test_a_group_around_does_not_reach_what_follows(self) -> None:
        """A task that a listener adds to its caller's group fails: the work ends, and then the group."""
        steps: list[str] = []

        async def fail() -> None:
            raise Failure

        async def work(group: asyncio.TaskGroup) -> str:
            group.create_task(fail())
            disown()
            return await asyncio.sleep(0.01, result="done")

        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                steps.append(await finish(work(group)))
                await asyncio.sleep(0)
                steps.append("never")

        assert [type(error) for error in caught.value.exceptions] == [Failure]
        assert steps == ["done"]
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_timeout_that_begins_later_is_the_works(self) -> None:
        """Whatever the driver schedules from there on."""

        async def work() -> None:
            disown()
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await finish(work())

    async def test_another_task_disowns_nothing(self) -> None:
        """One that was started in the work ends its own transactions."""

        async def disown_there() -> None:
            disown()

        async def work() -> None:
            async with asyncio.timeout(0.01):
                await asyncio.create_task(disown_there())
                await asyncio.Event().wait()

        with pytest.raises(TimeoutError):
            await finish(work())


class TestBelongToNobody:
    async def test_a_task_that_is_made_there_cancels_nothing(self) -> None:
        """As one in which a driver closes a connection: what it schedules, and what it makes, is not the work's."""
        steps: list[str] = []

        async def cancel(task: asyncio.Task[Any]) -> None:
            asyncio.get_running_loop().call_soon(task.cancel)

        async def work(task: asyncio.Task[Any]) -> None:
            belong_to_nobody()
            await asyncio.create_task(cancel(task))
            await asyncio.sleep(0.01)
            steps.append("ended")

        async def main() -> None:
            task = asyncio.current_task()
            assert task is not None
            await finish(work(task))
            steps.append("before the cancellation")
            await asyncio.sleep(0)

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(main())

        assert steps == ["ended", "before the cancellation"]


class TestCurrentTask:
    async def test_it_is_asyncios(self) -> None:
        """In a task it is that one."""
        assert current_task() is asyncio.current_task()

    def test_there_is_none_in_synchronous_code(self) -> None:
        """Outside of an event loop there is none, and that is no error."""
        assert current_task() is None
