"""Running a unit of work again when it lost a race."""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from ..engines._backend import IsolationLevel
from ..errors import CommitUnknown, TransientFault, VersionConflict

__all__ = ["is_transient", "retry", "retry_on_conflict"]

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
    """Call *attempt* until it returns, or fails in a way that another attempt cannot mend.

    Args:
        attempt: The whole unit of work, COMMIT included: a serialization failure may come from there.
        attempts: How often it may be called, at least once.
        deadline: Seconds from now after which no further attempt is begun.
        mends: Tells whether another attempt may mend an error; `is_transient` where it is left out.

    Raises:
        BaseException: What the last attempt raised.
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
    """Return whether the same unit of work, run again, may succeed.

    A fault can hide another one: after a deadlock inside a savepoint, MariaDB complains that there is no savepoint. So
    what a database error came from is looked at too. The caller's own exception is the caller's decision, whatever it
    came from; of a group, every member has to be transient.
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


class _Opens(Protocol[S_co]):
    """What opens transactions: a `Database`."""

    def transaction(
        self, *, isolation: IsolationLevel | None = None, durable: bool = False
    ) -> AbstractAsyncContextManager[S_co]: ...


class _Conflicts:
    """Tells whether a change may succeed when it is made again on the rows as they are now."""

    def __init__(self) -> None:
        self._met: set[tuple[object, ...]] = set()

    def __call__(self, error: BaseException) -> bool:
        if not isinstance(error, VersionConflict):
            return is_transient(error)
        conflict = (error.model, error.key, error.expected)
        # The second time on the same old version: it is not read but given, and will never be another one.
        hopeless = conflict in self._met
        self._met.add(conflict)
        return not hopeless


def retry_on_conflict(
    database: _Opens[S], *, attempts: int = 5, isolation: IsolationLevel | None = None, deadline: float | None = None
) -> Callable[[Callable[Concatenate[S, P], Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
    """Decorate a function that reads rows and changes them, so that it does so again after a conflict.

    For a change that holds whatever the row has become: add one, append a line, mark as seen. The function is called
    without its first parameter, a session, and gets one of a new transaction for each attempt: it has to read there
    what it changes. What is asked of `run_transaction` holds here too, and what that repeats is repeated. Not for a
    change that a person decided on: that person has to see the conflict. It ends the attempts where it comes back on
    the same version, which then was given, by ``expected_version`` for example, and not read.

    Args:
        database: A `Database`.
        attempts: How often the function may run. Of *n* who change one row at once, each round lets one through.
        isolation: As in ``Database.transaction``.
        deadline: Seconds after which no further attempt is begun.

    Raises:
        VersionConflict: The last one, when no attempt is left.
        NestedTransaction: Inside another transaction, whose snapshot may not even show the new row.
    """

    def decorate(function: Callable[Concatenate[S, P], Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            async def attempt() -> T:
                async with database.transaction(isolation=isolation, durable=True) as session:
                    return await function(session, *args, **kwargs)

            return await retry(attempt, attempts=attempts, deadline=deadline, mends=_Conflicts())

        return run

    return decorate
