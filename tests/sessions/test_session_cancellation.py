"""A cancellation in the middle of a session's work takes back what was written."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event, text

from sqlkeel.sessions import Database, Session
from tests.engines.peers import SLOW, soon, statements_running, under_way
from tests.sessions.session_models import Base, Recorder, User, emails

pytestmark = pytest.mark.tables(Base.metadata)


async def write_slowly(session: Session, written: asyncio.Event) -> None:
    """Write a row, and begin what does not end."""
    session.add(User(id=1, email="a"))
    await session.flush()
    written.set()
    await session.execute(text(SLOW[session.get_bind().dialect.name]))


async def in_a_transaction(database: Database, written: asyncio.Event) -> None:
    """Be cancelled in the middle of a statement."""
    async with database.transaction() as session:
        await write_slowly(session, written)


async def in_a_savepoint(database: Database, written: asyncio.Event) -> None:
    """Be cancelled in the middle of a statement of a savepoint."""
    async with database.transaction() as session, session.savepoint():
        await write_slowly(session, written)


async def in_a_begin_block(database: Database, written: asyncio.Event) -> None:
    """Be cancelled in a block of SQLAlchemy's own kind."""
    async with database.session() as session, session.begin():
        await write_slowly(session, written)


async def in_a_session(database: Database, written: asyncio.Event) -> None:
    """Be cancelled in a session that nobody has begun."""
    async with database.session() as session:
        await write_slowly(session, written)


async def without_a_block(database: Database, written: asyncio.Event) -> None:
    """Be cancelled where nothing closes the session."""
    await write_slowly(database.session(), written)


async def between_two_statements(database: Database, written: asyncio.Event) -> None:
    """Be cancelled while the connection has nothing to do."""
    async with database.transaction() as session:
        session.add(User(id=1, email="a"))
        await session.flush()
        written.set()
        await asyncio.Event().wait()


SHAPES = {
    shape.__name__: shape
    for shape in (
        in_a_transaction,
        in_a_savepoint,
        in_a_begin_block,
        in_a_session,
        without_a_block,
        between_two_statements,
    )
}


class TestCancellation:
    async def test_a_cancelled_statement_ends(self, every_driver: Database) -> None:
        """A timeout around a long statement returns at once; the pool is clean and the server has stopped."""
        clock = asyncio.get_running_loop().time
        started = clock()

        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), every_driver.transaction() as session:
                await session.execute(text(SLOW[every_driver.dialect]))

        assert clock() - started < 5
        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_a_cancelled_write_is_not_there(self, every_driver: Database) -> None:
        """What a cancelled task wrote is rolled back, and its locks are free."""
        written = asyncio.Event()

        async def work() -> None:
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="a"))
                await session.flush()
                written.set()
                await session.execute(text(SLOW[every_driver.dialect]))

        task = asyncio.create_task(work())
        await written.wait()
        await under_way(every_driver)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with every_driver.transaction(lock_timeout=5) as session:
            session.add(User(id=1, email="b"))
        assert await emails(every_driver) == ["b"]

    @pytest.mark.parametrize("shape", SHAPES)
    async def test_however_the_session_was_opened(self, every_driver: Database, shape: str) -> None:
        """No way to open one leaves a row, a lock, a connection or a running statement of a cancelled task behind."""
        written = asyncio.Event()
        task = asyncio.create_task(SHAPES[shape](every_driver, written))
        await written.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with every_driver.transaction(lock_timeout=5) as session:
            session.add(User(id=1, email="b"))

        assert await emails(every_driver) == ["b"]
        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_the_server_stops_too(self, server: Database) -> None:
        """A cancelled statement does not go on running for nobody."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), server.transaction() as session:
                await session.execute(text(SLOW[server.dialect]))

        async def idle() -> bool:
            return await statements_running(server) == 0

        assert await soon(idle, seconds=2)

    async def test_a_cancelled_commit_is_finished_with_its_hooks(self, every_driver: Database, seen: Recorder) -> None:
        """Once COMMIT is on its way, a cancellation waits for it: the block ends, and the next await is cancelled."""
        committing = asyncio.Event()

        async def work() -> None:
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(seen.note_later, "called")
                event.listen(session.sync_session, "before_commit", lambda _: committing.set())
            seen.note("ended")
            await asyncio.sleep(0)
            seen.note("never")

        task = asyncio.create_task(work())
        await committing.wait()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert await emails(every_driver) == ["a"]
        assert seen.calls == ["called", "ended"]

    async def test_a_cancelled_begin_block_is_finished_with_its_hooks(
        self, every_driver: Database, seen: Recorder
    ) -> None:
        """``session.begin()`` keeps commit and hooks together as well."""
        committing = asyncio.Event()

        async def work() -> None:
            async with every_driver.session() as session:
                async with session.begin():
                    session.add(User(id=1, email="a"))
                    session.on_commit(seen.note_later, "called")
                    event.listen(session.sync_session, "before_commit", lambda _: committing.set())
                seen.note("ended")
                await asyncio.sleep(0)
                seen.note("never")

        task = asyncio.create_task(work())
        await committing.wait()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert await emails(every_driver) == ["a"]
        assert seen.calls == ["called", "ended"]
