"""The database: its blocks, its pool, its limits, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
from sqlalchemy import JSON, String, event, insert, select, text
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import (
    DatabaseUnavailable,
    Deadlock,
    InvalidURL,
    InvalidValue,
    NotSupported,
    ReadOnlySession,
    ReadOnlyViolation,
    UniqueViolation,
    UsageError,
)
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions import _database as database_module
from tests.engines.peers import SLOW, kill, own_id
from tests.fixtures.databases import OpenDatabase

ONE_TEXT = {
    "postgresql": {"options": "-c application_name=mine -c lock_timeout=3000"},
    "mariadb": {"init_command": "set names utf8mb4, session innodb_lock_wait_timeout = 3, @mine = 'mine';"},
}
SECRET = "p@ss:w/rd?#%"


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)
    settings: Mapped[dict[str, str]] = mapped_column(MutableDict.as_mutable(JSON), default=dict)


pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


@pytest.fixture(params=["psycopg", "mariadb"])
def one_text(request: pytest.FixtureRequest) -> Database:
    """Each driver that takes the settings of a session in one text."""
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]  # it is one


def statements(database: Database) -> list[str]:
    """Note every statement that the engine sends from now on."""
    sent: list[str] = []
    event.listen(database.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
    return sent


async def emails(database: Database) -> list[str]:
    """Read what is committed."""
    async with database.session() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


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

    @pytest.mark.parametrize("level", ["serialisable", "autocommit", ""])
    async def test_a_wrong_level_is_refused(self, db: Database, level: str) -> None:
        """A level that is none is refused before anything is sent; AUTOCOMMIT is no transaction."""
        with pytest.raises(InvalidValue, match="no isolation level"):
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


class TestLimits:
    async def test_they_are_in_force(self, server: Database, open_database: OpenDatabase) -> None:
        """The limits of the database stand in every session of the server."""
        database = open_database(server, statement_timeout=7, lock_timeout=3, idle_timeout=11)

        async with database.transaction() as session:
            limits = await _limits(session)

        assert limits == [7.0, 3.0, 11.0]

    async def test_a_transactions_own_do_not_leak(self, server: Database, open_database: OpenDatabase) -> None:
        """They end with the transaction, for whoever gets the connection next."""
        database = open_database(server, pool_size=1, max_overflow=0, statement_timeout=7, lock_timeout=3)

        async with database.transaction(timeout=2, lock_timeout=1) as session:
            inside = await _limits(session)
        async with database.transaction() as session:
            after = await _limits(session)

        assert inside == [2.0, 1.0, 60.0]
        assert after == [7.0, 3.0, 60.0]

    async def test_they_do_not_leak_after_a_failure(self, server: Database, open_database: OpenDatabase) -> None:
        """Nor does a rollback leave them."""
        database = open_database(server, pool_size=1, max_overflow=0, statement_timeout=7, lock_timeout=3)
        with pytest.raises(Failure):
            async with database.transaction(timeout=2, lock_timeout=1):
                raise Failure

        async with database.transaction() as session:
            after = await _limits(session)

        assert after == [7.0, 3.0, 60.0]

    async def test_none_is_the_servers_own(self, server: Database, open_database: OpenDatabase) -> None:
        """Without limits of ours those of the server stand, also after a transaction with its own."""
        database = open_database(
            server, pool_size=1, max_overflow=0, statement_timeout=None, lock_timeout=None, idle_timeout=None
        )
        async with database.transaction() as session:
            before = await _limits(session)
        async with database.transaction(timeout=2, lock_timeout=1):
            pass

        async with database.transaction() as session:
            after = await _limits(session)

        assert after == before

    async def test_the_wait_of_sqlite_does_not_leak(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """lock_timeout= is how long SQLite waits for its turn, for this transaction only."""
        database = open_database(sqlite, pool_size=1, max_overflow=0, lock_timeout=3)

        async with database.transaction(lock_timeout=1) as session:
            inside = await session.scalar(text("PRAGMA busy_timeout"))
        async with database.transaction() as session:
            after = await session.scalar(text("PRAGMA busy_timeout"))

        assert (inside, after) == (1000, 3000)

    async def test_connect_args_are_merged(self, postgres: Database, open_database: OpenDatabase) -> None:
        """Naming the application does not lose the limits."""
        arguments = {"server_settings": {"application_name": "keel_test"}}
        database = open_database(postgres, statement_timeout=7, connect_args=arguments)

        async with database.transaction() as session:
            name = await session.scalar(text("show application_name"))
            limits = await _limits(session)

        assert name == "keel_test"
        assert limits[0] == 7.0

    async def test_options_of_the_url_are_merged(self, psycopg: Database, open_database: OpenDatabase) -> None:
        """With psycopg the URL's options and our limits are one setting."""
        url = psycopg.url.update_query_dict({"options": "-c application_name=keel_test"})
        database = open_database(url.render_as_string(hide_password=False), statement_timeout=7)

        async with database.transaction() as session:
            name = await session.scalar(text("show application_name"))
            limits = await _limits(session)

        assert name == "keel_test"
        assert limits[0] == 7.0

    @pytest.mark.parametrize("argument", ["in the URL", "in connect_args"])
    async def test_settings_in_one_text_are_merged(
        self, one_text: Database, open_database: OpenDatabase, argument: str
    ) -> None:
        """Where the driver takes settings in one text, the caller's hold, and lose none of ours."""
        given = ONE_TEXT[one_text.dialect]
        if argument == "in the URL":
            url = one_text.url.update_query_dict(given)
            own = open_database(url.render_as_string(hide_password=False), statement_timeout=7)
        else:
            own = open_database(one_text, statement_timeout=7, connect_args=given)

        async with own.transaction() as session:
            writing = await _limits(session)
        async with own.read() as session:
            reading = await _limits(session)

        assert (writing, reading) == ([7.0, 3.0, 60.0], [7.0, 3.0, 60.0])

    async def test_a_read_stays_one(self, psycopg: Database, open_database: OpenDatabase) -> None:
        """Settings of the caller's do not take from the server that it refuses what a reading session writes."""
        database = open_database(psycopg, connect_args={"options": "-c application_name=mine"})

        with pytest.raises(ReadOnlyViolation):
            async with database.read() as session:
                await session.execute(text('WITH made AS (DELETE FROM "user" RETURNING id) SELECT * FROM made'))

    @pytest.mark.parametrize(
        "command", ["SET ROLE shop", "SELECT 1", "SET @a = 1; SET @b = 2", "set session transaction read only"]
    )
    def test_a_command_that_cannot_go_along_is_refused(self, mariadb: Database, command: str) -> None:
        """It would be sent instead of our settings, the time zone among them."""
        with pytest.raises(NotSupported, match="init_command"):
            Database(mariadb.url, connect_args={"init_command": command})


