"""PostgreSQL behind PgBouncer in transaction mode: what works as everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import pytest
from sqlalchemy import ForeignKey, String, event, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.engines._backend import parse_url
from sqlkeel.engines._databases import pgbouncer as pgbouncer_module
from sqlkeel.errors import (
    ConnectionLost,
    LockTimeout,
    ReadOnlySession,
    ReadOnlyViolation,
    StatementTimeout,
    UniqueViolation,
)
from sqlkeel.models import IntKeyMixin, children, parent
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions import _database as module
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.testing import PgBouncerServer
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin
from tests.engines.databases.pgbouncer_settings import CLIENTS, NO_PREPARED, show
from tests.engines.peers import SLOW, kill, own_id, soon, statements_running
from tests.fixtures.databases import OpenDatabase

SERVERS = 5
UNITS = 25


class Base(sqlkeel.Base):
    pass


class User(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "user"
    email: Mapped[str] = mapped_column(String(50), unique=True)
    name: Mapped[str | None] = mapped_column(String(50))
    articles: Mapped[list[Article]] = children(back_populates="author")


class Article(IntKeyMixin, Base):
    __tablename__ = "article"
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")


class Server(NamedTuple):
    """One connection of the server, as a transaction found it."""

    pid: int
    prepared: int


@pytest.fixture
async def plain(url: str) -> AsyncIterator[AsyncEngine]:
    """Another application behind the same pooler, which sets nothing."""
    arguments = NO_PREPARED[parse_url(url).get_driver_name()]
    engine = create_async_engine(url, connect_args=arguments)
    yield engine
    await engine.dispose()


async def be_a_client(database: Database, number: int) -> int:
    """Do 25 units of work, each of a write, two reads with parameters and a commit; return the sum that came back."""
    total = 0
    for unit in range(UNITS):
        email = f"{number}.{unit}@x.org"
        async with database.transaction() as session:
            session.add(User(email=email, name="a" * (unit % 4)))
            await session.flush()
            total += await session.scalar(select(func.count()).where(User.email == email)) or 0
        async with database.read() as session:
            total += await session.scalar(select(func.count(User.id)).where(User.email == email)) or 0
    return total


async def look_at_every_server(engine: AsyncEngine) -> list[Server]:
    """Hold every connection of the server at once, so that each is seen."""
    statement = text("select pg_backend_pid(), (select count(*) from pg_prepared_statements)")
    found: list[Server] = []
    async with AsyncExitStack() as stack:
        for _ in range(SERVERS):
            connection = await stack.enter_async_context(engine.connect())
            found.append(Server(*(await connection.execute(statement)).one()))
    return found


async def sleep(database: Database) -> None:
    """Run a statement that nobody wants to wait for."""
    async with database.transaction() as session:
        await session.execute(text(SLOW["postgresql"]))


async def take(database: Database, name: str) -> None:
    """Take a lock by its name, or fail at once."""
    async with database.transaction() as session:
        await session.advisory_lock(name, nowait=True)


@pytest.mark.tables(Base.metadata)
class TestLoad:
    async def test_many_clients_share_few_servers(self, pooled: Database, plain: AsyncEngine) -> None:
        """Thirty clients do 25 units each over five connections; none fails, and nothing stays prepared there."""
        totals = await asyncio.gather(*(be_a_client(pooled, number) for number in range(CLIENTS)))
        servers = await look_at_every_server(plain)

        assert totals == [2 * UNITS] * CLIENTS
        assert len({server.pid for server in servers}) == SERVERS
        assert {server.prepared for server in servers} == {0}


class TestLimits:
    async def test_they_are_in_force(self, pooled: Database) -> None:
        """The usual ones hold in each transaction, its own come before them, and a client that goes away is noticed."""
        async with pooled.transaction(statement_timeout=3) as session:
            found = await session.execute(
                text(
                    "select current_setting('statement_timeout'), current_setting('lock_timeout'),"
                    " current_setting('idle_in_transaction_session_timeout'),"
                    " current_setting('client_connection_check_interval')"
                )
            )

        assert tuple(found.one()) == ("3s", "5s", "1min", "500ms")

    async def test_they_end_with_the_transaction(self, pooled: Database, plain: AsyncEngine) -> None:
        """Whoever gets the same connection of the server next finds it as it was."""
        async with pooled.transaction(statement_timeout=3, lock_timeout=2) as session, session.savepoint():
            before = await session.scalar(text("select pg_backend_pid()"))
        async with plain.connect() as connection:
            after = (await connection.execute(text("select pg_backend_pid()"))).scalar_one()
        settings = await show(plain, "statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")

        assert before == after
        assert settings == ("0", "0", "0")

    async def test_the_next_transaction_has_the_usual_ones(self, pooled: Database) -> None:
        """What one transaction asked for is not kept by the connection to the pooler either."""
        async with pooled.transaction(statement_timeout=3) as session:
            await session.execute(text("select 1"))

        assert await show(pooled.engine, "statement_timeout") == ("30s",)

    async def test_a_late_statement_is_stopped(self, pooled: Database) -> None:
        """The server ends it."""
        with pytest.raises(StatementTimeout):
            async with pooled.transaction(statement_timeout=0.1) as session:
                await session.execute(text(SLOW["postgresql"]))

    async def test_a_read_has_them_too(self, url: str, open_database: OpenDatabase) -> None:
        """A session that only reads is limited as well."""
        hurried = open_database(url, pooler="pgbouncer", statement_timeout=0.1)

        with pytest.raises(StatementTimeout):
            async with hurried.read() as session:
                await session.execute(text(SLOW["postgresql"]))

    async def test_an_idle_transaction_is_ended(self, url: str, open_database: OpenDatabase) -> None:
        """The server breaks the connection, and the pooler passes it on."""
        hurried = open_database(url, pooler="pgbouncer", idle_timeout=0.1)

        with pytest.raises(ConnectionLost):
            async with hurried.transaction() as session:
                await session.execute(text("select 1"))
                await asyncio.sleep(0.5)
                await session.execute(text("select 1"))

    async def test_the_longest_limit(self, pooled: Database) -> None:
        """A year is more than the server can count, and becomes the longest it can."""
        async with pooled.transaction(statement_timeout=31_536_000) as session:
            assert await session.scalar(
                text("select setting from pg_settings where name = 'statement_timeout'")
            ) == str(2**31 - 1)

    async def test_a_limit_that_the_server_refuses(
        self, url: str, open_database: OpenDatabase, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It fails its own transaction, and the only connection is as good as new afterwards."""
        one = open_database(url, pooler="pgbouncer", pool_size=1, max_overflow=0)
        with monkeypatch.context() as patch, pytest.raises(DBAPIError, match="outside the valid range"):
            # What the servers of today refuse, `Limits` refuses before them.
            patch.setattr(pgbouncer_module, "settings_of", lambda limits: {"statement_timeout": "-1"})
            async with one.transaction(statement_timeout=1) as session:
                await session.execute(text("select 1"))

        async with one.transaction() as session:
            assert await session.scalar(text("select 1")) == 1

    async def test_asyncpg_sends_them_with_begin(self, pgbouncer: PgBouncerServer, open_database: OpenDatabase) -> None:
        """They cost no statement there; psycopg sends one."""
        sent: dict[str, list[str]] = {"asyncpg": [], "psycopg": []}
        asyncpg = open_database(pgbouncer.url(driver="asyncpg"), pooler="pgbouncer")
        psycopg = open_database(pgbouncer.url(driver="psycopg"), pooler="pgbouncer")
        event.listen(asyncpg.engine.sync_engine, "before_cursor_execute", lambda *args: sent["asyncpg"].append(args[2]))
        event.listen(psycopg.engine.sync_engine, "before_cursor_execute", lambda *args: sent["psycopg"].append(args[2]))

        await asyncpg.check()
        await psycopg.check()

        assert sent["asyncpg"] == ["SELECT 1"]
        assert [statement.partition("(")[0] for statement in sent["psycopg"]] == ["SELECT set_config", "SELECT 1"]


