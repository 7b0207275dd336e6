"""A session of a request that several tasks use: an error that says so, and a pool that is whole at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import text

from sqlkeel import Database, Session
from sqlkeel.integrations.asgi import UnitOfWork
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import client

pytestmark = pytest.mark.tables(Base.metadata)

forgotten: set[asyncio.Task[None]] = set()


async def look(session: Session) -> None:
    """Ask for something."""
    await session.execute(text("SELECT 1"))


async def gather(session: Session) -> None:
    """Ask for several things at once."""
    await asyncio.gather(*(look(session) for _ in range(3)))


async def forget(session: Session) -> None:
    """Answer while something is still asked for."""
    forgotten.add(asyncio.create_task(look(session)))
    await asyncio.sleep(0)


async def first_of_two(session: Session) -> None:
    """Take the faster of two answers."""
    tasks = [asyncio.create_task(look(session)) for _ in range(2)]
    forgotten.update(tasks)
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    [task.result() for task in tasks if task.done()]


SHARING = [gather, forget, first_of_two]


class TestSharedInARequest:
    @pytest.mark.parametrize("share", SHARING)
    @pytest.mark.parametrize("kind", ["session", "read_session"])
    async def test_it_is_no_success(
        self,
        framework: Framework,
        every_driver: Database,
        share: Callable[[Session], Awaitable[None]],
        kind: str,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The request is a 500, the log says who shares it, and every connection is back when the client reads it."""

        async def endpoint(unit: UnitOfWork) -> None:
            await share(await getattr(unit, kind)())

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert "SessionShared" in caplog.text
        assert [engine.pool.checkedout() for engine in every_driver.engines] == [0] * len(every_driver.engines)  # type: ignore[attr-defined]
        await asyncio.gather(*forgotten, return_exceptions=True)
        forgotten.clear()

    async def test_what_was_written_is_not_kept(self, framework: Framework, every_driver: Database) -> None:
        """A request that shares its session fails as a whole."""

        async def endpoint(unit: UnitOfWork) -> None:
            session = await unit.session()
            session.add(Note(text="half"))
            await session.flush()
            await gather(session)

        async with client(framework.serve(every_driver, endpoint)) as http:
            response = await http.post("/")

        assert response.status_code == 500
        assert await stored(every_driver) == []
