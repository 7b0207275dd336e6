"""One unit of work: blocks that join it, and an end that is never in doubt where the server can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import pytest
from sqlalchemy import String, event, select, text
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import (
    CommitUnknown,
    ConnectionLost,
    Deadlock,
    ForeignKeyViolation,
    NestedTransaction,
    TransactionAborted,
    TransientFault,
    UniqueViolation,
    UsageError,
)
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions import _unit_of_work as unit_of_work_module
from sqlkeel.testing import PostgreSQLServer
from tests.engines.peers import SLOW, committing, kill, own_id, soon, statements_running, under_way
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)


pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


async def emails(database: Database) -> list[str]:
    """Read what is committed, over a connection that takes no lock."""
    async with database.read() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


async def add(database: Database, number: int) -> Session:
    """Be a function that needs a transaction, whoever calls it."""
    async with database.transaction() as session:
        session.add(User(id=number, email=f"{number}"))
        return session


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


OPTIONS: list[dict[str, Any]] = [
    {"durable": True},
    {"isolation": "serializable"},
    {"read_only": True},
    {"timeout": 1},
    {"timeout": 0},
    {"lock_timeout": 1},
    {"durable": True, "savepoint": True},
]


class TestOptions:
    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    async def test_a_block_inside_cannot_have_its_own(self, db: Database, options: dict[str, Any]) -> None:
        """What only an outermost block can promise is refused inside of another, before anything is done."""
        async with db.transaction() as session:
            session.add(User(id=1, email="a"))
            with pytest.raises(NestedTransaction, match="joins it"):
                async with db.transaction(**options):
                    pytest.fail("the block was entered")

        assert await emails(db) == ["a"]

    @pytest.mark.parametrize("options", OPTIONS, ids=str)
    async def test_the_outermost_may(self, db: Database, options: dict[str, Any]) -> None:
        """Alone each of them is taken."""
        async with db.transaction(**options) as session:
            assert await session.scalar(select(1)) == 1

    async def test_what_is_not_true_is_not_asked(self, db: Database) -> None:
        """``read_only=None``, from a setting that is not there, is the default."""
        async with db.transaction() as outer, db.transaction(read_only=None) as inner:  # type: ignore[arg-type]
            assert inner is outer

    async def test_a_block_of_another_task_may(self, server: Database) -> None:
        """It is an outermost one."""

        async def settle() -> None:
            async with server.transaction(durable=True, isolation="serializable") as session:
                session.add(User(id=1, email="a"))

        async with server.transaction():
            await asyncio.create_task(settle())

            assert await emails(server) == ["a"]

    async def test_run_transaction_inside_is_refused(self, db: Database) -> None:
        """A part of a transaction cannot be run again alone."""
        calls: list[Session] = []

        async def work(session: Session) -> None:
            calls.append(session)

        with pytest.raises(NestedTransaction, match="run again alone"):
            async with db.transaction():
                await db.run_transaction(work)

        assert calls == []

    async def test_what_it_runs_may_join(self, db: Database) -> None:
        """The function's own calls are a part of its attempt."""

        async def work(session: Session) -> bool:
            return await add(db, 1) is session

        assert await db.run_transaction(work)


