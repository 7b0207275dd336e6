"""Only one task uses a session at a time: refuse a second one, and end a session that another task still uses."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar, cast

import sqlalchemy
from sqlalchemy.exc import InvalidRequestError

from ..engines._tasks import caller_of, callers, current_task, is_closing
from ..errors import KeelError, SessionClosed, SessionShared
from ._overriding import renewable

__all__ = ["Turn", "Use", "at_once"]

_F = TypeVar("_F", bound=Callable[..., Any])
_User = asyncio.Task[Any] | threading.Thread

_process: Final = [os.getpid()]
"""The id of this process, kept here because each use of a session checks it; read again after a fork."""


def _renew() -> None:
    _process[0] = os.getpid()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew)

_OURS: Final = str(Path(__file__).parent), str(Path(asyncio.__file__).parent), contextlib.__file__
_SQLALCHEMY: Final = str(Path(sqlalchemy.__file__).parent)


class Turn:
    """The right to use a session: one task has it until its call returns.

    A call of another task is refused. The end of a block does not wait for another task's statement, which may take
    forever. It interrupts that task, as `asyncio.timeout` does, and both tasks get a `SessionShared`. The pool then
    replaces the connection. Only a COMMIT or ROLLBACK of another task is awaited, not interrupted.
    """

    loop: asyncio.AbstractEventLoop | None = None
    """The event loop of the connection that the session holds."""

    sharing: SessionShared | None = None
    """The error of a task that was refused in this transaction; that task may have left half of its changes."""

    home: asyncio.AbstractEventLoop | None = None
    """The event loop of the block around the session; only that loop can end transactions of the block."""

    is_going_on: bool = False
    """Whether any task has the turn."""

    is_ending: bool = False
    """Whether that task is ending a transaction."""

    def __init__(self) -> None:
        self._process = _process[0]
        self._owner: _User | None = None
        self._task: asyncio.Task[Any] | None = None
        self._claimant: _User | None = None
        self._interruption: SessionShared | None = None
        self._takes_back = False
        self._waiting: list[asyncio.Future[None]] = []
        self._closed_by: weakref.ref[Any] | None = None

    def use(self, *, ending: bool = False) -> Use:
        """Return a context manager for one use of the session; a use that is *ending* it is not interrupted."""
        return Use(self, ending)

    def is_mine(self) -> bool:
        """Whether the current task already has the turn: a call of the task then belongs to the same use."""
        task = current_task()
        if task is not None and task is self._task:
            return True
        return self._owner is not None and self._owner is _here()[0]

    @property
    def task(self) -> asyncio.Task[Any] | None:
        """The task that has the turn, if any."""
        return self._task

    @property
    def closer(self) -> asyncio.Task[Any] | None:
        """The task that has or claims the turn, if it is one that closes a dropped generator."""
        users = (one for one in (self._owner, self._claimant) if isinstance(one, asyncio.Task))
        return next((one for one in users if is_closing(one)), None)

    @property
    def is_free(self) -> bool:
        """Whether no task has or claims the turn."""
        return self._owner is None and self._claimant is None

    @property
    def is_closed(self) -> bool:
        """Whether the session was closed permanently."""
        return self._closed_by is not None

    def claim(self) -> SessionShared | None:
        """Reserve the turn until `give_back`; if another task has it, return the error about that."""
        user, task = _here()
        conflict = self._conflict(user, task)
        if conflict is None:
            self._claimant = user
        return conflict

    async def take_over(self) -> SessionShared | None:
        """Claim the turn for the end of a block, even from another task; return the error about that task.

        The other task's statement is interrupted, and this waits until that task has released the connection.

        Raises:
            SessionShared: When the turn cannot be taken: the other task is unreachable from here, or waits for us.
        """
        if (conflict := self.claim()) is None:
            return None
        user, task = _here()
        if task is None or not self._can_wait(user, task):
            raise conflict
        while self._others(user) is not None:
            if self._claimant is None:
                self._claimant = user
            if self._claimant is user:
                self._interrupt(conflict)
            await self.change()
        self._claimant = user
        return conflict

    @property
    def claimant(self) -> _User | None:
        """The task that has claimed the turn, for `give_back`."""
        return self._claimant

    def give_back(self, user: _User | None, *, closed: bool = False) -> None:
        """Release the turn of *user*; if the session is permanently *closed*, later calls get an error about that."""
        if self._claimant is user:
            self._claimant = None
        if closed and self._closed_by is None and user is not None:
            # A weak reference: the task holds the session, and a cycle would wait for the garbage collector.
            self._closed_by = weakref.ref(user)
        if self._waiting:
            self._notify()

    def refuse_others(self) -> None:
        """Raise `SessionShared` if another task has the turn."""
        claimant = self._claimant
        is_alone = claimant is not None and (self._owner is None or self._owner is claimant)
        if is_alone and claimant is current_task() and self._process == _process[0]:
            return  # SQLAlchemy empties a session before it closes it
        if (conflict := self._conflict(*_here())) is not None:
            raise self._told(conflict)

    def _told(self, conflict: SessionShared) -> SessionShared:
        # A copy: the frames of the error hold the session, and a cycle would wait for the garbage collector.
        self.sharing = SessionShared(conflict.first, conflict.second)
        return conflict

    def _refuse_closed(self, user: _User, task: asyncio.Task[Any] | None) -> None:
        if self._closed_by is not None and (closer := self._closed_by()) is not user:
            raise SessionShared(_call_site(closer), _call_site(task), closed=True)

    def _conflict(self, user: _User, task: asyncio.Task[Any] | None) -> SessionShared | None:
        if self._process != _process[0]:
            return SessionShared(f"process {self._process}", _call_site(task))
        is_free = self._owner is None and self._claimant is None  # inlined for speed, as in `_here`
        if not is_free and (other := self._others(user)) is not None:
            return SessionShared(_call_site(other), _call_site(task))
        loop = self.home if self.loop is None else self.loop
        if loop is not None and (task is None or task.get_loop() is not loop):
            return SessionShared("another event loop", _call_site(task))
        return None

    def _can_wait(self, user: _User, task: asyncio.Task[Any]) -> bool:
        if self._process != _process[0] or self._owner is user:
            return False
        loops = {self.loop, self._task and self._task.get_loop(), task.get_loop()}
        return len(loops - {None}) == 1

    def _others(self, user: _User) -> _User | None:
        """Return the task other than *user* that has or claims the turn."""
        for other in (self._owner, self._claimant):
            if other is not None and other is not user and not _has_ended(other):
                return other
        return None

    def _interrupt(self, refusal: SessionShared) -> None:
        if self._task is not None and self._interruption is None and not self.is_ending:
            self._interruption = refusal
            # As in `asyncio.timeout`: a task that other code has cancelled before stays cancelled.
            self._takes_back = not self._task.cancelling()
            self._task.cancel()

    def change(self) -> asyncio.Future[None]:
        """Return a future that completes when a task releases the turn."""
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        return change

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)


class Use:
    """One use of a session; further uses inside it, by the same task, belong to it."""

    __slots__ = ("_ending", "_is_outermost", "_turn", "_was_ending")

    def __init__(self, turn: Turn, ending: bool) -> None:
        self._turn = turn
        self._ending = ending

    def __enter__(self) -> None:
        turn = self._turn
        user, task = _here()
        self._is_outermost = turn._owner is not user
        if self._is_outermost:
            if (conflict := turn._conflict(user, task)) is not None:
                raise turn._told(conflict)
            if turn._closed_by is not None:
                turn._refuse_closed(user, task)
            turn._owner, turn._task, turn.is_going_on = user, task, True
        self._was_ending = turn.is_ending
        turn.is_ending = self._ending or self._was_ending

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        turn = self._turn
        turn.is_ending = self._was_ending
        task, interruption = turn._task, turn._interruption
        if self._is_outermost:
            turn._owner = turn._task = turn._interruption = None
            turn.is_going_on = False
        if turn._waiting:
            turn._notify()
        if interruption is not None and self._is_outermost and task is not None:
            cancelled = task.uncancel() or not turn._takes_back
            if not (cancelled and isinstance(error, asyncio.CancelledError)):
                raise SessionShared(interruption.first, interruption.second) from error


@renewable
def at_once(method: _F) -> _F:
    """Refuse a call of *method*, which does not await anything, while another task is using the session."""

    @functools.wraps(method)
    def guarded(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        turn: Turn = self.turn
        if turn._owner is not None or turn._claimant is not None:
            turn.refuse_others()
        try:
            return method(self, *args, **kwargs)
        except InvalidRequestError as error:
            if turn.is_closed and not isinstance(error, KeelError):
                raise SessionClosed from error
            raise

    return cast("_F", guarded)


def _here() -> tuple[_User, asyncio.Task[Any] | None]:
    """Return the user of the session and the task that runs for it: `finish` runs in a task of its own."""
    # Inlined `current_task` and `caller_of`, because each use of a session calls this, usually twice.
    try:
        task = asyncio.current_task()
    except RuntimeError:
        task = None
    if task is None:
        return threading.current_thread(), None
    return (caller_of(task) if task in callers else task), task


def _has_ended(user: _User) -> bool:
    return not user.is_alive() if isinstance(user, threading.Thread) else user.done()


def _call_site(user: _User | None) -> str:
    """Return file and line of the innermost application code that a task is in."""
    if not isinstance(user, asyncio.Task):
        return (user or threading.current_thread()).name
    task = caller_of(user)
    site = "the end of a dropped async generator" if is_closing(task) else f"{_name(task)}()"
    for frame in _frames(task):
        filename = frame.f_code.co_filename
        if filename.startswith(_SQLALCHEMY):
            break  # further frames belong to the driver
        if not filename.startswith(_OURS):
            site = f"{Path(filename).name}:{frame.f_lineno} in {frame.f_code.co_name}()"
    return site


def _name(task: asyncio.Task[Any]) -> str:
    """Return the coroutine of *task*: for ``gather(session.execute(...))`` nothing else belongs to the caller."""
    return str(getattr(task.get_coro(), "__qualname__", "unknown"))


def _frames(task: asyncio.Task[Any]) -> Iterator[Any]:
    awaited: Any = task.get_coro()
    while awaited is not None:
        frame = getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None)
        if frame is not None:
            yield frame
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