def fail_once(*_: object) -> None:
    """Break what gives a connection back."""
    raise OSError("the network is down")


async def add_users(database: Database, *users: User) -> None:
    """Write rows."""
    async with database.transaction() as session:
        session.add_all(users)


async def change_one(session: Session) -> None:
    """Change what was read."""
    (await session.get_one(User, 1)).email = "changed"


async def change_without_flushing(session: Session) -> None:
    """Change what was read, and read on without a flush."""
    with session.no_autoflush:
        (await session.get_one(User, 1)).email = "changed"
        await session.scalar(select(User.id))


async def change_in_place(session: Session) -> None:
    """Change a value within what was read."""
    user = await session.get_one(User, 1)
    user.settings["color"] = "red"


async def delete_one(session: Session) -> None:
    """Delete what was read."""
    await session.delete(await session.get_one(User, 1))


async def add_one(session: Session) -> None:
    """Add an object."""
    session.add(User(id=2, email="second"))


CHANGE_IT: dict[str, Callable[[Session], Coroutine[Any, Any, None]]] = {
    "add": add_one,
    "change": change_one,
    "without a flush": change_without_flushing,
    "in place": change_in_place,
    "delete": delete_one,
}
CHANGES = {
    "add": "a new User",
    "change": r"a changed User \(email\)",
    "without a flush": r"a changed User \(email\)",
    "in place": r"a changed User \(settings\)",
    "delete": "a deleted User",
}
READERS: dict[str, Callable[[Database], AbstractAsyncContextManager[Session]]] = {
    "read": lambda database: database.read(),
    "read only": lambda database: database.transaction(read_only=True),
    "session": lambda database: database.session(read_only=True),
}


