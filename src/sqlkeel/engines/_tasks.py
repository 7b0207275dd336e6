"""Tasks: work that a cancellation must not cut in two, and who waits for it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from typing import Any, Final, Generic, TypeVar

from greenlet import getcurrent

__all__ = [
    "TaskRef",
    "apart",
    "belong_to_nobody",
    "caller_of",
    "callers",
    "current_task",
    "disown",
    "finish",
    "is_closing",
    "ref_to",
    "take_back_cancellation",
]

_T = TypeVar("_T")

TaskRef = weakref.ref[asyncio.Task[Any]] | None
"""A task that is not kept; ``None`` where there is none."""

_IDLE_TURNS: Final = 1000
"""Turns of the event loop that work may ask for in a row while a cancellation is kept away from it."""

callers: dict[asyncio.Task[Any] | None, asyncio.Task[Any] | None] = {}
"""Who waits for a task of `apart`."""


async def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* to its end even if the running task is cancelled meanwhile, and return what it returns.

    The cancellation is not lost: it is delivered at the task's next ``await``. So what follows directly on a finished
    COMMIT knows that it is finished, where a cancellation raised in its place would say that it was not. An
    ``asyncio.timeout`` that expired meanwhile, and ends before the next ``await``, has nothing to cut short any more.

    The work runs in the caller's own task. A cancellation out of a callback that the work has scheduled is its own: a
    timeout in the driver ends what it is around. Use `apart` for code of others that waits.
    """
    task = asyncio.current_task()
    return await (work if task is None else _Ending(work, task))


