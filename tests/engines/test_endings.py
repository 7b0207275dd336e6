"""COMMIT that the server refuses: through every door, on every server."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, insert, select, text
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from sqlkeel.errors import CommitUnknown, ConnectionLost, DatabaseFault, ForeignKeyViolation, TransactionAborted
from sqlkeel.sessions import Database, Session
from tests.engines.ending_tables import (
    Change,
    Way,
    connection_of,
    deferring,
    entries,
    entry,
    metadata,
    one,
    remark,
    two,
)
from tests.engines.peers import SLOW, kill, own_id
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.tables(metadata)


async def by_transaction(database: Database) -> None:
    """Leave ``db.transaction()``."""
    async with database.transaction() as session:
        await session.execute(one)


async def by_session_commit(database: Database) -> None:
    """Call ``session.commit()``."""
    async with database.session() as session:
        await session.execute(one)
        await session.commit()


async def by_session_begin(database: Database) -> None:
    """Leave ``session.begin()``."""
    async with database.session() as session, session.begin():
        await session.execute(one)


async def by_stock_session(database: Database) -> None:
    """Leave the block of a session that is not ours."""
    async with async_sessionmaker(database.engine, class_=AsyncSession).begin() as session:
        await session.execute(one)


async def by_engine_begin(database: Database) -> None:
    """Leave ``engine.begin()``."""
    async with database.engine.begin() as connection:
        await connection.execute(one)


async def by_connection_commit(database: Database) -> None:
    """Call ``connection.commit()``."""
    async with database.engine.connect() as connection:
        await connection.execute(one)
        await connection.commit()


async def by_copied_engine(database: Database) -> None:
    """Leave ``begin()`` of an engine with options of its own."""
    async with database.engine.execution_options(anything=1).begin() as connection:
        await connection.execute(one)


async def by_driver(database: Database) -> None:
    """Call ``commit()`` of the driver's connection, which SQLAlchemy does not hear of."""
    async with database.engine.connect() as connection:
        await connection.execute(one)
        await connection.run_sync(commit_behind_its_back)


def commit_behind_its_back(connection: Connection) -> None:
    """Commit past SQLAlchemy, whose error it therefore is not."""
    try:
        connection.connection.commit()
    except Exception as error:
        raise Change from error


async def by_swallowing(database: Database) -> None:
    """Go on with the same connection, as if nothing had been."""
    async with database.engine.connect() as connection:
        await connection.execute(one)
        try:
            await connection.commit()
        except DBAPIError:
            await connection.rollback()
            await connection.execute(text("select 1"))
            await connection.commit()
            raise


WAYS: dict[str, Way] = {
    way.__name__: way
    for way in (
        by_transaction,
        by_session_commit,
        by_session_begin,
        by_stock_session,
        by_engine_begin,
        by_connection_commit,
        by_copied_engine,
        by_driver,
        by_swallowing,
    )
}
every_way = pytest.mark.parametrize("way", WAYS)


