"""Canaries of what Starlette does not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette._exception_handler import wrap_app_handling_exceptions
from starlette.applications import Starlette
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, request_response

from sqlkeel._frameworks import _starlette as unpromised


async def endpoint(request: Any) -> PlainTextResponse:
    """Answer."""
    return PlainTextResponse("hello")


class Handlers(Mapping[Any, Any]):
    """Exception handlers that are none, and note whether the answer has started when somebody looks for one."""

    def __init__(self) -> None:
        self.answered: list[bool] = []

    def __getitem__(self, kind: Any) -> Any:
        self.answered += [unpromised.has_answered(error) for error in [sys.exception()] if error is not None]
        raise KeyError(kind)

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __len__(self) -> int:
        return 0


async def send_to(app: Any) -> list[Any]:
    """Send a request, and return what comes back."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}, receive, send)
    return sent


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in unpromised.__all__ if f"unpromised.{name}" not in canaries] == []


class TestApplication:
    async def test_has_started(self) -> None:
        """install() on an application that runs already would do nothing, and say nothing."""
        app = Starlette(routes=[Route("/", endpoint)])
        before = unpromised.has_started(app)
        await send_to(app)

        assert (before, unpromised.has_started(app)) == (False, True)

    async def test_put_inside(self) -> None:
        """No request would have a unit of work."""
        app = Starlette(routes=[Route("/", endpoint)])
        seen: list[str] = []

        def around(routes: Any) -> Any:
            async def inside(scope: Any, receive: Any, send: Any) -> None:
                seen.append("in" if unpromised.HANDLERS in scope else "out")
                await routes(scope, receive, send)

            return inside

        unpromised.put_inside(app, around)
        answer = await send_to(app)

        assert (seen, answer[0]["status"]) == (["in"], 200)

    def test_wrap_lifespan(self) -> None:
        """The database would not be looked at when the application starts, nor closed when it ends."""
        app = Starlette()
        unpromised.wrap_lifespan(app, lambda own: [own])

        assert "self.lifespan_context(" in inspect.getsource(type(app.router).lifespan)
        assert isinstance(app.router.lifespan_context, list)

    async def test_handle_unless_handled(self) -> None:
        """An error of ours would be a 500 instead of a problem document."""

        async def fail(request: Any) -> PlainTextResponse:
            raise KeyError

        async def answer(request: Any, error: Exception) -> PlainTextResponse:
            return PlainTextResponse("handled", 409)

        app = Starlette(routes=[Route("/", fail)])
        unpromised.handle_unless_handled(app, KeyError, answer)
        unpromised.handle_unless_handled(app, KeyError, None)

        assert (await send_to(app))[0]["status"] == 409


class TestScope:
    async def test_handlers(self) -> None:
        """What an exception handler answers would be committed."""
        seen: list[Any] = []

        async def inside(scope: Any, receive: Any, send: Any) -> None:
            seen.append(scope[unpromised.HANDLERS])

        await send_to(ExceptionMiddleware(inside))

        assert [len(pair) for pair in seen] == [2]

    async def test_route(self) -> None:
        """What a middleware around one endpoint catches would be committed."""
        seen: list[Any] = []

        async def look(request: Any) -> PlainTextResponse:
            seen.append(request.scope[unpromised.ROUTE])
            return PlainTextResponse("hello")

        await send_to(Starlette(routes=[Route("/", look)]))

        assert [type(one) for one in seen] == [Route]

    def test_routing(self) -> None:
        """The same: the endpoint would not be found below its middlewares."""
        made: Any = request_response(endpoint)

        assert made.__module__ == unpromised.ROUTING


class TestErrors:
    def test_answers_unhandled(self) -> None:
        """What a mounted application answers to an error would be committed."""
        source = inspect.getsource(import_module(unpromised.ANSWERS_UNHANDLED))

        assert "except Exception" in source

    async def test_has_answered(self) -> None:
        """An error behind the start of an answer would be hidden by a RuntimeError of Starlette."""
        handlers = Handlers()

        async def answer_and_fail(scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("hello")(scope, receive, send)
            raise ValueError

        async def inside(scope: Any, receive: Any, send: Any) -> None:
            scope[unpromised.HANDLERS] = handlers, {}
            await wrap_app_handling_exceptions(answer_and_fail, Request(scope))(scope, receive, send)

        with pytest.raises(ValueError):
            await send_to(inside)

        assert handlers.answered == [True, True, True, True]
