"""Blocks that read: on one snapshot, and without a change that would be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest
from sqlalchemy import event, insert, select, text

from sqlkeel.errors import ReadOnlySession, ReadOnlyViolation
from sqlkeel.sessions import Database, Session
from tests.engines.peers import SLOW, own_id
from tests.fixtures.databases import OpenDatabase
from tests.sessions.database_models import Base, Failure, User, emails

pytestmark = pytest.mark.tables(Base.metadata)


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
