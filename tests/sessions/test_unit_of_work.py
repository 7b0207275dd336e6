"""One unit of work: blocks that join it, and what a block that goes wrong leaves behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event, select

from sqlkeel.errors import Deadlock, TransactionAborted, UniqueViolation, UsageError
from sqlkeel.sessions import Database, Session
from tests.engines.peers import kill, own_id
from tests.fixtures.databases import OpenDatabase
from tests.sessions.unit_of_work_models import Base, User, add, emails

pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


async def fail(database: Database, error: Exception | None = None) -> None:
    """Be a function that does half of its work and fails."""
    async with database.transaction() as session:
        session.add(User(id=404, email="half"))
        await session.flush()
        raise error or Failure


class TestJoining:
    async def test_a_block_inside_has_the_same_session(self, db: Database) -> None:
        """A function may open what it needs: called alone it is a transaction, called inside of one a part of it."""
        async with db.transaction() as outer:
            inner = await add(db, 1)
            deep = await add(db, 2)

        assert outer is inner is deep

    async def test_only_the_outermost_commits(self, every_driver: Database) -> None:
        """Nothing is to be seen before its end, and everything after it."""
        async with every_driver.transaction() as session:
            await add(every_driver, 1)
            await session.flush()
            before = await emails(every_driver)

        assert before == []
        assert await emails(every_driver) == ["1"]

    async def test_a_failure_takes_all_of_it(self, every_driver: Database) -> None:
        """What a block inside wrote goes with the outer one, though it ended well."""
        with pytest.raises(Failure):
            async with every_driver.transaction():
                await add(every_driver, 1)
                raise Failure

        assert await emails(every_driver) == []

    async def test_a_failure_inside_passes_through(self, db: Database) -> None:
        """Its own error is what the outermost block raises."""
        with pytest.raises(Failure):
            async with db.transaction():
                await fail(db)

        assert await emails(db) == []

    async def test_one_after_the_other_are_two(self, db: Database) -> None:
        """What has ended is joined by nobody."""
        first = await add(db, 1)
        second = await add(db, 2)

        assert first is not second

    async def test_after_a_failure_nothing_is_left(self, db: Database) -> None:
        """The next block is a transaction of its own again."""
        with pytest.raises(Failure):
            await fail(db)

        await add(db, 1)

        assert await emails(db) == ["1"]

    async def test_hooks_wait_for_the_outermost(self, db: Database) -> None:
        """A block that has joined announces nothing by itself."""
        heard: list[str] = []

        async with db.transaction():
            async with db.transaction() as session:
                session.on_commit(heard.append, "inner")
            before = list(heard)

        assert (before, heard) == ([], ["inner"])

    async def test_another_database_is_not_joined(self, server: Database, open_database: OpenDatabase) -> None:
        """Two databases are two transactions, in whatever order they end."""
        other = open_database(server)

        with pytest.raises(Failure):
            async with server.transaction():
                await add(other, 1)
                await add(server, 2)
                raise Failure

        assert await emails(server) == ["1"]

    async def test_the_end_of_another_one_does_not_matter(self, server: Database, open_database: OpenDatabase) -> None:
        """Blocks of two databases that do not end in the order of a stack do not hide each other."""
        other = open_database(server)
        first, second = other.transaction(), server.transaction()
        await first.__aenter__()
        session = await second.__aenter__()
        await first.__aexit__(None, None, None)

        joined = await add(server, 1)

        await second.__aexit__(None, None, None)
        assert joined is session

    async def test_another_task_is_not_joined(self, server: Database) -> None:
        """A session is one conversation with the server: another task has its own."""
        with pytest.raises(Failure):
            async with server.transaction():
                await asyncio.create_task(add(server, 1))
                raise Failure

        assert await emails(server) == ["1"]

    async def test_tasks_of_a_group_have_one_each(self, every_driver: Database) -> None:
        """Five at once are five transactions."""
        sessions = await asyncio.gather(*(add(every_driver, number) for number in range(5)))

        assert len(set(map(id, sessions))) == 5
        assert len(await emails(every_driver)) == 5

    async def test_a_timeout_joins(self, db: Database) -> None:
        """asyncio.timeout makes no task, so that what it surrounds is a part of the transaction."""
        async with db.transaction() as outer:
            async with asyncio.timeout(5):
                inner = await add(db, 1)

        assert outer is inner


class TestClosed:
    @pytest.mark.parametrize("begun", [False, True])
    async def test_a_session_that_is_closed_inside_is_told(self, db: Database, begun: bool) -> None:
        """A block whose session was closed in it commits nothing, and says so."""
        with pytest.raises(UsageError, match="closed inside the block"):
            async with db.transaction() as session:
                session.add_all([User(id=1, email="a")] * begun)
                await session.flush()
                await session.close()

        async with db.read() as session:
            assert (await session.scalars(select(User.id))).all() == []


class TestFailedListener:
    """A listener of the application that fails behind COMMIT, which nothing takes back."""

    @pytest.mark.parametrize("name", ["after_commit", "after_transaction_end", "persistent_to_detached"])
    async def test_the_unit_is_not_run_again(
        self, every_driver: Database, caplog: pytest.LogCaptureFixture, name: str
    ) -> None:
        """The error of another database looks like one of this; it is logged, and the hooks run."""
        hooks: list[str] = []
        held = User(id=1, email="a")

        def fail(*_: object) -> None:
            raise Deadlock("of another database")

        async def register(session: Session) -> None:
            session.add(held)
            session.on_commit(hooks.append, "hook")
            await session.flush()
            event.listen(session.sync_session, name, fail, once=True)

        await every_driver.run_transaction(register)

        assert await emails(every_driver) == ["a"]
        assert hooks == ["hook"]
        assert "A listener failed after COMMIT" in caplog.text
        assert [engine.pool.checkedout() for engine in every_driver.engines] == [0, 0]

    @pytest.mark.parametrize("method", ["commit", "rollback", "close"])
    async def test_one_that_ends_the_session_is_no_failure(self, db: Database, method: str) -> None:
        """What it calls is refused there, or closes what would be closed."""
        async with db.transaction() as session:
            session.add(User(id=1, email="a"))
            event.listen(session.sync_session, "after_commit", lambda inside: getattr(inside, method)())

        assert await emails(db) == ["a"]

    async def test_one_before_commit_fails_the_unit(self, db: Database) -> None:
        """What was committed by hand before stays, and no more."""
        with pytest.raises(Failure):
            async with db.transaction() as session:
                session.add(User(id=1, email="a"))
                await session.commit()
                session.add(User(id=2, email="b"))
                event.listen(session.sync_session, "before_commit", _fail)

        assert await emails(db) == ["a"]


def _fail(*_: object) -> None:
    raise Failure


LATE_CHANGES: dict[str, Any] = {
    "none": lambda session, user: None,
    "new": lambda session, user: session.add(User(id=2, email="late")),
    "changed": lambda session, user: setattr(user, "email", "late"),
    "hook": lambda session, user: session.on_commit(pytest.fail, "nothing was committed"),
}


class TestHalfDone:
    async def test_a_failure_that_was_swallowed_cannot_be_committed(self, every_driver: Database) -> None:
        """The block inside had done half of its work, and that must not stay."""
        with pytest.raises(TransactionAborted, match="nothing is written") as caught:
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="outer"))
                with pytest.raises(Failure):
                    await fail(every_driver)

        assert isinstance(caught.value.__cause__, Failure)
        assert await emails(every_driver) == []

    async def test_nor_by_hand(self, db: Database) -> None:
        """session.commit() in the middle is held to it too."""
        with pytest.raises(TransactionAborted):
            async with db.transaction() as session:
                with pytest.raises(Failure):
                    await fail(db)
                await session.commit()

        assert await emails(db) == []

    async def test_a_failure_before_the_first_statement_counts(self, db: Database) -> None:
        """Whether it had begun to write is not what the outer block is to depend on."""
        with pytest.raises(TransactionAborted):
            async with db.transaction():
                with pytest.raises(Failure):
                    async with db.transaction():
                        raise Failure

    async def test_the_first_failure_is_the_cause(self, db: Database) -> None:
        """Of several the first one has to be looked at."""
        with pytest.raises(TransactionAborted) as caught:
            async with db.transaction():
                with pytest.raises(Failure, match="first"):
                    await fail(db, Failure("first"))
                with pytest.raises(UniqueViolation):
                    await fail(db, Failure("second"))

        assert str(caught.value.__cause__) == "first"

    async def test_a_connection_that_is_lost_afterwards_does_not_hide_it(self, server: Database) -> None:
        """What is half done is no lost race: it is not run again."""
        runs = []

        async def work(session: Session) -> None:
            runs.append(await own_id(session, server))
            with pytest.raises(Failure):
                await fail(server)
            await kill(server, runs[-1])

        with pytest.raises(TransactionAborted, match="part of the transaction failed"):
            await server.run_transaction(work)

        assert len(runs) == 1

    @pytest.mark.parametrize("change", LATE_CHANGES.values(), ids=LATE_CHANGES)
    async def test_a_lost_connection_that_was_swallowed_is_told(self, every_driver: Database, change: Any) -> None:
        """Whether something waits to be written or not, the block says that nothing was."""
        with pytest.raises(TransactionAborted, match=r"The connection broke.*nothing is written"):
            async with every_driver.transaction() as session:
                session.add(user := User(id=1, email="early"))
                await session.flush()
                await (await session.connection()).invalidate()
                change(session, user)

        assert await emails(every_driver) == []

    async def test_a_failed_flush_is_one(self, every_driver: Database) -> None:
        """What comes after it in the outer block is not what fails."""
        with pytest.raises(TransactionAborted) as caught:
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="half"))
                with pytest.raises(UniqueViolation):
                    await fail(every_driver)
                session.add(User(id=2, email="after"))

        assert isinstance(caught.value.__cause__, UniqueViolation)
        assert await emails(every_driver) == []

    async def test_a_failed_flush_that_was_swallowed(self, every_driver: Database) -> None:
        """The session has rolled back then; the block says so with our error, whatever is done afterwards."""
        with pytest.raises(TransactionAborted) as caught:
            async with every_driver.transaction() as session:
                await add(every_driver, 1)
                await session.flush()
                session.add(User(id=2, email="1"))
                with pytest.raises(UniqueViolation):
                    await session.flush()
                session.add(User(id=3, email="3"))

        assert isinstance(caught.value.__cause__, UniqueViolation)
        assert await emails(every_driver) == []

    async def test_it_is_forgotten_with_its_transaction(self, db: Database) -> None:
        """A session that goes on keeps no errors, with their tracebacks, of what has ended."""
        async with db.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    await fail(db)
            inside = dict(session.sync_session._half_done)

        assert inside == session.sync_session._half_done == {}

    async def test_objects_are_readable_afterwards(self, db: Database) -> None:
        """A handler may look at what was not written."""
        user = User(id=1, email="outer")

        with pytest.raises(TransactionAborted):
            async with db.transaction() as session:
                session.add(user)
                with pytest.raises(Failure):
                    await fail(db)

        assert (user.id, user.email) == (1, "outer")

    async def test_a_rollback_by_hand_mends_it(self, db: Database) -> None:
        """Nothing is half done where nothing is done."""
        async with db.transaction() as session:
            with pytest.raises(Failure):
                await fail(db)
            await session.rollback()
            session.add(User(id=1, email="afterwards"))

        assert await emails(db) == ["afterwards"]

    async def test_a_lost_race_inside_is_tried_again(self, db: Database) -> None:
        """A deadlock that somebody swallowed is still a reason to run all of it again."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            if len(calls) == 1:
                with pytest.raises(Deadlock):
                    await fail(db, Deadlock("lost"))

        await db.run_transaction(work)

        assert len(calls) == 2


