"""The session: savepoints that restore, hooks after commit, safe defaults, and cancellation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import anyio
import pytest
from sqlalchemy import ForeignKey, String, event, select, text, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload, undefer

import sqlkeel
from sqlkeel.errors import Deadlock, UniqueViolation
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from tests.engines.peers import SLOW, soon, statements_running, under_way


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)
    notes: Mapped[list[Note]] = relationship(order_by="Note.number")


class Note(Base):
    """Has a key of two columns."""

    __tablename__ = "note"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    words: Mapped[str] = mapped_column(String(50))
    secret: Mapped[str | None] = mapped_column(String(50), deferred=True)


pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


async def emails(database: Database) -> list[str]:
    """Read what is committed."""
    async with database.session() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


def rename(users: list[User]) -> None:
    """Give everybody another address."""
    for user in users:
        user.email = f"changed {user.id}"


class TestDefaults:
    async def test_objects_stay_readable_after_commit(self, db: Database) -> None:
        """A commit does not expire what was loaded."""
        async with db.session() as session:
            user = User(id=1, email="a")
            session.add(user)

            await session.commit()

            assert user.email == "a"

    async def test_a_closed_session_stays_closed(self, db: Database) -> None:
        """A session that is used after its block raises instead of taking a connection nobody gives back."""
        async with db.session() as session:
            await session.execute(select(1))

        with pytest.raises(InvalidRequestError, match="permanently closed"):
            await session.execute(select(1))

    async def test_defaults_give_way(self, db: Database) -> None:
        """What the caller says about the session counts."""
        async with db.session(expire_on_commit=True) as session:
            assert session.sync_session.expire_on_commit

    async def test_it_is_an_async_session(self, db: Database) -> None:
        """Everything that takes an AsyncSession takes ours."""
        async with db.session() as session:
            assert isinstance(session, AsyncSession)
            assert isinstance(session.sync_session, SyncSession)


class TestSavepoint:
    async def test_only_the_savepoint_is_rolled_back(self, every_driver: Database) -> None:
        """What was done before and after stays."""
        async with every_driver.transaction() as session:
            session.add(User(id=1, email="before"))
            with pytest.raises(Failure):
                async with session.savepoint():
                    session.add(User(id=2, email="inside"))
                    await session.flush()
                    raise Failure
            session.add(User(id=3, email="after"))

        assert await emails(every_driver) == ["before", "after"]

    async def test_a_released_savepoint_goes_with_its_transaction(self, every_driver: Database) -> None:
        """A savepoint that ended well is nothing yet: the rollback of the transaction takes it along."""
        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                async with session.savepoint():
                    session.add(User(id=1, email="inside"))
                raise Failure

        assert await emails(every_driver) == []

    async def test_collections_have_their_former_members(self, every_driver: Database) -> None:
        """A collection that was loaded before is readable afterwards, with the members that it had."""
        async with every_driver.transaction() as session:
            session.add_all([User(id=1, email="a"), Note(user_id=1, number=1, words="one", secret="s")])
        async with every_driver.transaction() as session:
            user = await session.get_one(User, 1, options=[selectinload(User.notes)])

            with pytest.raises(Failure):
                async with session.savepoint():
                    user.email = "b"
                    user.notes.append(Note(number=2, words="two", secret="s"))
                    await session.flush()
                    raise Failure

            assert (user.email, [note.number for note in user.notes]) == ("a", [1])

    async def test_a_failed_flush_keeps_collections(self, every_driver: Database) -> None:
        """The same where a statement failed, and the object was only assigned to."""
        async with every_driver.transaction() as session:
            session.add_all([User(id=1, email="a"), User(id=2, email="b"), Note(user_id=1, number=1, words="one")])
        async with every_driver.transaction() as session:
            user = await session.get_one(User, 1, options=[selectinload(User.notes)])

            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    user.email = "b"
                    await session.flush()

            assert [note.number for note in user.notes] == [1]

    async def test_deferred_columns_that_were_loaded(self, every_driver: Database) -> None:
        """A deferred column that was loaded before is readable afterwards; others stay deferred."""
        async with every_driver.transaction() as session:
            session.add_all([User(id=1, email="a"), Note(user_id=1, number=1, words="one", secret="s")])
            await session.flush()
            session.add(Note(user_id=1, number=2, words="two", secret="t"))
        async with every_driver.transaction() as session:
            note = await session.get_one(Note, (1, 1), options=[undefer(Note.secret)])
            other = await session.get_one(Note, (1, 2))

            with pytest.raises(Failure):
                async with session.savepoint():
                    note.words = other.words = "x"
                    await session.flush()
                    raise Failure

            assert (note.words, note.secret) == ("one", "s")
            assert "secret" not in vars(other)

    async def test_objects_have_their_former_values(self, every_driver: Database) -> None:
        """A handler reads what was changed inside without a database call that it cannot make."""
        async with every_driver.transaction() as session:
            user, note = User(id=1, email="before"), Note(user_id=1, number=2, words="before")
            session.add(user)
            await session.flush()
            session.add(note)
            await session.flush()

            with pytest.raises(Failure):
                async with session.savepoint():
                    user.email = note.words = "inside"
                    await session.flush()
                    raise Failure

            assert (user.email, note.words) == ("before", "before")

    async def test_a_failed_flush_restores_too(self, every_driver: Database) -> None:
        """After a violation inside a savepoint the objects are readable and the session is usable."""
        async with every_driver.transaction() as session:
            user = User(id=1, email="taken")
            session.add(user)
            await session.flush()

            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    user.email = "changed"
                    session.add(User(id=2, email="changed"))

            assert user.email == "taken"

        assert await emails(every_driver) == ["taken"]

    async def test_a_bulk_update_inside_is_restored(self, db: Database) -> None:
        """An UPDATE statement changed the objects in the session; they have their former values again."""
        async with db.transaction() as session:
            user = User(id=1, email="before")
            session.add(user)
            await session.flush()

            with pytest.raises(Failure):
                async with session.savepoint():
                    await session.execute(update(User).values(email="inside"))
                    raise Failure

            assert user.email == "before"

    async def test_savepoints_nest(self, every_driver: Database) -> None:
        """An inner failure that is handled leaves the outer savepoint whole."""
        async with every_driver.transaction() as session, session.savepoint():
            session.add(User(id=1, email="outer"))
            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    session.add(User(id=2, email="outer"))
            session.add(User(id=3, email="after"))

        assert await emails(every_driver) == ["outer", "after"]

    async def test_an_outer_failure_takes_the_inner_along(self, every_driver: Database) -> None:
        """What an inner savepoint released is gone with the outer one."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    async with session.savepoint():
                        session.add(User(id=1, email="inner"))
                    raise Failure

        assert await emails(every_driver) == []


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


