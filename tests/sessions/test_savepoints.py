"""Savepoints in the database: over `SyncSession` on engines that are not ours, a savepoint commits nothing."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ForeignKey, create_engine, event, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column, sessionmaker

import sqlkeel
from sqlkeel.errors import NoTransaction, TransactionAborted
from sqlkeel.models import IntKeyMixin, children, parent
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin, restore
from sqlkeel.versions import VersionMixin
from tests.soft_delete.library import SHOWN


class Base(sqlkeel.Base):
    pass


class Host(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """A row whose guests keep it from being deleted: that is asked, and marked, in a savepoint."""

    __tablename__ = "stock_host"
    guests: Mapped[list[Guest]] = children(back_populates="host", on_delete="restrict")


class Guest(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "stock_guest"
    host_id: Mapped[int] = mapped_column(ForeignKey("stock_host.id"), index=True)
    host: Mapped[Host] = parent(back_populates="guests")


pytestmark = pytest.mark.tables(Base.metadata)

Make = async_sessionmaker[AsyncSession]


@pytest.fixture
async def stock(every_driver: Database) -> AsyncIterator[Make]:
    """Sessions on SQLAlchemy's own engine, over a living host 1 and a deleted host 2."""
    engine = create_async_engine(every_driver.url)
    make = async_sessionmaker(engine, sync_session_class=SyncSession, expire_on_commit=False)
    async with make.begin() as session:
        session.add_all([Host(id=1), Host(id=2)])
    async with make.begin() as session:
        await session.delete(await session.get_one(Host, 2))
    yield make
    await engine.dispose()


async def stored(make: Make) -> Sequence[Any]:
    async with make() as session:
        columns = Host.id, Host.deleted_at.is_not(None), Host.version
        return (await session.execute(select(*columns).order_by(Host.id), execution_options=SHOWN)).all()


async def delete(session: AsyncSession) -> None:
    await session.delete(await session.get_one(Host, 1))


async def bring_back(session: AsyncSession) -> None:
    await session.run_sync(restore, await session.get_one(Host, 2, execution_options=SHOWN))


async def update_by_key(session: AsyncSession) -> None:
    await session.execute(update(Host), [{"id": 1, "version": 1}])


async def write_in_savepoint(session: AsyncSession) -> None:
    async with session.begin_nested():
        session.add(Host(id=3))


async def write_in_savepoint_after_reading(session: AsyncSession) -> None:
    await session.scalar(select(func.count(Host.id)))
    async with session.begin_nested(), session.begin_nested():
        session.add(Host(id=3))


Write = Callable[[AsyncSession], Awaitable[None]]
WRITES: Sequence[Write] = [delete, bring_back, update_by_key, write_in_savepoint, write_in_savepoint_after_reading]


