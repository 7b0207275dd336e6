"""Exceptions that Starlette or FastAPI answers inside a unit of work: it is rolled back before a handler runs."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from contextlib import suppress
from typing import Any, Final, Protocol, Self

from .._frameworks import _fastapi as fastapi_names
from .._frameworks import _litestar as litestar_names
from .._frameworks import _starlette as starlette_names

__all__ = ["Answer", "WatchedScope", "answered", "are_watched"]

Handler = Callable[[Any, Exception], Any]

# A route answers exceptions by itself, so that nothing outside of it sees more than the status of the answer. Its
# handlers, and the route itself, are found in the scope.
_HANDLERS: Final = starlette_names.HANDLERS
_STACK: Final = fastapi_names.CLOSED_AT_THE_END
_ROUTE: Final = starlette_names.ROUTE
_ROUTING: Final = starlette_names.ROUTING
_MIDDLEWARES: Final = 50
"""How far the endpoint is looked for: an ``app`` may be something else, and lead in a circle."""

# Two middlewares answer what nobody in their application has handled. Those of a mounted application are inside of the
# unit of work, and have no handlers to watch.
_ANSWERING: Final = {starlette_names.ANSWERS_UNHANDLED, litestar_names.ANSWERS_UNHANDLED}


class Unit(Protocol):
    """What is to be rolled back."""

    @property
    def over(self) -> bool:
        """Whether it has ended already."""
        ...

    async def roll_back(self, error: BaseException | None = None) -> None:
        """End it and keep nothing."""


class Answer(Exception):
    """An exception that is raised to answer, and not because something failed."""


class WatchedScope(dict[str, Any]):
    """The scope of a request whose exception handlers, those of mounted applications too, roll its *unit* back first.

    What is no `Exception`, such as a cancellation by a timeout, passes by the handlers; so does what an endpoint that
    is a class raises. A middleware further out may answer it, and so it is watched where it leaves the endpoint.
    What is set here is set in the original, too: whoever is outside looks there for what the application has set.
    """

    def __init__(self, original: MutableMapping[str, Any], unit: Unit) -> None:
        super().__init__(original)
        self._original = original
        self._unit = unit
        if _HANDLERS in original:
            self._watch()

    def __setitem__(self, name: str, value: Any) -> None:
        self._original[name] = value
        super().__setitem__(name, value)
        if name == _HANDLERS:
            self._watch()
        elif name == _STACK:
            value.push_async_exit(self._leave)
        elif name == _ROUTE:
            _watch_endpoint(value)

    def __delitem__(self, name: str) -> None:
        super().__delitem__(name)
        self._original.pop(name, None)

    def __ior__(self, values: Any) -> Self:  # type: ignore[override,misc]  # as `update`
        self.update(values)
        return self

    def update(self, *args: Any, **values: Any) -> None:
        """Set several."""
        given = dict(*args, **values)
        self._original.update(given)
        super().update(given)
        if _HANDLERS in given:
            self._watch()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return what *name* is, and set it where it is nothing yet."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Remove *name*, and return what it was."""
        self._original.pop(name, None)
        return super().pop(name, *default)

    def copy(self) -> WatchedScope:
        """Return a scope of its own for an application below, which is watched all the same."""
        return WatchedScope(dict(self._original), self._unit)

    __copy__ = copy

    async def roll_back(self, error: BaseException) -> None:
        """Roll back what belongs to an endpoint that has failed, in the units of work around this one, too."""
        if isinstance(error, Answer):
            return
        await self._unit.roll_back(error)
        if isinstance(self._original, WatchedScope):
            await self._original.roll_back(error)

    async def _leave(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            await self.roll_back(error)

    def _watch(self) -> None:
        # Those of the original, which may be watched for a unit of work around this one.
        by_class, by_status = self._original[_HANDLERS]
        watched = _Handlers(by_class, self._unit, fallback=Exception), _Handlers(by_status, self._unit)
        super().__setitem__(_HANDLERS, watched)


class _Endpoint:
    """The endpoint of a route, which rolls back what it has done when it fails."""

    def __init__(self, endpoint: Any) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self._endpoint(scope, receive, send)
        except BaseException as error:
            if isinstance(scope, WatchedScope):
                await scope.roll_back(error)
            raise


def _watch_endpoint(route: Any) -> None:
    """Watch the endpoint of *route*, inside the middlewares that are of this route alone: they may catch, too."""
    holder = _around_endpoint(route) if hasattr(route, "endpoint") else None
    if holder is not None:
        # A middleware that cannot be changed is left as it is; what its handlers answer is seen all the same.
        with suppress(AttributeError):
            # It stays so for all requests, those without a unit of work, too.
            holder.app = _Endpoint(holder.app)


def _around_endpoint(route: Any) -> Any:
    """Return what has the endpoint for its ``app``: the route, or the innermost of its middlewares that name it so."""
    holder = route
    for _ in range(_MIDDLEWARES):
        inner = getattr(holder, "app", None)
        if inner is None:
            return None  # It is watched already, or a middleware calls it something else.
        if inner is route.endpoint or (inspect.isfunction(inner) and inner.__module__ == _ROUTING):
            return holder
        holder = inner
    return None


class _Handlers(Mapping[Any, Any]):
    """Exception handlers of which each rolls the unit of work back first, and one more that does no more than that.

    With the *fallback*, an exception that nobody handles here is seen too: a middleware may catch it further out.
    """

    def __init__(self, own: Mapping[Any, Handler], unit: Unit, *, fallback: type[Exception] | None = None) -> None:
        self._own = own
        self._unit = unit
        self._fallback = fallback

    def __getitem__(self, kind: Any) -> Handler:
        handler = self._own.get(kind)
        if self._unit.over:
            if kind not in self._own:
                raise KeyError(kind)
            return handler  # type: ignore[return-value]  # None lets the error pass
        if handler is None and (kind is not self._fallback or _has_answered()):
            raise KeyError(kind)
        return functools.partial(_after_rollback, self._unit, handler or _pass_on)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._own)

    def __len__(self) -> int:
        return len(self._own)


def are_watched(scope: Mapping[str, Any]) -> bool:
    """Return whether the exception handlers of *scope*, where it has any, roll back first."""
    return _HANDLERS not in scope or isinstance(scope[_HANDLERS][0], _Handlers)


def answered() -> BaseException | None:
    """Return the exception that the framework of a mounted application answers at this moment."""
    error = sys.exception()
    if error is None or error.__traceback__ is None:
        return None
    # Its traceback begins where it was caught. One that is caught elsewhere is the application's own affair: it may
    # have looked for a row and made it where there was none.
    caught_in = error.__traceback__.tb_frame.f_globals.get("__name__")
    return error if caught_in in _ANSWERING else None


def _has_answered() -> bool:
    """Return whether the route that looks for a handler has sent its start, though a middleware may hold that back."""
    error = sys.exception()
    return error is not None and starlette_names.has_answered(error)


async def _after_rollback(unit: Unit, handler: Handler, connection: Any, error: Exception) -> Any:
    if not isinstance(error, Answer):
        await unit.roll_back(error)
    if _is_async(handler):
        return await handler(connection, error)
    # Not at the top: this module is there for applications without Starlette, too.
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(handler, connection, error)


async def _pass_on(connection: Any, error: Exception) -> Any:
    raise error


def _is_async(handler: Any) -> bool:
    """Tell what Starlette asks, too: a partial function and an object with an async ``__call__`` are async."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
