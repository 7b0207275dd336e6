"""Tasks: work that a cancellation must not cut in two, and who waits for it."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Self, TypeVar

from greenlet import getcurrent

__all__ = [
    "TaskRef",
    "caller_of",
    "callers",
    "current_task",
    "finish",
    "is_closing",
    "ref_to",
    "take_back_cancellation",
]

_T = TypeVar("_T")

TaskRef = weakref.ref[asyncio.Task[Any]] | None
"""A task that is not kept; ``None`` where there is none."""

callers: dict[asyncio.Task[Any] | None, asyncio.Task[Any] | None] = {}
"""Who waits for a task that finishes something."""


async def finish(work: Coroutine[Any, Any, _T]) -> _T:
    """Run *work* to its end even if the caller is cancelled meanwhile, and return what it returns.

    The cancellation is not lost: it is delivered at the caller's next ``await``. So what follows directly on a finished
    COMMIT knows that it is finished, where a cancellation raised in its place would say that it was not. An
    ``asyncio.timeout`` that expired meanwhile, and ends before the next ``await``, has nothing to cut short any more.
    """
    caller = asyncio.current_task()
    task = _start(_finishing(work, caller))
    if not task.done():
        end = _End(task)
        await end
        if end.cancelled is not None and caller is not None:
            asyncio.get_running_loop().call_soon(_deliver, caller, end.cancelled)
    return task.result()


class _End:
    """The end of a task, which can be awaited and not cancelled; it keeps the cancellation for later.

    A future as `asyncio.isfuture` knows it. Waiting with ``asyncio.wait`` again and again does the same, but costs each
    transaction one more future and turn of the event loop.
    """

    cancelled: tuple[object] | None = None

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task
        self._asyncio_future_blocking = False
        self.get_loop = task.get_loop

    def __await__(self) -> Generator[Self, None, None]:
        while not self._task.done():
            self._asyncio_future_blocking = True
            yield self

    def add_done_callback(self, callback: Callable[[Any], object], *, context: Context | None = None) -> None:
        """Call back when the task has ended; with this and not with the task, whose error is not raised here."""
        self._task.add_done_callback(lambda _: callback(self), context=context)

    def cancel(self, msg: object = None) -> bool:
        """Do what asyncio asks of a future that a cancelled task waits for: say that it has been seen to."""
        self.cancelled = (msg,)
        return True

    def result(self) -> None:
        """Return nothing: whoever waits is only woken up."""


def _start(work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Start a task in the caller's own context, which waits: what is set there, by a listener of COMMIT, is set here.

    Not by the loop, whose factory may start it at once (eager tasks): a context is not entered twice.
    """
    # asyncio has no way to ask for the running context before Python 3.12, and gives the task's own then.
    return asyncio.Task(work, loop=asyncio.get_running_loop(), context=getcurrent().gr_context)


async def _finishing(work: Coroutine[Any, Any, _T], caller: asyncio.Task[Any] | None) -> _T:
    task = asyncio.current_task()
    callers[task] = caller
    try:
        return await work
    finally:
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
    """Return the task for which *task* finishes something: itself, where it is nobody's."""
    while (caller := callers.get(task)) is not None:
        task = caller
    return task


def take_back_cancellation() -> bool:
    """Tell whether a `CancelledError` is nobody's who waits for the running task, and forget that it was asked for.

    It is its caller's where the task is not one of `finish`, and somebody has cancelled it.
    """
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return True
    if task not in callers:
        return False
    while task.cancelling():
        task.uncancel()
    return True
