"""The session: savepoints that restore, safe defaults, and the order of a flush."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload, undefer

from sqlkeel.errors import Deadlock, UniqueViolation
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from tests.sessions.session_models import Base, Failure, Note, User, emails

pytestmark = pytest.mark.tables(Base.metadata)


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