class TestRefusedCommit:
    @every_way
    async def test_the_next_unit_of_work_does_not_commit_it(self, single: Database, proxy: Proxy, way: str) -> None:
        """What the server refused to commit is rolled back, and whoever comes next begins anew."""
        await connection_of(single)
        proxy.garble(b"COMMIT")
        with pytest.raises((DBAPIError, Change)):
            await WAYS[way](single)

        async with single.transaction() as session:
            await session.execute(two)

        assert await entries(single) == [2]

    @pytest.mark.parametrize("way", [way for way in WAYS if way != "by_driver"])
    async def test_its_connection_is_never_used_again(self, single: Database, proxy: Proxy, way: str) -> None:
        """The pool has another one afterwards."""
        before = await connection_of(single)
        proxy.garble(b"COMMIT")
        with pytest.raises(DatabaseFault) as caught:
            await WAYS[way](single)

        after = await connection_of(single)

        assert after != before
        assert caught.value.connection_invalidated

    async def test_the_other_connections_stay(
        self, server: Database, proxy: Proxy, open_database: OpenDatabase
    ) -> None:
        """One that had nothing to do with it goes on."""
        url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
        database = open_database(url, pool_size=2, max_overflow=0)
        async with database.engine.connect() as other:
            before = await own_id(other, database)
            proxy.garble(b"COMMIT")
            with pytest.raises(DatabaseFault):
                await by_transaction(database)

        async with database.engine.connect() as one_of_them, database.engine.connect() as the_other:
            after = {await own_id(one_of_them, database), await own_id(the_other, database)}

        assert before in after

    async def test_a_connection_that_is_kept_goes_on_anew(self, single: Database, proxy: Proxy) -> None:
        """Whoever swallows the error and rolls back has a connection without the lost rows."""
        async with single.engine.connect() as connection:
            await connection.execute(one)
            proxy.garble(b"COMMIT")
            with pytest.raises(DatabaseFault):
                await connection.commit()
            await connection.rollback()

            await connection.execute(two)
            await connection.commit()

        assert await entries(single) == [2]

    async def test_a_connection_that_is_kept_wants_its_rollback(self, single: Database, proxy: Proxy) -> None:
        """Without one nothing more is taken: it would be half of a transaction."""
        async with single.engine.connect() as connection:
            await connection.execute(one)
            proxy.garble(b"COMMIT")
            with pytest.raises(DatabaseFault):
                await connection.commit()

            with pytest.raises(PendingRollbackError):
                await connection.execute(two)

    async def test_a_loss_is_still_unknown(self, single: Database, server: Database) -> None:
        """That a COMMIT is refused is no doubt; that its answer is lost is one."""
        async with single.session() as session:
            await session.execute(one)
            await kill(server, await own_id(session, single))

            with pytest.raises(CommitUnknown):
                await session.commit()


