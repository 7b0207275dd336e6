"""How a block ends while another task still uses its session."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Repository
from sqlkeel.errors import SessionShared, TransactionAborted
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._sharing import Turn
from tests.engines.peers import SLOW, under_way
from tests.sessions.sharing_blocks import BLOCKS, Base, Failure, User, checked_out, query, query_slowly

pytestmark = [pytest.mark.tables(Base.metadata), pytest.mark.usefixtures("no_collector")]


async def at_work(database: Database) -> None:
    """Wait until that one has its connection, and the server works for it; SQLite's thread says nothing of itself."""
    await asyncio.sleep(0.1)
    await under_way(database)


@pytest.mark.parametrize("block", BLOCKS)
class TestEndOfTheBlock:
    async def test_a_statement_that_runs_is_interrupted(self, every_driver: Database, block: str) -> None:
        """Who forgot the task and who runs in it both hear of it, at once, and no connection is missing."""
        async with asyncio.timeout(10):
            with pytest.raises(SessionShared) as caught:
                async with BLOCKS[block](every_driver) as session:
                    forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                    await at_work(every_driver)

        assert checked_out(every_driver) == 0
        assert "in query_slowly()" in caught.value.first
        with pytest.raises(SessionShared):
            await forgotten

    async def test_a_task_that_is_connecting_is_interrupted(self, every_driver: Database, block: str) -> None:
        """One that has only begun to ask for its connection."""
        with pytest.raises(SessionShared):
            async with BLOCKS[block](every_driver) as session:
                forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                await asyncio.sleep(0)

        assert checked_out(every_driver) == 0
        with pytest.raises(SessionShared):
            await forgotten

    async def test_gather_ends_in_session_shared(self, every_driver: Database, block: str) -> None:
        """The most usual way of sharing: two of three are refused, and the first one is interrupted."""
        with pytest.raises(SessionShared):
            async with BLOCKS[block](every_driver) as session:
                await asyncio.gather(*(Repository(session, User).count() for _ in range(3)))

        assert checked_out(every_driver) == 0

    async def test_the_first_who_is_ready_is_waited_for(self, every_driver: Database, block: str) -> None:
        """asyncio.wait leaves the other one running."""
        with pytest.raises(SessionShared):
            async with BLOCKS[block](every_driver) as session:
                slow = asyncio.create_task(query_slowly(session, every_driver.dialect))
                quick = asyncio.create_task(Repository(session, User).count())
                await asyncio.wait([slow, quick], return_when=asyncio.FIRST_COMPLETED)

        assert checked_out(every_driver) == 0
        assert [type(error) for error in await asyncio.gather(slow, quick, return_exceptions=True)] == [
            SessionShared
        ] * 2

    async def test_a_group_gets_it(self, every_driver: Database, block: str) -> None:
        """A TaskGroup collects the refusal, and has ended before the block does."""
        with pytest.raises(ExceptionGroup) as caught:
            async with BLOCKS[block](every_driver) as session, asyncio.TaskGroup() as group:
                group.create_task(Repository(session, User).count())
                group.create_task(Repository(session, User).count())

        assert checked_out(every_driver) == 0
        assert {type(error) for error in caught.value.exceptions} == {SessionShared}

    async def test_the_pool_goes_on(self, every_driver: Database, block: str) -> None:
        """The next one gets a connection that works."""
        with pytest.raises(SessionShared):
            async with BLOCKS[block](every_driver) as session:
                asyncio.create_task(query_slowly(session, every_driver.dialect))  # noqa: RUF006 - forgotten, as said
                await at_work(every_driver)

        async with BLOCKS[block](every_driver) as session:
            assert await session.scalar(select(7)) == 7


@pytest.mark.parametrize("block", sorted(BLOCKS.keys() - {"stock"}))
class TestErrorOfTheBlock:
    async def test_the_error_of_the_block_is_kept(self, every_driver: Database, block: str) -> None:
        """What the block raised comes out of it, and not what came of it."""
        with pytest.raises(Failure):
            async with BLOCKS[block](every_driver) as session:
                forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                await at_work(every_driver)
                raise Failure

        assert checked_out(every_driver) == 0
        with pytest.raises(SessionShared):
            await forgotten


class TestInterruption:
    async def test_one_that_is_swallowed_is_told_at_the_end(self) -> None:
        """A driver that loses the cancellation does not make a success of it: the block ended meanwhile."""
        turn = Turn()

        async def deaf() -> None:
            with turn.use(), suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

        task = asyncio.create_task(deaf())
        await asyncio.sleep(0)

        assert await turn.take_over() is not None
        with pytest.raises(SessionShared):
            await task


