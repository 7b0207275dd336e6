"""Roll back a unit of work before Starlette or FastAPI handles an exception inside it."""

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

# A route answers exceptions by itself, so that code outside the route sees only the status of the response. The scope
# contains the route and its handlers.
_HANDLERS: Final = starlette_names.HANDLERS
_STACK: Final = fastapi_names.CLOSED_AT_THE_END
_ROUTE: Final = starlette_names.ROUTE
_ROUTING: Final = starlette_names.ROUTING
_MIDDLEWARES: Final = 50
"""The maximum search depth for the endpoint, because an ``app`` attribute may mean something else and form a cycle."""

# Two middlewares answer the exceptions that have no handler in their application. In a mounted application they run
# inside the unit of work, and there are no handlers to watch.
_ANSWERING: Final = {starlette_names.ANSWERS_UNHANDLED, litestar_names.ANSWERS_UNHANDLED}


class Unit(Protocol):
    """An object that can be rolled back."""

    @property
    def over(self) -> bool:
        """Whether it has already ended."""
        ...

    async def roll_back(self, error: BaseException | None = None) -> None:
        """End the unit of work and discard its changes."""


class Answer(Exception):
    """An exception that is a response, not a failure."""


class WatchedScope(dict[str, Any]):
    """A request's scope whose exception handlers, also in mounted applications, roll back *unit* before they run.

    Handlers do not see exceptions that are not an `Exception`, such as a cancellation by a timeout, or that a class
    endpoint raises. An outer middleware may answer those, so they are watched where they leave the endpoint. Items set
    here are set in the original scope too, because outer code looks for them there.
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
        """Set several items."""
        given = dict(*args, **values)
        self._original.update(given)
        super().update(given)
        if _HANDLERS in given:
            self._watch()

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return the item *name*, after setting it if it is missing."""
        if name not in self:
            self[name] = default
        return self[name]

    def pop(self, name: str, *default: Any) -> Any:
        """Remove the item *name* and return it."""
        self._original.pop(name, None)
        return super().pop(name, *default)

    def copy(self) -> WatchedScope:
        """Return a separate scope for an inner application, which is watched too."""
        return WatchedScope(dict(self._original), self._unit)

    __copy__ = copy

    async def roll_back(self, error: BaseException) -> None:
        """Roll back after an endpoint has failed, including outer units of work."""
        if isinstance(error, Answer):
            return
        await self._unit.roll_back(error)
        if isinstance(self._original, WatchedScope):
            await self._original.roll_back(error)

    async def _leave(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            await self.roll_back(error)

    def _watch(self) -> None:
        # The handlers of the original, which may be watched for an outer unit of work.
        by_class, by_status = self._original[_HANDLERS]
        watched = _Handlers(by_class, self._unit, fallback=Exception), _Handlers(by_status, self._unit)
        super().__setitem__(_HANDLERS, watched)


class _Endpoint:
    """The endpoint of a route, which rolls back its changes when it fails."""

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
    """Watch the endpoint of *route* inside the route's own middlewares, because they may catch exceptions too."""
    holder = _around_endpoint(route) if hasattr(route, "endpoint") else None
    if holder is not None:
        # A middleware that cannot be changed stays as it is; the responses of its handlers are seen anyway.
        with suppress(AttributeError):
            # This affects all later requests, including those without a unit of work.
            holder.app = _Endpoint(holder.app)


def _around_endpoint(route: Any) -> Any:
    """Return the object whose ``app`` is the endpoint: the route, or the innermost of its middlewares."""
    holder = route
    for _ in range(_MIDDLEWARES):
        inner = getattr(holder, "app", None)
        if inner is None:
            return None  # It is already watched, or a middleware uses another attribute name.
        if inner is route.endpoint or (inspect.isfunction(inner) and inner.__module__ == _ROUTING):
            return holder
        holder = inner
    return None


class _Handlers(Mapping[Any, Any]):
    """Exception handlers that first roll back the unit of work, and a fallback that only does that.

    The *fallback* sees exceptions without a handler, because an outer middleware may catch them.
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
    """Return whether the exception handlers of *scope*, if it has any, roll back first."""
    return _HANDLERS not in scope or isinstance(scope[_HANDLERS][0], _Handlers)


def answered() -> BaseException | None:
    """Return the exception that the framework of a mounted application is answering now; ``None`` if there is none."""
    error = sys.exception()
    if error is None or error.__traceback__ is None:
        return None
    # The traceback begins where the exception was caught. One that the application itself catches is not a failure: it
    # may have looked for a row and then created it.
    caught_in = error.__traceback__.tb_frame.f_globals.get("__name__")
    return error if caught_in in _ANSWERING else None


def _has_answered() -> bool:
    """Return whether the response of the handling route has started, even if a middleware holds the start back."""
    error = sys.exception()
    return error is not None and starlette_names.has_answered(error)


async def _after_rollback(unit: Unit, handler: Handler, connection: Any, error: Exception) -> Any:
    if not isinstance(error, Answer):
        await unit.roll_back(error)
    if _is_async(handler):
        return await handler(connection, error)
    # Imported here, because this module is also used without Starlette.
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(handler, connection, error)


async def _pass_on(connection: Any, error: Exception) -> Any:
    raise error


def _is_async(handler: Any) -> bool:
    """Return whether Starlette would await the handler: partial functions and async ``__call__`` count too."""
    while isinstance(handler, functools.partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)