async def apart(work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* in a task of its own, which inside of `finish` nobody cancels with the caller, and return its result.

    For hooks: in the caller's task one of them could neither be cancelled by itself nor open a transaction of its own.
    """
    disown()
    return await _start(_for_caller(work, asyncio.current_task()))


def disown() -> None:
    """Keep what was scheduled up to here from cancelling what the running `finish` waits for from here on.

    For COMMIT: listeners run before it in the same task, and what they have scheduled is not the driver's.
    """
    mark = _mark.get()
    if mark is not None and mark[0].task is current_task():
        mark[0].generation += 1
        _mark.set((mark[0], mark[0].generation))


def belong_to_nobody() -> None:
    """Keep what is scheduled from here to the next wait, in a task that is made here too, from cancelling anything.

    For a connection that is closed: one that is cut short there is missing in its pool.
    """
    if _mark.get() is not None:
        _mark.set(None)


class _Ending(Generic[_T]):
    """Work from which the cancellations of its task are kept away; to the task, the future that the work waits for.

    Such a future is told of a cancellation by whoever cancels, so that it can look where that comes from: whatever
    schedules a callback copies its context, and in that the work is marked. What is kept does not count until the work
    is over, because a timeout inside of it compares `Task.cancelling` before and after.
    """

    def __init__(self, work: Coroutine[Any, Any, _T], task: asyncio.Task[Any]) -> None:
        self.task = task
        self.generation = 0
        self._work = work
        self._around = _mark.get()
        self._awaited: Any = None
        self._asyncio_future_blocking = False
        self._kept: tuple[object] | None = None
        self._uncounted = 0
        self._idle = 0
        self._is_over = False

    def __await__(self) -> Generator[Any, None, _T]:
        try:
            return (yield from self._steps())
        finally:
            self._is_over, self._around = True, None  # copies of the context, and so the mark, may live on
            if self._kept is not None:
                yield from self._count_again()
                self.task.get_loop().call_soon(_deliver, self.task, self._kept)

    def _steps(self) -> Generator[Any, None, _T]:
        step: Callable[[Any], Any] = self._work.send
        given: Any = None
        while True:
            token = _mark.set((self, self.generation))
            try:
                self._awaited = step(given)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]  # typeshed has Any
            finally:
                _mark.reset(token)
                given = None  # an error leads to this frame, and this frame must not lead to the error
            try:
                yield self._future()
                step = self._work.send
            except GeneratorExit:
                self._kept = None  # the event loop is gone
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - with whatever the future has ended, the work is told
                step, given = self._work.throw, error
            finally:
                self._awaited = None

    def _future(self) -> Any:
        """Return what the task waits for: this, for a future; what else the work may have given is for asyncio."""
        if self._awaited is None:
            self._awaited = self._next_turn()
        elif getattr(self._awaited, "_asyncio_future_blocking", None) is not True:
            return self._awaited  # asyncio says what is wrong with it
        else:
            self._awaited._asyncio_future_blocking = False
            self._idle = 0
        self._asyncio_future_blocking = True
        return self

    def _next_turn(self) -> asyncio.Future[None]:
        """Return what a bare ``yield`` waits for, as a future, which is told of a cancellation.

        Work that asks for one turn after the other waits for its cancellation, as anyio's checkpoints do.
        """
        turn = _turn(self.task.get_loop())
        self._idle = 0 if self._kept is None else self._idle + 1
        if self._kept is not None and self._idle > _IDLE_TURNS:
            self._idle = 0
            turn.cancel(*self._kept)
        return turn

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of what the work waits for, which has to be the task's."""
        loop: asyncio.AbstractEventLoop = self._awaited.get_loop()
        return loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call back with what the work waits for: its error, too, is the work's."""
        self._awaited.add_done_callback(callback, context=context)

    def cancel(self, msg: object = None) -> bool:
        """Cancel what the work waits for, if the work itself asks for that; if not, say that it has been seen to."""
        if not self._is_over and self._is_own():
            return bool(self._awaited.cancel(msg=msg))
        self._kept = (msg,)
        if not self._is_over and self.task.cancelling():
            self.task.uncancel()
            self._uncounted += 1
        return True

    def _is_own(self) -> bool:
        mark = _mark.get() if current_task() is None else None  # another task is nobody's callback
        while mark is not None and mark[0] is not self:
            mark = mark[0]._around
        return mark == (self, self.generation)

    def _count_again(self) -> Generator[Any, None, None]:
        """Cancel the task while it waits for just that: so the kept cancellations count, and cut nothing short."""
        self._awaited = _turn(self.task.get_loop(), self._cancel_again)
        self._asyncio_future_blocking = True
        yield self

    def _cancel_again(self) -> None:
        for _ in range(self._uncounted):
            self.task.cancel(*self._kept or ())


_mark: ContextVar[tuple[_Ending[Any], int] | None] = ContextVar("sqlkeel_ending", default=None)
"""The innermost `finish` whose work is running, and how often it has been disowned."""


def _turn(loop: asyncio.AbstractEventLoop, then: Callable[[], None] | None = None) -> asyncio.Future[None]:
    """Return a future that ends in the next turn of the event loop."""
    turn = loop.create_future()
    loop.call_soon(_end_turn, turn, then)
    return turn


def _end_turn(turn: asyncio.Future[None], then: Callable[[], None] | None) -> None:
    if then is not None:
        then()
    if not turn.done():
        turn.set_result(None)


def _start(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Start a task in the caller's own context, which waits: what is set there, by a hook, is set here.

    Not by the loop, whose factory may start it at once (eager tasks): a context is not entered twice.
    """
    # asyncio has no way to ask for the running context before Python 3.12, and gives the task's own then.
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=getcurrent().gr_context)


async def _for_caller(work: Coroutine[Any, Any, _T], caller: asyncio.Task[Any] | None) -> _T:
    task = asyncio.current_task()
    callers[task] = caller
    # In the caller's context: what is scheduled here, as by a hook that cancels a scope, is not of the work around it.
    token = _mark.set(None)
    try:
        return await work
    finally:
        _mark.reset(token)
        del callers[task]


def _deliver(task: asyncio.Task[Any], message: tuple[object]) -> None:
    """Cancel *task* once more, unless whoever cancelled it has taken that back (a timeout that ended)."""
    if task.cancelling():
        task.uncancel()
        task.cancel(*message)


def current_task() -> asyncio.Task[Any] | None:
    """Return the running task; ``None`` in synchronous code."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def ref_to(task: asyncio.Task[Any] | None) -> TaskRef:
    """Return what an open block may keep of its task, and be found by.

    A task keeps what it was made of, also when it has ended: of ``wait_for(anext(generator))`` the generator, which
    holds the block. With the task itself both would be there for ever.
    """
    return None if task is None else weakref.ref(task)


def is_closing(task: asyncio.Task[Any] | None) -> bool:
    """Tell whether a task closes an async generator and does nothing else: one of asyncio's, where it was dropped."""
    # The class of ``generator.aclose()``, which has no other name in Python.
    return task is not None and type(task.get_coro()).__name__ == "async_generator_athrow"


def caller_of(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """Return the task that waits for the work of *task*: itself, where it is nobody's."""
    while (caller := callers.get(task)) is not None:
        task = caller
    return task


def take_back_cancellation() -> bool:
    """Tell whether a `CancelledError` is nobody's who waits for the running task, and forget that it was asked for.

    It is its caller's where the task is not one of `apart`, and somebody has cancelled it.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return True
    if task not in callers:
        return False
    while task.cancelling():
        task.uncancel()
    return True
