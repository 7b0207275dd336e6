"""The service over HTTP, on every database."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sqlkeel import Database, queries
from sqlkeel.demo.importer import Importer
from sqlkeel.demo.models import Base
from sqlkeel.demo.source import Distribution

pytestmark = pytest.mark.tables(Base.metadata)


async def publish(http: httpx.AsyncClient, name: str = "keel", *numbers: str) -> dict[str, Any]:
    """Publish a project with releases."""
    releases = [{"number": number} for number in numbers]
    response = await http.post("/projects", json={"name": name, "releases": releases})
    assert response.status_code == 201
    body: dict[str, Any] = response.json()
    return body


class TestProjects:
    async def test_a_published_project_can_be_read(self, http: httpx.AsyncClient) -> None:
        """It comes with its version as ETag; publishing answers with the newest release."""
        made = await publish(http, "keel", "1.0", "2.0")
        release = made.pop("latest_release")

        response = await http.get(f"/projects/{made['public_id']}")

        assert response.json() == made
        assert response.headers["ETag"] == '"1"'
        assert release["number"] == "2.0"

    async def test_what_the_client_has_is_not_sent_again(self, http: httpx.AsyncClient) -> None:
        """Until somebody edits it; what is shown is no more than what the version counts."""
        path = f"/projects/{(await publish(http, 'keel', '1.0'))['public_id']}"
        known = {"If-None-Match": '"1"'}
        unchanged = await http.get(path, headers=known)
        await http.patch(path, json={"description": "new"}, headers={"If-Match": '"1"'})

        changed = await http.get(path, headers=known)

        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert (changed.status_code, changed.json()["description"]) == (200, "new")

    @pytest.mark.parametrize("path", ["/projects/1", "/releases/x/files", "/accounts/1"])
    async def test_what_is_no_id_is_not_found(self, http: httpx.AsyncClient, path: str) -> None:
        """The internal key least of all."""
        response = await http.get(path)

        assert response.status_code == 404

    async def test_a_taken_name_is_a_conflict(self, http: httpx.AsyncClient) -> None:
        """The problem says which columns are taken."""
        await publish(http)

        response = await http.post("/projects", json={"name": "keel"})

        assert response.status_code == 409
        assert response.json()["columns"] == ["name"]

    async def test_half_a_project_is_not_published(self, http: httpx.AsyncClient) -> None:
        """When a release is refused, the project is rolled back with it."""
        twice = {"name": "keel", "releases": [{"number": "1.0"}, {"number": "1.0"}]}

        response = await http.post("/projects", json=twice)

        assert response.status_code == 409
        assert (await http.get("/projects")).json()["items"] == []

    @pytest.mark.parametrize("size", [1, 3])
    async def test_a_page_costs_two_statements(self, db: Database, http: httpx.AsyncClient, size: int) -> None:
        """However many projects are on it."""
        await publish(http, "a", "1.0")
        await publish(http, "b", "1.0")
        await publish(http, "c", "1.0")

        async with queries(db, exactly=2):
            page = (await http.get("/projects", params={"size": size})).json()

        assert [item["latest_release"]["number"] for item in page["items"]] == ["1.0"] * size

    async def test_pages_lead_on(self, http: httpx.AsyncClient) -> None:
        """The cursor of a page is the way to the next."""
        await publish(http, "a")
        await publish(http, "b")
        first = (await http.get("/projects", params={"size": 1})).json()

        second = (await http.get("/projects", params={"size": 1, "after": first["next"]})).json()

        assert [item["name"] for item in (*first["items"], *second["items"])] == ["a", "b"]
        assert second["next"] is None

    async def test_a_made_up_cursor_is_refused(self, http: httpx.AsyncClient) -> None:
        """It is the client's mistake."""
        response = await http.get("/projects", params={"after": "nonsense"})

        assert response.status_code == 422

    async def test_the_second_editor_is_refused(self, http: httpx.AsyncClient) -> None:
        """The problem has both versions."""
        path = f"/projects/{(await publish(http))['public_id']}"
        await http.patch(path, json={"description": "first"}, headers={"If-Match": '"1"'})

        response = await http.patch(path, json={"description": "second"}, headers={"If-Match": '"1"'})

        assert response.status_code == 412
        assert (response.json()["expected"], response.json()["current"]) == (1, 2)
        assert (await http.get(path)).json()["description"] == "first"

    async def test_an_edit_gives_the_next_version(self, http: httpx.AsyncClient) -> None:
        """With it the same editor goes on."""
        path = f"/projects/{(await publish(http))['public_id']}"
        first = await http.patch(path, json={"description": "first"}, headers={"If-Match": '"1"'})

        second = await http.patch(path, json={"description": "again"}, headers={"If-Match": first.headers["ETag"]})

        assert second.status_code == 200
        assert second.json()["version"] == 3

    async def test_an_edit_without_a_version_is_refused(self, http: httpx.AsyncClient) -> None:
        """Who does not say what was read may have read anything."""
        path = f"/projects/{(await publish(http))['public_id']}"

        response = await http.patch(path, json={"description": "blind"})

        assert response.status_code == 428

    async def test_a_removed_project_is_gone(self, http: httpx.AsyncClient) -> None:
        """With its releases; its account stays, without a project."""
        made = await publish(http, "keel", "1.0")
        account = {"holder": "keel", "project": made["public_id"]}
        opened = (await http.post("/accounts", json=account)).json()

        response = await http.delete(f"/projects/{made['public_id']}")

        assert response.status_code == 204
        assert (await http.get(f"/projects/{made['public_id']}")).status_code == 404
        assert (await http.get("/releases")).json() == []
        assert (await http.get(f"/accounts/{opened['public_id']}")).status_code == 200


