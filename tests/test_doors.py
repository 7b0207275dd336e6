"""The doors of a session: after a failure that somebody swallowed, each of them says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, event, select, text
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, SessionTransaction, mapped_column, relationship, sessionmaker

from sqlkeel import base
from sqlkeel.database import Database
from sqlkeel.doors import Block
from sqlkeel.errors import TransactionAborted, UniqueViolation
from sqlkeel.repository import Repository
from sqlkeel.session import Session
from sqlkeel.sync_session import SyncSession


class Base(base.Base):
    """The tables of these tests."""


class Team(Base):
    """A team with members."""

    __tablename__ = "team"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    members: Mapped[list[Member]] = relationship(back_populates="team")


class Member(Base):
    """Somebody in a team."""

    __tablename__ = "member"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    team_id: Mapped[int | None] = mapped_column(ForeignKey("team.id"), index=True)
    team: Mapped[Team | None] = relationship(back_populates="members")


pytestmark = pytest.mark.tables(Base.metadata)


async def add_late(session: Session) -> None:
    """Write one more object."""
    session.add(Member(id=3, name="late"))
    await session.flush()


async def open_savepoint(session: Session) -> None:
    """Begin a savepoint, as if that would help."""
    async with session.savepoint():
        pass


async def stream(session: Session) -> None:
    """Read rows as they come."""
    await session.stream(select(Member))


CALLS = {
    "execute": lambda session: session.execute(text("SELECT 1")),
    "scalar": lambda session: session.scalar(select(Member.id)),
    "scalars": lambda session: session.scalars(select(Member)),
    "get": lambda session: session.get(Member, 7),
    "get_one": lambda session: session.get_one(Member, 7),
    "merge": lambda session: session.merge(Member(id=7, name="merged")),
    "merge_all": lambda session: session.merge_all([Member(id=7, name="merged")]),
    "flush": add_late,
    "savepoint": open_savepoint,
    "stream": stream,
    "connection": lambda session: session.connection(),
    "commit": lambda session: session.commit(),
    "lock_rows": lambda session: session.lock_rows(Member, [1]),
    "count": lambda session: Repository(session, Member).count(),
    "create": lambda session: Repository(session, Member).create(id=4, name="late"),
    "insert_many": lambda session: Repository(session, Member).insert_many([{"id": 5, "name": "late"}]),
    "query": lambda session: session.run_sync(lambda inner: inner.query(Member).all()),
}


async def add_twice(session: AsyncSession) -> None:
    """Write a name that is there, and swallow the error."""
    session.add(Member(id=2, name="ann"))
    with pytest.raises(UniqueViolation):
        await session.flush()


@pytest.fixture
async def ann(db: Database) -> None:
    """Somebody whose name is taken."""
    async with db.transaction() as session:
        session.add(Team(id=1, members=[Member(id=1, name="ann")]))


@pytest.mark.usefixtures("ann")
class TestSwallowed:
    @pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
    async def test_each_call_says_what_was_swallowed(self, db: Database, call: Any) -> None:
        """Whatever follows a failed flush is refused, as SQLAlchemy would, and the error says what to do instead."""
        async with db.session() as session:
            await add_twice(session)

            with pytest.raises(TransactionAborted, match="error was swallowed") as caught:
                await call(session)

        assert isinstance(caught.value, PendingRollbackError)
        assert "session.savepoint()" in caught.value.hint
        assert isinstance(caught.value.__cause__, UniqueViolation)

    async def test_a_lazy_load_says_it_too(self, db: Database) -> None:
        """A relationship that is loaded in run_sync goes through the same door."""
        async with db.session() as session:
            team = await session.get_one(Team, 1)
            await add_twice(session)

            with pytest.raises(TransactionAborted):
                await session.run_sync(lambda _: team.members)

    async def test_the_end_of_a_savepoint_says_it(self, db: Database) -> None:
        """A savepoint whose only statement failed does not end as if it had written."""
        async with db.session() as session, session.begin():
            session.add(Member(id=8, name="kept"))
            with pytest.raises(TransactionAborted, match="part of the savepoint"):
                async with session.savepoint():
                    await add_twice(session)

        async with db.session() as session:
            assert (await session.scalars(select(Member.name).order_by(Member.id))).all() == ["ann", "kept"]

    async def test_a_commit_of_the_transaction_says_it(self, db: Database) -> None:
        """The transaction that ``begin()`` returns does not commit the rest, either."""
        async with db.session() as session:
            transaction = await session.begin()
            await add_twice(session)

            with pytest.raises(TransactionAborted):
                await transaction.commit()

    async def test_the_end_of_a_block_says_it(self, db: Database) -> None:
        """A block of ``session.begin()`` does not end as if all were well."""
        async with db.session() as session:
            with pytest.raises(TransactionAborted):
                async with session.begin():
                    await add_twice(session)

    async def test_inside_a_block_each_call_says_it(self, db: Database) -> None:
        """In a block of ``session.begin()`` SQLAlchemy has another error for it, and we the same."""
        async with db.session() as session:
            with pytest.raises(TransactionAborted):
                async with session.begin():
                    await add_twice(session)
                    with pytest.raises(TransactionAborted):
                        await session.execute(select(Member))

    async def test_inside_a_savepoint_it_is_the_savepoint(self, db: Database) -> None:
        """What fails and is swallowed in a savepoint ends the savepoint, and the transaction goes on."""
        async with db.transaction() as session:
            session.add(Member(id=8, name="kept"))
            with pytest.raises(TransactionAborted, match="part of the savepoint"):
                async with session.savepoint():
                    await add_twice(session)
                    await session.execute(select(Member))

        async with db.session() as session:
            assert (await session.scalars(select(Member.name).order_by(Member.id))).all() == ["ann", "kept"]

    async def test_after_a_rollback_the_session_goes_on(self, db: Database) -> None:
        """Who rolls back, as the error's own name says, has a session that works."""
        async with db.session() as session:
            await add_twice(session)
            await session.rollback()

            assert await session.scalar(select(Member.name)) == "ann"

    async def test_a_synchronous_session_says_it(self, db: Database) -> None:
        """SyncSession in a plain ``sessionmaker`` has the same doors."""
        async with db.engine.connect() as connection:
            with pytest.raises(TransactionAborted):
                await connection.run_sync(lambda inner: swallow(sessionmaker(inner, class_=SyncSession)()))


