"""Blocks that are entered by ``async with``, and raise a helpful error when they are used in another way."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import _AsyncGeneratorContextManager  # the class that asynccontextmanager() uses; has a canary test
from contextvars import ContextVar
from inspect import CO_ASYNC_GENERATOR
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, NoReturn, ParamSpec, TypeVar

from ..errors import UsageError

__all__ = ["EnteredByAsyncWith", "Entry", "block", "current_entry"]

P = ParamSpec("P")
T = TypeVar("T")


class Entry(NamedTuple):
    """An entered block: a reference to it, and the async generators around it.

    When a ``break`` out of ``async for`` drops a generator, the block in it is dropped too. That becomes visible only
    when asyncio closes the generator, in another task.
    """

    block: weakref.ref[Any]
    generators: tuple[CodeType, ...]

    @property
    def is_dropped(self) -> bool:
        """Whether no reference to the block is left, so that it can only be rolled back."""
        return self.block() is None

    def is_around(self, frame: FrameType) -> bool:
        """Return whether a frame runs inside the generators of the block, and not between two of their values."""
        return bool(self.generators) and set(self.generators) <= set(_generators_around(frame))


_entered: Final[ContextVar[weakref.ref[Any]]] = ContextVar("sqlkeel_entered")


def current_entry() -> Entry:
    """Return the entry of the block whose generator calls this."""
    # Four frames up: skip the generator itself and the two coroutines that enter it.
    return Entry(_entered.get(), _generators_around(sys._getframe(4)))


def _generators_around(frame: FrameType | None) -> tuple[CodeType, ...]:
    """Return the code of each async generator that a frame runs in."""
    found = []
    while frame is not None:
        if frame.f_code.co_flags & CO_ASYNC_GENERATOR:
            found.append(frame.f_code)
        frame = frame.f_back
    return tuple(found)


def block(how: str) -> Callable[[Callable[P, AsyncIterator[T]]], Callable[P, _AsyncGeneratorContextManager[T]]]:
    """Turn a generator with one ``yield`` into a block, as `contextlib.asynccontextmanager` does.

    If the block is used with ``with``, ``await``, ``for`` or ``async for``, or instead of the value that it yields, it
    raises a `UsageError` that names the block and shows *how* to enter it. Python's own error would name an internal
    class.
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
    """A base class for objects that only ``async with`` can enter; ``with`` raises an error that says so."""

    __slots__ = ()
    _how: ClassVar[str]

    if not TYPE_CHECKING:  # Without these methods, a type checker reports the mistake itself.

        def __enter__(self) -> NoReturn:
            raise self._refusal("is entered by async with, not by with")

        def __exit__(self, *exc_info: object) -> None:
            """Exist, because Python looks for it before it calls __enter__."""

    def _refusal(self, what: str) -> UsageError:
        return UsageError(f"{self._name()} {what}.", hint=f"{self._how}: ...")

    def _name(self) -> str:
        return self._how.removeprefix("async with ").partition("(")[0] + "()"


class _Block(EnteredByAsyncWith, _AsyncGeneratorContextManager[T]):
    """The block of a generator; each decorated function has its own subclass, which knows how to enter it."""

    async def __aenter__(self) -> T:
        _entered.set(weakref.ref(self))
        return await super().__aenter__()

    def __await__(self) -> NoReturn:
        raise self._refusal("is a block and cannot be awaited")

    def __aiter__(self) -> NoReturn:
        raise self._refusal("is a block and cannot be iterated over")

    def __iter__(self) -> NoReturn:
        raise self._refusal("is a block and cannot be iterated over")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{self._name()} is a block, and has no {name!r}. hint: {self._how}: ...")