class TestTransactional:
    async def test_it_gives_the_function_a_session(self, every_driver: Database) -> None:
        """The decorated function is called without one, and what it did is committed."""

        @every_driver.transactional()
        async def register(session: Session, number: int, *, email: str) -> int:
            session.add(User(id=number, email=email))
            return number

        answer = await register(1, email="a")

        assert answer == 1
        assert await emails(every_driver) == ["a"]

    async def test_it_runs_again_with_a_new_session(self, db: Database) -> None:
        """Each attempt has its own, and only the last one is committed."""
        sessions: list[Session] = []

        @db.transactional(attempts=2)
        async def work(session: Session) -> None:
            sessions.append(session)
            session.add(User(id=1, email=f"{len(sessions)}"))
            await session.flush()
            if len(sessions) == 1:
                raise Deadlock("lost")

        await work()

        assert sessions[0] is not sessions[1]
        assert await emails(db) == ["2"]

    @pytest.mark.parametrize("attempts", [1, 3])
    async def test_its_options_are_run_transactions(self, db: Database, attempts: int) -> None:
        """attempts= counts all of them."""
        calls: list[int] = []

        @db.transactional(attempts=attempts, isolation="serializable", deadline=60)
        async def work(session: Session) -> None:
            calls.append(1)
            raise Deadlock("lost")

        with pytest.raises(Deadlock):
            await work()

        assert len(calls) == attempts

    async def test_a_deadline_ends_the_attempts(self, db: Database) -> None:
        """No attempt begins after it."""
        calls: list[int] = []

        @db.transactional(attempts=100, deadline=0)
        async def work(session: Session) -> None:
            calls.append(1)
            raise Deadlock("lost")

        with pytest.raises(Deadlock):
            await work()

        assert len(calls) == 1

    async def test_inside_of_a_transaction_it_is_refused(self, db: Database) -> None:
        """It is a run_transaction."""

        @db.transactional()
        async def work(session: Session) -> None: ...

        with pytest.raises(NestedTransaction):
            async with db.transaction():
                await work()

    async def test_its_arguments_may_have_any_name(self, sqlite: Database) -> None:
        """Those of run_transaction too: they are the function's."""

        @sqlite.transactional()
        async def work(session: Session, *, attempts: int, deadline: timedelta) -> tuple[int, timedelta]:
            return attempts, deadline

        assert await work(attempts=7, deadline=timedelta(1)) == (7, timedelta(1))

    async def test_it_stays_the_function_that_it_was(self, sqlite: Database) -> None:
        """Name and documentation are those of the function."""

        @sqlite.transactional()
        async def register(session: Session) -> None:
            """Register somebody."""

        assert (register.__name__, register.__doc__) == ("register", "Register somebody.")

    def test_it_has_parentheses(self, sqlite: Database) -> None:
        """Without them Python counts arguments of a function of ours."""
        decorator: Any = sqlite.transactional

        with pytest.raises(UsageError, match=r"hint: @db\.transactional\(\)"):

            @decorator
            async def work(session: Session) -> None: ...


# A trigger that makes COMMIT itself slow: a deferred one, that waits for a lock which the test lets go.
DEFERRED = """
create function {name}() returns trigger language plpgsql as $$ begin {body} return null; end $$;
create constraint trigger {name} after insert on "user" deferrable initially deferred
 for each row execute function {name}();
"""


async def at_commit(database: Database, body: str) -> None:
    """Let the server do something when it commits a new user."""
    async with database.engine.begin() as connection:
        for statement in DEFERRED.format(name="at_commit", body=body).split(";\n"):
            await connection.execute(text(statement))


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


def is_commit(data: bytes) -> bool:
    """Recognise the message of each driver."""
    return b"COMMIT" in data


@pytest.fixture
async def proxy(server: Database) -> AsyncIterator[Proxy]:
    """The way to the server, on which a COMMIT can be lost."""
    async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
        yield proxy


@pytest.fixture
def remote(server: Database, proxy: Proxy, open_database: OpenDatabase) -> Callable[..., Database]:
    """Open the server's database by way of the proxy."""
    url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    return lambda **options: open_database(url, **options)


only_postgresql = pytest.mark.parametrize("server", ["asyncpg", "psycopg"], indirect=True)
only_mariadb = pytest.mark.parametrize("server", ["mariadb"], indirect=True)
delivered = pytest.mark.parametrize("deliver", [True, False], ids=["delivered", "not delivered"])

Remote = Callable[..., Database]


