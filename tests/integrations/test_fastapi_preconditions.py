"""Conditional requests to a FastAPI application: the headers and cookies of its 304."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from sqlkeel import Database
from sqlkeel.integrations.fastapi import ETagDep, install
from tests.integrations.wire import Exchange, client


async def show(response: Response, tag: ETagDep) -> None:
    """Show what has version 3."""
    response.set_cookie("one", "1")
    response.set_cookie("two", "2")
    response.headers["Cache-Control"] = "private"
    tag(3)


@pytest.fixture
def app(sqlite: Database) -> FastAPI:
    """A service of one endpoint."""
    app = FastAPI()
    install(app, sqlite)
    app.get("/")(show)
    return app


class TestNotModified:
    async def test_it_has_the_other_headers(self, app: FastAPI) -> None:
        """What the endpoint has set for a page goes with its 304, a header that is there more than once, too."""
        async with client(app) as http:
            response = await http.get("/", headers={"If-None-Match": '"3"'})

        assert (response.status_code, response.content) == (304, b"")
        assert (response.headers["ETag"], response.headers["Cache-Control"]) == ('"3"', "private")
        assert sorted(response.cookies) == ["one", "two"]

    async def test_a_handler_of_errors_gives_it_no_body(self, app: FastAPI) -> None:
        """304 is no error, and one who answers errors with a document of his own is not asked."""

        @app.exception_handler(HTTPException)
        async def answer(request: Request, error: HTTPException) -> JSONResponse:
            return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

        exchange = await Exchange(app, headers=[(b"if-none-match", b"*")]).run()

        assert (exchange.status, exchange.messages[1].get("body")) == (304, b"")
        assert {name for name, _ in exchange.messages[0]["headers"]} == {b"cache-control", b"etag", b"set-cookie"}

    async def test_below_a_mounted_application_too(self, sqlite: Database) -> None:
        """A mounted application, which answers with handlers of its own, sends the tag and each cookie."""
        app, below = FastAPI(), FastAPI()
        install(app, sqlite)
        app.mount("/below", below)
        below.get("/")(show)

        async with client(app) as http:
            response = await http.get("/below/", headers={"If-None-Match": '"3"'})

        assert (response.status_code, response.content, response.headers["ETag"]) == (304, b"", '"3"')
        assert sorted(response.cookies) == ["one", "two"]
