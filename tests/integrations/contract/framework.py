"""What a web framework has to offer, so that the facts of this folder can be written once for all of them."""

from __future__ import annotations

import inspect
import types
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from sqlkeel import Database

__all__ = ["App", "FormError", "Framework", "Injecting", "Route", "Task", "declared"]

Endpoint = Callable[..., Any]
"""
A function whose parameters are named after what they get: ``request``, ``socket``, ``unit``, ``session``,
``read_session``, ``database``; and where the framework injects, what `App.provided` and its path and query have.
"""

Task = Callable[[], Awaitable[None]]
Lifespan = Callable[[Any], AbstractAsyncContextManager[None]]


class FormError(Exception):
    """What a form is shown again for."""


class Route(NamedTuple):
    """An endpoint, and where it is; its method may be ``WEBSOCKET``."""

    endpoint: Endpoint
    method: str = "POST"
    path: str = "/"
    options: Mapping[str, Any] = {}


@dataclass(frozen=True)
class App:
    """An application to be made, on a database or on none."""

    database: Database | None
    routes: Sequence[Route]
    kind: type[Exception] = FormError
    """A kind of exception that has a handler, which answers *status*, and calls *seen* before."""
    status: int = 303
    seen: Callable[[], object] = lambda: None
    provided: Mapping[str, Endpoint] = field(default_factory=dict)
    """What endpoints may name as a parameter; one of these may name those before it."""
    lifespan: Lifespan | None = None
    below: Any = None
    """An application that is mounted at ``/below``."""
    installed: Mapping[str, Any] = field(default_factory=dict)
    """Options of `install()`, or of the plugin."""


class Framework(ABC):
    """How an application is made with a framework, and what its endpoints return."""

    http_error: ClassVar[type[Exception]]
    broken_stream: ClassVar[type[Exception]]
    """What the server is told when a body fails with our `SessionClosed`."""
    integration: Any
    """The module of ours that has `session_of()`, `read_session_of()` and `database_of()` for a connection."""

    def serve(self, db: Database | None, *endpoints: Endpoint | Route, **wanted: Any) -> Any:
        """Return an application, of which *wanted* says more, see `App`; an endpoint without a route is its POST."""
        return self._made(App(db, [one if isinstance(one, Route) else Route(one) for one in endpoints], **wanted))

    @abstractmethod
    def _made(self, wanted: App) -> Any:
        """Make the application."""

    @abstractmethod
    def running(self, app: Any) -> AbstractAsyncContextManager[Any]:
        """Start the application, and shut it down."""

    @abstractmethod
    def answer(self, content: Any = None, *, status: int = 201, task: Task | None = None) -> Any:
        """Return a response, after which *task* runs."""

    @abstractmethod
    def stream(self, chunks: AsyncIterator[str]) -> Any:
        """Return a response whose body is made while it is sent."""


class Injecting(Framework):
    """A framework that gives an endpoint what its parameters ask for, and describes it."""

    conditional_read: ClassVar[Mapping[Any, Any]]
    conditional_write: ClassVar[Mapping[Any, Any]]
    malformed: ClassVar[int]
    """The status of a request that cannot be read."""

    @abstractmethod
    def document(self, app: Any) -> Mapping[str, Any]:
        """Return the OpenAPI document of the application."""


def declared(
    function: Endpoint, names: Mapping[str, Any], *, otherwise: Callable[[str, Any], Any] = lambda name, kind: kind
) -> Any:
    """Return a copy of *function* that annotates its parameters as a framework wants them."""
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    kinds = inspect.get_annotations(function, eval_str=True)
    returned = {"return": kinds.pop("return")}
    copy.__annotations__ = {name: names.get(name) or otherwise(name, kind) for name, kind in kinds.items()} | returned
    return copy