class TestWhatIsWritten:
    async def test_nothing_is_committed(self, every_driver: Database) -> None:
        """What the block wrote is rolled back: nobody knows what the other task would have written."""
        with pytest.raises(SessionShared):
            async with every_driver.transaction() as session:
                session.add(User(name="lost"))
                await session.flush()
                forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                await at_work(every_driver)

        assert await names(every_driver) == []
        await asyncio.wait({forgotten})

    async def test_a_savepoint_is_not_kept(self, every_driver: Database) -> None:
        """Who swallows the error of the savepoint cannot commit what was half done in it."""
        with pytest.raises(TransactionAborted):
            async with every_driver.transaction() as session:
                with pytest.raises(SessionShared):
                    async with session.savepoint():
                        session.add(User(name="half"))
                        await session.flush()
                        forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                        await at_work(every_driver)

        assert await names(every_driver) == []
        assert checked_out(every_driver) == 0
        await asyncio.wait({forgotten})

    async def test_a_commit_is_waited_for(self, every_driver: Database) -> None:
        """A COMMIT that another task has begun comes to its end, and says so."""
        with pytest.raises(SessionShared):
            async with every_driver.session() as session:
                session.add(User(name="committed"))
                await session.flush()
                committing = asyncio.create_task(session.commit())
                await asyncio.sleep(0)

        assert await committing is None  # type: ignore[func-returns-value]
        assert await names(every_driver) == ["committed"]
        assert checked_out(every_driver) == 0

    async def test_a_cancelled_task_stays_cancelled(self, every_driver: Database) -> None:
        """A cancellation by somebody else is not turned into an error of ours."""
        with pytest.raises(SessionShared):
            async with every_driver.session() as session:
                forgotten = asyncio.create_task(query_slowly(session, every_driver.dialect))
                await at_work(every_driver)
                forgotten.cancel()

        await asyncio.wait({forgotten})
        assert forgotten.cancelled()
        assert checked_out(every_driver) == 0

    async def test_it_can_go_on_after_its_error(self, every_driver: Database) -> None:
        """The interrupted task is not cancelled: it handles the error, and awaits what it likes."""
        steps: list[str] = []

        async def recover(session: Session) -> None:
            with pytest.raises(SessionShared):
                await query_slowly(session, every_driver.dialect)
            await asyncio.sleep(0)
            steps.append("recovered")

        with pytest.raises(SessionShared):
            async with every_driver.read() as session:
                task = asyncio.create_task(recover(session))
                await at_work(every_driver)

        await task
        assert steps == ["recovered"]
        assert task.cancelling() == 0


CHANGES: dict[str, Callable[[Session, User], object]] = {
    "add": lambda session, user: session.add(User(name="stranger")),
    "add_all": lambda session, user: session.add_all([User(name="stranger")]),
    "delete": lambda session, user: session.sync_session.delete(user),
    "delete_all": lambda session, user: session.sync_session.delete_all([user]),
    "expunge": lambda session, user: session.expunge(user),
    "expunge_all": lambda session, user: session.expunge_all(),
    "expire": lambda session, user: session.expire(user),
    "expire_all": lambda session, user: session.expire_all(),
}


async def share_unheard(session: Session) -> None:
    """Let a second task add something before it is refused, and let nobody hear of that."""
    added, asking = asyncio.Event(), asyncio.Event()

    async def add() -> None:
        session.add(User(name="stranger"))
        added.set()
        await asking.wait()
        await session.flush()

    async def ask() -> None:
        await added.wait()
        asking.set()
        await session.execute(select(User.id))

    answers = await asyncio.gather(ask(), add(), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), SessionShared]


