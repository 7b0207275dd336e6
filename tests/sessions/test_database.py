"""The database: blocks that write, work that is tried again, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from sqlkeel.errors import (
    DatabaseUnavailable,
    Deadlock,
    InvalidURL,
    InvalidValue,
    ReadOnlySession,
    ReadOnlyViolation,
    UniqueViolation,
    UsageError,
)
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session
from tests.fixtures.databases import OpenDatabase
from tests.sessions.database_models import Base, Failure, User, emails

SECRET = "p@ss:w/rd?#%"


pytestmark = pytest.mark.tables(Base.metadata)


class TestTransaction:
    async def test_it_commits(self, every_driver: Database) -> None:
        """What the block did is there afterwards."""
        async with every_driver.transaction() as session:
            session.add(User(id=1, email="a"))

        assert await emails(every_driver) == ["a"]

    async def test_an_error_rolls_back_and_is_raised(self, every_driver: Database) -> None:
        """Nothing of a failed block is there, and its own error is the caller's."""
        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                session.add(User(id=1, email="a"))
                await session.flush()
                raise Failure

        assert await emails(every_driver) == []

    async def test_objects_are_readable_after_a_failure(self, every_driver: Database) -> None:
        """A handler outside reads the values as they were when the block failed."""
        loaded = User(id=1, email="before")
        async with every_driver.transaction() as session:
            session.add(loaded)

        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                user = await session.get_one(User, 1)
                user.email = "changed"
                await session.flush()
                raise Failure

        assert (user.id, user.email) == (1, "changed")

    async def test_objects_are_readable_after_a_failed_flush(self, every_driver: Database) -> None:
        """So they are when it was the database that refused."""
        async with every_driver.transaction() as session:
            session.add_all([User(id=1, email="a"), User(id=2, email="b")])

        with pytest.raises(UniqueViolation):
            async with every_driver.transaction() as session:
                user, other = await session.get_one(User, 1), await session.get_one(User, 2)
                user.email = "b"

        assert (user.id, user.email) == (1, "b")
        assert (other.id, other.email) == (2, "b")

    async def test_a_failed_block_leaves_a_clean_pool(self, every_driver: Database) -> None:
        """The connection is back, and the next borrower finds no transaction open."""
        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                await session.execute(insert(User).values(id=1, email="a"))
                raise Failure

        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    @pytest.mark.parametrize("level", ["serializable", "repeatable read", "READ_COMMITTED"])
    async def test_isolation_is_for_one_transaction(
        self, server: Database, open_database: OpenDatabase, level: str
    ) -> None:
        """The level is in force inside, and reset for the next borrower of the same connection."""
        database = open_database(server, pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            before = await _isolation(session)

        async with database.transaction(isolation=level) as session:
            inside = await _isolation(session)
        async with database.transaction() as session:
            after = await _isolation(session)

        assert inside == level.upper().replace("_", " ")
        assert after == before

    @pytest.mark.parametrize("level", ["serializable", "repeatable read", "read committed"])
    async def test_sqlite_gives_any_level(self, sqlite: Database, level: str) -> None:
        """SQLite has serializable only, which is whatever weaker level was asked for."""
        async with sqlite.transaction(isolation=level) as session:
            session.add(User(id=1, email="a"))

        assert await emails(sqlite) == ["a"]

    @pytest.mark.parametrize("level", ["serialisable", "autocommit", "", 3])
    async def test_a_wrong_level_is_refused(self, db: Database, level: Any) -> None:
        """A level that is none is refused before anything is sent; AUTOCOMMIT is no transaction."""
        with pytest.raises(InvalidValue, match="not an isolation level"):
            async with db.transaction(isolation=level):
                pass

    async def test_read_only_refuses_the_session_too(self, db: Database) -> None:
        """A flush in a read-only transaction is refused before the server has to."""
        with pytest.raises(ReadOnlySession):
            async with db.transaction(read_only=True) as session:
                session.add(User(id=1, email="a"))

    async def test_read_only_is_for_one_transaction(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """The next borrower of the same connection may write."""
        database = open_database(every_driver, pool_size=1, max_overflow=0)
        async with database.transaction(read_only=True) as session:
            await session.execute(select(User))

        async with database.transaction() as session:
            session.add(User(id=1, email="a"))

        assert await emails(database) == ["a"]

    async def test_read_only_with_isolation_is_a_snapshot(self, every_driver: Database) -> None:
        """Two reads of one snapshot see the same, whatever is committed between them."""
        async with every_driver.transaction(read_only=True, isolation="repeatable read") as session:
            before = (await session.scalars(select(User.email))).all()
            async with every_driver.session() as writer, writer.begin():
                writer.add(User(id=1, email="a"))
            after = (await session.scalars(select(User.email))).all()

        assert before == after == []


class TestInMemory:
    @pytest.fixture
    def memory(self, open_database: OpenDatabase) -> Database:
        """A database in memory."""
        return open_database("sqlite+aiosqlite://", pool_size=5, max_overflow=5)

    async def test_it_has_one_connection(self, memory: Database) -> None:
        """Whatever pool size was asked for: a second connection would be a second database."""
        async with memory.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async with memory.transaction() as session:
            session.add(User(id=1, email="a"))

        assert await emails(memory) == ["a"]
        assert memory.engine.pool.size() == 1  # type: ignore[attr-defined]

    async def test_a_read_cannot_write(self, memory: Database) -> None:
        """The one connection is read-only for the block, and writes again after it."""
        async with memory.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        with pytest.raises(ReadOnlyViolation):
            async with memory.read() as session:
                await session.execute(text('delete from "user"'))
        async with memory.transaction() as session:
            session.add(User(id=1, email="a"))

        assert await emails(memory) == ["a"]

    async def test_sessions_take_turns(self, memory: Database) -> None:
        """Ten transactions at once share the connection one after the other."""
        async with memory.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)

        async def add(number: int) -> None:
            async with memory.transaction() as session:
                session.add(User(id=number, email=f"{number}"))

        await asyncio.gather(*map(add, range(10)))

        assert len(await emails(memory)) == 10


class TestRunTransaction:
    async def test_what_is_no_asynchronous_function(self, sqlite: Database) -> None:
        """The call of one, which could not be run again, and a plain function are refused; nothing is written."""

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))

        def plain(session: Session) -> int:
            session.add(User(id=2, email="b"))
            return 2

        call: Any = work(sqlite.session())
        wrong: Any = plain
        with pytest.raises(UsageError, match=r"db\.run_transaction\(work, \.\.\.\), not work\(\.\.\.\)"):
            await sqlite.run_transaction(call)
        with pytest.raises(UsageError, match="plain, which is not an async function"):
            await sqlite.run_transaction(wrong)
        call.close()

        assert await emails(sqlite) == []

    async def test_it_returns_what_the_function_returns(self, every_driver: Database) -> None:
        """Arguments are passed on, and the transaction is committed."""

        async def add(session: Session, number: int, *, email: str) -> int:
            session.add(User(id=number, email=email))
            return number

        answer = await every_driver.run_transaction(add, 1, email="a")

        assert answer == 1
        assert await emails(every_driver) == ["a"]

    async def test_it_runs_again_after_a_lost_race(self, db: Database) -> None:
        """The whole function is run again, on what is there now."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add(User(id=1, email="a"))
            await session.flush()
            if len(calls) < 3:
                raise Deadlock("lost")

        await db.run_transaction(work)

        assert len(calls) == 3
        assert await emails(db) == ["a"]

    @pytest.mark.parametrize("attempts", [1, 3])
    async def test_it_gives_up(self, sqlite: Database, attempts: int) -> None:
        """After the last attempt the last fault is raised."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            raise Deadlock("lost")

        with pytest.raises(Deadlock):
            await sqlite.run_transaction(work, attempts=attempts)

        assert len(calls) == attempts

    async def test_other_errors_are_not_retried(self, db: Database) -> None:
        """What would fail again is raised at once."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add_all([User(id=1, email="a"), User(id=2, email="a")])

        with pytest.raises(UniqueViolation):
            await db.run_transaction(work)

        assert len(calls) == 1

    async def test_hooks_run_once(self, db: Database) -> None:
        """Hooks of attempts that failed are dropped."""
        calls: list[int] = []
        heard: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.on_commit(heard.append, len(calls))
            if len(calls) == 1:
                raise Deadlock("lost")

        await db.run_transaction(work)

        assert heard == [2]

    async def test_counters_are_exact_under_races(self, every_driver: Database) -> None:
        """Eight tasks that read and write one row at SERIALIZABLE lose nothing."""
        async with every_driver.transaction() as session:
            session.add(User(id=1, email="0"))

        async def count_up(session: Session) -> None:
            user = await session.get_one(User, 1)
            user.email = str(int(user.email) + 1)

        calls = [every_driver.run_transaction(count_up, attempts=50, isolation="serializable") for _ in range(8)]
        await asyncio.gather(*calls)

        assert await emails(every_driver) == ["8"]


class TestPrivacy:
    def test_repr_hides_the_password(self, open_database: OpenDatabase) -> None:
        """A database in a log or a traceback shows no password."""
        database = open_database("postgresql://user:s3cret@localhost/app")

        assert repr(database) == "<Database postgresql+asyncpg://user:***@localhost/app>"
        assert "s3cret" not in str(database)

    async def test_an_error_hides_the_password(self, open_database: OpenDatabase) -> None:
        """Neither the error nor what caused it shows the password."""
        database = open_database("postgresql://user:s3cret@127.0.0.1:1/app")

        with pytest.raises(DatabaseUnavailable) as caught:
            await database.check()

        assert "s3cret" not in str(caught.value)
        assert "s3cret" not in repr(caught.value.__cause__)

    async def test_logs_hide_values(
        self, db: Database, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``echo=True`` shows statements, not parameters."""
        database = open_database(db, echo=True)

        with caplog.at_level(logging.INFO, logger="sqlalchemy.engine"):
            async with database.transaction() as session:
                session.add(User(id=1, email="ann@secret.example"))

        assert "INSERT INTO" in caplog.text
        assert "ann@secret.example" not in caplog.text

    async def test_values_are_shown_where_asked(
        self, db: Database, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        """``hide_parameters=False`` is the longer word for showing them."""
        database = open_database(db, echo=True, hide_parameters=False)

        with caplog.at_level(logging.INFO, logger="sqlalchemy.engine"):
            async with database.transaction() as session:
                session.add(User(id=1, email="ann@secret.example"))

        assert "ann@secret.example" in caplog.text


class TestDatabase:
    async def test_from_env(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The variable names the database; options are passed on."""
        monkeypatch.setenv("KEEL_TEST_URL", "sqlite:///app.db")

        async with Database.from_env("KEEL_TEST_URL", lock_timeout=1) as database:
            assert database.dialect == "sqlite"
            assert database.limits.lock == 1

    @pytest.mark.parametrize("value", [None, ""])
    def test_from_env_without_the_variable(self, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
        """A variable that is missing or empty is named in the error."""
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setattr("os.environ", {} if value is None else {"DATABASE_URL": value})

        with pytest.raises(InvalidURL, match="DATABASE_URL"):
            Database.from_env()

    async def test_a_password_with_special_characters(self, server: Database, open_database: OpenDatabase) -> None:
        """A URL object carries any password; in text it is percent-encoded."""
        url = server.url.set(password=SECRET).render_as_string(hide_password=False)

        assert open_database(url).url.password == SECRET

    async def test_check_answers(self, every_driver: Database) -> None:
        """The health check of a living database asks it for one value, and says nothing."""
        async with queries(every_driver) as seen:
            await every_driver.check()

        assert list(seen) == ["SELECT 1"]

    async def test_the_dialect_has_its_name(self, db: Database) -> None:
        """One word for each database."""
        assert db.dialect in {"sqlite", "postgresql", "mariadb"}

    async def test_it_has_a_writer_and_a_reader(self, db: Database) -> None:
        """Whoever listens to the engines hears reads too, before the first read."""
        assert len(db.engines) == 2

    async def test_in_memory_one_engine_does_both(self, open_database: OpenDatabase) -> None:
        """A second pool would be a second database."""
        assert len(open_database("sqlite+aiosqlite://").engines) == 1

    async def test_a_disposed_database_opens_again(self, db: Database, open_database: OpenDatabase) -> None:
        """Disposing closes the connections; using it opens new ones."""
        database = open_database(db)
        opened: list[object] = []
        event.listen(database.engine.sync_engine, "connect", lambda *args: opened.append(args))
        await database.check()

        await database.dispose()
        await database.check()

        assert len(opened) == 2


async def _isolation(session: Session) -> str:
    """Ask the server for the level of this transaction, which need not be the session's."""
    await session.execute(select(User))
    dialect = (await session.connection()).dialect.name
    await asyncio.sleep(0.15)  # MariaDB renews its list of transactions when nobody has read it for a tenth of a second
    return str(await session.scalar(text(ISOLATION[dialect]))).upper()


ISOLATION = {
    "postgresql": "show transaction_isolation",
    "mariadb": "select trx_isolation_level from information_schema.innodb_trx"
    " where trx_mysql_thread_id = connection_id()",
}
