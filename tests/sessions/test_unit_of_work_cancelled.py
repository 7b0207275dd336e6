"""A unit of work that is cancelled while the server works on its COMMIT."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import anyio
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import async_sessionmaker

from sqlkeel.errors import ForeignKeyViolation
from sqlkeel.sessions import Database, Session
from tests.engines.peers import SLOW, committing, soon, statements_running, under_way
from tests.fixtures.databases import OpenDatabase
from tests.sessions.unit_of_work_models import Base, User, at_commit, emails

pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture
async def slow_commit(postgresql: Database) -> AsyncIterator[Database]:
    """PostgreSQL, where the COMMIT of a new user takes a while."""
    await at_commit(postgresql, "perform pg_sleep(0.4);")
    yield postgresql
    await _drop(postgresql)


@pytest.fixture
async def failing_commit(postgresql: Database) -> AsyncIterator[Database]:
    """PostgreSQL, where the COMMIT of a new user takes a while and fails."""
    await at_commit(postgresql, "perform pg_sleep(0.4); raise foreign_key_violation;")
    yield postgresql
    await _drop(postgresql)


async def _drop(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("drop function at_commit cascade"))


async def during_commit(database: Database, function: Callable[[], object]) -> None:
    """Call the function while the server works on a COMMIT."""
    assert await soon(lambda: committing(database))
    function()


async def while_it_waits(database: Database, function: Callable[[], object]) -> None:
    """Call the function while the server works on a statement."""
    await under_way(database)
    function()


def add_with_hook(session: Session, steps: list[str]) -> None:
    """Add a row, and a hook that notes its commit."""
    session.on_commit(steps.append, "hook")
    session.add(User(id=1, email="a"))


async def by_session_commit(database: Database, steps: list[str]) -> None:
    """Call ``session.commit()``."""
    async with database.session() as session:
        add_with_hook(session, steps)
        await session.commit()


async def by_begin_block(database: Database, steps: list[str]) -> None:
    """Leave ``session.begin()``."""
    async with database.session() as session, session.begin():
        add_with_hook(session, steps)


async def by_factory(database: Database, steps: list[str]) -> None:
    """Leave ``async_sessionmaker.begin()``."""
    async with async_sessionmaker(database.engine, class_=Session).begin() as session:
        add_with_hook(session, steps)


async def by_transaction_block(database: Database, steps: list[str]) -> None:
    """Leave ``db.transaction()``."""
    async with database.transaction() as session:
        add_with_hook(session, steps)


WAYS_TO_COMMIT = {way.__name__: way for way in (by_session_commit, by_begin_block, by_factory, by_transaction_block)}


Work = Callable[[], Awaitable[None]]


async def by_timeout(database: Database, work: Work) -> object:
    """Let an ``asyncio.timeout`` expire during the COMMIT; return the task, if it was interrupted behind it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(None) as limit:
            expiry = asyncio.create_task(during_commit(database, lambda: limit.reschedule(0)))
            await work()
            await expiry
            await asyncio.sleep(0)
            return None
    return asyncio.current_task()


async def by_group(database: Database, work: Work) -> object:
    """Let the sibling of a task fail during its COMMIT."""
    tasks: list[object] = []

    async def worker() -> None:
        await work()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            tasks.append(asyncio.current_task())
            raise

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(worker())
            group.create_task(during_commit(database, lambda: 1 / 0))
    return tasks[0]


async def by_cancel_scope(database: Database, work: Work) -> object:
    """Cancel a scope of anyio's, which goes on cancelling until the COMMIT is over."""
    with anyio.CancelScope() as scope:
        expiry = asyncio.create_task(during_commit(database, scope.cancel))
        await work()
        await expiry
        await asyncio.sleep(0)
    return asyncio.current_task() if scope.cancelled_caught else None


async def by_wait_for(database: Database, work: Work) -> object:
    """Cancel a task in which ``asyncio.wait_for`` waits without a limit of its own."""

    async def worker() -> None:
        await asyncio.wait_for(work(), None)
        await asyncio.sleep(0)

    task = asyncio.create_task(worker())
    await during_commit(database, task.cancel)
    await asyncio.wait({task})
    return task if task.cancelled() else None