class TestRead:
    async def test_it_sees_what_is_committed(self, every_driver: Database) -> None:
        """A reader sees the writer's commit with its next statement."""
        async with every_driver.read() as session:
            before = (await session.scalars(select(User.email))).all()
            async with every_driver.transaction() as writer:
                writer.add(User(id=1, email="a"))
            after = (await session.scalars(select(User.email))).all()

        assert (before, after) == ([], ["a"])

    @pytest.mark.parametrize("write", ["insert into {} (id, email) values (1, 'a')", "delete from {}"])
    async def test_text_cannot_write(self, every_driver: Database, write: str) -> None:
        """What gets past the session is refused by the server."""
        name = every_driver.engine.dialect.identifier_preparer.quote("user")

        with pytest.raises(ReadOnlyViolation):
            async with every_driver.read() as session:
                await session.execute(text(write.format(name)))

    async def test_a_flush_is_refused(self, db: Database) -> None:
        """New objects are refused before they are sent."""
        with pytest.raises(ReadOnlySession):
            async with db.read() as session:
                session.add(User(id=1, email="a"))
                await session.flush()

    @pytest.mark.parametrize("change", CHANGES)
    @pytest.mark.parametrize("block", READERS)
    async def test_what_was_never_flushed_is_refused_at_the_end(
        self, every_driver: Database, change: str, block: str
    ) -> None:
        """A change that nobody asked to write is not lost without a word."""
        await add_users(every_driver, User(id=1, email="first"))

        with pytest.raises(ReadOnlySession, match=CHANGES[change]):
            async with READERS[block](every_driver) as session:
                await CHANGE_IT[change](session)

        assert await emails(every_driver) == ["first"]

    async def test_what_the_block_raises_is_kept(self, db: Database) -> None:
        """Its error comes out, and not that it also held changes."""
        with pytest.raises(Failure):
            async with db.read() as session:
                session.add(User(id=1, email="lost"))
                raise Failure

    async def test_what_was_refused_before_is_not_refused_again(self, db: Database) -> None:
        """Who was told, and went on, is not told once more."""
        async with db.read() as session:
            session.add(User(id=1, email="lost"))
            with pytest.raises(ReadOnlySession, match="a new User"):
                await session.flush()

        assert await emails(db) == []

    async def test_what_comes_after_a_refusal_is_refused(self, db: Database) -> None:
        """Another object than the one that was refused is another change."""
        with pytest.raises(ReadOnlySession):
            async with db.read() as session:
                session.add(User(id=1, email="lost"))
                with pytest.raises(ReadOnlySession):
                    await session.flush()
                session.add(User(id=2, email="lost, too"))

    async def test_what_is_as_it_was_is_no_change(self, db: Database) -> None:
        """A value that is set to what it is, an object that was taken out: there is nothing to write."""
        await add_users(db, User(id=1, email="first"), User(id=2, email="second"))

        async with db.read() as session:
            first, second = (await session.scalars(select(User).order_by(User.id))).all()
            first.email = "first"
            session.expunge(second)
            second.email = "shown"

        assert await emails(db) == ["first", "second"]

    async def test_a_session_that_writes_may_drop_its_changes(self, db: Database) -> None:
        """A plain session that ends without a commit keeps nothing, as SQLAlchemy's does."""
        async with db.session() as session:
            session.add(User(id=1, email="lost"))

        assert await emails(db) == []

    async def test_a_connection_that_breaks_at_the_end_changes_nothing(
        self, server: Database, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What was read is right; the connection is closed, the log says why, and the pool makes another."""
        database = open_database(server, pool_size=1, max_overflow=0)
        reading = database.engines[1].sync_engine

        async with database.read() as session:
            await session.scalar(select(1))
            event.listen(reading, "reset", fail_once)

        event.remove(reading, "reset", fail_once)
        assert "the network is down" in caplog.text
        async with database.read() as session:
            assert await session.scalar(select(7)) == 7
        assert reading.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_a_statement_is_refused(self, db: Database) -> None:
        """insert() is refused before it is sent."""
        with pytest.raises(ReadOnlySession):
            async with db.read() as session:
                await session.execute(insert(User).values(id=1, email="a"))

    async def test_it_opens_no_transaction(self, server: Database) -> None:
        """Between two statements the server sees a connection that is idle, not one in a transaction."""
        async with server.read() as session:
            await session.execute(select(User))
            number = await own_id(session, server)
            async with server.transaction() as other:
                state = await other.scalar(text(OPEN_TRANSACTION[server.dialect]), {"number": number})

        assert state == 0

    async def test_it_sends_no_begin_and_no_rollback(self, postgres: Database, open_database: OpenDatabase) -> None:
        """A read is one message to the server and back, a transaction asks for its name too; asyncpg logs it."""
        database = open_database(postgres, pool_size=1, max_overflow=0)

        around_read = await _spy(database.read)
        begin, name, commit = await _spy(database.transaction)

        assert around_read == []
        assert (begin, commit) == ("BEGIN;", "COMMIT;")
        assert "pg_current_xact_id_if_assigned()" in name

    async def test_a_cancelled_read_leaves_nothing_behind(
        self, every_driver: Database, open_database: OpenDatabase
    ) -> None:
        """The place in the pool is free again, and the next read has a connection that works."""
        database = open_database(every_driver, pool_size=1, max_overflow=0, pool_timeout=2)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), database.read() as session:
                await session.execute(text(SLOW[database.dialect]))

        async with database.read() as session:
            answer = await session.scalar(text("select 7"))

        assert answer == 7

    async def test_a_read_that_is_cancelled_again_and_again_leaves_nothing_behind(
        self, every_driver: Database, open_database: OpenDatabase
    ) -> None:
        """So it is where anyio cancels at every await, the one that gives the connection back included."""
        database = open_database(every_driver, pool_size=1, max_overflow=0, pool_timeout=2)
        with anyio.move_on_after(0.2):
            async with database.read() as session:
                await session.execute(select(1))
                await asyncio.Event().wait()

        async with database.read() as session:
            answer = await session.scalar(text("select 7"))

        assert answer == 7

    async def test_its_hooks_are_called(self, every_driver: Database) -> None:
        """A read is never committed: what waits for the end of it hears of a rollback."""
        heard: list[str] = []

        async with every_driver.read() as session:
            await session.execute(select(User))
            session.on_commit(heard.append, "committed")
            session.on_rollback(heard.append, "rolled back")

        assert heard == ["rolled back"]

    async def test_readers_do_not_wait_for_the_writer(self, sqlite: Database) -> None:
        """On SQLite a read goes on while somebody writes."""
        async with sqlite.transaction() as writer:
            writer.add(User(id=1, email="a"))
            await writer.flush()

            async with sqlite.read() as session:
                seen = (await session.scalars(select(User.email))).all()

        assert seen == []

    async def test_the_options_of_the_caller_do_not_open_it(
        self, every_driver: Database, open_database: OpenDatabase
    ) -> None:
        """An isolation level and execution options of the engine leave the reader a reader."""
        database = open_database(every_driver, isolation_level="SERIALIZABLE", execution_options={"mine": 1})
        name = database.engine.dialect.identifier_preparer.quote("user")

        with pytest.raises(ReadOnlyViolation):
            async with database.read() as session:
                await session.execute(text(f"delete from {name}"))


OPEN_TRANSACTION = {
    "postgresql": "select count(*) from pg_stat_activity where pid = :number and state <> 'idle'",
    "mariadb": "select count(*) from information_schema.innodb_trx where trx_mysql_thread_id = :number",
}


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
        with pytest.raises(UsageError, match="plain, which is no asynchronous function"):
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


class TestIdleConnections:
    async def test_a_dead_one_is_replaced(self, server: Database, open_database: OpenDatabase, idle: None) -> None:
        """A connection that was killed while it idled costs its next borrower nothing."""
        database = open_database(server, pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            number = await own_id(session, database)
        await kill(server, number)

        async with database.transaction() as session:
            replaced = await own_id(session, database)

        assert replaced != number

    async def test_a_living_one_is_kept(self, server: Database, open_database: OpenDatabase, idle: None) -> None:
        """The check itself changes nothing."""
        database = open_database(server, pool_size=1, max_overflow=0)
        async with database.transaction() as session:
            number = await own_id(session, database)

        async with database.transaction() as session:
            again = await own_id(session, database)

        assert again == number

    async def test_a_busy_one_is_not_asked(self, server: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """A connection that was just used is trusted, and on a machine that is busy itself "just" may be long ago."""
        monkeypatch.setattr(database_module, "IDLE_BEFORE_CHECK", 3600.0)
        asked = _count_pings(server, monkeypatch)

        await emails(server)
        await emails(server)

        assert asked == []

    async def test_an_idle_one_is_asked(self, server: Database, monkeypatch: pytest.MonkeyPatch, idle: None) -> None:
        """One that idled is asked once when it is taken."""
        await emails(server)
        asked = _count_pings(server, monkeypatch)

        await emails(server)

        assert len(asked) == 1

    @pytest.fixture
    def idle(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let every connection in the pool count as idle."""
        monkeypatch.setattr(database_module, "IDLE_BEFORE_CHECK", 0.0)


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


async def _spy(block: Callable[[], AbstractAsyncContextManager[Session]]) -> list[str]:
    """Note what asyncpg sends for a block with one query, apart from the query."""
    sent: list[str] = []

    def note(record: Any) -> None:
        sent.append(record.query)

    async with block() as session:
        raw = await (await session.connection()).get_raw_connection()
        driver: Any = raw.driver_connection
        driver.add_query_logger(note)
        await session.execute(select(User))
    await asyncio.sleep(0)  # asyncpg calls the logger a turn later
    driver.remove_query_logger(note)
    return sent


async def _isolation(session: Session) -> str:
    """Ask the server for the level of this transaction, which need not be the session's."""
    await session.execute(select(User))
    dialect = (await session.connection()).dialect.name
    await asyncio.sleep(0.15)  # MariaDB renews its list of transactions when nobody has read it for a tenth of a second
    return str(await session.scalar(text(ISOLATION[dialect]))).upper()


async def _limits(session: Session) -> list[float]:
    connection = await session.connection()
    found = (await connection.execute(text(LIMITS[connection.dialect.name]))).one()
    return [float(value) for value in found]


def _count_pings(database: Database, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    asked: list[Any] = []
    dialect = database.engine.sync_engine.dialect
    ping = dialect.do_ping

    def count(connection: Any) -> bool:
        asked.append(connection)
        return ping(connection)

    monkeypatch.setattr(dialect, "do_ping", count)
    return asked


ISOLATION = {
    "postgresql": "show transaction_isolation",
    "mariadb": "select trx_isolation_level from information_schema.innodb_trx"
    " where trx_mysql_thread_id = connection_id()",
}
LIMITS = {
    "postgresql": "select extract(epoch from current_setting('statement_timeout')::interval),"
    " extract(epoch from current_setting('lock_timeout')::interval),"
    " extract(epoch from current_setting('idle_in_transaction_session_timeout')::interval)",
    "mariadb": "select @@max_statement_time, @@innodb_lock_wait_timeout, @@idle_transaction_timeout",
}
