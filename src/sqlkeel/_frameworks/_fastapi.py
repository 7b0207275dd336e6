"""The undocumented names of FastAPI that we use; no other module uses any."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

__all__ = ["CLOSED_AT_THE_END", "all_calls_of", "calls_of", "each_route", "routes_inside"]

CLOSED_AT_THE_END: Final = "fastapi_inner_astack"
"""The key of the exit stack in the scope that FastAPI closes after an endpoint and its dependencies, also on errors."""


def routes_inside(route: Any) -> list[Any] | None:
    """Return the routes of an included router or a mounted application; ``None`` for a single route."""
    # Since FastAPI 0.13x an included router is one route of the application.
    inside = getattr(route, "original_router", route)
    routes = getattr(inside, "routes", None)
    return routes if isinstance(routes, list) else None


def each_route(routing: Any, routes: Iterable[Any]) -> Iterable[Any]:
    """Return each route below *routes*, with its whole path; *routing* is the module of FastAPI."""
    # Older versions of FastAPI copy the routes of an included router to the application.
    each: Callable[[Iterable[Any]], Iterable[Any]] = getattr(routing, "iter_route_contexts", iter)
    return each(routes)


def calls_of(route: Any) -> list[Any]:
    """Return the direct dependencies of a route; a mounted application has none."""
    dependant = getattr(route, "dependant", None)
    return [] if dependant is None else [one.call for one in dependant.dependencies]


def all_calls_of(route: Any) -> Iterator[Any]:
    """Yield the dependencies of a route, and the dependencies of these, at all levels."""
    level = [getattr(route, "dependant", None)]
    while level := [one for above in level if above is not None for one in above.dependencies]:
        yield from (one.call for one in level)
