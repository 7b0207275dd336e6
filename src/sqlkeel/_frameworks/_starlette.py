"""The undocumented names of Starlette that we use; no other module uses any."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

__all__ = [
    "ANSWERS_UNHANDLED",
    "HANDLERS",
    "ROUTE",
    "ROUTING",
    "handle_unless_handled",
    "has_answered",
    "has_started",
    "put_inside",
    "wrap_lifespan",
]

HANDLERS: Final = "starlette.exception_handlers"
"""The key in the scope under which `ExceptionMiddleware` stores its handlers, and where each route looks them up."""

ROUTE: Final = "route"
"""The key in the scope under which a router stores a route before it runs the route."""

ROUTING: Final = "starlette.routing"
"""The module of the function with which a route wraps an endpoint that is a function."""

ANSWERS_UNHANDLED: Final = "starlette.middleware.errors"
"""The module that answers an exception without a handler; it sends the response inside its ``except`` block."""


def has_started(app: Any) -> bool:
    """Return whether an application has been called; a handler that is installed after that has no effect."""
    return app.middleware_stack is not None


def put_inside(app: Any, make: Callable[[Any], Any]) -> None:
    """Wrap the routes of an application, inside its exception handlers.

    ``add_middleware()`` would wrap the exception handlers as well, so they would not handle an error of the wrapper.
    """
    app.router.middleware_stack = make(app.router.middleware_stack)


def wrap_lifespan(app: Any, make: Callable[[Any], Any]) -> None:
    """Wrap the lifespan of an application that exists already."""
    app.router.lifespan_context = make(app.router.lifespan_context)


def handle_unless_handled(app: Any, kind: type[Exception], handler: Any) -> None:
    """Add an exception handler for a class without one; ``None``, which ``add_…`` refuses, lets the exception pass."""
    app.exception_handlers.setdefault(kind, handler)


def has_answered(error: BaseException) -> bool:
    """Return whether the route that raised *error* has sent the start of its response, perhaps to a middleware only.

    If it has, a handler for *error* would make Starlette raise a RuntimeError instead.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_frame.f_locals.get("response_started") is True
