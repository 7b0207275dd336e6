"""Loaded objects whose columns the database has changed are read again together, and at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import String, event, func, orm, update
from sqlalchemy.orm import Mapped, ORMExecuteState, mapped_column

import sqlkeel
from sqlkeel.sessions import Database, Session, SyncSession
from sqlkeel.sessions._refresh import reload_expired, update_with


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50))
    changes: Mapped[int] = mapped_column(default=0)


class Note(Base):
    """Has a key of two columns."""

    __tablename__ = "note"
    user_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    words: Mapped[str] = mapped_column(String(50))


pytestmark = pytest.mark.tables(Base.metadata)


class Counting(SyncSession):
    """Counts the changes of a user, also those of an ``update()`` statement."""


@event.listens_for(Counting, "do_orm_execute", retval=True)
def _count(state: ORMExecuteState) -> Any:
    return update_with(state, User.__table__.c.changes, User.changes + 1) if state.is_update else None


@pytest.fixture
def sent(db: Database) -> Iterator[list[str]]:
    """Record the statements that are sent."""
    statements: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(db.engine.sync_engine, "before_cursor_execute", note)
    yield statements
    event.remove(db.engine.sync_engine, "before_cursor_execute", note)


async def users(session: Session, count: int) -> list[User]:
    """Write users, and have them loaded."""
    made = [User(id=number, email=f"{number}") for number in range(count)]
    session.add_all(made)
    await session.flush()
    return made


class TestReloadExpired:
    @pytest.mark.parametrize(("count", "statements"), [(1, 1), (500, 1), (501, 2)])
    async def test_it_costs_a_statement_for_500_rows(
        self, db: Database, sent: list[str], count: int, statements: int
    ) -> None:
        """However many objects have expired, they are read again together."""
        async with db.transaction() as session:
            made = await users(session, count)
            session.expire_all()
            sent.clear()

            await session.run_sync(reload_expired)

            assert len(sent) == statements
            assert [user.email for user in made] == [f"{number}" for number in range(count)]

    async def test_a_composite_key_is_one_key(self, every_driver: Database) -> None:
        """Rows of a key of two columns are found by both."""
        async with every_driver.transaction() as session:
            notes = [Note(user_id=1, number=number, words=f"{number}") for number in range(3)]
            session.add_all(notes)
            await session.flush()
            session.expire_all()

            await session.run_sync(reload_expired)

            assert [note.words for note in notes] == ["0", "1", "2"]

    async def test_a_single_column_counts(self, db: Database, sent: list[str]) -> None:
        """An object is read again when one of its columns has expired, and not when none has."""
        async with db.transaction() as session:
            first, _ = await users(session, 2)
            session.expire(first, ["email"])
            sent.clear()

            await session.run_sync(reload_expired)
            await session.run_sync(reload_expired)

            assert len(sent) == 1
            assert first.email == "0"

    async def test_it_may_be_for_one_class(self, db: Database) -> None:
        """Objects of other classes stay as they are."""
        async with db.transaction() as session:
            (user,) = await users(session, 1)
            note = Note(user_id=1, number=1, words="a")
            session.add(note)
            await session.flush()
            session.expire_all()

            await session.run_sync(reload_expired, orm.class_mapper(User))

            assert ("email" in vars(user), "words" in vars(note)) == (True, False)


class TestUpdateWith:
    async def test_a_statement_writes_the_column_too(self, every_driver: Database) -> None:
        """Loaded objects have the value of the server, and can be read at once."""
        async with Session(every_driver.engine, sync_session_class=Counting) as session, session.begin():
            first, second = await users(session, 2)

            await session.execute(update(User).where(User.id == 0).values(email="new"))

            assert [(user.email, user.changes) for user in (first, second)] == [("new", 1), ("1", 0)]

    async def test_what_the_server_computes_is_read_back(self, every_driver: Database) -> None:
        """A value that only the server knows does not leave an expired attribute behind."""
        async with Session(every_driver.engine, sync_session_class=Counting) as session, session.begin():
            (user,) = await users(session, 1)

            await session.execute(update(User).values(email=func.replace(User.email, "0", "zero")))

            assert (user.email, user.changes) == ("zero", 1)

    async def test_a_statement_that_sets_it_is_left_alone(self, db: Database) -> None:
        """Who gives the value himself means it."""
        async with Session(db.engine, sync_session_class=Counting) as session, session.begin():
            (user,) = await users(session, 1)

            await session.execute(update(User).values(changes=7))

            assert user.changes == 7

    async def test_rows_by_key_are_left_alone(self, db: Database) -> None:
        """A list of rows says itself what is written."""
        async with Session(db.engine, sync_session_class=Counting) as session, session.begin():
            (user,) = await users(session, 1)

            await session.execute(update(User), [{"id": 0, "email": "new"}])
            await session.refresh(user)

            assert (user.email, user.changes) == ("new", 0)
