"""Hooks of a session: what runs after COMMIT, and what runs after a rollback."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker

from sqlkeel.errors import UniqueViolation
from sqlkeel.sessions import Database, Session
from tests.sessions.session_models import Base, Failure, Recorder, User, emails

pytestmark = pytest.mark.tables(Base.metadata)


async def await_the_cancelled() -> None:
    """Wait for a task that somebody has cancelled."""
    task = asyncio.create_task(asyncio.sleep(10))
    task.cancel()
    await task


async def cancel_itself() -> None:
    """Cancel the task that one runs in."""
    asyncio.current_task().cancel()  # type: ignore[union-attr]
    await asyncio.sleep(0)


async def raise_cancelled() -> None:
    """End in a cancellation that nobody has asked for."""
    raise asyncio.CancelledError


class TestOnCommit:
    async def test_hooks_run_after_the_commit_in_order(self, db: Database, seen: Recorder) -> None:
        """Nothing runs before the data is there; sync and async hooks take turns as they were made."""
        async with db.transaction() as session:
            session.on_commit(seen.note, "first")
            session.on_commit(seen.note_later, word="second")
            session.on_commit(seen.note, "third")
            before = list(seen.calls)

        assert before == []
        assert seen.calls == ["first", "second", "third"]

    async def test_a_hook_sees_the_committed_data(self, every_driver: Database) -> None:
        """Another connection finds the rows when the hook runs."""
        found: list[list[str]] = []

        async def look() -> None:
            found.append(await emails(every_driver))

        async with every_driver.transaction() as session:
            session.add(User(id=1, email="a"))
            session.on_commit(look)

        assert found == [["a"]]

    async def test_a_rollback_drops_hooks(self, db: Database, seen: Recorder) -> None:
        """What did not happen is not announced."""
        with pytest.raises(Failure):
            async with db.transaction() as session:
                session.on_commit(seen.note, "never")
                async with session.savepoint():
                    session.on_commit(seen.note, "nor this")
                raise Failure

        assert seen.calls == []

    async def test_savepoints_keep_merge_and_drop(self, every_driver: Database, seen: Recorder) -> None:
        """Released savepoints hand their hooks to the outer one, rolled back ones take theirs along, as in Django."""
        async with every_driver.transaction() as session:
            session.on_commit(seen.note, "outer 1")
            async with session.savepoint():
                session.on_commit(seen.note, "kept")
                async with session.savepoint():
                    session.on_commit(seen.note, "kept inside")
            with pytest.raises(Failure):
                async with session.savepoint():
                    session.on_commit(seen.note, "dropped")
                    async with session.savepoint():
                        session.on_commit(seen.note, "released, then dropped")
                    raise Failure
            session.on_commit(seen.note, "outer 2")

        assert seen.calls == ["outer 1", "kept", "kept inside", "outer 2"]

    async def test_a_failing_hook_stops_nothing(
        self, db: Database, seen: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The transaction is committed, the failure is logged, and the other hooks run."""
        with caplog.at_level(logging.ERROR, logger="sqlkeel.session"):
            async with db.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(seen.fail)
                session.on_commit(seen.note, "after")

        assert seen.calls == ["after"]
        assert await emails(db) == ["a"]
        assert "the mail server is down" in caplog.text

    @pytest.mark.parametrize("hook", [await_the_cancelled, cancel_itself, raise_cancelled])
    async def test_a_hook_that_ends_cancelled_is_a_failed_one(
        self,
        every_driver: Database,
        seen: Recorder,
        caplog: pytest.LogCaptureFixture,
        hook: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """The block has committed and says so, the failure is logged, and the other hooks run."""
        async with every_driver.transaction() as session:
            session.add(User(id=1, email="committed"))
            session.on_commit(hook)
            session.on_commit(seen.note, "later")
        await asyncio.sleep(0)

        assert seen.calls == ["later"]
        assert await emails(every_driver) == ["committed"]
        assert "on_commit hook failed after the commit" in caplog.text
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]

    async def test_a_hook_of_a_savepoint_that_ends_cancelled_is_a_failed_one(
        self, db: Database, seen: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The transaction around it goes on."""
        async with db.transaction() as session:
            session.add(User(id=1, email="committed"))
            with pytest.raises(Failure):
                async with session.savepoint():
                    session.on_rollback(await_the_cancelled)
                    session.on_rollback(seen.note, "later")
                    raise Failure

        assert seen.calls == ["later"]
        assert await emails(db) == ["committed"]
        assert "on_rollback hook failed after the rollback" in caplog.text

    async def test_the_cancellation_of_the_caller_comes_after_such_a_hook(self, db: Database, seen: Recorder) -> None:
        """Who was cancelled meanwhile is, at the next await, and the hooks have all run."""
        under_way = asyncio.Event()

        async def hook() -> None:
            under_way.set()
            await asyncio.sleep(0.05)
            await await_the_cancelled()

        async def work() -> None:
            async with db.transaction() as session:
                session.add(User(id=1, email="committed"))
                session.on_commit(hook)
                session.on_commit(seen.note, "later")
            seen.note("committed")
            await asyncio.sleep(0)
            seen.note("never")

        task = asyncio.create_task(work())
        await under_way.wait()
        task.cancel()
        await asyncio.wait({task})

        assert task.cancelled()
        assert seen.calls == ["later", "committed"]
        assert await emails(db) == ["committed"]

    async def test_the_end_of_the_program_names_what_did_not_run(
        self, db: Database, seen: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What is no Exception passes through, and the hooks behind it are in the log."""

        class TheEnd(BaseException):
            """What ends the program."""

        async def stop() -> None:
            raise TheEnd

        with pytest.raises(TheEnd):
            async with db.transaction() as session:
                session.add(User(id=1, email="committed"))
                session.on_commit(stop)
                session.on_commit(seen.note, "never")

        assert seen.calls == []
        assert await emails(db) == ["committed"]
        assert "The process exits before these hooks have run" in caplog.text

    async def test_session_commit_runs_hooks_once(self, db: Database, seen: Recorder) -> None:
        """Each commit runs the hooks of its own transaction."""
        async with db.session() as session:
            session.on_commit(seen.note, "first")
            await session.commit()
            session.on_commit(seen.note, "second")
            await session.commit()
            await session.commit()

        assert seen.calls == ["first", "second"]

    async def test_session_rollback_drops_hooks(self, db: Database, seen: Recorder) -> None:
        """A rolled back hook does not come back with the next commit."""
        async with db.session() as session:
            session.on_commit(seen.note, "never")
            await session.rollback()
            await session.commit()

        assert seen.calls == []

    async def test_a_begin_block_runs_hooks(self, db: Database, seen: Recorder) -> None:
        """``async with session.begin()`` is a commit like any other."""
        async with db.session() as session, session.begin():
            session.on_commit(seen.note, "called")

        assert seen.calls == ["called"]

    async def test_a_failing_begin_block_drops_hooks(self, db: Database, seen: Recorder) -> None:
        """The rollback of the block is one for its hooks."""
        async with db.session() as session:
            with pytest.raises(Failure):
                async with session.begin():
                    session.on_commit(seen.note, "never")
                    raise Failure
            await session.commit()

        assert seen.calls == []

    async def test_a_begun_transaction_runs_hooks(self, db: Database, seen: Recorder) -> None:
        """Committing the transaction object is committing the session."""
        async with db.session() as session:
            transaction = await session.begin()
            session.on_commit(seen.note, "called")
            await transaction.commit()

        assert seen.calls == ["called"]

    async def test_a_session_factory_runs_hooks(self, db: Database, seen: Recorder) -> None:
        """``async_sessionmaker(class_=Session).begin()`` ends in the same commit."""
        factory = async_sessionmaker(db.engine, class_=Session)

        async with factory.begin() as session:
            session.on_commit(seen.note, "called")

        assert seen.calls == ["called"]

    async def test_a_hook_may_open_a_transaction(self, db: Database, seen: Recorder) -> None:
        """The connection of the committed transaction is free by then, even in a pool of one."""

        async def write() -> None:
            async with db.transaction() as inner:
                inner.add(User(id=2, email="hook"))
                inner.on_commit(seen.note, "inner")

        async with db.transaction() as session:
            session.on_commit(write)

        assert seen.calls == ["inner"]
        assert await emails(db) == ["hook"]

    async def test_hooks_run_in_a_session_of_a_test(self, every_driver: Database, seen: Recorder) -> None:
        """Bound to a transaction that a test rolls back, a session runs its hooks, and the row goes all the same."""
        async with every_driver.engine.connect() as connection, connection.begin() as outer:
            async with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.add(User(id=1, email="a"))
                session.on_commit(seen.note, "called")
                await session.commit()
            await outer.rollback()

        assert seen.calls == ["called"]
        assert await emails(every_driver) == []

    async def test_a_failed_commit_drops_hooks(self, db: Database, seen: Recorder) -> None:
        """A flush that fails at the end of the block announces nothing."""
        with pytest.raises(UniqueViolation):
            async with db.transaction() as session:
                session.on_commit(seen.note, "never")
                session.add_all([User(id=1, email="same"), User(id=2, email="same")])

        assert seen.calls == []


class TestOnRollback:
    async def test_hooks_run_after_the_rollback_in_order(self, db: Database, seen: Recorder) -> None:
        """What was done outside is undone when the block has failed; sync and async hooks take turns."""
        with pytest.raises(Failure):
            async with db.transaction() as session:
                session.on_rollback(seen.note, "first")
                session.on_rollback(seen.note_later, word="second")
                session.on_rollback(seen.note, "third")
                raise Failure

        assert seen.calls == ["first", "second", "third"]

    async def test_a_commit_drops_them(self, db: Database, seen: Recorder) -> None:
        """What has happened is not undone, in a released savepoint neither."""
        async with db.transaction() as session:
            session.on_rollback(seen.note, "never")
            async with session.savepoint():
                session.on_rollback(seen.note, "nor this")

        assert seen.calls == []

    async def test_the_rows_are_gone_and_the_locks_free(self, every_driver: Database) -> None:
        """A hook may use the database: the connection and what it held are free by then."""
        found: list[list[str]] = []

        async def look() -> None:
            async with every_driver.transaction(lock_timeout=2) as session:
                found.append(list(await session.scalars(select(User.email))))
                session.add(User(id=1, email="hook"))

        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="a"))
                await session.flush()
                session.on_rollback(look)
                raise Failure

        assert found == [[]]
        assert await emails(every_driver) == ["hook"]

    async def test_a_savepoint_runs_its_own(self, every_driver: Database, seen: Recorder) -> None:
        """Those made inside run with its rollback; the others wait for the end."""
        async with every_driver.transaction() as session:
            session.on_rollback(seen.note, "outer")
            with pytest.raises(Failure):
                async with session.savepoint():
                    session.on_rollback(seen.note, "inner")
                    async with session.savepoint():
                        session.on_rollback(seen.note, "innermost")
                    raise Failure
            at_once = list(seen.calls)

        assert at_once == ["inner", "innermost"]
        assert seen.calls == at_once

    async def test_a_released_savepoint_hands_them_on(self, db: Database, seen: Recorder) -> None:
        """A later failure of the transaction undoes what the savepoint did."""
        with pytest.raises(Failure):
            async with db.transaction() as session:
                async with session.savepoint():
                    session.on_rollback(seen.note, "inner")
                raise Failure

        assert seen.calls == ["inner"]

    async def test_a_failed_commit_runs_them(self, db: Database, seen: Recorder) -> None:
        """A flush at the end of the block that fails is a rollback."""
        with pytest.raises(UniqueViolation):
            async with db.transaction() as session:
                session.on_rollback(seen.note, "undone")
                session.add_all([User(id=1, email="same"), User(id=2, email="same")])

        assert seen.calls == ["undone"]

    async def test_a_cancellation_runs_them(self, db: Database, seen: Recorder) -> None:
        """They are run to their end, though the task is cancelled."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), db.transaction() as session:
                session.on_rollback(seen.note_later, "undone")
                await asyncio.Event().wait()

        assert seen.calls == ["undone"]

    async def test_a_cancel_scope_runs_them(self, db: Database, seen: Recorder) -> None:
        """So they are where the task is cancelled again at every await."""
        with anyio.move_on_after(0.05):
            async with db.transaction() as session:
                session.on_rollback(seen.note_later, "undone")
                await asyncio.Event().wait()

        assert seen.calls == ["undone"]

    async def test_a_failing_hook_stops_nothing(
        self, db: Database, seen: Recorder, caplog: pytest.LogCaptureFixture
    ) -> None:
        """The error of the block is the one that is raised; that of the hook is logged."""
        with caplog.at_level(logging.ERROR, logger="sqlkeel.session"), pytest.raises(Failure, match="own"):
            async with db.transaction() as session:
                session.on_rollback(seen.fail)
                session.on_rollback(seen.note, "after")
                raise Failure("own")

        assert seen.calls == ["after"]
        assert "on_rollback hook failed after the rollback" in caplog.text

    async def test_session_rollback_runs_them_once(self, db: Database, seen: Recorder) -> None:
        """Each rollback runs the hooks of its own transaction."""
        async with db.session() as session:
            session.on_rollback(seen.note, "first")
            await session.rollback()
            session.on_rollback(seen.note, "never")
            await session.commit()
            await session.rollback()

        assert seen.calls == ["first"]

    async def test_a_session_that_is_closed_runs_them(self, db: Database, seen: Recorder) -> None:
        """Closing a session that has not committed is a rollback."""
        async with db.session() as session:
            session.on_rollback(seen.note, "closed")

        assert seen.calls == ["closed"]

    async def test_a_failing_begin_block_runs_them(self, db: Database, seen: Recorder) -> None:
        """``async with session.begin()`` rolls back like any other."""
        async with db.session() as session:
            with pytest.raises(Failure):
                async with session.begin():
                    session.on_rollback(seen.note, "undone")
                    raise Failure
            at_once = list(seen.calls)

        assert at_once == seen.calls == ["undone"]

    async def test_a_begun_transaction_runs_them(self, db: Database, seen: Recorder) -> None:
        """Rolling the transaction object back is rolling back the session."""
        async with db.session() as session:
            transaction = await session.begin()
            session.on_rollback(seen.note, "undone")
            await transaction.rollback()
            at_once = list(seen.calls)

        assert at_once == seen.calls == ["undone"]
