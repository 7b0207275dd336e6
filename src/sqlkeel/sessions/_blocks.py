"""Blocks: what is entered by ``async with``, and says so where it is used in another way."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import _AsyncGeneratorContextManager  # what asynccontextmanager() makes; a canary test holds it
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, NoReturn, ParamSpec, TypeVar

from ..errors import UsageError

__all__ = ["EnteredByAsyncWith", "Entry", "block", "current_entry"]

P = ParamSpec("P")
T = TypeVar("T")


class Entry(NamedTuple):
    """What is known of a block that was entered: whether somebody has it, and which async generators are around it.

    With a generator that is dropped, by a ``break`` out of ``async for``, its block is dropped, too. Nobody sees that
    before asyncio has begun to close the generator, in a task of its own.
    """

    block: weakref.ref[Any]
    generators: tuple[CodeType, ...]

    @property
    def is_dropped(self) -> bool:
        """Whether nobody has the block any more, so that it can only be rolled back."""
        return self.block() is None

    def is_around(self, frame: FrameType) -> bool:
        """Return whether a frame runs in the generators of the block, and not between two of their values."""
        return bool(self.generators) and set(self.generators) <= set(_generators_around(frame))


_entered: Final[ContextVar[weakref.ref[Any]]] = ContextVar("sqlkeel_entered")


def current_entry() -> Entry:
    """Tell the generator of a block how it is entered."""
    # Behind the generator itself, and the two coroutines by which it is entered.
    return Entry(_entered.get(), _generators_around(sys._getframe(4)))


def _generators_around(frame: FrameType | None) -> tuple[CodeType, ...]:
    """Return the code of each async generator in which a frame runs."""
    found = []
    while frame is not None:
        if frame.f_code.co_flags & CO_ASYNC_GENERATOR:
            found.append(frame.f_code)
        frame = frame.f_back
    return tuple(found)


def block(how: str) -> Callable[[Callable[P, AsyncIterator[T]]], Callable[P, _AsyncGeneratorContextManager[T]]]:
    """Make a block of a generator with one ``yield``, as `contextlib.asynccontextmanager` does.

    Used by ``with``, ``await``, ``for`` or ``async for``, or in the place of what it gives, it raises a `UsageError`
    that names it and says *how* it is entered. Python's own error names a class of its library.
    """

    def decorate(function: Callable[P, AsyncIterator[T]]) -> Callable[P, _AsyncGeneratorContextManager[T]]:
        kind: Any = type("block", (_Block,), {"_how": how})

        @functools.wraps(function)
        def opened(*args: P.args, **kwargs: P.kwargs) -> _AsyncGeneratorContextManager[T]:
            made: _AsyncGeneratorContextManager[T] = kind(function, args, kwargs)
            return made

        return opened

    return decorate


class EnteredByAsyncWith:
    """What ``async with`` alone enters: ``with`` is told so, in the words of its caller."""

    __slots__ = ()
    _how: ClassVar[str]

    if not TYPE_CHECKING:  # A type checker says it by itself where these are not there.

        def __enter__(self) -> NoReturn:
            raise self._refusal("is entered by async with, and not by with")

        def __exit__(self, *exc_info: object) -> None:
            """Be there: Python looks for it before it enters."""

    def _refusal(self, what: str) -> UsageError:
        return UsageError(f"{self._name()} {what}.", hint=f"{self._how}: ...")

    def _name(self) -> str:
        return self._how.removeprefix("async with ").partition("(")[0] + "()"


class _Block(EnteredByAsyncWith, _AsyncGeneratorContextManager[T]):
    """The block that a generator makes; each function has a class of its own, which knows how it is entered."""

    async def __aenter__(self) -> T:
        _entered.set(weakref.ref(self))
        return await super().__aenter__()

    def __await__(self) -> NoReturn:
        raise self._refusal("is a block, and nothing to wait for")

    def __aiter__(self) -> NoReturn:
        raise self._refusal("is a block, and has nothing to iterate over")

    def __iter__(self) -> NoReturn:
        raise self._refusal("is a block, and has nothing to iterate over")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{self._name()} is a block, and has no {name!r}. hint: {self._how}: ...")
