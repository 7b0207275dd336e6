"""Sessions in somebody else's transaction, which ends where SQLAlchemy would end it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

import pytest
from sqlalchemy import Connection, String, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from sqlkeel import Repository, SoftDeleteMixin, SyncSession, VersionMixin
from sqlkeel.errors import UniqueViolation, VersionConflict
from sqlkeel.sessions import Database
from sqlkeel.sessions._locks import lock_rows

Mode = Literal["conditional_savepoint", "rollback_only", "control_fully", "create_savepoint"]
MODES = get_args(Mode)


class Base(DeclarativeBase):
    """A project's own."""


class Plain(Base):
    """What SQLAlchemy can do by itself."""

    __tablename__ = "plain"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    version: Mapped[int] = mapped_column(default=1)
    __mapper_args__ = {"version_id_col": version}


class Marked(SoftDeleteMixin, VersionMixin, Base):
    """What it cannot."""

    __tablename__ = "marked"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), unique=True)


pytestmark = pytest.mark.tables(Base.metadata)

Program = Callable[[Session], None]


def commit(session: Session) -> None:
    session.add(Plain(id=2, name="mine"))
    session.commit()


def commit_twice(session: Session) -> None:
    commit(session)
    session.add(Plain(id=3, name="also"))
    session.commit()


def commit_and_go_on(session: Session) -> None:
    commit(session)
    session.add(Plain(id=3, name="not"))
    session.flush()


def roll_back(session: Session) -> None:
    session.add(Plain(id=2, name="mine"))
    session.flush()
    session.rollback()


def roll_back_and_commit(session: Session) -> None:
    roll_back(session)
    session.add(Plain(id=3, name="also"))
    session.commit()


def close(session: Session) -> None:
    session.add(Plain(id=2, name="mine"))
    session.flush()


def fail(session: Session) -> None:
    session.add(Plain(id=2, name="first"))
    session.flush()


def fail_and_roll_back(session: Session) -> None:
    session.add(Plain(id=2, name="mine"))
    session.flush()
    session.add(Plain(id=3, name="first"))
    try:
        session.flush()
    except SQLAlchemyError:
        session.rollback()
    session.add(Plain(id=4, name="after"))
    session.commit()


def swallow(session: Session) -> None:
    session.add(Plain(id=2, name="first"))
    try:
        session.flush()
    except SQLAlchemyError:
        session.commit()


def release(session: Session) -> None:
    with session.begin_nested():
        session.add(Plain(id=2, name="mine"))
    session.commit()


def fail_in_a_savepoint(session: Session) -> None:
    session.add(Plain(id=2, name="mine"))
    try:
        with session.begin_nested():
            session.add(Plain(id=3, name="first"))
    except SQLAlchemyError:
        session.add(Plain(id=3, name="second"))
    session.commit()


def leave_a_block(session: Session) -> None:
    with session.begin():
        session.add(Plain(id=2, name="mine"))


def leave_a_block_badly(session: Session) -> None:
    with session.begin():
        session.add(Plain(id=2, name="mine"))
        session.flush()
        raise KeyError


def remove(session: Session) -> None:
    session.delete(session.get_one(Plain, 1))
    session.commit()


def meet_a_conflict(session: Session) -> None:
    row = session.get_one(Plain, 1)
    overtake(session, Plain)
    row.name = "mine"
    session.flush()


def meet_a_conflict_and_roll_back(session: Session) -> None:
    try:
        meet_a_conflict(session)
    except SQLAlchemyError:
        session.rollback()
    session.add(Plain(id=2, name="after"))
    session.commit()


def meet_a_conflict_in_a_savepoint(session: Session) -> None:
    row = session.get_one(Plain, 1)
    overtake(session, Plain)
    try:
        with session.begin_nested():
            row.name = "mine"
    except SQLAlchemyError:
        session.add(Plain(id=2, name="after"))
    session.commit()


def overtake(session: Session, model: Any) -> None:
    """Let the owner of the transaction change a row, between two transactions of the session."""
    session.commit()
    connection: Any = session.get_bind()
    connection.execute(update(model.__table__).values(version=7))


PROGRAMS: list[Program] = [
    commit, commit_twice, commit_and_go_on, roll_back, roll_back_and_commit, close, fail, fail_and_roll_back, swallow,
    release, fail_in_a_savepoint, leave_a_block, leave_a_block_badly, remove, meet_a_conflict,
    meet_a_conflict_and_roll_back, meet_a_conflict_in_a_savepoint,
]  # fmt: skip


def outcome(connection: Connection, kind: type[Session], program: Program, mode: Mode, *, savepoint: bool) -> Any:
    """Run a program in a transaction that has written a row; return its error, and what is in the end."""
    connection.execute(delete(Plain))
    connection.commit()
    connection.execute(insert(Plain).values(id=1, name="first"))
    begun = connection.begin_nested() if savepoint else None
    error = None
    with kind(connection, join_transaction_mode=mode, expire_on_commit=False) as session:
        try:
            program(session)
        except (SQLAlchemyError, KeyError) as raised:
            error = raised
    goes_on = connection.in_transaction(), connection.in_nested_transaction(), begun is not None and begun.is_active
    try:
        rows: Any = [tuple(row) for row in connection.execute(select(Plain.__table__).order_by(Plain.id))]
    except SQLAlchemyError:
        rows = "the transaction has failed"
    connection.rollback()
    committed = [tuple(row) for row in connection.execute(select(Plain.__table__).order_by(Plain.id))]
    connection.rollback()
    return (error, goes_on, rows, committed)


