"""Errors of ours are problem documents."""

from __future__ import annotations

import logging

import pytest
from sqlalchemy import text

from sqlkeel import Database, Session
from sqlkeel.errors import KeelError, NotFound
from tests.fixtures.databases import OpenDatabase
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, write
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


async def writing(session: Session) -> None:
    """Write a note."""
    await write(session)


async def missing() -> None:
    """Look for what is not there."""
    raise NotFound("Note", 1)


class TestProblems:
    async def test_a_conflict_is_a_document(self, framework: Framework, db: Database) -> None:
        """A unique violation is a 409 that names the columns, under the media type of RFC 9457."""
        async with client(framework.serve(db, writing)) as http:
            await http.post("/")
            response = await http.post("/")

        assert response.status_code == 409
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["type"] == "errors#unique-violation"
        assert response.json()["columns"] == ["text"]

    async def test_an_earlier_handler_stays(self, framework: Framework, sqlite: Database) -> None:
        """A handler that the application has for all of our errors is not replaced."""
        async with client(framework.serve(sqlite, missing, kind=KeelError, status=418)) as http:
            response = await http.post("/")

        assert response.status_code == 418

    async def test_an_internal_error_is_logged(
        self, framework: Framework, sqlite: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What the client is not told is in the log, with its traceback."""

        async def endpoint(session: Session) -> None:
            await session.execute(text("SELECT * FROM missing"))

        with caplog.at_level(logging.ERROR, "sqlkeel.integrations"):
            async with client(framework.serve(sqlite, endpoint)) as http:
                response = await http.post("/")

        assert response.status_code == 500
        assert "missing" not in response.text
        assert "SchemaMissing" in caplog.text
        assert "Traceback" in caplog.text

    async def test_an_exhausted_pool_is_a_503(
        self, framework: Framework, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """Who gets no connection in time is told to come back."""
        db = open_database(sqlite, pool_size=1, max_overflow=0, pool_timeout=0.05)

        async with db.engine.connect(), client(framework.serve(db, writing)) as http:
            response = await http.post("/")

        assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
        assert response.json()["type"] == "errors#pool-timeout"

    async def test_statuses_and_docs_are_the_projects(self, framework: Framework, sqlite: Database) -> None:
        """The options of the installation reach the document."""
        options = {"statuses": {"not-found": 410}, "docs": "https://example.org/e"}

        async with client(framework.serve(sqlite, missing, installed=options)) as http:
            response = await http.post("/")

        assert (response.status_code, response.json()["type"]) == (410, "https://example.org/e#not-found")
