"""What is kept of a request, and when: all of a success, before its response starts, and nothing of a failure."""

from __future__ import annotations

from typing import Any

import pytest

from sqlkeel import Database, Session
from tests.integrations.contract.framework import Framework, Injecting
from tests.integrations.tables import Base, stored, write
from tests.integrations.wire import Exchange, Message, client, traffic

pytestmark = pytest.mark.tables(Base.metadata)


async def writing(session: Session) -> None:
    """Write a note."""
    await write(session)


class TestSuccess:
    async def test_it_is_kept(self, framework: Framework, db: Database) -> None:
        """The row of a 201 is there."""
        async with client(framework.serve(db, writing)) as http:
            response = await http.post("/")

        assert response.status_code == 201
        assert await stored(db) == ["kept"]

    async def test_the_row_is_there_before_the_response_starts(
        self, framework: Framework, every_driver: Database
    ) -> None:
        """Another connection sees the row when the first message of the response is sent."""
        seen: list[list[str]] = []

        async def watch(message: Message) -> None:
            seen.append(await stored(every_driver))

        exchange = await Exchange(framework.serve(every_driver, writing), method="POST", watch=watch).run()

        assert exchange.status == 201
        assert seen == [["kept"], ["kept"]]


class TestFailure:
    async def test_a_returned_error_rolls_back(self, framework: Framework, db: Database) -> None:
        """A response with status 400 keeps nothing, though nothing was raised."""

        async def endpoint(session: Session) -> Any:
            await write(session)
            return framework.answer(status=400)

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 400
        assert await stored(db) == []

    async def test_a_raised_error_rolls_back(self, framework: Framework, db: Database) -> None:
        """HTTPException keeps nothing."""

        async def endpoint(session: Session) -> None:
            await write(session)
            raise framework.http_error(status_code=409)  # type: ignore[call-arg]

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 409
        assert await stored(db) == []

    async def test_an_unhandled_error_rolls_back(self, framework: Framework, db: Database) -> None:
        """A bug is a 500 and keeps nothing."""

        async def endpoint(session: Session) -> None:
            await write(session)
            raise ZeroDivisionError

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    async def test_an_answer_that_cannot_be_written_rolls_back(self, framework: Framework, sqlite: Database) -> None:
        """An answer that is not JSON is a 500 and keeps nothing."""

        async def endpoint(session: Session) -> Any:
            await write(session)
            return object()

        async with client(framework.serve(sqlite, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(sqlite) == []


class TestTraffic:
    async def test_a_request_of_the_wrong_form_costs_nothing(self, injecting: Injecting, db: Database) -> None:
        """A request that fails validation does not reach the database."""

        async def endpoint(session: Session, size: int) -> None:
            await write(session)

        with traffic(db) as seen:
            async with client(injecting.serve(db, endpoint)) as http:
                response = await http.post("/?size=many")

        assert response.status_code == injecting.malformed
        assert seen == []

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/nowhere"), ("DELETE", "/"), ("HEAD", "/"), ("OPTIONS", "/"), ("POST", "/")]
    )
    async def test_what_needs_no_database_does_not_touch_it(
        self, framework: Framework, db: Database, method: str, path: str
    ) -> None:
        """An unknown path, a wrong method, OPTIONS, and a session that is not used cost no connection."""

        async def endpoint(session: Session) -> None:
            return None

        with traffic(db) as seen:
            async with client(framework.serve(db, endpoint)) as http:
                await http.request(method, path)

        assert seen == []
