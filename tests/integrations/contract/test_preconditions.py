"""Conditional requests: If-Match, If-None-Match and ETag."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import update

from sqlkeel import Database, Repository, Session
from tests.integrations.contract.framework import Injecting, Route
from tests.integrations.pages import Base, Page, add, title_of
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)

PATH = "/pages/{key:int}"


async def show(key: int, read_session: Session, etag: Any) -> Any:
    """Show a page, unless the client has it."""
    page = await Repository(read_session, Page).get_one(key)
    etag(page.version)
    return {"title": page.title}


async def overwrite(key: int, title: str, optional_if_match: Any, session: Session) -> None:
    """Change a page that the client may not have seen."""
    pages = Repository(session, Page)
    await pages.update(await pages.get_one(key), {"title": title}, expected_version=optional_if_match)


async def remove(key: int, if_match: Any, session: Session) -> None:
    """Delete a page."""
    pages = Repository(session, Page)
    await pages.delete(await pages.get_one(key), expected_version=if_match)


def library(injecting: Injecting, db: Database, *, loaded: Callable[[], Awaitable[Any]] | None = None) -> Any:
    """Return a service that shows and edits pages; *loaded* is awaited before a page is changed."""

    async def edit(key: int, title: str, if_match: Any, session: Session, etag: Any) -> Any:
        pages = Repository(session, Page)
        page = await pages.get_one(key)
        if loaded is not None:
            await loaded()
        await pages.update(page, {"title": title}, expected_version=if_match)
        etag(page.version)
        return {"title": page.title}

    return injecting.serve(
        db,
        Route(show, "GET", PATH, {"responses": injecting.conditional_read}),
        Route(edit, "PUT", PATH, {"responses": injecting.conditional_write}),
        Route(overwrite, "PATCH", PATH),
        Route(remove, "DELETE", PATH),
    )


@pytest.fixture
async def path(db: Database) -> str:
    """The path of a page at version 2."""
    return await add(db)


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """Each database that lets two transactions write at the same time."""
    database: Database = request.getfixturevalue(request.param)
    return database


class TestIfMatch:
    @pytest.mark.parametrize("header", ['"2"', '"1", "2"', "*", ' "2" '])
    async def test_the_current_version_is_changed(
        self, injecting: Injecting, db: Database, path: str, header: str
    ) -> None:
        """Who saw the page as it is may change it, and learns the new version."""
        async with client(library(injecting, db)) as http:
            response = await http.put(path, params={"title": "new"}, headers={"If-Match": header})

        assert (response.status_code, response.headers["ETag"]) == (200, '"3"')
        assert await title_of(db, path) == "new"

    @pytest.mark.parametrize("header", ['"1"', '"3"', '"1", "3"', 'W/"2"', '"02"', '"abc"', '"\xb3"'])
    async def test_another_version_is_not(self, injecting: Injecting, db: Database, path: str, header: str) -> None:
        """A version that the page has not, a weak tag, a foreign tag: 412, and nothing is written."""
        async with client(library(injecting, db)) as http:
            response = await http.put(path, params={"title": "new"}, headers=[(b"If-Match", header.encode("latin-1"))])

        assert response.status_code == 412
        assert response.headers["content-type"] == "application/problem+json"
        assert (response.json()["type"], response.json()["current"]) == ("errors#version-conflict", 2)
        assert await title_of(db, path) == "old"

    @pytest.mark.parametrize("tags", [(b'"2"', b'"7"'), (b'"7"', b'"2"')])
    async def test_the_lines_of_the_header_are_one_list(
        self, injecting: Injecting, sqlite: Database, tags: tuple[bytes, ...]
    ) -> None:
        """A header that is sent twice lists all of its tags."""
        path = await add(sqlite)
        headers = [(b"If-Match", tag) for tag in tags]

        async with client(library(injecting, sqlite)) as http:
            response = await http.put(path, params={"title": "new"}, headers=headers)

        assert response.status_code == 200

    @pytest.mark.parametrize("method", ["PUT", "PATCH"])
    @pytest.mark.parametrize("header", ["2", "", '"2', '*, "2"'])
    async def test_a_malformed_one_is_refused(
        self, injecting: Injecting, sqlite: Database, header: str, method: str
    ) -> None:
        """What is no list of tags is the client's mistake: 400, as a problem document."""
        async with client(library(injecting, sqlite)) as http:
            response = await http.request(method, "/pages/1?title=new", headers={"If-Match": header})

        assert response.status_code == 400
        assert response.json()["type"] == "errors#invalid-etag"

    async def test_it_must_be_there(self, injecting: Injecting, db: Database, path: str) -> None:
        """Without it nobody could say whether an update is lost: 428, with what to send."""
        async with client(library(injecting, db)) as http:
            response = await http.put(path, params={"title": "new"})

        assert response.status_code == 428
        assert response.json()["type"] == "errors#precondition-required"
        assert "If-Match" in response.json()["detail"]
        assert await title_of(db, path) == "old"

    async def test_it_may_be_left_out(self, injecting: Injecting, db: Database, path: str) -> None:
        """Where it is optional, a request without it overwrites, and one with it is checked."""
        async with client(library(injecting, db)) as http:
            without = await http.patch(path, params={"title": "new"})
            with_it = await http.patch(path, params={"title": "newer"}, headers={"If-Match": '"2"'})

        assert (without.status_code, with_it.status_code) == (200, 412)
        assert await title_of(db, path) == "new"

    async def test_what_is_not_there_is_not_found(self, injecting: Injecting, sqlite: Database) -> None:
        """A version can only be compared with a page that there is: 404."""
        async with client(library(injecting, sqlite)) as http:
            response = await http.put("/pages/404", params={"title": "new"}, headers={"If-Match": '"abc"'})

        assert response.status_code == 404

    @pytest.mark.parametrize(("header", "status"), [('"2"', 204), ('"1"', 412)])
    async def test_a_deletion_is_checked(
        self, injecting: Injecting, db: Database, path: str, header: str, status: int
    ) -> None:
        """Who has not seen the last change may not delete it."""
        async with client(library(injecting, db)) as http:
            response = await http.delete(path, headers={"If-Match": header})

        assert response.status_code == status

    async def test_of_two_at_once_one_wins(self, injecting: Injecting, db: Database, path: str) -> None:
        """Two who send the same version at the same time: one 200, one 412."""
        async with client(library(injecting, db)) as http:
            responses = await asyncio.gather(
                *(http.put(path, params={"title": title}, headers={"If-Match": '"2"'}) for title in ("a", "b"))
            )

        [winner] = [response for response in responses if response.status_code == 200]
        [loser] = [response for response in responses if response.status_code == 412]
        assert await title_of(db, path) == winner.json()["title"]
        assert (loser.json()["expected"], loser.json()["current"]) == (2, 3)

    async def test_of_two_who_have_loaded_one_wins(self, injecting: Injecting, server: Database) -> None:
        """So it is where both have found their version to be the current one; on SQLite the second waits to load."""
        path = await add(server)
        app = library(injecting, server, loaded=asyncio.Barrier(2).wait)

        async with client(app) as http:
            responses = await asyncio.gather(
                *(http.put(f"{path}?title={title}", headers={"If-Match": '"2"'}) for title in ("a", "b"))
            )

        assert sorted(response.status_code for response in responses) == [200, 412]

    def test_the_openapi_document_knows_it(self, injecting: Injecting, sqlite: Database) -> None:
        """A client sees the header that it has to send, and what it may be answered."""
        operation = injecting.document(library(injecting, sqlite))["paths"]["/pages/{key}"]["put"]

        assert ("header", "If-Match") in [(p["in"], p["name"]) for p in operation["parameters"]]
        assert {"400", "412", "428"} <= set(operation["responses"])
        assert set(operation["responses"]["412"]["content"]) == {"application/problem+json"}