INTERRUPTIONS = {way.__name__: way for way in (by_timeout, by_group, by_cancel_scope, by_wait_for)}


class TestCancelledCommit:
    """A cancellation that arrives while the server works on the COMMIT; the row tells what became of it."""

    async def test_the_block_ends_and_then_the_task(self, slow_commit: Database) -> None:
        """Who comes behind the block is committed, and is cancelled at the next await."""
        steps: list[str] = []

        async def work() -> None:
            async with slow_commit.transaction() as session:
                session.on_commit(steps.append, "hook")
                session.add(User(id=1, email="a"))
                await session.flush()
                steps.append("written")
            steps.append("committed")
            await asyncio.sleep(0)
            steps.append("never")

        task = asyncio.create_task(work())
        await soon(lambda: committing(slow_commit))
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert steps == ["written", "hook", "committed"]
        assert await emails(slow_commit) == ["a"]

    async def test_a_timeout_around_nothing_else_is_none(self, slow_commit: Database) -> None:
        """It expired during COMMIT and had nothing to cut short: the caller learns that it is committed."""
        async with asyncio.timeout(None) as limit:
            expiry = asyncio.create_task(during_commit(slow_commit, lambda: limit.reschedule(0)))
            async with slow_commit.transaction() as session:
                session.add(User(id=1, email="a"))

        assert expiry.done()
        assert await emails(slow_commit) == ["a"]

    async def test_a_cancel_scope_too(self, slow_commit: Database) -> None:
        """Anyio cancels again at every await, and the COMMIT is whole all the same."""
        with anyio.CancelScope() as scope:
            expiry = asyncio.create_task(during_commit(slow_commit, scope.cancel))
            async with slow_commit.transaction() as session:
                session.add(User(id=1, email="a"))
        await asyncio.sleep(0)

        assert expiry.done()
        assert not scope.cancelled_caught
        assert await emails(slow_commit) == ["a"]

    @pytest.mark.parametrize("way", WAYS_TO_COMMIT)
    async def test_however_it_is_committed(self, slow_commit: Database, way: str) -> None:
        """Whoever sends the COMMIT: row and hook belong together, and the task is cancelled after both."""
        steps: list[str] = []

        task = asyncio.create_task(WAYS_TO_COMMIT[way](slow_commit, steps))
        await soon(lambda: committing(slow_commit))
        task.cancel()
        await asyncio.wait({task})

        assert steps == ["hook"]
        assert await emails(slow_commit) == ["a"]

    async def test_a_failed_one_raises_its_error_first(self, failing_commit: Database) -> None:
        """Nothing is written, and the caller hears why before it is cancelled."""
        steps: list[str] = []

        async def work() -> None:
            with pytest.raises(ForeignKeyViolation):
                async with failing_commit.transaction() as session:
                    session.on_commit(steps.append, "hook")
                    session.add(User(id=1, email="a"))
                    await session.flush()
                    steps.append("written")
            steps.append("handled")
            await asyncio.sleep(0)

        task = asyncio.create_task(work())
        await soon(lambda: committing(failing_commit))
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert steps == ["written", "handled"]
        assert await emails(failing_commit) == []

    @pytest.mark.parametrize("way", [way for way in WAYS_TO_COMMIT if way != by_factory.__name__])
    @pytest.mark.parametrize("interruption", INTERRUPTIONS)
    async def test_its_listeners_are_in_the_callers_task(
        self, slow_commit: Database, way: str, interruption: str
    ) -> None:
        """Before and behind the COMMIT that was to be interrupted, which is whole, and whose caller is, then.

        ``async_sessionmaker.begin()`` is SQLAlchemy's, and ends in a task that SQLAlchemy makes.
        """
        steps: list[str] = []
        tasks: dict[str, object] = {}
        engine = slow_commit.engine.sync_engine
        event.listen(engine, "commit", lambda _: tasks.update(commit=asyncio.current_task()))
        event.listen(engine, "checkin", lambda *_: tasks.update(checkin=asyncio.current_task()))

        interrupted = await INTERRUPTIONS[interruption](slow_commit, lambda: WAYS_TO_COMMIT[way](slow_commit, steps))

        assert interrupted is not None
        assert tasks == dict.fromkeys(["commit", "checkin"], interrupted)
        assert steps == ["hook"]
        assert await emails(slow_commit) == ["a"]

    async def test_a_listener_whose_group_fails_does_not_tear_it(self, slow_commit: Database) -> None:
        """What it starts in the group around its caller fails during COMMIT: that ends, and then the group."""
        steps: list[str] = []

        async def fail() -> None:
            await soon(lambda: committing(slow_commit))
            raise ZeroDivisionError

        with pytest.raises(ExceptionGroup):
            async with asyncio.TaskGroup() as group:
                async with slow_commit.transaction() as session:
                    event.listen(session.sync_session, "before_commit", lambda _: group.create_task(fail()))
                    add_with_hook(session, steps)
                steps.append("committed")
                await asyncio.sleep(0)
                steps.append("never")

        assert steps == ["hook", "committed"]
        assert await emails(slow_commit) == ["a"]

    async def test_what_comes_before_commit_is_cut_short(self, server: Database) -> None:
        """The flush at the end of the block may wait for a lock; a timeout ends that wait, before lock_timeout does."""
        async with server.session() as holder, holder.begin():
            holder.add(User(id=1, email="taken"))
            await holder.flush()

            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    expiry = asyncio.create_task(while_it_waits(server, lambda: limit.reschedule(0)))
                    async with server.transaction() as session:
                        session.add(User(id=2, email="taken"))

            assert expiry.done()
            await holder.rollback()

        assert await emails(server) == []