@pytest.mark.tables(Base.metadata)
class TestRead:
    async def test_the_server_refuses_a_write(self, pooled: Database) -> None:
        """The transaction is read-only, at a level at which each statement sees what is committed."""
        async with pooled.read() as session:
            level = await session.scalar(text("show transaction_isolation"))
            with pytest.raises(ReadOnlyViolation):
                await session.execute(text("insert into \"user\" (email) values ('a')"))

        assert level == "read committed"

    async def test_a_commit_does_not_end_that(self, pooled: Database) -> None:
        """The next transaction of the same session only reads, too."""
        async with pooled.read() as session:
            await session.commit()
            assert await session.scalar(text("show transaction_read_only")) == "on"

    async def test_the_session_refuses_first(self, pooled: Database) -> None:
        """What the ORM would write is not sent at all."""
        async with pooled.read() as session:
            session.add(User(email="a@x.org"))
            with pytest.raises(ReadOnlySession):
                await session.flush()

    async def test_a_writer_comes_after_a_reader(self, pooled: Database, plain: AsyncEngine) -> None:
        """Reading leaves nothing behind on the connection of the server."""
        async with pooled.read() as session:
            await session.execute(text("select 1"))

        assert await show(plain, "transaction_read_only", "default_transaction_read_only") == ("off", "off")


