"""Canaries of what FastAPI does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, routing
from starlette.requests import Request

from sqlkeel._frameworks import _fastapi as unpromised
from tests.frameworks.test_starlette import send_to


def first() -> int:
    """Be a dependency of a dependency."""
    return 1


def second(one: Annotated[int, Depends(first)]) -> int:
    """Be a dependency."""
    return one


def make_app() -> FastAPI:
    """Return an application with a route in a router."""
    router = APIRouter(prefix="/inner")

    @router.get("/{key}")
    async def read(key: int, two: Annotated[int, Depends(second)]) -> int:
        return two

    app = FastAPI(openapi_url=None)
    app.include_router(router, prefix="/outer")
    return app


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in unpromised.__all__ if f"unpromised.{name}" not in canaries] == []


class TestRoutes:
    def test_routes_inside(self) -> None:
        """`sqlkeel lint` would not see what the routes of a router answer with."""
        app = make_app()
        inside = [one for route in app.routes for one in unpromised.routes_inside(route) or [route]]

        assert [one.response_model for one in inside] == [int]

    def test_each_route(self) -> None:
        """The OpenAPI document would not show the problems of a route in a router."""
        app = make_app()
        paths = [route.path_format for route in unpromised.each_route(routing, app.routes)]

        assert paths == ["/outer/inner/{key}"]

    def test_all_calls_of(self) -> None:
        """It would show them for no route: nobody knew which of them use the database."""
        app = make_app()
        (route,) = unpromised.each_route(routing, app.routes)

        assert [*unpromised.all_calls_of(route)] == [second, first]

    def test_calls_of(self) -> None:
        """An endpoint that yields its answer would use a session that has ended."""
        (route,) = unpromised.each_route(routing, make_app().routes)

        assert unpromised.calls_of(route) == [second]

    def test_calls_of_a_plain_route(self) -> None:
        """What is mounted has no dependencies."""
        assert unpromised.calls_of(object()) == [*unpromised.all_calls_of(object())] == []


class TestScope:
    async def test_closed_at_the_end(self) -> None:
        """What an endpoint that fails has written, and a middleware answers, would be committed."""
        seen: list[Any] = []
        app = FastAPI(openapi_url=None)

        @app.get("/")
        async def read(request: Request) -> None:
            seen.append(request.scope[unpromised.CLOSED_AT_THE_END])

        await send_to(app)

        assert [hasattr(one, "push_async_exit") for one in seen] == [True]
