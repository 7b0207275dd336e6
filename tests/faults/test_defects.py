"""Each defect that a run has found, made to happen on purpose."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import CheckConstraint, insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database
from sqlkeel.errors import CheckViolation, ConnectionLost, StatementTimeout
from tests.engines.peers import SLOW, own_id, soon, statements_running
from tests.faults.network import is_commit
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase

MANY_ROWS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000) SELECT i FROM n"
CANNOT_WAIT = 5


class Base(sqlkeel.Base): ...


class Note(Base):
    __tablename__ = "note"
    __table_args__ = (CheckConstraint("id > 0", name="note_id_check"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture
async def proxy(server: Database) -> AsyncIterator[Proxy]:
    """A proxy to it."""
    async with proxy_to(str(server.url.host), int(server.url.port or 0)) as proxy:
        yield proxy


@pytest.fixture
def distant(server: Database, proxy: Proxy, open_database: OpenDatabase) -> Database:
    """The same database behind the proxy."""
    return open_database(server.url.set(port=proxy.port).render_as_string(hide_password=False))


@pytest.fixture
async def driver(tmp_path: Path, open_database: OpenDatabase) -> AsyncIterator[Any]:
    """A connection of aiosqlite as a database makes it."""
    database = open_database(f"sqlite+aiosqlite:///{tmp_path / 'one.db'}")
    async with database.engine.connect() as connection:
        yield (await connection.get_raw_connection()).driver_connection
        await connection.invalidate()


async def notes(database: Database) -> list[int]:
    """Read what is committed."""
    async with database.read() as session:
        return list(await session.scalars(select(Note.id)))


class TestCancelledStatement:
    async def test_a_closed_connection_keeps_no_lock(self, driver: Any, tmp_path: Path) -> None:
        """SQLite: an interrupt between two rows hits the ROLLBACK too; closing lets the lock go all the same."""
        await driver.execute("BEGIN IMMEDIATE")
        cursor = await driver.cursor()
        await cursor.execute(MANY_ROWS)
        await driver.interrupt()

        await driver.close()

        with closing(sqlite3.connect(tmp_path / "one.db", timeout=0)) as other:
            other.execute("BEGIN IMMEDIATE")

            assert other.in_transaction

    async def test_a_connection_that_is_closed_twice_is_closed(self, driver: Any) -> None:
        """SQLite: a close that is cancelled is followed by a stop, and neither waits for the other for ever."""
        end = asyncio.ensure_future(driver.close())
        await asyncio.sleep(0)
        driver.stop()

        await asyncio.wait_for(end, CANNOT_WAIT)

        assert end.done()

    async def test_a_cancellation_inside_a_savepoint_stays_one(self, every_driver: Database) -> None:
        """The rollback to a savepoint of a broken connection does not put another error in its place."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), every_driver.transaction() as session, session.savepoint():
                await session.execute(text(SLOW[every_driver.dialect]))


class TestBegin:
    async def test_one_that_fails_takes_its_connection_along(
        self, postgres: Database, open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """asyncpg: after a BEGIN that the server refuses, the driver would begin the next one with a savepoint."""
        database = open_database(postgres, pool_size=1, max_overflow=0)
        send = asyncpg.Connection.execute
        await database.check()

        async def refuse(connection: Any, query: str, *args: Any, **options: Any) -> Any:
            return await send(connection, f"NONSENSE {query}" if query.startswith("BEGIN") else query, *args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(asyncpg.Connection, "execute", refuse)
            with pytest.raises(ConnectionLost):
                async with database.transaction() as session:
                    await session.execute(text("select 1"))
        async with database.transaction() as session:
            session.add(Note(id=1))

        assert await notes(database) == [1]


class TestBrokenConnection:
    async def test_what_comes_after_commit_cannot_undo_it(
        self, server: Database, distant: Database, proxy: Proxy
    ) -> None:
        """A connection that breaks right after COMMIT makes no failure of it, whatever there is to be reset."""

        def cut_what_follows() -> None:
            proxy.cut_at(lambda data: not is_commit(data), deliver=False)

        await distant.check()
        proxy.call_at(is_commit, cut_what_follows)

        async with distant.transaction(isolation="serializable") as session:
            session.add(Note(id=1))

        assert await notes(server) == [1]
        assert distant.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # the pool is a queue

    async def test_its_loss_counts_for_more_than_the_row_that_was_refused(
        self, server: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A savepoint cannot save what is lost: a refused row on a connection that broke is a lost connection."""
        monkeypatch.setattr(server.engine.dialect, "is_disconnect", lambda *_: True)

        with pytest.raises(ConnectionLost) as caught:
            async with server.transaction() as session, session.savepoint():
                await session.execute(insert(Note).values(id=-1))

        assert not isinstance(caught.value, CheckViolation)

    async def test_a_statement_that_was_killed_is_stopped(self, mariadb: Database) -> None:
        """MariaDB: KILL QUERY is the StatementTimeout that pg_cancel_backend is on PostgreSQL."""
        async with mariadb.transaction() as session:
            session.add(Note(id=1))
        async with mariadb.session() as holder, mariadb.session() as waiter, mariadb.session() as killer:
            await holder.lock_rows(Note, [1])
            number = await own_id(waiter, mariadb)
            waiting = asyncio.create_task(waiter.lock_rows(Note, [1]))
            assert await soon(lambda: statements_running(mariadb))

            await killer.execute(text(f"KILL QUERY {number}"))

            with pytest.raises(StatementTimeout):
                await waiting
