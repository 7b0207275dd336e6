"""Sharing: a session that one task uses at a time, and how its block ends while another task still uses it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, create_engine, select, text
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column, sessionmaker

import sqlkeel
from sqlkeel import IntKeyMixin, Repository
from sqlkeel.errors import SessionShared, TransactionAborted
from sqlkeel.models import children, parent
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._doors import door
from sqlkeel.sessions._session import SyncSession
from sqlkeel.sessions._sharing import Turn
from tests.engines.peers import SLOW, soon, statements_running, under_way


class Base(sqlkeel.Base):
    """The models of this file."""


class User(IntKeyMixin, Base):
    """Somebody with notes."""

    __tablename__ = "sharing_user"
    name: Mapped[str] = mapped_column(String(20))
    notes: Mapped[list[Note]] = children(back_populates="user")


class Note(IntKeyMixin, Base):
    """What belongs to somebody."""

    __tablename__ = "sharing_note"
    user_id: Mapped[int] = mapped_column(ForeignKey("sharing_user.id", ondelete="CASCADE"), index=True)
    user: Mapped[User] = parent(back_populates="notes")


pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Let the garbage collector find nothing: a connection that only it gives back is lost."""
    gc.disable()
    yield
    gc.enable()


def checked_out(database: Database) -> int:
    """Count the connections that are missing in the pools, now."""
    return sum(engine.pool.checkedout() for engine in database.engines)  # type: ignore[attr-defined]


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


async def query_slowly(session: Session, dialect: str) -> None:
    """Be the first who uses the session."""
    await session.execute(text(SLOW[dialect]))


async def at_work(database: Database) -> None:
    """Wait until that one has its connection, and the server works for it; SQLite's thread says nothing of itself."""
    await asyncio.sleep(0.1)
    await under_way(database)


async def query(session: Session, method: str) -> None:
    """Be the second who uses the session."""
    await USES[method](session)


async def begin_nested(session: Session) -> None:
    """Open a savepoint."""
    async with session.begin_nested():
        pass


async def advance(session: Session) -> None:
    """Read the rows of a stream."""
    async for _ in await session.stream(select(User)):
        pass


USES: dict[str, Callable[[Session], Coroutine[Any, Any, Any]]] = {
    "execute": lambda session: session.execute(select(1)),
    "scalar": lambda session: session.scalar(select(1)),
    "scalars": lambda session: session.scalars(select(1)),
    "stream": advance,
    "get": lambda session: session.get(User, 1),
    "merge": lambda session: session.merge(User(id=1, name="merged")),
    "connection": lambda session: session.connection(),
    "run_sync": lambda session: session.run_sync(lambda _: None),
    "begin_nested": begin_nested,
    "lock_rows": lambda session: session.lock_rows(User, [1]),
    "count": lambda session: Repository(session, User).count(),
    "insert_many": lambda session: Repository(session, User).insert_many([{"name": "bulk"}]),
    "flush": lambda session: session.flush(),
    "commit": lambda session: session.commit(),
    "rollback": lambda session: session.rollback(),
}


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

        assert caught.value.first.startswith("test_sharing.py:")
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


@asynccontextmanager
async def stock(database: Database) -> AsyncIterator[Any]:
    """Open SQLAlchemy's own session over ours."""
    async with async_sessionmaker(database.engine, sync_session_class=SyncSession)() as session:
        yield session


@asynccontextmanager
async def stock_begin(database: Database) -> AsyncIterator[Any]:
    """Open SQLAlchemy's own session over ours, with a transaction around the block."""
    async with async_sessionmaker(database.engine, sync_session_class=SyncSession).begin() as session:
        yield session


@asynccontextmanager
async def begin(database: Database) -> AsyncIterator[Any]:
    """Open a session and a transaction by hand."""
    async with database.session() as session, session.begin():
        yield session


@asynccontextmanager
async def savepoint(database: Database) -> AsyncIterator[Any]:
    """Open a savepoint inside of a unit of work."""
    async with database.transaction() as session, session.savepoint():
        yield session


@asynccontextmanager
async def joined(database: Database) -> AsyncIterator[Any]:
    """Join a unit of work."""
    async with database.transaction(), database.transaction() as session:
        yield session


BLOCKS: dict[str, Callable[[Database], AbstractAsyncContextManager[Any]]] = {
    "transaction": lambda database: database.transaction(),
    "read only": lambda database: database.transaction(read_only=True),
    "read": lambda database: database.read(),
    "session": lambda database: database.session(),
    "begin": begin,
    "savepoint": savepoint,
    "joined": joined,
    "stock": stock,
    "stock begin": stock_begin,
}


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
