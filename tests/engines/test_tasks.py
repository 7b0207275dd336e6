"""Tasks: what a cancellation does not cut in two, and a session that one task uses at a time."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import weakref
from collections.abc import AsyncGenerator, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import pytest

from sqlkeel.engines._tasks import apart, belong_to_nobody, current_task, disown, finish, is_closing, ref_to
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


class TestCurrentTask:
    async def test_it_is_asyncios(self) -> None:
        """In a task it is that one."""
        assert current_task() is asyncio.current_task()

    def test_there_is_none_in_synchronous_code(self) -> None:
        """Outside of an event loop there is none, and that is no error."""
        assert current_task() is None
