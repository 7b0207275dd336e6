"""Retry a unit of work after a transient fault or a version conflict."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from ..engines._backend import IsolationLevel
from ..errors import CommitUnknown, TransientFault, VersionConflict

__all__ = ["Tries", "is_transient", "retry", "retry_on_conflict"]

P = ParamSpec("P")
S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
T = TypeVar("T")

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds; each pause is random between zero and a bound that doubles ("full jitter": AWS Architecture Blog, 2015)."""


async def retry(
    attempt: Callable[[], Awaitable[T]],
    *,
    attempts: int,
    deadline: float | None = None,
    mends: Callable[[BaseException], bool] | None = None,
) -> T:
    """Call *attempt* until it returns, or raises an error that another attempt cannot fix.

    Args:
        attempt: The whole unit of work including COMMIT, which may raise the serialization failure.
        attempts: The maximum number of calls, at least one.
        deadline: Seconds from now after which no further attempt begins.
        mends: Returns whether another attempt may succeed after an error; `is_transient` by default.

    Raises:
        BaseException: The error of the last attempt.
        ValueError: When *attempts* is less than one.
    """
    if attempts < 1:
        raise ValueError(f"At least one attempt has to be made, not {attempts}.")
    began = time.monotonic()
    for number in range(1, attempts + 1):
        try:
            return await attempt()
        except Exception as error:
            pause = random.uniform(0, min(FIRST_PAUSE * 2 ** min(number, 10), LONGEST_PAUSE))  # noqa: S311 - no secret
            late = deadline is not None and time.monotonic() - began + pause >= deadline
            if number == attempts or late or not (mends or is_transient)(error):
                raise
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def is_transient(error: BaseException) -> bool:
    """Return whether the same unit of work may succeed if it is run again.

    One fault can hide another: after a deadlock inside a savepoint, MariaDB reports that the savepoint does not exist.
    So the causes of a database error count too. An exception of the caller's own is not retried, whatever its cause; of
    an exception group, every member has to be transient.
    """
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_transient, error.exceptions))
    if isinstance(error, TransientFault | CommitUnknown):
        return isinstance(error, TransientFault)
    return isinstance(error, SQLAlchemyError) and any(map(is_transient, _origins(error)))


def _origins(error: BaseException) -> Iterator[BaseException]:
    if error.__cause__ is not None:
        yield error.__cause__
    elif error.__context__ is not None:
        yield error.__context__


class Tries:
    """Decides whether a unit of work is run again; a unit that has called commit() itself is never repeated.

    Args:
        mends: Returns whether another attempt may succeed after an error.
    """

    def __init__(self, mends: Callable[[BaseException], bool]) -> None:
        self._mends = mends
        self._has_committed = False

    @contextmanager
    def watch(self, session: Any) -> Iterator[None]:
        """Surround the function, inside its transaction."""
        try:
            yield
        finally:
            self._has_committed = session.sync_session.is_committed

    def mends(self, error: BaseException) -> bool:
        """Return whether to run the unit of work again after *error*."""
        return not self._has_committed and self._mends(error)


class _Opens(Protocol[S_co]):
    """An object that opens transactions, such as a `Database`."""

    def transaction(
        self, *, isolation: IsolationLevel | None = None, durable: bool = False
    ) -> AbstractAsyncContextManager[S_co]: ...


class _Conflicts:
    """Decides whether a change may succeed when it is repeated on the current rows."""

    def __init__(self) -> None:
        self._met: set[tuple[object, ...]] = set()

    def __call__(self, error: BaseException) -> bool:
        if not isinstance(error, VersionConflict):
            return is_transient(error)
        conflict = (error.model, error.key, error.expected)
        # A second conflict on the same old version: the caller passed that version in, so it never changes.
        hopeless = conflict in self._met
        self._met.add(conflict)
        return not hopeless


def retry_on_conflict(
    database: _Opens[S], *, attempts: int = 5, isolation: IsolationLevel | None = None, deadline: float | None = None
) -> Callable[[Callable[Concatenate[S, P], Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorate a function that reads and changes rows, so that it is repeated after a version conflict.

    Use it for a change that is correct for any state of the row: add one, append a line, mark as seen. If a person made
    the decision, show the conflict to that person instead. Callers omit the first parameter, a session. Each attempt
    passes the session of a new transaction, and the function has to read the rows in that session. The requirements of
    `run_transaction` apply, and its transient faults are also retried. A second conflict on the same version is raised
    at once: the function did not read that version but got it from the caller, for example as ``expected_version``.

    Args:
        database: A `Database`.
        attempts: The maximum number of runs. If *n* callers change one row at once, one succeeds in each round.
        isolation: As in ``Database.transaction``.
        deadline: Seconds after which no further attempt begins.

    Raises:
        VersionConflict: The last one, when no attempt is left.
        NestedTransaction: Inside another transaction, whose snapshot may not even contain the new row.
    """

    def decorate(function: Callable[Concatenate[S, P], Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            async def attempt() -> T:
                async with database.transaction(isolation=isolation, durable=True) as session:
                    with tries.watch(session):
                        return await function(session, *args, **kwargs)

            tries = Tries(_Conflicts())
            return await retry(attempt, attempts=attempts, deadline=deadline, mends=tries.mends)

        return run

    return decorate
