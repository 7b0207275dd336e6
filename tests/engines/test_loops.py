"""Event loops: one Database in one loop after the other, and in two at once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from sqlalchemy import text

from sqlkeel.database import Database
from sqlkeel.errors import UsageError
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """Each database whose driver keeps to its event loop."""
    database: Database = request.getfixturevalue(request.param)
    return database


async def ask(database: Database) -> list[Any]:
    """Ask in every kind of block."""
    async with database.read() as session:
        read = await session.scalar(text("select 7"))
    async with database.transaction() as session:
        written = await session.scalar(text("select 8"))
    return [read, written]


async def in_a_loop_of_its_own(work: Coroutine[Any, Any, Any]) -> Any:
    """Run *work* by ``asyncio.run``, in a thread."""
    return await asyncio.to_thread(asyncio.run, work)


class TestLoops:
    async def test_one_after_the_other(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """A script or a job that calls asyncio.run twice goes on with new connections."""
        database = open_database(every_driver)

        answers = [await in_a_loop_of_its_own(ask(database)) for _ in range(3)]

        assert answers == [[7, 8]] * 3
        assert await ask(database) == [7, 8]

    async def test_two_at_once(self, server: Database, open_database: OpenDatabase) -> None:
        """A connection of a loop that is open is refused in another, with what to do instead."""
        database = open_database(server, pool_size=1, max_overflow=0)
        await ask(database)

        with pytest.raises(UsageError, match="another event loop") as caught:
            await in_a_loop_of_its_own(ask(database))

        assert "dispose" in str(caught.value)
