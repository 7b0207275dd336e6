"""The synchronous session: what it refuses, in any session that is made of it, and what it leaves behind."""

from __future__ import annotations

import pytest
from sqlalchemy import String, delete, func, insert, select, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

from sqlkeel import base
from sqlkeel.database import Database
from sqlkeel.errors import ReadOnlySession, UsageError
from sqlkeel.sync_session import SyncSession


class Base(base.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)


pytestmark = pytest.mark.tables(Base.metadata)


class TestIsolation:
    """A level that is asked for too late, or in the wrong place, is an error and not a warning."""

    async def test_before_the_first_statement_it_is_taken(self, db: Database) -> None:
        """A plain session may set it, as SQLAlchemy documents it."""
        async with db.session() as session:
            await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert await session.scalar(select(1)) == 1

    async def test_after_the_first_statement_it_is_refused(self, db: Database) -> None:
        """The transaction goes on as it was; it is not in force and must not seem to be."""
        async with db.session() as session:
            await session.execute(select(1))

            with pytest.raises(UsageError, match="fixed by the first statement"):
                await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert await session.scalar(select(1)) == 1

    async def test_the_next_transaction_may_have_another(self, db: Database) -> None:
        """With COMMIT everything begins anew."""
        async with db.session() as session:
            await session.execute(select(1))
            await session.commit()

            connection = await session.connection(execution_options={"isolation_level": "SERIALIZABLE"})

            assert connection.sync_connection is not None
            assert connection.sync_connection.get_execution_options()["isolation_level"] == "SERIALIZABLE"

    async def test_other_options_are_taken_at_any_time(self, db: Database) -> None:
        """What does not concern the level is none of this."""
        async with db.session() as session:
            await session.execute(select(1))

            connection = await session.connection()

            assert await connection.scalar(text("SELECT 7")) == 7

    async def test_with_a_statement_it_is_refused(self, db: Database) -> None:
        """SQLAlchemy refuses it on a statement, and would ignore it beside one in silence."""
        level = {"isolation_level": "SERIALIZABLE"}

        async with db.session() as session:
            with pytest.raises(UsageError, match="no effect") as caught:
                await session.execute(select(1), execution_options=level)

        assert 'db.transaction(isolation="serializable")' in caught.value.hint


class TestReadOnly:
    @pytest.mark.parametrize(
        "write",
        [insert(User).values(id=1, email="a"), update(User).values(email="a"), delete(User)],
        ids=["insert", "update", "delete"],
    )
    async def test_a_writing_statement_is_refused(self, db: Database, write: object) -> None:
        """A statement that writes is refused before anything is sent."""
        async with db.session(read_only=True) as session:
            with pytest.raises(ReadOnlySession):
                await session.execute(write)  # type: ignore[call-overload]

            assert not session.in_transaction() or not session.get_transaction().connections  # type: ignore[union-attr]

    async def test_a_flush_is_refused(self, db: Database) -> None:
        """New objects are refused when they are flushed."""
        async with db.session(read_only=True) as session:
            session.add(User(id=1, email="a"))

            with pytest.raises(ReadOnlySession):
                await session.flush()

    async def test_reading_is_not_refused(self, db: Database) -> None:
        """Queries pass, and so does a flush of nothing."""
        async with db.session(read_only=True) as session:
            assert session.read_only
            await session.flush()
            assert (await session.scalars(select(User))).all() == []


class TestSyncSession:
    async def test_a_stock_session_may_use_it(self, db: Database) -> None:
        """``async_sessionmaker(sync_session_class=SyncSession)`` brings the listeners without our Session."""
        factory = async_sessionmaker(db.engine, sync_session_class=SyncSession)

        async with factory.begin() as session:
            session.add(User(id=1, email="a"))

        async with factory() as session:
            assert await session.scalar(select(User.email)) == "a"

    async def test_nothing_is_left_behind(self, db: Database) -> None:
        """A session remembers neither transactions nor hooks that ended."""
        async with db.session() as session:
            session.on_commit(lambda: None)
            async with session.savepoint():
                session.on_commit(lambda: None)
            await session.execute(select(func.count()).select_from(User))
            await session.commit()

        assert (session.sync_session._waiting, session.sync_session._committed, session.sync_session._due) == (
            {},
            set(),
            [],
        )