class TestRollback:
    @pytest.mark.parametrize("write", WRITES, ids=lambda write: write.__name__)
    async def test_it_takes_everything_back(self, stock: Make, write: Write) -> None:
        """What a savepoint holds is rolled back with the transaction, also where the driver has begun none yet."""
        before = await stored(stock)

        async with stock() as session:
            await write(session)
            await session.rollback()

        assert await stored(stock) == before == [(1, False, 1), (2, True, 2)]

    def test_in_a_synchronous_session(self) -> None:
        """The same in a synchronous session."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        make = sessionmaker(engine, class_=SyncSession)
        with make.begin() as session:
            session.add(Host(id=1))

        with make() as session:
            session.delete(session.get_one(Host, 1))
            session.rollback()
        with make() as session:
            found = session.scalars(select(Host.version)).all()

        engine.dispose()
        assert found == [1]


class TestBeforeFlush:
    """A savepoint of a listener of ``before_flush``, in front of what the flush is about to write."""

    @pytest.mark.parametrize("fails", [False, True])
    async def test_a_rollback_that_takes_it_along_is_told(self, db: Database, fails: bool) -> None:
        """SQLAlchemy takes for made inside what was added before, and would leave it out without a word."""

        def try_something(session: SyncSession, *_: Any) -> None:
            with suppress(ZeroDivisionError), session.begin_nested():
                session.execute(select(1))
                _ = 1 / (not fails)

        with pytest.raises(TransactionAborted) if fails else nullcontext():
            async with db.transaction() as session:
                event.listen(session.sync_session, "before_flush", try_something, once=True)
                session.add(Host(id=1))

        async with db.read() as session:
            assert (await session.scalars(select(Host.id))).all() == ([] if fails else [1])

    @pytest.mark.parametrize("when", ["before_flush", "after_flush"])
    async def test_one_of_the_connection_takes_nothing_along(self, db: Database, when: str) -> None:
        """What the hint says: the session knows nothing of it."""

        def try_something(session: SyncSession, *_: Any) -> None:
            with suppress(ZeroDivisionError), session.connection().begin_nested():
                _ = 1 / 0

        async with db.transaction() as session:
            event.listen(session.sync_session, when, try_something, once=True)
            session.add(Host(id=1))

        async with db.read() as session:
            assert (await session.scalars(select(Host.id))).all() == [1]

    async def test_in_after_flush_it_may_be_rolled_back(self, db: Database) -> None:
        """There the flush has written."""

        def try_something(session: SyncSession, *_: Any) -> None:
            with suppress(ZeroDivisionError), session.begin_nested():
                _ = 1 / 0

        async with db.transaction() as session:
            event.listen(session.sync_session, "after_flush", try_something, once=True)
            session.add(Host(id=1))

        async with db.read() as session:
            assert (await session.scalars(select(Host.id))).all() == [1]


class TestAutocommit:
    @pytest.mark.parametrize("write", [delete, bring_back], ids=lambda write: write.__name__)
    @pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg", "mariadb"], indirect=True)
    async def test_it_is_refused(self, every_driver: Database, write: Write) -> None:
        """What could be done by half is refused where each statement commits by itself."""
        engine = create_async_engine(every_driver.url, isolation_level="AUTOCOMMIT")
        make = async_sessionmaker(engine, sync_session_class=SyncSession, expire_on_commit=False)
        async with every_driver.transaction() as session:
            session.add_all([Host(id=1), Host(id=2)])
        async with every_driver.transaction() as session:
            await session.delete(await session.get_one(Host, 2))

        async with make() as session:
            with pytest.raises(NoTransaction, match=r"autocommit mode|commits each statement by itself"):
                await write(session)
        found = await stored(make)
        await engine.dispose()

        assert found == [(1, False, 1), (2, True, 2)]


class TestSyncSessionAlone:
    @pytest.mark.parametrize("door", ["sqlkeel", "sqlkeel.sessions"])
    @pytest.mark.parametrize("name", ["Database", "Session", "SyncSession"])
    def test_it_brings_the_versions(self, door: str, name: str) -> None:
        """A model may count by SQLAlchemy's own ``version_id_col``, and the program name no mixin and no repository."""
        program = f"from {door} import {name}; import sys; print('sqlkeel.versions._version' in sys.modules)"

        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["True"]

    @pytest.mark.parametrize("door", ["sqlkeel", "sqlkeel.sessions"])
    def test_it_brings_the_savepoints(self, tmp_path: Path, door: str) -> None:
        """A program that imports nothing else of sqlkeel has sessions whose savepoints commit nothing."""
        program = f"""
            from {door} import SyncSession
            from sqlalchemy import create_engine, text

            with SyncSession(create_engine({f"sqlite:///{tmp_path}/alone.db"!r})) as session:
                session.execute(text("CREATE TABLE note (id INTEGER PRIMARY KEY)"))
                session.commit()
                with session.begin_nested():
                    session.execute(text("INSERT INTO note VALUES (1)"))
                session.rollback()
                print(session.scalar(text("SELECT count(*) FROM note")))
        """

        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
        )

        assert done.stdout.split() == ["0"]
