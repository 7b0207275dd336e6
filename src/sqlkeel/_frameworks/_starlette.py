"""What we use of Starlette that it does not promise: undocumented names stand here and nowhere else."""

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
"""Where `ExceptionMiddleware` puts its handlers in the scope, and each route looks for them."""

ROUTE: Final = "route"
"""Where a router puts the route in the scope before it runs it."""

ROUTING: Final = "starlette.routing"
"""The module whose function a route makes of an endpoint that is a function."""

ANSWERS_UNHANDLED: Final = "starlette.middleware.errors"
"""The module that answers, inside of its ``except`` block, what nobody in an application has handled."""


def has_started(app: Any) -> bool:
    """Tell whether an application has been called: what is installed then would have no effect."""
    return app.middleware_stack is not None


def put_inside(app: Any, make: Callable[[Any], Any]) -> None:
    """Put something around the routes of an application, inside of its exception handlers.

    ``add_middleware()`` is outside of them: an error of what stands there would miss them.
    """
    app.router.middleware_stack = make(app.router.middleware_stack)


def wrap_lifespan(app: Any, make: Callable[[Any], Any]) -> None:
    """Put something around the start and the end of an application that is made already."""
    app.router.lifespan_context = make(app.router.lifespan_context)


def handle_unless_handled(app: Any, kind: type[Exception], handler: Any) -> None:
    """Add an exception handler for what has none; ``None`` lets the exception pass, which ``add_…`` refuses."""
    app.exception_handlers.setdefault(kind, handler)


def has_answered(error: BaseException) -> bool:
    """Tell whether the route that handles *error* has sent its start, though a middleware may hold that back.

    With a handler it would raise a RuntimeError instead of *error*.
    """
    trace = error.__traceback__
    return trace is not None and trace.tb_frame.f_locals.get("response_started") is True
