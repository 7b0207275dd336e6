"""Event loops: one Database in one loop after the other, and in two at once."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Coroutine, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import text

from sqlkeel.errors import DatabaseUnavailable, UsageError
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """Each database whose driver keeps to its event loop."""
    database: Database = request.getfixturevalue(request.param)
    return database


OWN_ID: Final = {"postgresql": "select pg_backend_pid()", "mariadb": "select connection_id()"}
ALIVE: Final = {
    "postgresql": "select count(*) from pg_stat_activity where pid = any(array[{ids}])",
    "mariadb": "select count(*) from information_schema.processlist where id in ({ids})",
}
PATIENCE: Final = 10.0


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what a closed loop has left while its warnings are expected, and not in the test of somebody else."""
    yield
    gc.collect()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage collector, which would close what nobody else does."""
    gc.disable()
    yield
    gc.enable()


async def ids_of(database: Database, number: int) -> list[int]:
    """Return what the server calls *number* connections that are in use at the same time."""
    everybody = asyncio.Barrier(number)

    async def one() -> int:
        async with database.transaction() as session:
            found: int = await session.scalar(text(OWN_ID[database.dialect]))
            await everybody.wait()
            return found

    return await asyncio.gather(*(one() for _ in range(number)))


async def are_gone(server: Database, ids: list[int]) -> bool:
    """Tell whether the server has ended these connections; it may take a moment."""
    statement = text(ALIVE[server.dialect].format(ids=", ".join(map(str, ids))))
    async with asyncio.timeout(PATIENCE):
        while True:
            async with server.read() as session:
                if not await session.scalar(statement):
                    return True
            await asyncio.sleep(0.02)


async def crowd(database: Database) -> list[Any]:
    """Ask more often at the same time than there are connections, so that some have to wait."""
    return await asyncio.gather(*(ask(database) for _ in range(4)), return_exceptions=True)


async def ask(database: Database) -> list[Any]:
    """Ask in every kind of block."""
    async with database.read() as session:
        read = await session.scalar(text("select 7"))
    async with database.transaction() as session:
        written = await session.scalar(text("select 8"))
    return [read, written]


@pytest.fixture(params=["sqlite", "psycopg"])
def movable(request: pytest.FixtureRequest) -> Database:
    """Each database whose driver works in any event loop."""
    database: Database = request.getfixturevalue(request.param)
    return database


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

        with pytest.raises(UsageError, match="Another event loop") as caught:
            await in_a_loop_of_its_own(ask(database))

        assert "dispose" in str(caught.value)

    async def test_many_wait_in_each(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """Who waits for a connection in the second loop is woken up as in the first one."""
        database = open_database(every_driver, pool_size=1, max_overflow=0)

        answers = [await in_a_loop_of_its_own(crowd(database)) for _ in range(3)]

        assert answers == [[[7, 8]] * 4] * 3

    async def test_a_pool_in_use_is_refused(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """While one loop uses the pool another is told so at once, whatever the driver, and harms nobody."""
        database = open_database(every_driver, pool_size=2, max_overflow=0)

        async with database.transaction() as session, database.read() as reader:
            await reader.execute(text("select 1"))
            await session.execute(text("select 1"))
            refused = await in_a_loop_of_its_own(crowd(database))
            answer = await session.scalar(text("select 9"))

        assert [type(error) for error in refused] == [UsageError] * 4
        assert answer == 9
        assert await ask(database) == [7, 8]

    async def test_an_idle_pool_is_handed_on(self, movable: Database, open_database: OpenDatabase) -> None:
        """A connection that is bound to no loop is used in the one that asks, and back again."""
        database = open_database(movable, pool_size=1, max_overflow=0)
        await crowd(database)

        elsewhere = await in_a_loop_of_its_own(crowd(database))

        assert elsewhere == [[7, 8]] * 4
        assert await crowd(database) == [[7, 8]] * 4

    async def test_those_of_a_closed_one_leave_the_server(
        self, server: Database, open_database: OpenDatabase, uncollected: None
    ) -> None:
        """All of them end with the first use in another loop, not when they are collected."""
        database = open_database(server, pool_size=3)
        former = await in_a_loop_of_its_own(ids_of(database, 3))

        await ask(database)

        assert await are_gone(server, former)

    async def test_they_can_be_disposed_of(
        self, server: Database, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture, uncollected: None
    ) -> None:
        """To dispose of them in another loop ends them, and is no error."""
        database = open_database(server, pool_size=2)
        former = await in_a_loop_of_its_own(ids_of(database, 2))

        with caplog.at_level(logging.ERROR):
            await database.dispose()

        assert await are_gone(server, former)
        assert caplog.records == []

    async def test_a_first_loop_without_a_server(self, server: Database, open_database: OpenDatabase) -> None:
        """Who waited in vain for the first connection of all leaves nothing to the next loop that would bind it."""
        database = open_database(str(server.url.set(host="127.0.0.1", port=1)))

        answers = [await in_a_loop_of_its_own(crowd(database)) for _ in range(2)]

        assert {type(error) for error in [*answers[0], *answers[1]]} == {DatabaseUnavailable}
