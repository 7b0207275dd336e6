"""Tasks: run work that a cancellation must not interrupt, and find out which task waits for it."""

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
"""A weak reference to a task; ``None`` if there is none."""

_IDLE_TURNS: Final = 1000
"""How many turns of the event loop the work may use in a row while its cancellation is held back."""

callers: dict[asyncio.Task[Any] | None, asyncio.Task[Any] | None] = {}
"""The task that waits for each task of `apart`."""


async def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* to its end, even if the current task is cancelled in the meantime, and return its result.

    The task gets the cancellation at its next ``await``. So the code directly after a COMMIT runs; a cancellation that
    was raised there would suggest that the COMMIT failed. An ``asyncio.timeout`` that expires during *work*, and whose
    block ends before the next ``await``, cancels nothing.

    The work runs in the caller's own task. A cancellation from a callback that the work has scheduled is not held back,
    so a timeout in the driver works as usual. Use `apart` to await code of the application, such as hooks.
    """
    task = asyncio.current_task()
    return await (work if task is None else _Ending(work, task))


async def apart(work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* in a separate task, which a cancellation of the caller does not reach inside `finish`.

    For hooks: in the caller's task, a hook could neither be cancelled separately nor open its own transaction.
    """
    disown()
    return await _start(_for_caller(work, asyncio.current_task()))


def disown() -> None:
    """From now on, ignore cancellations from callbacks that the work of the current `finish` has scheduled so far.

    Called before COMMIT: listeners have run in the same task, and their callbacks must not cancel the COMMIT.
    """
    mark = _mark.get()
    if mark is not None and mark[0].task is current_task():
        mark[0].generation += 1
        _mark.set((mark[0], mark[0].generation))


def belong_to_nobody() -> None:
    """Prevent callbacks scheduled until the next await, also in a new task, from cancelling anything.

    For closing a connection: if that were interrupted, the pool would lose the connection.
    """
    if _mark.get() is not None:
        _mark.set(None)


class _Ending(Generic[_T]):
    """Work that is shielded from cancellations of its task; the task sees it as the future that the work awaits.

    Cancelling a task cancels that future, so this object can check the origin of the cancellation: a scheduled callback
    runs in a copy of the context in which it was scheduled, and the work's context is marked. A cancellation that is
    held back counts only when the work is over, because a timeout inside compares `Task.cancelling` before and after.
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
            self._is_over, self._around = True, None  # copies of the context, with the mark, may outlive the work
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
                given = None  # an error refers to this frame, so this frame must not refer to the error
            try:
                yield self._future()
                step = self._work.send
            except GeneratorExit:
                self._kept = None  # the event loop is gone
                self._work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - whatever the future ended with is passed to the work
                step, given = self._work.throw, error
            finally:
                self._awaited = None

    def _future(self) -> Any:
        """Return what the task awaits: this object for a future; asyncio handles anything else that was yielded."""
        if self._awaited is None:
            self._awaited = self._next_turn()
        elif getattr(self._awaited, "_asyncio_future_blocking", None) is not True:
            return self._awaited  # asyncio raises the proper error for it
        else:
            self._awaited._asyncio_future_blocking = False
            self._idle = 0
        self._asyncio_future_blocking = True
        return self

    def _next_turn(self) -> asyncio.Future[None]:
        """Return the equivalent of a bare ``yield`` as a future, which can be cancelled.

        Work that yields turn after turn is waiting for its cancellation, as anyio's checkpoints do.
        """
        turn = _turn(self.task.get_loop())
        self._idle = 0 if self._kept is None else self._idle + 1
        if self._kept is not None and self._idle > _IDLE_TURNS:
            self._idle = 0
            turn.cancel(*self._kept)
        return turn

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop of the awaited future, which must be the task's."""
        loop: asyncio.AbstractEventLoop = self._awaited.get_loop()
        return loop

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Add the callback to the awaited future; an error there is also the work's."""
        self._awaited.add_done_callback(callback, context=context)

    def cancel(self, msg: object = None) -> bool:
        """Cancel the awaited future if the work itself asks for that; otherwise hold the cancellation back."""
        if not self._is_over and self._is_own():
            return bool(self._awaited.cancel(msg=msg))
        self._kept = (msg,)
        if not self._is_over and self.task.cancelling():
            self.task.uncancel()
            self._uncounted += 1
        return True

    def _is_own(self) -> bool:
        mark = _mark.get() if current_task() is None else None  # inside a task it is not a callback of ours
        while mark is not None and mark[0] is not self:
            mark = mark[0]._around
        return mark == (self, self.generation)

    def _count_again(self) -> Generator[Any, None, None]:
        """Cancel the task while it awaits nothing else, so that held-back cancellations count but interrupt nothing."""
        self._awaited = _turn(self.task.get_loop(), self._cancel_again)
        self._asyncio_future_blocking = True
        yield self

    def _cancel_again(self) -> None:
        for _ in range(self._uncounted):
            self.task.cancel(*self._kept or ())