class Recorder:
    """Hooks that remember their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def note(self, word: str) -> None:
        """Remember a word."""
        self.calls.append(word)

    async def note_later(self, word: str) -> None:
        """Remember a word, asynchronously."""
        await asyncio.sleep(0)
        self.calls.append(word)

    def fail(self) -> None:
        """Fail as a mail server would."""
        raise Failure("the mail server is down")


@pytest.fixture
def seen() -> Recorder:
    """Hooks that remember their calls."""
    return Recorder()


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
        assert "The program ends before these hooks have run" in caplog.text

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


async def reword_both(database: Database, here: asyncio.Barrier, first: int, *, flush_between: bool) -> None:
    """Change two notes, the given one first, while somebody else does so the other way round."""
    async with database.transaction() as session:
        notes = {note.number: note for note in await session.scalars(select(Note))}
        notes[first].words = f"first of {first}"
        if flush_between:
            await session.flush()
        await here.wait()
        notes[3 - first].words = f"second of {first}"


class TestFlushOrder:
    @pytest.mark.parametrize(("flush_between", "fails"), [(False, []), (True, [Deadlock])])
    async def test_one_flush_writes_in_the_order_of_keys(
        self, server: Database, flush_between: bool, fails: list[type]
    ) -> None:
        """Opposite changes of one flush do not deadlock; a flush in between, an autoflush too, gives that away."""
        async with server.transaction() as session:
            session.add(User(id=1, email="a"))
            await session.flush()
            session.add_all([Note(user_id=1, number=1, words="a"), Note(user_id=1, number=2, words="b")])
        here = asyncio.Barrier(2)

        calls = [reword_both(server, here, first, flush_between=flush_between) for first in (1, 2)]
        results = await asyncio.gather(*calls, return_exceptions=True)

        assert [type(result) for result in results if result is not None] == fails


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
