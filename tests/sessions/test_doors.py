"""The doors of a session: after a failure that somebody swallowed, each of them says so."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, event, insert, select, text, update
from sqlalchemy.exc import InvalidRequestError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, SessionTransaction, mapped_column, relationship, sessionmaker

import sqlkeel
from sqlkeel.bulk import insert_many_returning
from sqlkeel.errors import TransactionAborted, UniqueViolation
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session, SyncSession
from sqlkeel.sessions._doors import Block


class Base(sqlkeel.Base):
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


Verb = Callable[[Any, Member], Awaitable[Any]]


def of_members(call: Callable[[Repository[Member], Member], Awaitable[Any]]) -> Verb:
    """Return a call of the session's repository."""
    return lambda session, member: call(Repository(session, Member), member)


async def read(rows: AsyncIterable[Any]) -> list[Any]:
    """Read a stream to its end."""
    return [row async for row in rows]


async def delete_now(session: AsyncSession, member: Member) -> None:
    """Mark an object, which asks for nothing, and write that."""
    await session.delete(member)
    await session.flush()


async def released(session: AsyncSession) -> None:
    """Begin and release a savepoint by hand."""
    await (await session.begin_nested()).commit()


VERBS: dict[str, Verb] = {
    "refresh": lambda session, member: session.refresh(member),
    "awaitable_attrs": lambda session, member: member.awaitable_attrs.name,
    "stream_scalars": lambda session, member: session.stream_scalars(select(Member)),
    "begin_nested": lambda session, member: released(session),
    "update()": lambda session, member: session.execute(update(Member).values(name="b")),
    "update() with rows": lambda session, member: session.execute(update(Member), [{"id": 1, "name": "b"}]),
    "insert()": lambda session, member: session.execute(insert(Member), [{"id": 9, "name": "b"}]),
    "run_sync": lambda session, member: session.run_sync(lambda inner: inner.query(Member).all()),
    "get": of_members(lambda members, _: members.get(7)),
    "get with load": of_members(lambda members, _: members.get(1, load=[Member.team])),
    "get_one": of_members(lambda members, _: members.get_one(7)),
    "get_many": of_members(lambda members, _: members.get_many([7])),
    "one_or_none": of_members(lambda members, _: members.one_or_none(Member.id == 1)),
    "get_all": of_members(lambda members, _: members.get_all()),
    "page": of_members(lambda members, _: members.page()),
    "iterate": of_members(lambda members, _: read(members.iterate())),
    "count": of_members(lambda members, _: members.count()),
    "exists": of_members(lambda members, _: members.exists()),
    "create": of_members(lambda members, _: members.create(id=9, name="b")),
    "update": of_members(lambda members, member: members.update(member, {"name": "b"})),
    "get_or_create": of_members(lambda members, _: members.get_or_create({"name": "b"}, {"id": 9})),
    "upsert": of_members(lambda members, _: members.upsert({"id": 9, "name": "b"}, on=[Member.name])),
    "insert_many": of_members(lambda members, _: members.insert_many([{"id": 9, "name": "b"}])),
    "insert_many_returning": lambda session, _: insert_many_returning(session, Member, [{"id": 9, "name": "b"}]),
    "update_many": of_members(lambda members, _: members.update_many([{"id": 1, "name": "b"}])),
    "upsert_many": of_members(lambda members, _: members.upsert_many([{"id": 9, "name": "b"}], on=[Member.name])),
    "delete_many": of_members(lambda members, _: members.delete_many([1])),
    "delete of a repository": of_members(lambda members, member: members.delete(member)),
    "delete": lambda session, member: delete_now(session, member),
    "commit": lambda session, member: session.commit(),
}
OURS: dict[str, Verb] = {
    "lock_rows": lambda session, member: session.lock_rows(Member, [1]),
    "advisory_lock": lambda session, member: session.advisory_lock("a"),
    "savepoint": lambda session, member: open_savepoint(session),
}


async def refusal(call: Awaitable[Any]) -> TransactionAborted:
    """Return what a call is refused with."""
    with pytest.raises(TransactionAborted) as caught:
        await call
    return caught.value


BULK: dict[str, Callable[[SyncSession], Any]] = {
    "bulk_save_objects": lambda session: session.bulk_save_objects([Member(id=2, name="ann")]),
    "bulk_insert_mappings": lambda session: session.bulk_insert_mappings(Member, [{"id": 2, "name": "ann"}]),
    "bulk_update_mappings": lambda session: session.bulk_update_mappings(Member, [{"id": 2, "name": "ann"}]),
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

    @pytest.mark.parametrize("fail", BULK.values(), ids=BULK)
    @pytest.mark.parametrize("call", [CALLS["scalar"], CALLS["flush"], CALLS["insert_many"]])
    async def test_what_passes_by_the_flush_fails_like_one(self, db: Database, fail: Any, call: Any) -> None:
        """SQLAlchemy's own bulk methods roll back too: whatever follows says so, and so does the end of the block."""
        async with db.transaction() as session:
            session.add(Member(id=2, name="bob"))

        async with db.session() as session:
            with pytest.raises(TransactionAborted) as caught:
                async with session.begin():
                    session.add(Member(id=8, name="lost"))
                    await session.flush()
                    with pytest.raises(UniqueViolation):
                        await session.run_sync(fail)
                    assert isinstance((await refusal(call(session))).__cause__, UniqueViolation)

        assert isinstance(caught.value.__cause__, UniqueViolation)

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


class TestEveryVerb:
    """What follows a failed flush that was swallowed, on each driver."""

    async def test_every_verb_says_it(self, every_driver: Database) -> None:
        """Whatever is called next, of the session, a repository or the bulk verbs, is refused; so is the end."""
        async with every_driver.transaction() as session:
            session.add(Member(id=1, name="ann"))

        with pytest.raises(TransactionAborted):
            async with every_driver.transaction() as session:
                member = await session.get_one(Member, 1)
                await add_twice(session)
                told = {name: await refusal(verb(session, member)) for name, verb in (OURS | VERBS).items()}

        assert {type(error.__cause__) for error in told.values()} == {UniqueViolation}
        assert {error.hint for error in told.values()} == {"Put a statement that may fail into session.savepoint()."}
        async with every_driver.read() as session:
            assert (await session.scalars(select(Member.name))).all() == ["ann"]

    async def test_every_verb_of_a_session_of_sqlalchemys_own(self, every_driver: Database) -> None:
        """So it is in SQLAlchemy's asynchronous session over ours, which commits nothing."""
        async with every_driver.transaction() as session:
            session.add(Member(id=1, name="ann"))

        async with AsyncSession(every_driver.engine, sync_session_class=SyncSession) as session:
            member = await session.get_one(Member, 1)
            await add_twice(session)
            told = {name: await refusal(verb(session, member)) for name, verb in VERBS.items()}

        assert {type(error.__cause__) for error in told.values()} == {UniqueViolation}


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
