"""Running a unit of work again when it lost a race."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from .errors import CommitUnknown, TransientFault

__all__ = ["is_transient", "retry"]

T = TypeVar("T")

FIRST_PAUSE: Final = 0.02
LONGEST_PAUSE: Final = 1.0
"""Seconds; each pause is random between zero and a bound that doubles ("full jitter": AWS Architecture Blog, 2015)."""


async def retry(attempt: Callable[[], Awaitable[T]], *, attempts: int, deadline: float | None = None) -> T:
    """Call *attempt* until it returns, or fails in a way that another attempt cannot mend.

    Args:
        attempt: The whole unit of work, COMMIT included: a serialization failure may come from there.
        attempts: How often it may be called, at least once.
        deadline: Seconds from now after which no further attempt is begun.

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
            if number == attempts or late or not is_transient(error):
                raise
        await asyncio.sleep(pause)
    raise AssertionError("the last attempt returns or raises")


def is_transient(error: BaseException) -> bool:
    """Tell whether the same unit of work, run again, may succeed.

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
