"""The undocumented names of Litestar that we use; no other module uses any."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

__all__ = ["ANSWERS_UNHANDLED", "answer_of", "application_of", "handle_within", "headers_of", "names_given"]

ANSWERS_UNHANDLED: Final = "litestar.middleware._internal.exceptions.middleware"
"""The module that answers an exception without a handler; it sends the response inside its ``except`` block."""


def application_of(scope: Any) -> Any:
    """Return the application of a scope."""
    return scope["litestar_app"]


def handle_within(route: Any, kind: type) -> None:
    """Make a route handle its requests with ``handle()`` of *kind*, which calls the route's own with ``super()``.

    A middleware would run outside the exception handlers. Once the start of a response has passed them, they answer no
    further exception, so they could not answer a COMMIT that fails in a middleware.
    """
    own = type(route)
    route.__class__ = type(own.__name__, (kind, own), {"__slots__": ()})


def headers_of(handler: Any) -> dict[str, str]:
    """Return the response headers that a handler declares, on any layer of the application."""
    declared = [header for header in handler.resolve_response_headers() if not header.documentation_only]
    return {header.name: str(header.value) for header in declared}


def names_given(handler: Any) -> set[str]:
    """Return the names of the parameters of a handler, and of the parameters of its dependencies."""
    provided = handler.resolve_dependencies()
    names, known = [*handler.parsed_fn_signature.parameters], set[str]()
    while names:
        name = names.pop()
        if name not in known:
            known.add(name)
            names += _parameters(provided[name]) if name in provided else []
    return known


def _parameters(provider: Any) -> Iterable[str]:
    signature = provider.parsed_fn_signature
    return () if signature is None else signature.parameters


def answer_of(handler: Any) -> tuple[Any, Any] | None:
    """Return the function of a handler and the type that it returns; ``None`` if a DTO converts the result."""
    signature = getattr(handler, "parsed_fn_signature", None)
    if signature is None or handler.resolve_return_dto() is not None:
        return None
    return getattr(handler.fn, "value", handler.fn), signature.return_type.annotation
