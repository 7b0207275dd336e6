"""Sessions with ``twophase=True``, over one database and over two: what is prepared is committed, or nothing is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import String, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.orm import Session as StockSession

from sqlkeel import Repository, SoftDeleteMixin, VersionMixin
from sqlkeel.errors import DatabaseFault, TransactionAborted
from sqlkeel.sessions import Database, Session
from sqlkeel.testing import PostgreSQLServer


class Base(DeclarativeBase):
    """A project's own."""


class Page(SoftDeleteMixin, VersionMixin, Base):
    """What is in the one database."""

    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(20))


class Tag(Base):
    """What is in the other."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture
async def other(mariadb: Database) -> AsyncIterator[AsyncEngine]:
    """Return a second database of the server; only MariaDB has two phases without a setting of the server."""
    name = f"{mariadb.engine.url.database}_2"
    async with mariadb.engine.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE `{name}`"))
    engine = create_async_engine(mariadb.engine.url.set(database=name))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        yield engine
    finally:
        await engine.dispose()
        async with mariadb.engine.connect() as connection:
            await connection.execute(text(f"DROP DATABASE `{name}`"))


def over_both(mariadb: Database, other: AsyncEngine) -> Session:
    return Session(binds={Page: mariadb.engine, Tag: other}, twophase=True)


class TestTwoDatabases:
    async def test_both_or_none(self, mariadb: Database, other: AsyncEngine) -> None:
        """Marks and rows in bulk in the one, objects in the other: what fails in one is in neither."""
        async with over_both(mariadb, other) as session:
            pages = Repository(session, Page)
            await pages.insert_many([{"id": 1, "title": "a"}, {"id": 2, "title": "b"}])
            session.add(Tag(id=1))
            await session.commit()

            await pages.delete(await pages.get_one(1))
            session.add(Tag(id=1))
            with pytest.raises(IntegrityError):
                await session.commit()
            await session.rollback()
            await pages.delete(await pages.get_one(2))
            await session.commit()

            found = [page.id for page in await pages.get_all()]
            tags = list(await session.scalars(select(Tag.id)))

        assert (found, tags) == ([1], [1])


def by_session(session: StockSession) -> None:
    session.prepare()


def by_transaction(session: StockSession) -> None:
    transaction: Any = session.get_transaction()
    transaction.prepare()


class TestPrepare:
    @pytest.mark.parametrize("prepare", [by_session, by_transaction])
    async def test_what_is_half_done_is_not_prepared(self, mariadb: Database, prepare: Any) -> None:
        """Whoever is told that it was prepared would count on a COMMIT that is refused."""
        async with Session(mariadb.engine, twophase=True) as session:
            await session.begin()
            session.add(Tag(id=1))
            await session.flush()
            session.sync_session.leave_half_done(ZeroDivisionError())

            with pytest.raises(TransactionAborted):
                await session.run_sync(prepare)

    async def test_hooks_wait_for_the_second_phase(self, mariadb: Database) -> None:
        """Those of COMMIT are called after it, and those of ROLLBACK where it is taken back."""
        async with Session(mariadb.engine, twophase=True) as session:
            await commit_one_and_take_one_back(session)


async def commit_one_and_take_one_back(session: Session) -> None:
    """Prepare two transactions; see that hooks wait for the second phase, and that one row is written."""
    called: list[str] = []
    session.on_commit(called.append, "committed")
    session.add(Tag(id=1))
    await session.run_sync(by_session)
    assert called == []
    await session.commit()

    session.on_rollback(called.append, "rolled back")
    session.add(Tag(id=2))
    await session.run_sync(by_session)
    await session.rollback()

    assert called == ["committed", "rolled back"]
    assert list(await session.scalars(select(Tag.id))) == [1]


class TestPostgreSQL:
    """A server with ``max_prepared_transactions``, which is 0 unless it is set."""

    @pytest.fixture(params=["asyncpg", "psycopg"])
    async def database(
        self, request: pytest.FixtureRequest, postgres_server: PostgreSQLServer
    ) -> AsyncIterator[Database]:
        """Return a database of it, by each driver in turn."""
        database = Database(postgres_server.url(driver=request.param))
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
            await connection.run_sync(Base.metadata.create_all)
        yield database
        await database.dispose()

    async def test_what_is_prepared_is_committed_or_taken_back(self, database: Database) -> None:
        """As on MariaDB: hooks wait for the second phase, and nothing is left prepared."""
        async with Session(database.engine, twophase=True) as session:
            await Repository(session, Page).insert_many([{"id": 1, "title": "a"}])
            await commit_one_and_take_one_back(session)
            left = (await session.execute(text("SELECT gid FROM pg_prepared_xacts"))).all()

        assert left == []

    async def test_a_temporary_table_cannot_be_prepared(self, database: Database) -> None:
        """The server refuses it, and so upsert_many(); nothing is written, and nothing left prepared."""
        async with Session(database.engine, twophase=True) as session:
            await Repository(session, Tag).upsert_many([{"id": 1}], on=[Tag.id])
            with pytest.raises(DatabaseFault, match="temporary objects"):
                await session.commit()

        async with database.read() as reader:
            assert (await reader.scalars(select(Tag.id))).all() == []
            assert (await reader.execute(text("SELECT gid FROM pg_prepared_xacts"))).all() == []