class TestETag:
    @pytest.mark.parametrize("header", [None, '"1"', '"abc"'])
    async def test_it_is_sent(self, injecting: Injecting, db: Database, path: str, header: str | None) -> None:
        """A page comes with the tag of its version, and whole where the client has another one or none."""
        async with client(library(injecting, db)) as http:
            response = await http.get(path, headers={"If-None-Match": header} if header else {})

        assert (response.status_code, response.headers["ETag"]) == (200, '"2"')
        assert response.json() == {"title": "old"}

    @pytest.mark.parametrize("header", ['"2"', 'W/"2"', '"1", "2"', "*"])
    async def test_what_the_client_has_is_not_sent(
        self, injecting: Injecting, db: Database, path: str, header: str
    ) -> None:
        """304, with the tag and no body."""
        async with client(library(injecting, db)) as http:
            response = await http.get(path, headers={"If-None-Match": header})

        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == '"2"'

    async def test_a_change_is_sent(self, injecting: Injecting, db: Database, path: str) -> None:
        """After a change the old tag is no longer current."""
        async with client(library(injecting, db)) as http:
            tag = (await http.get(path)).headers["ETag"]
            changed = await http.put(path, params={"title": "new"}, headers={"If-Match": tag})
            old = await http.get(path, headers={"If-None-Match": tag})
            new = await http.get(path, headers={"If-None-Match": changed.headers["ETag"]})

        assert (old.status_code, old.json()) == (200, {"title": "new"})
        assert new.status_code == 304

    async def test_a_change_is_never_answered_304(self, injecting: Injecting, sqlite: Database) -> None:
        """If-None-Match ends a request that reads; one that writes is done."""
        path = await add(sqlite)

        async with client(library(injecting, sqlite)) as http:
            response = await http.put(
                path, params={"title": "new"}, headers={"If-Match": '"2"', "If-None-Match": '"3"'}
            )

        assert response.status_code == 200

    async def test_a_malformed_header_is_refused(self, injecting: Injecting, sqlite: Database) -> None:
        """400, as a problem document."""
        path = await add(sqlite)

        async with client(library(injecting, sqlite)) as http:
            response = await http.get(path, headers={"If-None-Match": "2"})

        assert (response.status_code, response.json()["type"]) == (400, "errors#invalid-etag")

    @pytest.mark.parametrize("header", ['"3"', '"4"'])
    async def test_what_was_written_is_kept(self, injecting: Injecting, sqlite: Database, header: str) -> None:
        """A view that is counted is counted, whether or not the client has the page already."""
        path = await add(sqlite)

        async def endpoint(session: Session, etag: Any) -> None:
            await session.execute(update(Page).values(title="seen"))
            etag(3)

        async with client(injecting.serve(sqlite, Route(endpoint, "GET"))) as http:
            await http.get("/", headers={"If-None-Match": header})

        assert await title_of(sqlite, path) == "seen"

    async def test_a_failed_commit_is_no_304(self, injecting: Injecting, sqlite: Database) -> None:
        """What could not be kept is not answered as if it had been."""

        async def endpoint(session: Session, etag: Any) -> None:
            session.add(Page(id=1, title=None))
            etag(3)

        async with client(injecting.serve(sqlite, Route(endpoint, "GET"))) as http:
            response = await http.get("/", headers={"If-None-Match": '"3"'})

        assert response.status_code == 422

    async def test_an_error_has_none(self, injecting: Injecting, sqlite: Database) -> None:
        """What is answered instead of the page is not the page at that version."""

        async def endpoint(etag: Any) -> Any:
            etag(3)
            return injecting.answer(status=409)

        async with client(injecting.serve(sqlite, Route(endpoint, "GET"))) as http:
            response = await http.get("/")

        assert response.status_code == 409
        assert "ETag" not in response.headers

    def test_the_openapi_document_knows_it(self, injecting: Injecting, sqlite: Database) -> None:
        """A client sees that it may send If-None-Match, and be answered 304."""
        operation = injecting.document(library(injecting, sqlite))["paths"]["/pages/{key}"]["get"]

        assert ("header", "If-None-Match") in [(p["in"], p["name"]) for p in operation["parameters"]]
        assert "304" in operation["responses"]