_mark: ContextVar[tuple[_Ending[Any], int] | None] = ContextVar("sqlkeel_ending", default=None)
"""The innermost running `finish`, and how often it has been disowned."""


def _turn(loop: asyncio.AbstractEventLoop, then: Callable[[], None] | None = None) -> asyncio.Future[None]:
    """Return a future that completes in the next turn of the event loop."""
    turn = loop.create_future()
    loop.call_soon(_end_turn, turn, then)
    return turn


def _end_turn(turn: asyncio.Future[None], then: Callable[[], None] | None) -> None:
    if then is not None:
        then()
    if not turn.done():
        turn.set_result(None)


def _start(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Start a task in the caller's own context, so that the caller sees context variables that a hook sets.

    The loop does not create the task, because its factory may start the task at once, and a context cannot be entered
    twice.
    """
    # Before Python 3.12, asyncio cannot return the current context and would use the task's own.
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=getcurrent().gr_context)


async def _for_caller(work: Coroutine[Any, Any, _T], caller: asyncio.Task[Any] | None) -> _T:
    task = asyncio.current_task()
    callers[task] = caller
    # In the caller's context: a callback that a hook schedules, such as one that cancels a scope, is not the work's.
    token = _mark.set(None)
    try:
        return await work
    finally:
        _mark.reset(token)
        del callers[task]


def _deliver(task: asyncio.Task[Any], message: tuple[object]) -> None:
    """Cancel *task* again, unless the request was withdrawn, as by a timeout whose block has ended."""
    if task.cancelling():
        task.uncancel()
        task.cancel(*message)


def current_task() -> asyncio.Task[Any] | None:
    """Return the current task; ``None`` in synchronous code."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def ref_to(task: asyncio.Task[Any] | None) -> TaskRef:
    """Return the reference that an open block keeps to its task.

    The reference is weak, because a task keeps its coroutine even after its end. In ``wait_for(anext(generator))`` the
    coroutine is the generator, and the generator holds the block: a strong reference would keep both alive forever.
    """
    return None if task is None else weakref.ref(task)


def is_closing(task: asyncio.Task[Any] | None) -> bool:
    """Return whether a task only closes a dropped async generator, as asyncio's own tasks do."""
    # The class of ``generator.aclose()`` has no public name.
    return task is not None and type(task.get_coro()).__name__ == "async_generator_athrow"


def caller_of(task: asyncio.Task[Any]) -> asyncio.Task[Any]:
    """Return the task that ultimately waits for the work of *task*; *task* itself if none does."""
    while (caller := callers.get(task)) is not None:
        task = caller
    return task


def take_back_cancellation() -> bool:
    """Return whether a `CancelledError` came from the work itself and not from the caller, and reset the request.

    It came from the caller if the current task was cancelled and is not one of `apart`.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return True
    if task not in callers:
        return False
    while task.cancelling():
        task.uncancel()
    return True