class TestLostCommit:
    """The connection breaks when COMMIT is sent: before the server has it, or before its answer is back."""

    @only_postgresql
    async def test_what_the_server_did_is_done(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """It had the COMMIT; asked, it says so, and the block ends like any other, hooks included."""
        database, heard, user = remote(), list[str](), User(id=1, email="a")

        async with database.transaction() as session:
            session.add(user)
            session.on_commit(heard.append, "committed")
            session.on_rollback(heard.append, "rolled back")
            proxy.cut_at(is_commit, deliver=True)

        assert heard == ["committed"]
        assert (user.id, user.email) == (1, "a")
        assert await emails(server) == ["a"]

    @delivered
    async def test_what_has_only_read_is_never_unknown(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """Nothing can have been written, so that it may be run again; nobody is asked."""
        database, heard = remote(), list[str]()

        with pytest.raises(ConnectionLost, match="only read") as caught:
            async with database.transaction(read_only=True) as session:
                await session.scalars(select(User))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_commit, deliver=deliver)

        assert isinstance(caught.value, TransientFault)
        assert heard == ["rolled back"]

    @only_postgresql
    async def test_what_the_server_did_not_is_lost(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """It never had the COMMIT and has rolled back: a connection that was lost like any other."""
        database, heard, user = remote(), list[str](), User(id=1, email="a")

        with pytest.raises(ConnectionLost, match="the server has rolled back") as caught:
            async with database.transaction() as session:
                session.add(user)
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_commit, deliver=False)

        assert isinstance(caught.value, TransientFault)
        assert isinstance(caught.value.__cause__, CommitUnknown)
        assert heard == ["rolled back"]
        assert (user.id, user.email) == (1, "a")
        assert await emails(server) == []

    @only_postgresql
    @delivered
    async def test_run_transaction_does_it_once(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """It runs again what was rolled back, and does not run again what was committed."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add(User(id=len(calls), email="a"))
            await session.flush()
            if len(calls) == 1:
                proxy.cut_at(is_commit, deliver=deliver)

        await remote().run_transaction(work)

        assert len(calls) == (1 if deliver else 2)
        assert await emails(server) == ["a"]

    @only_postgresql
    @delivered
    async def test_one_connection_is_enough_to_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """The question goes over the place of the connection that broke."""
        database = remote(pool_size=1, max_overflow=0, pool_timeout=0.2)

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            proxy.cut_at(is_commit, deliver=deliver)
            await session.flush()

        result = await outcome(database, work)

        assert result is (None if deliver else ConnectionLost)
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    @only_postgresql
    @delivered
    async def test_nobody_there_to_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server is gone for good: nobody knows, it is said so, and no hook of either kind is called."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0, 0.05, 0.1))
        database, heard = remote(), list[str]()

        def is_the_last(data: bytes) -> bool:
            proxy.target = (proxy.target[0], 1) if is_commit(data) else proxy.target
            return is_commit(data)

        with pytest.raises(CommitUnknown) as caught:
            async with database.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_the_last, deliver=deliver)

        assert not isinstance(caught.value, TransientFault)
        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    async def test_an_unknown_one_is_not_run_again(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """run_transaction leaves to the caller what might be done twice."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", ())
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add(User(id=len(calls), email="a"))
            await session.flush()
            proxy.cut_at(is_commit, deliver=True)

        with pytest.raises(CommitUnknown):
            await remote().run_transaction(work)

        assert len(calls) == 1
        assert await emails(server) == ["a"]

    @only_postgresql
    async def test_a_server_that_does_not_answer(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A firewall that swallows the question is not waited for until its end."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_FOR", 0.3)
        database = remote()

        def is_the_last(data: bytes) -> bool:
            if is_commit(data):
                asyncio.get_running_loop().call_later(0.25, proxy.stall)
            return is_commit(data)

        with pytest.raises(CommitUnknown):
            async with asyncio.timeout(5), database.transaction() as session:
                session.add(User(id=1, email="a"))
                monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.1,))
                proxy.cut_at(is_the_last, deliver=True)

        proxy.resume()

    @only_postgresql
    async def test_a_full_pool_cannot_be_asked_through(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That there is no connection for the question is no answer: it stays unknown."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0,))
        database = remote(pool_size=1, max_overflow=0, pool_timeout=0.5)
        done = asyncio.Event()

        async def wait_for_the_place() -> None:
            async with database.engine.connect():
                await done.wait()

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            await session.flush()
            others.append(asyncio.create_task(wait_for_the_place()))
            await asyncio.sleep(0)
            proxy.cut_at(is_commit, deliver=True)

        others: list[asyncio.Task[None]] = []
        result = await outcome(database, work)
        done.set()
        await asyncio.gather(*others)

        assert result is CommitUnknown

    @only_postgresql
    async def test_one_that_only_read_is_lost(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """Without a write there is nothing to ask for; it is unknown, and harmless."""
        database = remote()

        with pytest.raises(CommitUnknown):
            async with database.transaction() as session:
                await session.execute(select(User))
                proxy.cut_at(is_commit, deliver=True)

    @only_mariadb
    @delivered
    async def test_mariadb_cannot_be_asked(self, server: Database, proxy: Proxy, remote: Remote, deliver: bool) -> None:
        """It remembers no transaction: who lost the answer has to look."""
        database, heard = remote(), list[str]()

        with pytest.raises(CommitUnknown):
            async with database.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                await session.flush()
                proxy.cut_at(is_commit, deliver=deliver)

        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    @delivered
    @pytest.mark.parametrize("how", ["commit", "begin"])
    async def test_a_plain_session_does_not_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool, how: str
    ) -> None:
        """Who commits by hand is told that it is unknown, and no hook of either kind is called."""
        heard: list[str] = []

        async with remote().session() as session:
            with pytest.raises(CommitUnknown):
                await COMMITS[how](session, heard, lambda: proxy.cut_at(is_commit, deliver=deliver))

        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    @delivered
    async def test_the_pool_goes_on(self, server: Database, proxy: Proxy, remote: Remote, deliver: bool) -> None:
        """Whatever became of it, the next transaction finds a connection that works."""
        database = remote(pool_size=1, max_overflow=0)

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            await session.flush()
            proxy.cut_at(is_commit, deliver=deliver)

        await outcome(database, work)
        async with database.transaction() as session:
            session.add(User(id=2, email="b"))

        assert (await emails(server))[-1] == "b"


@pytest.fixture
async def crashing(postgres_server: PostgreSQLServer, open_database: OpenDatabase) -> Database:
    """A database on a server that can be crashed, where the COMMIT of a new user would take a minute."""
    database = open_database(postgres_server.url())
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("drop function if exists at_commit cascade"))
    await at_commit(database, "perform pg_sleep(60);")
    return database


