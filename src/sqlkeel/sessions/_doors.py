"""The doors of a session: wrappers around its methods that check whether the call is allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable
from decimal import InvalidOperation
from types import TracebackType
from typing import Any, TypeVar, cast

from sqlalchemy import inspect
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from sqlalchemy.orm import SessionTransaction
from sqlalchemy.util import await_only
from sqlalchemy.util.concurrency import in_greenlet

from ..engines._streams import watch
from ..errors import AlreadyFlushing, InvalidValue, KeelError, SessionClosed, SessionShared, TransactionAborted
from ..models._row_keys import refusal_of_shape, refusal_of_unhashable
from ._overriding import renewable
from ._routes import refuse_reading
from ._sharing import Turn, Use

__all__ = [
    "Block",
    "aborted",
    "door",
    "door_by_key",
    "last_door",
    "left_behind",
    "only_whole",
    "past_flush",
    "remembered",
    "take_over",
    "watched",
]

_F = TypeVar("_F", bound=Callable[..., Any])


@renewable
def door(method: _F) -> _F:
    """Let one task at a time call *method*; raise `TransactionAborted` if an earlier error was swallowed."""
    return _guarded(method, ending=False)


@renewable
def last_door(method: _F) -> _F:
    """Like `door`, for a method that ends a transaction: other tasks wait for it, and it is refused inside a flush."""
    return _guarded(_past_listeners(method), ending=True)


def aborted(*, savepoint: bool = False, cause: BaseException | None = None) -> TransactionAborted:
    """Return the error for a call after a swallowed failure in the transaction or its *savepoint*."""
    part, rest = ("savepoint", "nothing of it") if savepoint else ("transaction", "nothing")
    if isinstance(cause, GeneratorExit):
        return left_behind(f"A block in the {part} was in an async generator that was closed before its end")
    return TransactionAborted(f"A part of the {part} failed, and its error was swallowed; {rest} is written.")


def left_behind(what: str) -> TransactionAborted:
    """Return the error for a block whose async generator was abandoned; *what* describes the block."""
    return TransactionAborted(
        f"{what}; nothing is written.",
        hint="Close the generator where you leave it: async with contextlib.aclosing(generator): ...; "
        'in FastAPI, before the transaction ends: Depends(..., scope="function").',
    )


def _guarded(method: _F, *, ending: bool) -> _F:
    @functools.wraps(method)
    def guarded(self: Any, /, *args: Any, **options: Any) -> Any:
        # One long function instead of several calls, because each statement passes two or three doors.
        turn: Turn = self.turn
        try:
            if turn.is_going_on and (not ending or turn.is_ending) and turn.is_mine():
                return method(self, *args, **options)
            with Use(turn, ending):
                return method(self, *args, **options)
        except InvalidRequestError as error:
            if turn.is_closed and not isinstance(error, KeelError):
                raise SessionClosed from error
            if (refusal := _swallowed_before(self, error)) is not None:
                raise refusal from refusal.__cause__
            raise
        except InvalidOperation as error:
            raise InvalidValue("A value is Decimal('sNaN'), which Python cannot compare with any other.") from error
        except TypeError as error:
            if (unhashable := refusal_of_unhashable(error)) is not None:
                raise unhashable from error
            raise

    return cast("_F", guarded)


def _past_listeners(method: _F) -> _F:
    """Refuse *method* inside a flush listener, where it would commit or roll back half of the flush."""

    @functools.wraps(method)
    def ending(self: Any, /, *args: Any, **options: Any) -> Any:
        if self.is_flushing:
            raise AlreadyFlushing(f"called {method.__name__}()")
        return method(self, *args, **options)

    return cast("_F", ending)


def _swallowed_before(session: Any, error: InvalidRequestError) -> TransactionAborted | None:
    """Return the error to raise instead of *error*, if *error* only reports an earlier failure."""
    if isinstance(error, TransactionAborted | SessionShared):
        return None
    nested = session.get_nested_transaction()
    current = nested or session.get_transaction()
    if current is None or current.is_active:
        return None
    failure = session.failure_in(current)
    if failure is not None and failure in (error, error.__cause__):  # *error* is the failure itself
        return None
    if failure is None and not isinstance(error, PendingRollbackError):
        return None  # nothing failed: a listener sends a statement while the transaction ends
    # SQLAlchemy's error advises a rollback, which would silently lose the earlier work of the unit of work.
    refusal = aborted(savepoint=nested is not None, cause=failure)
    refusal.__cause__ = failure or error
    return refusal


def door_by_key(method: _F) -> _F:
    """Like `door`, and raise our own error for a key with the wrong number of values."""

    @functools.wraps(method)
    def reading(self: Any, entity: Any, ident: Any, **options: Any) -> Any:
        try:
            return method(self, entity, ident, **options)
        except InvalidRequestError as error:
            refusal = None if isinstance(error, KeelError) else refusal_of_shape(inspect(entity).mapper, ident)
            if refusal is None:
                raise
            raise refusal from error

    return cast("_F", door(reading))


@renewable
def watched(method: _F) -> _F:
    """Watch each stream that *method* opens, until the stream is closed."""

    @functools.wraps(method)
    def opening(self: Any, /, *args: Any, **options: Any) -> Any:
        result = method(self, *args, **options)
        watch(result, self.turn.use)
        return result

    return cast("_F", opening)


@renewable
def past_flush(method: _F) -> _F:
    """Refuse *method* in a read-only session, and remember its failure: it bypasses the listeners of a flush."""

    @functools.wraps(method)
    def writing(self: Any, /, *args: Any, **options: Any) -> Any:
        refuse_reading(self, "write rows")
        return method(self, *args, **options)

    return cast("_F", remembered(writing))


@renewable
def remembered(method: _F) -> _F:
    """Remember that *method* failed and rolled back, so that a caller that swallows the error cannot commit."""

    @functools.wraps(method)
    def writing(self: Any, /, *args: Any, **options: Any) -> Any:
        try:
            return method(self, *args, **options)
        except BaseException as error:
            if not self.is_active:
                self.leave_half_done(error)
            raise

    return cast("_F", writing)


@renewable
def only_whole(method: _F) -> _F:
    """Refuse *method*, a COMMIT or its first phase, after a part of the work has failed."""

    @functools.wraps(method)
    def ending(self: Any, /, *args: Any, **options: Any) -> Any:
        self.refuse_half_done()
        return method(self, *args, **options)

    return cast("_F", ending)


class Block(SessionTransaction):
    """A transaction or savepoint that the caller ends, as a block or with a method of its own.

    Neither calls a method of the session, so the class itself makes the checks of a door.
    """

    session: Any  # The `SyncSession` that created it; its module imports this one.

    def commit(self, _to_root: bool = False) -> None:
        """Commit, unless a part of the transaction failed and the error was swallowed."""
        with self.session.turn.use(ending=True):
            if (refusal := self._aborted()) is not None:
                raise refusal
            super().commit(_to_root)

    def prepare(self) -> None:
        """Run the first phase of a two-phase COMMIT, unless a part failed and the error was swallowed."""
        with self.session.turn.use(ending=True):
            if (refusal := self._aborted()) is not None:
                raise refusal
            super().prepare()

    def rollback(self, _capture_exception: bool = False, _to_root: bool = False) -> None:
        """Roll back."""
        with self.session.turn.use(ending=True):
            super().rollback(_capture_exception, _to_root)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        turn = self.session.turn
        # Another task's unfinished work cannot be committed. After a flush whose error was swallowed, SQLAlchemy would
        # end the block silently.
        sharing = take_over(turn)
        user = turn.claimant
        try:
            conflict = sharing or self._aborted()
            if conflict is not None and error is None:
                super().__exit__(type(conflict), conflict, None)
                raise conflict
            super().__exit__(kind, error, trace)
        finally:
            turn.give_back(user)

    def _aborted(self) -> TransactionAborted | SessionShared | None:
        sharing: SessionShared | None = self.session.sharing_in(self)
        if sharing is not None:
            return sharing
        failure = self.session.failure_in(self)
        if failure is None or (self.nested and self.is_active):  # an active savepoint passes its failure to its parent
            return None
        error = aborted(savepoint=self.nested, cause=failure)
        error.__cause__ = failure
        return error


def take_over(turn: Turn) -> SessionShared | None:
    """Take the turn from another task, and return the error about that task."""
    conflict = turn.claim()
    if conflict is not None:
        if not in_greenlet():
            raise conflict
        await_only(turn.take_over())
    return conflict