class TestReleases:
    async def test_a_withdrawn_release_comes_back(self, http: httpx.AsyncClient) -> None:
        """It is found by its public id again, and in the list."""
        made = await publish(http, "keel", "1.0")
        path = f"/releases/{made['latest_release']['public_id']}"
        await http.delete(path)
        hidden = await http.get(path)

        response = await http.post(f"{path}/restore")

        assert hidden.status_code == 404
        assert response.json()["project"]["name"] == "keel"
        assert [item["number"] for item in (await http.get("/releases")).json()] == ["1.0"]

    async def test_a_number_that_is_taken_meanwhile_stays_taken(
        self, db: Database, http: httpx.AsyncClient, distributions: list[Distribution]
    ) -> None:
        """A release cannot be restored beside the one that took its place."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)
        release = (await http.get("/releases")).json()[0]
        await http.delete(f"/releases/{release['public_id']}")
        async with db.transaction() as session:
            await Importer(session).run(distributions)

        response = await http.post(f"/releases/{release['public_id']}/restore")

        assert response.status_code == 409
        assert response.json()["columns"] == ["project_id", "number"]

    async def test_a_file_is_withdrawn_by_its_path(
        self, db: Database, http: httpx.AsyncClient, distributions: list[Distribution]
    ) -> None:
        """Paths may lead out of the directory, as those of scripts do, so they are no part of the address."""
        async with db.transaction() as session:
            await Importer(session).run(distributions[:1])
        path = f"/releases/{(await http.get('/releases')).json()[0]['public_id']}/files"

        response = await http.delete(path, params={"path": "keel/A.py"})

        assert response.status_code == 204
        assert [item["path"] for item in (await http.get(path)).json()["items"]] == ["keel/a.py"]

    async def test_a_list_costs_one_statement(self, db: Database, http: httpx.AsyncClient) -> None:
        """Each release brings its project."""
        await publish(http, "a", "1.0", "2.0")

        async with queries(db, exactly=1):
            listed = (await http.get("/releases", params={"skip": 1, "limit": 5})).json()

        assert [item["project"]["name"] for item in listed] == ["a"]


class TestPayments:
    async def test_money_moves(self, http: httpx.AsyncClient) -> None:
        """Amounts are text in JSON, where a number would be a float."""
        rich = (await http.post("/accounts", json={"holder": "rich", "balance": "10.00"})).json()
        poor = (await http.post("/accounts", json={"holder": "poor"})).json()
        order = {"sender": rich["public_id"], "recipient": poor["public_id"], "amount": "0.10"}

        response = await http.post("/transfers", json=order)

        assert response.status_code == 201
        assert (await http.get(f"/accounts/{rich['public_id']}")).json()["balance"] == "9.90"

    async def test_too_much_is_refused(self, http: httpx.AsyncClient) -> None:
        """The CHECK of the database answers, with its name."""
        poor = (await http.post("/accounts", json={"holder": "poor"})).json()
        rich = (await http.post("/accounts", json={"holder": "rich"})).json()
        order = {"sender": poor["public_id"], "recipient": rich["public_id"], "amount": "0.01"}

        response = await http.post("/transfers", json=order)

        assert response.status_code == 422
        assert response.json()["constraint"] == "payment_account_balance_check"

    async def test_a_batch_reports_bad_lines(self, http: httpx.AsyncClient) -> None:
        """The good ones are made."""
        rich = (await http.post("/accounts", json={"holder": "rich", "balance": "1.00"})).json()
        poor = (await http.post("/accounts", json={"holder": "poor"})).json()
        order = {"sender": rich["public_id"], "recipient": poor["public_id"], "amount": "0.60"}

        response = await http.post("/transfers/batch", json=[order, order])

        assert response.json() == {"made": 1, "refused": [{"line": 2, "reason": "check-violation"}]}

    async def test_an_account_of_an_unknown_project_is_refused(self, http: httpx.AsyncClient) -> None:
        """No project, no account."""
        unknown = {"holder": "Ada", "project": "01900000-0000-7000-8000-000000000000"}

        response = await http.post("/accounts", json=unknown)

        assert response.status_code == 404