async def crash_in_commit(database: Database, server: PostgreSQLServer) -> asyncio.Task[Any]:
    """Write a user, and crash the server while it commits."""

    async def work(session: Session) -> None:
        session.add(User(id=1, email="a"))

    async def committing() -> bool:
        running = "select count(*) from pg_stat_activity where state = 'active' and query ilike 'commit%'"
        async with database.engine.connect() as connection:
            return (await connection.execute(text(running))).scalar_one() == 1

    task = asyncio.create_task(outcome(database, work))
    assert await soon(committing)
    await asyncio.to_thread(server.crash)
    return task


class TestCrashedServer:
    """The whole server is gone in the middle of a COMMIT."""

    async def test_one_that_comes_back_is_asked(self, crashing: Database, postgres_server: PostgreSQLServer) -> None:
        """It has recovered without the transaction, so that this may be run again."""
        task = await crash_in_commit(crashing, postgres_server)
        await asyncio.to_thread(postgres_server.start)

        assert await task is ConnectionLost
        assert await emails(crashing) == []

    async def test_one_that_stays_away_is_not_waited_for(
        self, crashing: Database, postgres_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the last question it is unknown."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0, 0.1))
        task = await crash_in_commit(crashing, postgres_server)

        result = await task

        await asyncio.to_thread(postgres_server.start)
        assert result is CommitUnknown


async def write(session: Session, heard: list[str]) -> None:
    """Write a row, with a hook of each kind."""
    session.add(User(id=1, email="a"))
    session.on_commit(heard.append, "committed")
    session.on_rollback(heard.append, "rolled back")
    await session.flush()


async def commit_by_hand(session: Session, heard: list[str], then: Callable[[], None]) -> None:
    """Write a row, and commit it."""
    await write(session, heard)
    then()
    await session.commit()


async def commit_by_block(session: Session, heard: list[str], then: Callable[[], None]) -> None:
    """Write a row in a block that commits it."""
    async with session.begin():
        await write(session, heard)
        then()


COMMITS = {"commit": commit_by_hand, "begin": commit_by_block}


async def outcome(database: Database, work: Callable[[Session], Awaitable[None]]) -> type[BaseException] | None:
    """Do *work* in a transaction, and return the class of what its end raised."""
    try:
        async with database.transaction() as session:
            await work(session)
    except Exception as error:  # noqa: BLE001 - it is what is asked for
        return type(error)
    return None


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
