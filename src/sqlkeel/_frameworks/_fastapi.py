"""What we use of FastAPI that it does not promise: undocumented names stand here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["CLOSED_AT_THE_END", "all_calls_of", "calls_of", "each_route", "routes_inside"]

CLOSED_AT_THE_END: Final = "fastapi_inner_astack"
"""Where the scope has what is closed when an endpoint and its dependencies have ended, whatever ended them."""


def routes_inside(route: Any) -> list[Any] | None:
    """Return the routes of a router that is included, or of what is mounted; ``None`` where a route is one itself."""
    # An included router is one route since 0.13x.
    inside = getattr(route, "original_router", route)
    routes = getattr(inside, "routes", None)
    return routes if isinstance(routes, list) else None


def each_route(routing: Any, routes: Iterable[Any]) -> Iterable[Any]:
    """Return each route below these, with its whole path; *routing* is the module of FastAPI."""
    # Older versions of FastAPI copy the routes of a router that is included to the application.
    each: Callable[[Iterable[Any]], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    return each(routes)


def calls_of(route: Any) -> list[Any]:
    """Return the dependencies of a route itself; of what is mounted nothing."""
    dependant = getattr(route, "dependant", None)
    return [] if dependant is None else [one.call for one in dependant.dependencies]


def all_calls_of(route: Any) -> Iterator[Any]:
    """Yield the dependencies of a route, and theirs."""
    level = [getattr(route, "dependant", None)]
    while level := [one for above in level if above is not None for one in above.dependencies]:
        yield from (one.call for one in level)
