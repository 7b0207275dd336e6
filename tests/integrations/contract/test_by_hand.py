"""An endpoint that commits by itself."""

from __future__ import annotations

from typing import Any

import pytest

from sqlkeel import Database, Session
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, stored, write
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)


class TestByHand:
    async def test_it_commits_before_it_calls_somebody(self, framework: Framework, every_driver: Database) -> None:
        """Nothing is held while another service takes its time, and what that answers takes nothing back."""
        held: list[int] = []

        async def endpoint(unit: UnitOfWork, session: Session) -> Any:
            await write(session)
            await unit.commit()
            held.append(every_driver.engine.pool.checkedout())  # type: ignore[attr-defined]
            return framework.answer({"paid": False}, status=502)

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert (response.status_code, held) == (502, [0])
        assert await stored(every_driver) == ["kept"]

    async def test_without_a_session_it_is_on_its_own(self, framework: Framework, db: Database) -> None:
        """With the database alone, what it commits is committed, whatever the response says."""

        async def endpoint(database: Database) -> Any:
            async with database.transaction() as session:
                await write(session)
            return framework.answer(status=502)

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 502
        assert await stored(db) == ["kept"]