def outcomes(connection: Connection, kind: type[Session], mode: Mode) -> dict[str, Any]:
    """Run all programs, each with and without a savepoint around it, and take everything back."""
    cases = [(program, savepoint) for program in PROGRAMS for savepoint in (False, True)]
    return {
        f"{program.__name__}, {savepoint=}": outcome(connection, kind, program, mode, savepoint=savepoint)
        for program, savepoint in cases
    }


def differing(stock: dict[str, Any], ours: dict[str, Any]) -> dict[str, Any]:
    """Return the cases that end otherwise; an error of ours may be a subclass of SQLAlchemy's."""
    return {
        name: (stock[name], ours[name])
        for name in stock
        if stock[name][1:] != ours[name][1:] or not isinstance(ours[name][0], type(stock[name][0]))
    }


class TestAgainstStock:
    @pytest.mark.parametrize("mode", MODES)
    async def test_each_program_ends_as_with_a_stock_session(self, db: Database, mode: Mode) -> None:
        """The same rows, the same transaction that goes on or does not, the same kind of error."""
        async with db.engine.connect() as connection:
            stock = await connection.run_sync(outcomes, Session, mode)
            ours = await connection.run_sync(outcomes, SyncSession, mode)
            await connection.execute(delete(Plain))
            await connection.commit()

        assert differing(stock, ours) == {}
        assert len(ours) == 2 * len(PROGRAMS)
        assert isinstance(ours["meet_a_conflict, savepoint=False"][0], StaleDataError)


async def mark(session: AsyncSession) -> None:
    await session.delete(await session.get_one(Marked, 1))
    await session.commit()


async def mark_and_restore(session: AsyncSession) -> None:
    row = await session.get_one(Marked, 1)
    await session.delete(row)
    await Repository(session, Marked).restore(row)
    await session.commit()


async def write_many(session: AsyncSession) -> None:
    rows = Repository(session, Marked)
    await rows.insert_many([{"id": 2, "name": "two"}])
    await rows.update_many([{"id": 1, "name": "changed"}])
    await rows.upsert_many([{"id": 2, "name": "two"}, {"id": 4, "name": "four"}], on=[Marked.name])
    await session.commit()


async def lock(session: AsyncSession) -> None:
    assert len(await session.run_sync(lock_rows, Marked, [1])) == 1
    await session.commit()


async def fail_many(session: AsyncSession) -> None:
    with pytest.raises(UniqueViolation):
        await Repository(session, Marked).insert_many([{"id": 2, "name": "two"}, {"id": 3, "name": "two"}])
    await session.commit()


async def conflict(session: AsyncSession) -> None:
    row = await session.get_one(Marked, 1)
    await session.run_sync(overtake, Marked)
    with pytest.raises(VersionConflict) as caught:
        await Repository(session, Marked).update(row, {"name": "mine"}, expected_version=1)
    assert caught.value.current == 7
    await session.rollback()


CALLS = [mark, mark_and_restore, write_many, lock, fail_many, conflict]
LEAVES_THEM: list[Mode] = ["conditional_savepoint", "create_savepoint"]


class TestOurs:
    @pytest.mark.parametrize("mode", LEAVES_THEM)
    @pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
    async def test_what_they_wrote_stays(self, db: Database, call: Any, mode: Mode) -> None:
        """Whatever a call of ours commits, rolls back or refuses: the transaction around it is theirs to end."""
        async with db.engine.connect() as connection:
            await connection.execute(insert(Marked).values(id=1, name="one", version=1))
            theirs = await connection.begin_nested()
            async with AsyncSession(
                connection, sync_session_class=SyncSession, join_transaction_mode=mode, expire_on_commit=False
            ) as session:
                await call(session)

            assert theirs.is_active
            assert await connection.scalar(select(func.min(Marked.__table__.c.id))) == 1
            await connection.rollback()

        async with db.read() as session:
            assert (await session.scalars(select(Marked))).all() == []

    async def test_a_test_takes_everything_back(self, db: Database) -> None:
        """The recipe of SQLAlchemy's manual for test suites: commits inside are savepoints of the test."""
        async with db.engine.connect() as connection:
            transaction = await connection.begin()
            async with AsyncSession(
                connection, sync_session_class=SyncSession, join_transaction_mode="create_savepoint"
            ) as session:
                session.add(Marked(id=1, name="one"))
                await session.commit()
                await mark(session)
                await session.rollback()
                assert (await session.scalars(select(Marked))).all() == []
            await transaction.rollback()

        async with db.read() as session:
            assert (await session.execute(select(Marked.__table__))).all() == []