class TestUnmarkedCommit:
    """SQLAlchemy commits by a method that is not watched, or somebody has put another one in its place."""

    async def test_a_loss_is_unknown(self, single: Database, proxy: Proxy) -> None:
        """What nobody can tell from a COMMIT is taken for one, so that the work is not run again."""
        del single.engine.dialect.do_commit
        async with single.engine.connect() as connection:
            await connection.execute(one)
            proxy.cut_at(lambda data: b"COMMIT" in data, deliver=True)

            with pytest.raises(CommitUnknown):
                await connection.commit()

    async def test_a_loss_in_a_statement_is_a_loss(self, single: Database, proxy: Proxy) -> None:
        """That is no doubt: its transaction had not begun to commit."""
        del single.engine.dialect.do_commit
        async with single.engine.connect() as connection:
            proxy.cut_at(lambda data: b"INSERT" in data, deliver=True)

            with pytest.raises(ConnectionLost):
                await connection.execute(one)

    async def test_a_loss_in_begin_is_a_loss(
        self, server: Database, open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It has no statement either, and says that it is not a COMMIT."""

        def broken(dialect: Any, raw: Any) -> None:
            raise ConnectionResetError

        monkeypatch.setattr(DefaultDialect, "do_begin", broken)
        database = open_database(server.url.render_as_string(hide_password=False))

        async with database.engine.connect() as connection:
            with pytest.raises(ConnectionLost):
                await connection.execute(one)


class TestLossOnSQLite:
    """A file has no server to lose, but a driver that finds its connection closed."""

    async def test_in_commit_it_is_unknown(self, sqlite: Database) -> None:
        """As on a server."""
        async with sqlite.engine.connect() as connection:
            await connection.execute(one)
            await self.lose(connection)

            with pytest.raises(CommitUnknown):
                await connection.commit()

    async def test_one_that_somebody_has_closed_commits_nothing(self, sqlite: Database) -> None:
        """And says so, and is given to nobody; the adapter of the driver says nothing."""
        async with sqlite.engine.connect() as connection:
            await connection.execute(one)
            await (await connection.get_raw_connection()).driver_connection.close()  # type: ignore[union-attr]

            with pytest.raises(CommitUnknown):
                await connection.commit()

        async with sqlite.engine.connect() as connection:
            assert (await connection.execute(select(entry))).all() == []

    async def test_in_a_statement_it_is_a_loss(self, sqlite: Database) -> None:
        """As on a server."""
        async with sqlite.engine.connect() as connection:
            await connection.execute(one)
            await self.lose(connection)

            with pytest.raises(ConnectionLost):
                await connection.execute(two)

    @staticmethod
    async def lose(connection: Any) -> None:
        """Have the driver's next call raise what each of them does when the connection is closed."""
        driver: Any = (await connection.get_raw_connection()).driver_connection

        async def broken(*args: Any) -> None:
            del driver._execute
            raise ValueError("no active connection")

        driver._execute = broken


class TestStatementThatCommits:
    """The answer to a statement that is its own COMMIT, or sends one before it, is lost."""

    @pytest.mark.parametrize("deliver", [True, False], ids=["after", "before"])
    async def test_in_autocommit_nobody_knows(self, single: Database, proxy: Proxy, deliver: bool) -> None:
        """Each statement is committed on its own, so that nobody may say that nothing was written."""
        engine = single.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            proxy.cut_at(lambda data: b"INSERT" in data, deliver=deliver)

            with pytest.raises(CommitUnknown):
                await connection.execute(one)

    async def test_the_drivers_clock_in_autocommit(self, postgres: Database, open_database: OpenDatabase) -> None:
        """It leaves a statement behind of which nobody has seen the end."""
        url = postgres.url.render_as_string(hide_password=False)
        database = open_database(url, connect_args={"command_timeout": 2})  # also for what sets the connection up
        engine = database.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            with pytest.raises(CommitUnknown):
                await connection.execute(text(SLOW["postgresql"]))

    async def test_a_commit_as_text(self, single: Database, proxy: Proxy) -> None:
        """It commits what SQLAlchemy takes for a transaction that goes on."""
        async with single.engine.connect() as connection:
            await connection.execute(one)
            proxy.cut_at(lambda data: b"commit" in data, deliver=True)

            with pytest.raises(CommitUnknown):
                await connection.execute(text("/* now */ commit"))

    async def test_ddl_of_mariadb(self, mariadb: Database, open_database: OpenDatabase) -> None:
        """It commits what came before, which would be written twice by whoever runs the work again."""
        async with proxy_to(mariadb.url.host or "127.0.0.1", mariadb.url.port or 0) as proxy:
            url = mariadb.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
            database = open_database(url, pool_size=1, max_overflow=0)

            async def work(session: Session) -> None:
                await session.execute(one)
                proxy.cut_at(lambda data: b"analyze" in data, deliver=True)
                await session.execute(text("analyze table entry"))

            with pytest.raises(CommitUnknown):
                await database.run_transaction(work)

        assert await entries(mariadb) == [1]

    async def test_one_that_only_reads_is_lost(self, single: Database, proxy: Proxy) -> None:
        """It can be tried again, though each statement of such a connection is a transaction of its own."""
        async with single.read() as session:
            await session.scalar(select(1))
            proxy.cut_at(lambda data: b"entry" in data, deliver=True)

            with pytest.raises(ConnectionLost):
                await session.execute(select(entry.c.id))


class TestAfterALoss:
    """The connection of a transaction broke, and somebody has swallowed that."""

    async def test_a_statement_is_refused(self, single: Database, server: Database) -> None:
        """By our own error, which says to whoever is above that nothing was written."""
        with pytest.raises(TransactionAborted, match="swallowed"):
            async with single.transaction() as session:
                await self.lose(session, server, single)
                await session.execute(one)

    async def test_a_statement_as_it_is_is_refused(self, single: Database, server: Database) -> None:
        """The one that the driver gets as it is passes other doors."""
        async with single.engine.connect() as connection:
            await self.lose(connection, server, single)

            with pytest.raises(TransactionAborted):
                await connection.exec_driver_sql("select 1")

    async def test_a_savepoint_is_refused(self, single: Database, server: Database) -> None:
        """There is no transaction that it could stand in."""
        with pytest.raises(TransactionAborted):
            async with single.transaction() as session:
                await self.lose(session, server, single)
                async with session.savepoint():
                    pass

    async def test_behind_a_savepoint(self, single: Database, server: Database) -> None:
        """A savepoint cannot take back that the connection is gone."""
        with pytest.raises(TransactionAborted):
            async with single.transaction() as session:
                with pytest.raises(ConnectionLost):
                    async with session.savepoint():
                        await kill(server, await own_id(session, single))
                        await session.execute(select(1))
                await session.execute(one)

    async def test_a_rollback_makes_it_whole(self, single: Database, server: Database) -> None:
        """The next transaction of the same object has another connection."""
        async with single.engine.connect() as connection:
            await self.lose(connection, server, single)
            await connection.rollback()

            await connection.execute(two)
            await connection.commit()

        assert await entries(single) == [2]

    @staticmethod
    async def lose(session: Any, server: Database, database: Database) -> None:
        """Break the connection, and swallow the error."""
        await kill(server, await own_id(session, database))
        with pytest.raises(ConnectionLost):
            await session.execute(select(1))


class TestTwoPhases:
    async def test_a_refused_prepare(self, single: Database, proxy: Proxy) -> None:
        """What cannot be prepared is rolled back, and the connection is not kept."""
        before = await connection_of(single)
        proxy.garble(b"PREPARE")
        with pytest.raises(DatabaseFault):
            async with single.session(twophase=True) as session:
                await session.execute(one)
                await session.commit()

        after = await connection_of(single)

        assert after != before
        assert await entries(single) == []


@pytest.mark.tables(deferring)
class TestRefusedBySQLite:
    @every_way
    async def test_the_next_unit_of_work_does_not_commit_it(
        self, sqlite: Database, open_database: OpenDatabase, way: str
    ) -> None:
        """A COMMIT that a deferred foreign key refuses leaves SQLite in the transaction; it is rolled back."""
        single = open_database(sqlite, pool_size=1, max_overflow=0)
        orphan = insert(remark).values(id=1, entry_id=99)
        async with single.engine.connect() as connection:
            await connection.execute(orphan)

            with pytest.raises(ForeignKeyViolation):
                await connection.commit()
            await connection.rollback()
            await connection.execute(two)
            await connection.commit()

        await WAYS[way](single)
        assert await entries(single) == [1, 2]

    async def test_a_database_in_memory_survives(self, open_database: OpenDatabase) -> None:
        """Its one connection is the database, and must not be closed."""
        database = open_database("sqlite+aiosqlite://")
        async with database.engine.begin() as connection:
            await connection.run_sync(deferring.create_all)
            await connection.execute(two)
        with pytest.raises(ForeignKeyViolation):
            async with database.transaction() as session:
                await session.execute(insert(remark).values(id=1, entry_id=99))

        await by_transaction(database)

        assert await entries(database) == [1, 2]


class TestLeftOpen:
    async def test_a_begin_as_text_ends_with_the_connection(
        self, server: Database, open_database: OpenDatabase
    ) -> None:
        """A connection that is in a transaction when it comes home is closed, whoever began it."""
        single = open_database(server, pool_size=1, max_overflow=0)
        autocommit = single.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with autocommit.connect() as connection:
            await connection.execute(text("begin"))
            await connection.execute(one)

        async with single.transaction() as session:
            await session.execute(two)

        assert await entries(single) == [2]

    async def test_a_read_that_began_one(self, server: Database, open_database: OpenDatabase) -> None:
        """The next reader sees what is committed, and no old snapshot."""
        single = open_database(server, pool_size=1, max_overflow=0)
        async with single.read() as session:
            await session.execute(text("start transaction"))
            await session.execute(select(entry.c.id))
        await by_transaction(single)

        assert await entries(single) == [1]