def swallow(session: SyncSession) -> None:
    """Fail, swallow that, and go on."""
    session.add(Member(id=2, name="ann"))
    with pytest.raises(UniqueViolation):
        session.flush()
    session.execute(select(Member))


ENDS: dict[str, tuple[str, Callable[[SyncSession], None]]] = {
    "commit": ("after_commit", lambda session: session.commit()),
    "rollback": ("after_rollback", lambda session: session.rollback()),
    "released": ("after_commit", lambda session: session.begin_nested().commit()),
    "rolled back to": ("after_rollback", lambda session: session.begin_nested().rollback()),
}


class TestListenersOfTheEnd:
    @pytest.mark.parametrize("make", [AsyncSession, Session])
    @pytest.mark.parametrize(("moment", "end"), ENDS.values(), ids=ENDS)
    async def test_a_statement_in_one_fails_with_sqlalchemys_own_error(
        self, db: Database, make: type[AsyncSession], moment: str, end: Callable[[SyncSession], None]
    ) -> None:
        """Nothing was swallowed, so it is not said: the transaction is just ending."""
        said: list[InvalidRequestError] = []

        def ask(session: SyncSession) -> None:
            with pytest.raises(InvalidRequestError, match="no further SQL can be emitted") as caught:
                session.execute(text("SELECT 1"))
            said.append(caught.value)

        async with make(db.engine, sync_session_class=SyncSession) as session:
            await session.execute(text("SELECT 1"))
            event.listen(session.sync_session, moment, ask)
            await session.run_sync(end)

        assert [type(error) for error in said] == [InvalidRequestError]


class TestForeignClasses:
    """What SQLAlchemy makes, and we make ours."""

    def test_a_transaction_begun_by_hand_is_ours(self) -> None:
        """Canary of assigning ``__class__``: without it, a block would commit what is half done."""
        with sessionmaker(class_=SyncSession)() as session:
            begun = session.begin()

            assert type(begun) is Block
            assert issubclass(Block, SessionTransaction)
            assert vars(begun).keys() == vars(SyncSession().begin()).keys()
