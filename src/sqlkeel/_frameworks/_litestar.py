"""What we use of Litestar that it does not promise: undocumented names stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

__all__ = ["ANSWERS_UNHANDLED", "answer_of", "application_of", "handle_within", "headers_of", "names_given"]

ANSWERS_UNHANDLED: Final = "litestar.middleware._internal.exceptions.middleware"
"""The module that answers, inside of its ``except`` block, what nobody in an application has handled."""


def application_of(scope: Any) -> Any:
    """Return the application that a scope belongs to."""
    return scope["litestar_app"]


def handle_within(route: Any, kind: type) -> None:
    """Have a route handle its requests by ``handle()`` of *kind*, which calls that of the route by ``super()``.

    A middleware is outside of the exception handlers. They take a response for started when its start passes them on
    its way out, and then answer nothing any more, a COMMIT that fails out there included.
    """
    own = type(route)
    route.__class__ = type(own.__name__, (kind, own), {"__slots__": ()})


def headers_of(handler: Any) -> dict[str, str]:
    """Return the headers that a handler says its response has, on whatever layer they are."""
    declared = [header for header in handler.resolve_response_headers() if not header.documentation_only]
    return {header.name: str(header.value) for header in declared}


def names_given(handler: Any) -> set[str]:
    """Return the names of the parameters of a handler, and of the dependencies that it uses."""
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
    """Return the function of a handler and the type that it answers with; ``None`` where a DTO changes that."""
    signature = getattr(handler, "parsed_fn_signature", None)
    if signature is None or handler.resolve_return_dto() is not None:
        return None
    return getattr(handler.fn, "value", handler.fn), signature.return_type.annotation
