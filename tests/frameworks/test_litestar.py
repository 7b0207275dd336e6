"""Canaries of what Litestar does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, get
from litestar.di import NamedDependency, Provide
from litestar.dto import DataclassDTO
from litestar.plugins import ReceiveRoutePlugin
from litestar.testing import AsyncTestClient

from sqlkeel._frameworks import _litestar as unpromised
from tests.frameworks.answers import Answer


async def give_first() -> int:
    """Be a dependency of a dependency."""
    return 1


async def give_second(first: NamedDependency[int]) -> int:
    """Be a dependency."""
    return first


@get("/", sync_to_thread=False)
def read(second: NamedDependency[int]) -> Answer:
    """Answer."""
    return Answer(second)


@get("/dto", return_dto=DataclassDTO[Answer], sync_to_thread=False)
def read_by_dto() -> Answer:
    """Answer with what the DTO leaves."""
    return Answer(1)


class Within:
    """A route that notes what it handles."""

    __slots__ = ()
    seen: list[Any] = []

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """Note the application."""
        Within.seen.append(unpromised.application_of(scope))
        await super().handle(scope, receive, send)  # type: ignore[misc]


class Plugin(ReceiveRoutePlugin):
    """Puts each route within."""

    def receive_route(self, route: Any) -> None:
        """Change the route."""
        unpromised.handle_within(route, Within)


@pytest.fixture
def app() -> Litestar:
    """An application with a plugin."""
    provided = {"first": Provide(give_first), "second": Provide(give_second)}
    return Litestar([read, read_by_dto], plugins=[Plugin()], dependencies=provided, openapi_config=None)


def handler_of(app: Litestar, path: str) -> Any:
    """Return the handler of a path."""
    (route,) = (one for one in app.routes if one.path == path)
    handlers: Any = getattr(route, "route_handlers", ())
    return handlers[0]


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in unpromised.__all__ if f"unpromised.{name}" not in canaries] == []


class TestRoutes:
    async def test_handle_within(self, app: Litestar) -> None:
        """No request would have a unit of work."""
        Within.seen.clear()
        async with AsyncTestClient(app) as client:
            answer = await client.get("/")

        assert answer.json() == {"value": 1}
        assert Within.seen == [app]

    async def test_application_of(self) -> None:
        """The database of a request would not be found."""
        seen: list[Any] = []

        @get("/", sync_to_thread=False)
        def look(request: Request[Any, Any, Any]) -> None:
            seen.append(unpromised.application_of(request.scope))

        app = Litestar([look], openapi_config=None)
        async with AsyncTestClient(app) as client:
            await client.get("/")

        assert seen == [app]

    def test_answers_unhandled(self) -> None:
        """What a mounted application answers to an error would be committed."""
        source = inspect.getsource(import_module(unpromised.ANSWERS_UNHANDLED))

        assert "except Exception" in source


class TestHandlers:
    def test_names_given(self, app: Litestar) -> None:
        """The OpenAPI document would not show the problems of a handler: nobody knew that it uses the database."""
        assert {"first", "second"} <= unpromised.names_given(handler_of(app, "/"))

    def test_headers_of(self) -> None:
        """A 304 would lack the headers that a cache needs."""

        @get("/", response_headers={"Vary": "Accept"}, sync_to_thread=False)
        def vary() -> None: ...

        app = Litestar([vary], response_headers={"X-Name": "a"}, openapi_config=None)

        assert unpromised.headers_of(handler_of(app, "/")) == {"Vary": "Accept", "X-Name": "a"}

    def test_answer_of(self, app: Litestar) -> None:
        """`sqlkeel lint` would not see what a handler answers with."""
        assert unpromised.answer_of(handler_of(app, "/")) == (read.fn, Answer)

    def test_answer_of_a_dto(self, app: Litestar) -> None:
        """It would report fields that a DTO leaves out."""
        assert unpromised.answer_of(handler_of(app, "/dto")) is None
