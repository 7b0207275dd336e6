"""The pages of the service for people: they lead somewhere, and nowhere outside of this machine."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import httpx
import pytest

from sqlkeel import Database
from sqlkeel.demo.importer import Importer
from sqlkeel.demo.models import Base
from sqlkeel.demo.pages import api_page
from sqlkeel.demo.source import Distribution

pytestmark = pytest.mark.tables(Base.metadata)

PAGES = ["/", "/docs"]


class Parsed(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag leads to, loads or is."""
        given = {name: value or "" for name, value in attrs}
        self.targets += [given[name] for name in ("href", "src", "action") if name in given]
        self.anchors |= {given["id"]} if "id" in given else set()


async def links(http: httpx.AsyncClient) -> list[str]:
    """Return what the front page leads to."""
    return Parsed((await http.get("/")).text).targets


class TestFrontPage:
    async def test_it_leads_to_what_one_wants_to_see(self, http: httpx.AsyncClient) -> None:
        """The API, whether it works, the lists, and what was deleted."""
        assert set(await links(http)) == {
            "/docs",
            "/health",
            "/openapi.json",
            "/projects",
            "/releases",
            "/releases/withdrawn",
        }

    async def test_each_link_is_answered(
        self, db: Database, http: httpx.AsyncClient, distributions: list[Distribution]
    ) -> None:
        """With 200, on each database."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)

        answers = {target: (await http.get(target)).status_code for target in await links(http)}

        assert set(answers.values()) == {200}


class TestApiPage:
    async def test_it_has_each_operation(self, http: httpx.AsyncClient) -> None:
        """Every path and method of the OpenAPI document."""
        text = (await http.get("/docs")).text
        paths = (await http.get("/openapi.json")).json()["paths"]

        told = {f"<code>{method.upper()} {path}</code>" for path, methods in paths.items() for method in methods}
        assert [one for one in told if one not in text] == []
        assert len(told) > 10

    async def test_each_type_that_it_names_is_on_it(self, http: httpx.AsyncClient) -> None:
        """A link to a schema leads to its fields."""
        page = Parsed((await http.get("/docs")).text)
        named = {target.removeprefix("#") for target in page.targets if target.startswith("#")}

        assert named <= page.anchors
        assert {"ProjectIn", "TransferIn"} <= named

    def test_what_it_is_told_is_text(self) -> None:
        """Nothing in a description becomes HTML."""
        openapi = {
            "paths": {"/<a>": {"get": {"description": "<b>", "responses": {"200": {"description": "<i>"}}}}},
        }

        text = api_page("<title>", openapi)

        assert re.findall(r"<(?:a>|b>|i>|title><)", text) == []


class TestWithoutANetwork:
    @pytest.mark.parametrize("path", PAGES)
    async def test_a_page_names_no_other_host(self, http: httpx.AsyncClient, path: str) -> None:
        """Neither as a link nor as something to load, so that it works where there is no network."""
        response = await http.get(path)

        assert response.headers["Content-Type"].startswith("text/html")
        assert re.findall(r"//", response.text) == []

    async def test_there_are_no_other_pages(self, http: httpx.AsyncClient) -> None:
        """FastAPI's own pages of the API load scripts from another host."""
        assert (await http.get("/redoc")).status_code == 404


class TestHealth:
    async def test_it_names_the_database_that_has_answered(self, db: Database, http: httpx.AsyncClient) -> None:
        """The database is asked, and its kind is told."""
        response = await http.get("/health")

        assert response.json() == {"database": db.dialect}


class TestWithdrawn:
    async def test_it_lists_what_can_be_brought_back(
        self, db: Database, http: httpx.AsyncClient, distributions: list[Distribution]
    ) -> None:
        """A release is in one list or the other."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)
        before = (await http.get("/releases")).json()

        await http.delete(f"/releases/{before[0]['public_id']}")

        withdrawn = (await http.get("/releases/withdrawn")).json()
        assert [one["public_id"] for one in withdrawn] == [before[0]["public_id"]]
        assert [one["public_id"] for one in (await http.get("/releases")).json()] == [before[1]["public_id"]]
