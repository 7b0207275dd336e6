"""Blocks: what is entered by ``async with``, and says so where it is used in another way."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import _AsyncGeneratorContextManager  # what asynccontextmanager() makes; a canary test holds it
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, ParamSpec, TypeVar

from .errors import UsageError

__all__ = ["EnteredByAsyncWith", "block"]

P = ParamSpec("P")
T = TypeVar("T")


def block(how: str) -> Callable[[Callable[P, AsyncIterator[T]]], Callable[P, _AsyncGeneratorContextManager[T]]]:
    """Make a block of a generator with one ``yield``, as `contextlib.asynccontextmanager` does.

    Used by ``with``, ``await`` or ``async for``, or in the place of what it gives, it raises a `UsageError` that names
    it and says *how* it is entered. Python's own error names a class of its library.
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

    def __await__(self) -> NoReturn:
        raise self._refusal("is a block, and nothing to wait for")

    def __aiter__(self) -> NoReturn:
        raise self._refusal("is a block, and has nothing to iterate over")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> NoReturn:
            raise AttributeError(f"{self._name()} is a block, and has no {name!r}. hint: {self._how}: ...")