@pytest.mark.tables(Base.metadata)
class TestWork:
    async def test_the_repository(self, pooled: Database) -> None:
        """Create, update, upsert, get-or-create and delete come back with what the server made."""
        async with pooled.transaction() as session:
            users = Repository(session, User)
            ada = await users.create(email="ada@x.org")
            await users.update(ada, {"name": "Ada"}, expected_version=1)
            same, is_new = await users.upsert({"email": "ada@x.org", "name": "Lady"}, on=[User.email])
            _, is_second = await users.get_or_create({"email": "ada@x.org"})
            await users.delete(ada)
            left = await users.count()

        assert same is ada
        assert (is_new, is_second, left) == (False, False, 0)
        assert (ada.name, ada.is_deleted) == ("Lady", True)

    async def test_many_rows(self, pooled: Database) -> None:
        """COPY, and a temporary table that is merged and goes with the transaction."""
        rows = [{"email": f"{number}@x.org", "name": "first"} for number in range(1500)]
        async with pooled.transaction() as session:
            users = Repository(session, User)
            await users.insert_many(rows[:1000])
            result = await users.upsert_many([{**row, "name": "second"} for row in rows[500:]], on=[User.email])
            seconds = await users.count(User.name == "second")

        assert (result.inserted, result.updated, seconds) == (500, 500, 1000)

    async def test_a_page_with_what_it_needs(self, pooled: Database) -> None:
        """A keyset page and its relations are read, and so is the page after it."""
        async with pooled.transaction() as session:
            author = User(email="a@x.org", articles=[Article(title=f"{number}") for number in range(5)])
            session.add(author)

        async with pooled.read() as session:
            articles = Repository(session, Article)
            first = await articles.page(order_by=Article.id, size=3, load=[Article.author])
            second = await articles.page(order_by=Article.id, size=3, after=first.next)

        assert [article.title for article in (*first.items, *second.items)] == ["0", "1", "2", "3", "4"]
        assert first.items[0].author.email == "a@x.org"

    async def test_a_stream(self, pooled: Database) -> None:
        """A cursor lives as long as its transaction, and other statements may be sent meanwhile."""
        async with pooled.transaction() as session:
            users = Repository(session, User)
            await users.insert_many({"email": f"{number}@x.org"} for number in range(30))
            counts = [await users.count(User.id == user.id) async for user in users.iterate(batch=10)]

        assert counts == [1] * 30

    async def test_a_savepoint(self, pooled: Database) -> None:
        """What fails inside is rolled back to there, and the rest is committed."""
        async with pooled.transaction() as session:
            await Repository(session, User).create(email="a@x.org")
            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    await Repository(session, User).create(email="a@x.org")

        async with pooled.read() as session:
            assert await Repository(session, User).count() == 1

    async def test_a_lost_race_is_run_again(self, pooled: Database) -> None:
        """Increments at the strictest level are none of them lost."""
        async with pooled.transaction() as session:
            key = (await Repository(session, User).create(email="a@x.org", name="")).id

        async def append(session: Session) -> None:
            user = await session.get_one(User, key)
            user.name = f"{user.name}x"

        await asyncio.gather(*(pooled.run_transaction(append, isolation="serializable", attempts=30) for _ in range(6)))

        async with pooled.read() as session:
            assert await session.scalar(select(User.name)) == "xxxxxx"

    async def test_a_lock_of_a_name(self, pooled: Database) -> None:
        """It belongs to the transaction, wherever that runs, and ends with it."""
        async with pooled.transaction() as session:
            await session.advisory_lock("payroll")
            with pytest.raises(LockTimeout):
                await asyncio.create_task(take(pooled, "payroll"))

        await take(pooled, "payroll")


class TestConnection:
    async def test_it_is_checked_after_a_pause(self, url: str, open_database: OpenDatabase, monkeypatch: Any) -> None:
        """The ping is a transaction of its own, which the pooler understands."""
        monkeypatch.setattr(module, "IDLE_BEFORE_CHECK", 0)
        one = open_database(url, pooler="pgbouncer", pool_size=1, max_overflow=0)
        await one.check()

        await one.check()

        assert await show(one.engine, "lock_timeout") == ("5s",)

    async def test_a_cancelled_statement_ends_on_the_server(self, pooled: Database, postgres: Database) -> None:
        """The driver's request to cancel reaches it through the pooler."""
        task = asyncio.create_task(sleep(pooled))
        running = await soon(lambda: statements_running(postgres))

        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

        assert running
        assert await soon(lambda: _none_runs(postgres), seconds=2)

    async def test_a_client_that_is_gone_is_noticed(
        self, pgbouncer: PgBouncerServer, postgres: Database, open_database: OpenDatabase
    ) -> None:
        """A statement whose client vanished without a word ends on the server within a second."""
        one = open_database(pgbouncer.url(postgres.url.database), pooler="pgbouncer")
        async with one.engine.connect() as connection:
            task = asyncio.create_task(connection.execute(text(SLOW["postgresql"])))
            running = await soon(lambda: statements_running(postgres))
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.terminate()
            await asyncio.gather(task, return_exceptions=True)

            assert running
            assert await soon(lambda: _none_runs(postgres), seconds=3)

    async def test_a_broken_one_is_replaced(self, url: str, postgres: Database, open_database: OpenDatabase) -> None:
        """When the server ends its side, the transaction fails as a lost connection, and the next one is fine."""
        one = open_database(url, pooler="pgbouncer", pool_size=1, max_overflow=0)

        with pytest.raises(ConnectionLost):
            async with one.transaction() as session:
                await kill(postgres, await own_id(session, one))
                await session.execute(text("select 1"))

        await one.check()


async def _none_runs(database: Database) -> bool:
    return await statements_running(database) == 0
