"""The response types of a web application and their fields, read without importing its framework."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args, get_type_hints

from .._frameworks import _fastapi as fastapi_names
from .._frameworks import _litestar as litestar_names

__all__ = ["Answer", "answers_of", "fields_of", "is_app"]

_UNRESOLVED: Final = (NameError, TypeError, AttributeError)


@dataclass(frozen=True)
class Answer:
    """A class in a route's response, either the response itself or nested in it."""

    model: type[Any]
    route: str
    """The endpoint function."""

    hidden: frozenset[str] = frozenset()
    """Fields that the route excludes."""


def is_app(candidate: object) -> bool:
    """Return whether this is an application with routes, as FastAPI's and Litestar's are."""
    routes = getattr(candidate, "routes", None)
    return not isinstance(candidate, type) and isinstance(routes, list) and callable(candidate)


def answers_of(app: Any) -> Iterator[Answer]:
    """Yield each class once for each route whose response contains it."""
    for route, annotation, hidden in _routes(app.routes):
        name = getattr(route, "__qualname__", str(route))
        seen: dict[type[Any], None] = {}
        outer = set(_classes(annotation))
        _collect(annotation, seen)
        for model in seen:
            yield Answer(model, name, hidden if model in outer else frozenset())


def fields_of(model: type[Any]) -> dict[str, Any]:
    """Return the names and types of the fields that a pydantic model, dataclass, struct or typed dict writes."""
    pydantic = getattr(model, "__pydantic_fields__", None)
    if isinstance(pydantic, Mapping):
        return {name: one.annotation for name, one in pydantic.items() if not one.exclude}
    try:
        hints = get_type_hints(model)
    except _UNRESOLVED:
        return {}
    if hasattr(model, "__struct_fields__"):
        return {name: hints[name] for name in model.__struct_fields__ if name in hints}
    if dataclasses.is_dataclass(model):
        return {one.name: hints.get(one.name) for one in dataclasses.fields(model)}
    return hints if hasattr(model, "__total__") else {}


def _routes(routes: Iterable[Any]) -> Iterator[tuple[Any, Any, frozenset[str]]]:
    """Yield function, response type and excluded fields of all routes, including mounted applications."""
    for route in routes:
        if getattr(route, "response_model", None) is not None:
            yield route.endpoint, route.response_model, _hidden(route)
        for handler in getattr(route, "route_handlers", ()):
            yield from _of_handler(handler)
        yield from _routes(fastapi_names.routes_inside(route) or ())


def _hidden(route: Any) -> frozenset[str]:
    """Return the field names that FastAPI's options exclude from a route's response."""
    hidden: set[str] = set(route.response_model_exclude or ())
    included = route.response_model_include
    if included is not None:
        hidden |= {name for model in _classes(route.response_model) for name in fields_of(model)} - set(included)
    return frozenset(hidden)


def _of_handler(handler: Any) -> Iterator[tuple[Any, Any, frozenset[str]]]:
    """Read a route of Litestar; one with a DTO answers with what that leaves of the type."""
    if (answer := litestar_names.answer_of(handler)) is not None:
        yield *answer, frozenset()


def _collect(annotation: Any, seen: dict[type[Any], None]) -> None:
    for model in _classes(annotation):
        if model not in seen:
            seen[model] = None
            for inner in fields_of(model).values():
                _collect(inner, seen)


def _classes(annotation: Any) -> Iterator[type[Any]]:
    """Yield the classes with fields in an annotation: the item of a list, the members of a union."""
    if isinstance(annotation, type) and fields_of(annotation):
        yield annotation
    for inner in get_args(annotation):
        yield from _classes(inner)