class TestLevelCancellation:
    """anyio cancels again at every await, so that a driver cannot even tell its server to stop."""

    @pytest.fixture
    def small(self, server: Database, open_database: OpenDatabase) -> Database:
        """A database with a pool of two."""
        return open_database(server, pool_size=2, max_overflow=0, pool_timeout=5)

    async def test_the_pool_is_clean(self, small: Database) -> None:
        """Five that gave up have given their connections back, and the next one gets one."""
        await give_up(small, times=5)

        assert small.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        assert await emails(small) == []

    async def test_the_server_stops(self, server: Database, small: Database) -> None:
        """Within a second nothing runs for nobody any more."""
        await give_up(small, times=5)

        async def idle() -> bool:
            return await statements_running(server) == 0

        assert await soon(idle, seconds=1.5)

    async def test_the_locks_are_gone(self, server: Database, small: Database) -> None:
        """What the abandoned transaction had written is free for the next one."""
        await give_up(small, times=1, writing="a")

        async with server.transaction(lock_timeout=2) as session:
            session.add(User(id=1, email="a"))

        assert await emails(server) == ["a"]

    async def test_there_are_no_more_connections_than_places(self, server: Database, small: Database) -> None:
        """Connections that were given up do not stay open beside the pool's own."""
        before = await connections(server)

        await give_up(small, times=5)

        async def few() -> bool:
            return await connections(server) - before <= 2

        assert await soon(few, seconds=1.5)


async def give_up(database: Database, *, times: int, writing: str | None = None) -> None:
    """Run a long statement in a transaction, at once in as many tasks as there are places, and give each of them up."""

    async def one() -> None:
        with anyio.move_on_after(0.2) as scope:
            async with database.transaction() as session:
                if writing is not None:
                    session.add(User(id=1, email=writing))
                    await session.flush()
                await session.execute(text(SLOW[database.dialect]))
        assert scope.cancelled_caught

    for _ in range(times):
        await one()


CONNECTIONS = {
    "postgresql": "select count(*) from pg_stat_activity where datname = current_database()",
    "mariadb": "select count(*) from information_schema.processlist where db = database()",
}


async def connections(database: Database) -> int:
    """Count the connections that the server has to this database."""
    async with database.engine.connect() as connection:
        return int((await connection.execute(text(CONNECTIONS[database.dialect]))).scalar_one())
