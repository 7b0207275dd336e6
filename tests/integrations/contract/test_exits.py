"""What a dependency does on its exit, behind the endpoint and before the response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sqlkeel import Database, Session
from tests.integrations.contract.framework import Injecting
from tests.integrations.tables import Base, Deferred, stored, write, write_orphan
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


class TestExit:
    async def test_the_session_is_open(self, injecting: Injecting, db: Database) -> None:
        """The exit of a dependency comes before the response, and takes part in the unit of work."""

        async def after(session: Session) -> AsyncIterator[None]:
            yield
            await write(session)

        async def endpoint(after: None) -> None:
            return None

        async with client(injecting.serve(db, endpoint, provided={"after": after})) as http:
            await http.post("/")

        assert await stored(db) == ["kept"]

    async def test_one_that_fails_rolls_back(self, injecting: Injecting, db: Database) -> None:
        """An error in the exit of a dependency is a 500, and the endpoint's row is not kept."""

        async def after() -> AsyncIterator[None]:
            yield
            raise ZeroDivisionError

        async def endpoint(after: None, session: Session) -> None:
            await write(session)

        async with client(injecting.serve(db, endpoint, provided={"after": after})) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(db) == []

    @pytest.mark.parametrize("status", [201, 400])
    async def test_it_comes_before_the_commit(self, injecting: Injecting, db: Database, status: int) -> None:
        """A dependency sees no row of the request yet on its exit, whatever the status will be."""
        seen: list[list[str]] = []

        async def after() -> AsyncIterator[None]:
            yield
            seen.append(await stored(db))

        async def endpoint(after: None, session: Session) -> Any:
            await write(session)
            return injecting.answer(status=status)

        async with client(injecting.serve(db, endpoint, provided={"after": after})) as http:
            response = await http.post("/")

        assert response.status_code == status
        assert seen == [[]]

    @pytest.mark.tables(Deferred.metadata)
    async def test_it_cannot_swallow_a_failed_commit(self, injecting: Injecting, sqlite: Database) -> None:
        """A dependency that catches everything does not make a success of a failed COMMIT."""

        async def careless(session: Session) -> AsyncIterator[None]:
            try:
                yield
            except BaseException:  # noqa: BLE001 - it is careless
                return

        async def endpoint(careless: None, session: Session) -> None:
            await write_orphan(session)

        async with client(injecting.serve(sqlite, endpoint, provided={"careless": careless})) as http:
            response = await http.post("/")

        assert response.status_code == 409