class TestSavepoint:
    async def test_a_failure_costs_only_the_block(self, every_driver: Database) -> None:
        """With savepoint=True the outer one may go on."""
        async with every_driver.transaction() as outer:
            outer.add(User(id=1, email="before"))
            with pytest.raises(Failure):
                async with every_driver.transaction(savepoint=True) as inner:
                    inner.add(User(id=2, email="inside"))
                    await inner.flush()
                    raise Failure
            outer.add(User(id=3, email="after"))

        assert await emails(every_driver) == ["before", "after"]

    async def test_alone_it_is_a_transaction(self, db: Database) -> None:
        """Who is called outside of one commits."""
        async with db.transaction(savepoint=True) as session:
            session.add(User(id=1, email="a"))

        assert await emails(db) == ["a"]

    async def test_it_contains_what_failed_deeper(self, every_driver: Database) -> None:
        """A block that has joined inside of the savepoint goes with it, and the outer one is whole."""
        async with every_driver.transaction() as outer:
            outer.add(User(id=1, email="outer"))
            with pytest.raises(Failure):
                async with every_driver.transaction(savepoint=True):
                    await fail(every_driver)

        assert await emails(every_driver) == ["outer"]

    async def test_a_savepoint_of_the_session_does_so_too(self, every_driver: Database) -> None:
        """``session.savepoint()`` is the same thing under another name."""
        async with every_driver.transaction() as outer:
            outer.add(User(id=1, email="outer"))
            with pytest.raises(Failure):
                async with outer.savepoint():
                    await fail(every_driver)

        assert await emails(every_driver) == ["outer"]

    async def test_a_released_one_hands_it_on(self, every_driver: Database) -> None:
        """What was swallowed inside of a savepoint that ended well is half done in the outer block."""
        with pytest.raises(TransactionAborted):
            async with every_driver.transaction(), every_driver.transaction(savepoint=True):
                with pytest.raises(Failure):
                    await fail(every_driver)

        assert await emails(every_driver) == []

    async def test_an_outer_one_contains_what_an_inner_one_handed_on(self, db: Database) -> None:
        """Through any number of savepoints."""
        async with db.transaction() as session:
            with pytest.raises(Failure, match="outer"):
                async with session.savepoint():
                    async with session.savepoint():
                        with pytest.raises(Failure):
                            await fail(db)
                    raise Failure("outer")
            session.add(User(id=1, email="a"))

        assert await emails(db) == ["a"]
