"""Sharing: a session that one task uses at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import create_engine, select, text
from sqlalchemy.orm import sessionmaker

from sqlkeel.errors import SessionShared
from sqlkeel.sessions import Database
from sqlkeel.sessions._doors import door
from sqlkeel.sessions._session import SyncSession
from sqlkeel.sessions._sharing import Turn
from tests.engines.peers import soon, statements_running
from tests.sessions.sharing_blocks import BLOCKS, USES, Base, Failure, User, checked_out, query, query_slowly

pytestmark = [pytest.mark.tables(Base.metadata), pytest.mark.usefixtures("no_collector")]


class Desk:
    """Something that one task uses at a time."""

    def __init__(self) -> None:
        self.turn = Turn()

    @door
    def use(self, then: Callable[[], object]) -> object:
        """Do something at the desk."""
        return then()

    @door
    def fail(self) -> None:
        """Break something at the desk."""
        raise Failure


class TestOneTaskAtATime:
    async def test_a_method_may_call_another(self) -> None:
        """An execute() that flushes is one use."""
        desk = Desk()

        assert desk.use(lambda: desk.use(lambda: 7)) == 7

    async def test_it_is_free_again_after_a_failure(self) -> None:
        """An error in one task is not the next one's."""
        desk = Desk()
        with pytest.raises(Failure):
            desk.fail()

        assert await asyncio.create_task(asyncio.to_thread(desk.use, lambda: 7)) == 7

    async def test_an_owner_that_has_ended_is_none(self) -> None:
        """A task that never came back, because it was thrown away, does not lock everybody out."""
        desk = Desk()
        desk.turn._owner = asyncio.create_task(asyncio.sleep(0))
        await desk.turn._owner

        assert desk.use(lambda: 7) == 7

    async def test_a_living_owner_is_one(self) -> None:
        """While it lives, it keeps the others out."""
        desk = Desk()
        desk.turn._owner = asyncio.create_task(asyncio.sleep(0))

        with pytest.raises(SessionShared):
            desk.use(lambda: 7)

        await desk.turn._owner

    def test_two_threads_are_two(self) -> None:
        """A worker without an event loop has threads that could meet."""
        desk = Desk()
        seen: list[BaseException] = []

        def other() -> None:
            with pytest.raises(SessionShared) as caught:
                desk.use(lambda: 7)
            seen.append(caught.value)

        def meanwhile() -> None:
            thread = threading.Thread(target=other)
            thread.start()
            thread.join()

        desk.use(meanwhile)

        assert "in use at MainThread" in str(seen[0])

    def test_synchronous_code_is_free(self) -> None:
        """A worker without an event loop uses its session as ever."""
        engine = create_engine("sqlite://")

        with sessionmaker(engine, class_=SyncSession)() as session:
            assert session.scalar(select(7)) == 7

        engine.dispose()

    def test_it_keeps_its_name(self) -> None:
        """A traceback and help() show the method that was written."""
        assert (Desk.use.__name__, Desk.use.__doc__) == ("use", "Do something at the desk.")


class TestSecondTask:
    @pytest.mark.parametrize("method", USES)
    async def test_it_is_refused(self, every_driver: Database, method: str) -> None:
        """Whatever it calls while the first one waits; the error says where both of them are."""
        async with every_driver.session() as session:
            first = asyncio.create_task(query_slowly(session, every_driver.dialect))
            await asyncio.sleep(0.1)

            with pytest.raises(SessionShared) as caught:
                await query(session, method)

            first.cancel()
            await asyncio.wait({first})

        assert caught.value.first.startswith("sharing_blocks.py:")
        assert caught.value.first.endswith("in query_slowly()")
        assert "test_sharing.py" in caught.value.second

    async def test_the_first_one_is_not_harmed(self, db: Database) -> None:
        """Of two queries at once one gets its answer, the other the error."""
        async with db.session() as session:
            results = await asyncio.gather(session.scalar(select(7)), session.scalar(select(8)), return_exceptions=True)

        assert results[0] == 7
        assert isinstance(results[1], SessionShared)
        assert "in use at AsyncSession.scalar(), and was called at AsyncSession.scalar()." in str(results[1])

    async def test_one_after_the_other_is_fine(self, db: Database) -> None:
        """A session may be handed on from task to task."""
        async with db.session() as session:
            first = await asyncio.create_task(session.scalar(select(7)))
            second = await asyncio.create_task(session.scalar(select(8)))

        assert (first, second) == (7, 8)

    async def test_it_cannot_change_what_is_being_flushed(self, postgres: Database) -> None:
        """An object that is added while another task flushes would be written later or never."""
        locked = asyncio.Event()

        async def hold() -> None:
            async with postgres.transaction() as session:
                await session.execute(text("lock table sharing_user in exclusive mode"))
                locked.set()
                await asyncio.sleep(10)

        holding = asyncio.create_task(hold())
        await locked.wait()
        async with postgres.session() as session:
            session.add(User(name="first"))
            flushing = asyncio.create_task(session.flush())
            assert await soon(lambda: statements_running(postgres))

            with pytest.raises(SessionShared):
                session.add(User(name="second"))

            flushing.cancel()
            holding.cancel()
            await asyncio.wait({flushing, holding})

    async def test_a_thread_is_refused(self, db: Database) -> None:
        """A session that an event loop uses is not a thread's."""
        async with db.session() as session:
            await session.scalar(select(1))

            with pytest.raises(SessionShared, match="in use at another event loop"):
                await asyncio.to_thread(session.sync_session.scalar, select(1))

    async def test_another_event_loop_is_refused(self, every_driver: Database) -> None:
        """The connection belongs to the event loop that has opened it."""
        async with every_driver.session() as session:
            await session.scalar(select(1))

            with pytest.raises(SessionShared, match="in use at another event loop"):
                await asyncio.to_thread(lambda: asyncio.run(session.scalar(select(1))))  # type: ignore[arg-type]

            assert await session.scalar(select(7)) == 7

    @pytest.mark.parametrize("block", ["transaction", "read only", "read", "session", "begin", "joined"])
    async def test_another_event_loop_is_refused_from_the_first(self, every_driver: Database, block: str) -> None:
        """A connection that it opened could not be given back by the block, and on SQLite stayed locked."""
        with suppress(SessionShared):  # A block that commits ends with what the other loop was told.
            async with BLOCKS[block](every_driver) as session:
                with pytest.raises(SessionShared, match="in use at another event loop"):
                    await asyncio.to_thread(lambda: asyncio.run(session.scalar(select(1))))

                assert await session.scalar(select(7)) == 7

        assert checked_out(every_driver) == 0
