"""A COMMIT that fails is answered as a failure, whatever the endpoint has returned."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from sqlkeel import Database, Session
from sqlkeel.errors import ForeignKeyViolation
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, Deferred, Note, write_orphan
from tests.integrations.wire import client, serving

pytestmark = pytest.mark.tables(Deferred.metadata)


class TestFailedCommit:
    async def test_it_is_no_success(self, framework: Framework, deferring: Database) -> None:
        """A foreign key that fails in COMMIT is a 409, not the 201 that the endpoint returned; no task runs."""
        sent: list[str] = []

        async def mail() -> None:
            sent.append("mail")

        async def endpoint(session: Session) -> Any:
            await write_orphan(session)
            return framework.answer({"saved": True}, task=mail)

        async with client(framework.serve(deferring, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "errors#foreign-key-violation"
        assert sent == []

    @pytest.mark.tables(Base.metadata)
    async def test_a_pending_change_fails_like_any_other(self, framework: Framework, db: Database) -> None:
        """A flush inside of COMMIT that breaks a constraint is a 409 that names the columns, on every database."""

        async def endpoint(session: Session) -> None:
            session.add(Note(text="kept"))

        async with client(framework.serve(db, endpoint)) as http:
            await http.post("/")
            response = await http.post("/")

        assert response.status_code == 409
        assert response.json()["columns"] == ["text"]

    async def test_it_is_a_409_on_the_wire(self, framework: Framework, deferring: Database) -> None:
        """The client of a real server reads a problem document, and never a 201."""
        async with serving(framework.serve(deferring, write_orphan)) as port, httpx.AsyncClient() as http:
            response = await http.post(f"http://127.0.0.1:{port}/")

        assert (response.status_code, response.json()["title"]) == (409, "Reference broken")

    async def test_it_reaches_the_own_handler(self, framework: Framework, sqlite: Database) -> None:
        """A handler of the application for our error answers a failed COMMIT too."""
        app = framework.serve(sqlite, write_orphan, kind=ForeignKeyViolation, status=418)

        async with client(app) as http:
            response = await http.post("/")

        assert response.status_code == 418
