"""Tasks and sessions: work that a cancellation must not cut in two, and a session that one task uses at a time."""

from __future__ import annotations

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator
from contextvars import Context
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import sqlalchemy

from .errors import SessionShared

__all__ = ["current_task", "finish", "one_task_at_a_time"]

_F = TypeVar("_F", bound=Callable[..., Any])
_T = TypeVar("_T")

_OURS: Final = str(Path(__file__).parent), str(Path(asyncio.__file__).parent)
_SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)
_callers: dict[asyncio.Task[Any] | None, asyncio.Task[Any] | None] = {}
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
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        # What need not wait, such as giving a connection back, is done at once and costs no turn of the loop.
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


async def _finishing(work: Coroutine[Any, Any, _T], caller: asyncio.Task[Any] | None) -> _T:
    task = asyncio.current_task()
    _callers[task] = caller
    try:
        return await work
    finally:
        del _callers[task]


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


def one_task_at_a_time(method: _F) -> _F:
    """Refuse a call of *method* while another task is inside one of the methods of the same object."""

    @functools.wraps(method)
    def guarded(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        task, owner = current_task(), self._owner
        if owner is task:
            return method(self, *args, **kwargs)
        if owner is not None and not owner.done():
            raise SessionShared(_call_site(owner), _call_site(task))
        self._owner = task
        try:
            return method(self, *args, **kwargs)
        finally:
            self._owner = None

    return cast("_F", guarded)


def _call_site(task: asyncio.Task[Any] | None) -> str:
    """Return file and line of the innermost code of the caller's own that *task* is in."""
    while task in _callers:
        task = _callers[task]
    site = f"{_name(task)}()"
    for frame in _frames(task):
        filename = frame.f_code.co_filename
        if filename.startswith(_SQLALCHEMY):
            break  # below it there is only the driver
        if not filename.startswith(_OURS):
            site = f"{Path(filename).name}:{frame.f_lineno} in {frame.f_code.co_name}()"
    return site


def _name(task: asyncio.Task[Any] | None) -> str:
    """Return what *task* was made of: of ``gather(session.execute(...))`` nothing else is the caller's."""
    return str(getattr(task.get_coro() if task is not None else None, "__qualname__", "unknown"))


def _frames(task: asyncio.Task[Any] | None) -> Iterator[Any]:
    awaited: Any = task.get_coro() if task is not None else None
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
