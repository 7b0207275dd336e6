"""The sessions that a request asks for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from sqlkeel import Database, Session
from tests.integrations.contract.framework import Framework, Injecting
from tests.integrations.tables import Base, Note, stored, write
from tests.integrations.wire import client, traffic

pytestmark = pytest.mark.tables(Base.metadata)


class TestSession:
    async def test_one_for_all(self, framework: Framework, sqlite: Database) -> None:
        """Who asks twice, and whatever the way, gets the same session of each kind."""

        async def endpoint(request: Any, session: Session, read_session: Session, database: Database) -> Any:
            ours = framework.integration
            again = await ours.session_of(request), await ours.read_session_of(request)
            return [again == (session, read_session), ours.database_of(request) is database is sqlite]

        async with client(framework.serve(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == [True, True]

    async def test_requests_share_none(self, framework: Framework, sqlite: Database) -> None:
        """Each request has a session of its own."""
        seen: list[Session] = []

        async def endpoint(session: Session) -> None:
            seen.append(session)

        async with client(framework.serve(sqlite, endpoint)) as http:
            await http.post("/")
            await http.post("/")

        assert seen[0] is not seen[1]


class TestReadSession:
    async def test_it_reads(self, framework: Framework, db: Database) -> None:
        """What is committed is there to read."""

        async def endpoint(read_session: Session) -> Any:
            return await read_session.scalar(text("SELECT count(*) FROM note"))

        async with db.transaction() as session:
            session.add(Note(text="kept"))

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == 1

    async def test_it_sends_the_statement_only(self, framework: Framework, postgres: Database) -> None:
        """The reading session has no transaction around it."""

        async def endpoint(read_session: Session) -> Any:
            return await read_session.scalar(text("SELECT 1"))

        await stored(postgres)

        with traffic(postgres) as seen:
            async with client(framework.serve(postgres, endpoint)) as http:
                response = await http.post("/")

        assert response.json() == 1
        assert seen.count("before_cursor_execute") == 1
        assert "commit" not in seen

    async def test_it_refuses_to_write(self, framework: Framework, db: Database) -> None:
        """A flush is refused; the client learns no more than that it is our fault."""

        async def endpoint(read_session: Session) -> None:
            await write(read_session)

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.json() == {"type": "about:blank", "title": "Internal Server Error", "status": 500}
        assert await stored(db) == []


class TestDependencies:
    async def test_one_for_all(self, injecting: Injecting, sqlite: Database) -> None:
        """The endpoint, its dependencies and theirs share one session."""

        async def first(session: Session) -> Any:
            return session

        async def second(first: Session, session: Session) -> Any:
            return session is first

        async def endpoint(session: Session, first: Session, second: bool) -> Any:
            return [session is first, second]

        async with client(injecting.serve(sqlite, endpoint, provided={"first": first, "second": second})) as http:
            response = await http.post("/")

        assert response.json() == [True, True]

    def test_the_openapi_document_does_not_know_them(self, injecting: Injecting, sqlite: Database) -> None:
        """A session adds no parameter and no body to the description of the service."""

        async def endpoint(session: Session, read_session: Session, database: Database) -> None:
            return None

        operation = injecting.document(injecting.serve(sqlite, endpoint))["paths"]["/"]["post"]

        assert "parameters" not in operation
        assert "requestBody" not in operation