class TestRefusedWork:
    @pytest.mark.parametrize("change", CHANGES)
    async def test_a_change_is_refused_while_another_task_uses_the_session(
        self, every_driver: Database, change: str
    ) -> None:
        """What does not wait for the database is refused at the call, too, and changes nothing."""
        async with every_driver.session() as session:
            user = User(name="own")
            session.add(user)
            await session.flush()
            first = asyncio.create_task(query_slowly(session, every_driver.dialect))
            await asyncio.sleep(0.1)

            with pytest.raises(SessionShared) as caught:
                CHANGES[change](session, user)

            assert (user.name, list(session.new), list(session.deleted)) == ("own", [], [])
            first.cancel()
            await asyncio.wait({first})

        assert "in query_slowly()" in caught.value.first

    async def test_a_change_by_who_was_cancelled_while_closing(self, postgres: Database) -> None:
        """Who waits for the other task at the end of its block, and is cancelled, has not got the session."""
        others = []

        async def read() -> None:
            with pytest.raises(asyncio.CancelledError):
                async with postgres.read() as session:
                    others.append(asyncio.create_task(stay(session)))
                    await asyncio.sleep(0.1)
                    asyncio.get_running_loop().call_soon(reading.cancel)
            with pytest.raises(SessionShared):
                session.add(User(name="own"))

        async def stay(session: Session) -> None:
            with suppress(SessionShared, asyncio.CancelledError):
                await session.execute(text(SLOW[postgres.dialect]))

        reading = asyncio.create_task(read())
        await reading
        await asyncio.wait(others)

    @pytest.mark.parametrize("block", ["transaction", "begin", "joined", "stock begin"])
    async def test_what_it_added_before_is_not_committed(self, every_driver: Database, block: str) -> None:
        """A task adds, and is refused when it flushes: the end of the block would write what it added."""
        with pytest.raises(SessionShared, match=r"in ask\(\), .* in add\(\)"):
            async with BLOCKS[block](every_driver) as session:
                session.add(User(name="own"))
                await session.flush()
                await share_unheard(session)

        assert await names(every_driver) == []
        assert checked_out(every_driver) == 0

    @pytest.mark.parametrize("block", ["session", "stock"])
    async def test_a_commit_by_hand_is_refused(self, every_driver: Database, block: str) -> None:
        """Whoever commits, the session knows that a task had to stop in the middle of its work."""
        async with BLOCKS[block](every_driver) as session:
            await share_unheard(session)

            with pytest.raises(SessionShared, match=r"in ask\(\), .* in add\(\)"):
                await session.commit()

        assert await names(every_driver) == []

    async def test_a_savepoint_does_not_make_it_good(self, every_driver: Database) -> None:
        """What was added before the savepoint is not undone with it."""
        with pytest.raises(SessionShared):
            async with every_driver.transaction() as session, session.savepoint():
                await share_unheard(session)

        assert await names(every_driver) == []

    async def test_a_rollback_does(self, every_driver: Database) -> None:
        """The next transaction of the session has nothing of it."""
        async with every_driver.session() as session:
            await share_unheard(session)
            await session.rollback()
            session.add(User(name="own"))
            await session.commit()

        assert await names(every_driver) == ["own"]

    async def test_reading_goes_on(self, every_driver: Database) -> None:
        """Where nothing can be written, the refused task has left nothing behind."""
        async with every_driver.transaction(read_only=True) as session:
            answers = await asyncio.gather(session.scalar(select(7)), session.scalar(select(8)), return_exceptions=True)

        assert answers[0] == 7

    async def test_adding_in_another_task_while_nobody_uses_it_is_fine(self, every_driver: Database) -> None:
        """A session that is handed on takes what each of its users adds."""

        async def add(name: str) -> None:
            session.add(User(name=name))
            await session.flush()

        async with every_driver.transaction() as session:
            await asyncio.create_task(add("first"))
            await asyncio.create_task(add("second"))
            await asyncio.to_thread(session.add, User(name="third"))

        assert await names(every_driver) == ["first", "second", "third"]


async def names(database: Database) -> list[str]:
    """Return what is in the database."""
    async with database.engine.connect() as connection:
        return list((await connection.scalars(select(User.name).order_by(User.id))).all())


class TestClosed:
    async def test_a_task_that_comes_later_is_told(self, every_driver: Database) -> None:
        """One that first touches the session when its block has ended."""
        ended = asyncio.Event()

        async def come_late(session: Session) -> None:
            await ended.wait()
            await query(session, "execute")

        async with every_driver.transaction() as session:
            late = asyncio.create_task(come_late(session))
        ended.set()

        with pytest.raises(SessionShared, match=r"was closed by .* and was called at") as caught:
            await late
        assert caught.value.closed
        assert checked_out(every_driver) == 0

    async def test_its_own_task_gets_the_usual_error(self, db: Database) -> None:
        """Who has closed it knows that it is closed."""
        async with db.read() as session:
            pass

        with pytest.raises(InvalidRequestError, match="permanently closed"):
            await session.scalar(select(1))

    async def test_another_task_may_close_it_again(self, db: Database) -> None:
        """Closing twice is no error, whoever does it."""
        async with db.session() as session:
            await session.scalar(select(1))

        await asyncio.create_task(session.close())

        assert checked_out(db) == 0

    async def test_a_task_that_closes_it_is_waited_for(self, every_driver: Database) -> None:
        """The block ends when the connection is back, whoever gives it back."""
        with pytest.raises(SessionShared):
            async with every_driver.transaction() as session:
                await session.execute(select(User.id))
                closing = asyncio.create_task(session.close())
                await asyncio.sleep(0)

        assert checked_out(every_driver) == 0
        await closing
