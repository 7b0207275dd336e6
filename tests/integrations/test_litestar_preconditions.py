"""Conditional requests to a Litestar application: the headers of a handler, and of a response."""

from __future__ import annotations

from typing import Any

from litestar import Litestar, Response, get
from litestar.datastructures import CacheControlHeader

from sqlkeel import Database
from sqlkeel.integrations.litestar import ETagDep, SQLKeelPlugin
from tests.integrations.wire import client


def site(db: Database, handler: Any) -> Litestar:
    """Return an application of one handler."""
    return Litestar([handler], plugins=[SQLKeelPlugin(db)], logging_config=None)


class TestNotModified:
    async def test_it_has_the_headers_of_the_handler(self, sqlite: Database) -> None:
        """A cache has to know how long, and for whom, what it keeps is still good."""

        @get("/", cache_control=CacheControlHeader(max_age=5), response_headers={"Vary": "Accept"})
        async def show(etag: ETagDep) -> None:
            etag(3)

        async with client(site(sqlite, show)) as http:
            response = await http.get("/", headers={"If-None-Match": '"3"'})

        assert response.status_code == 304
        assert dict(response.headers) == {"cache-control": "max-age=5", "vary": "Accept", "etag": '"3"'}


class TestResponse:
    async def test_it_is_tagged(self, sqlite: Database) -> None:
        """A handler that returns a response of its own need not set the header there."""

        @get("/")
        async def show(etag: ETagDep) -> Response[None]:
            etag(3)
            return Response(None)

        async with client(site(sqlite, show)) as http:
            response = await http.get("/")

        assert response.headers.get_list("etag") == ['"3"']

    async def test_a_tag_of_its_own_stays(self, sqlite: Database) -> None:
        """A response has one tag: the one that is nearer to it."""

        @get("/")
        async def show(etag: ETagDep) -> Response[None]:
            etag(3)
            return Response(None, headers={"ETag": '"own"'})

        async with client(site(sqlite, show)) as http:
            response = await http.get("/")

        assert response.headers.get_list("etag") == ['"own"']
