"""SQLite: real transactions where the driver has half ones."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from sqlalchemy import event, text

from sqlkeel.engines._backend import Limits, parse_url
from sqlkeel.engines._databases.sqlite import SQLiteBackend
from sqlkeel.engines._plain import OperationalFault
from sqlkeel.errors import (
    DatabaseBusy,
    DatabaseFault,
    ForeignKeyViolation,
    StatementTimeout,
    UniqueViolation,
    ValueRefused,
)
from sqlkeel.sessions import Database
from tests.engines.peers import SLOW, soon
from tests.fixtures.databases import OpenDatabase


class Failure(Exception):
    """What goes wrong in a test."""


@pytest.fixture
async def one(sqlite: Database, open_database: OpenDatabase) -> Database:
    """A database with one connection, and a table of numbers in it."""
    database = open_database(sqlite, pool_size=1, max_overflow=0)
    async with database.engine.begin() as connection:
        await connection.execute(text("create table number (i integer primary key)"))
    return database


async def numbers(database: Database) -> list[int]:
    """Read what is committed."""
    async with database.read() as session:
        return list(await session.scalars(text("select i from number order by i")))


async def pragma(database: Database, name: str) -> Any:
    """Return a setting of the connection that writes."""
    async with database.transaction() as session:
        return await session.scalar(text(f"PRAGMA {name}"))


class TestConnection:
    @pytest.mark.parametrize(
        ("name", "value"), [("foreign_keys", 1), ("journal_mode", "wal"), ("synchronous", 1), ("query_only", 0)]
    )
    async def test_the_pragmas(self, sqlite: Database, name: str, value: object) -> None:
        """Foreign keys are enforced, and readers do not block the writer."""
        assert await pragma(sqlite, name) == value

    async def test_foreign_keys_are_enforced(self, one: Database) -> None:
        """A row that points nowhere is refused."""
        async with one.engine.begin() as connection:
            await connection.execute(text("create table child (number_i integer references number)"))

        with pytest.raises(ForeignKeyViolation):
            async with one.transaction() as session:
                await session.execute(text("insert into child values (7)"))

    @pytest.mark.parametrize(
        ("url", "memory"),
        [
            ("sqlite://", True),
            ("sqlite:///:memory:", True),
            ("sqlite:///file:x?mode=memory&cache=shared&uri=true", True),
            ("sqlite:///app.db", False),
            ("sqlite:///memory.db", False),
        ],
    )
    def test_what_is_in_memory(self, url: str, memory: bool) -> None:
        """A database in memory has one connection, and no second pool to read."""
        options = SQLiteBackend().reader_options(parse_url(url), Limits())

        assert (options is None) is memory


class TestTransactions:
    async def test_a_released_savepoint_is_rolled_back(self, one: Database) -> None:
        """The driver alone would keep its row."""
        with pytest.raises(Failure):
            async with one.transaction() as session:
                async with session.savepoint():
                    await session.execute(text("insert into number values (1)"))
                raise Failure

        assert await numbers(one) == []

    async def test_ddl_is_rolled_back(self, one: Database) -> None:
        """A table is part of the transaction that makes it."""
        with pytest.raises(Failure):
            async with one.transaction() as session:
                await session.execute(text("create table other (i int)"))
                raise Failure

        async with one.read() as session:
            assert await session.scalar(text("select count(*) from sqlite_master where name = 'other'")) == 0

    async def test_reads_are_a_snapshot(self, sqlite: Database) -> None:
        """Two reads in one transaction see the same, whatever is committed between them."""
        async with sqlite.transaction() as session:
            await session.execute(text("create table number (i integer primary key)"))

        async with sqlite.transaction(read_only=True) as reader:
            before = await reader.scalar(text("select count(*) from number"))
            async with sqlite.session() as writer, writer.begin():
                await writer.execute(text("insert into number values (1)"))
            after = await reader.scalar(text("select count(*) from number"))

        assert (before, after) == (0, 0)

    async def test_read_then_write_twice(self, sqlite: Database) -> None:
        """Two transactions that read and then write both succeed, one after the other, and lose nothing."""
        async with sqlite.transaction() as session:
            await session.execute(text("create table counter as select 0 as i"))

        async def count_up() -> None:
            async with sqlite.transaction() as session:
                value = await session.scalar(text("select i from counter"))
                await asyncio.sleep(0)
                await session.execute(text("update counter set i = :value"), {"value": value + 1})

        await asyncio.gather(*(count_up() for _ in range(8)))

        async with sqlite.read() as session:
            assert await session.scalar(text("select i from counter")) == 8

    async def test_autocommit_is_autocommit(self, one: Database) -> None:
        """With that isolation level each statement stands alone, and VACUUM is possible."""
        async with one.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("insert into number values (1)"))
            await connection.execute(text("vacuum"))
            await connection.rollback()

        assert await numbers(one) == [1]

    async def test_autocommit_is_for_one_borrower(self, one: Database) -> None:
        """The next one of the same connection has real transactions again."""
        async with one.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            await connection.execute(text("insert into number values (1)"))

        with pytest.raises(Failure):
            async with one.transaction() as session:
                await session.execute(text("insert into number values (2)"))
                raw = await (await session.connection()).get_raw_connection()
                level = raw.driver_connection.isolation_level  # type: ignore[union-attr]
                raise Failure

        assert level is None
        assert await numbers(one) == [1]

    async def test_a_rollback_that_could_be_saved_is_not(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """skip_autocommit_rollback takes a connection without the driver's transactions for one without any."""
        one = open_database(sqlite, pool_size=1, max_overflow=0, skip_autocommit_rollback=True)
        with pytest.raises(Failure):
            async with one.transaction() as session:
                await session.execute(text("create table number (i int)"))
                raise Failure

        async with one.transaction() as session:
            count = await session.scalar(text("select count(*) from sqlite_master"))

        assert count == 0

    async def test_query_only_is_for_one_borrower(self, one: Database) -> None:
        """A reader, a writer and a reader take turns on one connection."""
        async with one.transaction(read_only=True) as session:
            first = await session.scalar(text("PRAGMA query_only"))
        second = await pragma(one, "query_only")
        async with one.transaction(read_only=True) as session:
            third = await session.scalar(text("PRAGMA query_only"))

        assert (first, second, third) == (1, 0, 1)

    async def test_a_failed_commit_frees_the_lock(self, one: Database) -> None:
        """A COMMIT that a deferred foreign key refuses leaves nothing open."""
        async with one.engine.begin() as connection:
            await connection.execute(
                text("create table late (number_i integer references number deferrable initially deferred)")
            )
        with pytest.raises(ForeignKeyViolation):
            async with one.transaction() as session:
                await session.execute(text("insert into late values (7)"))

        async with one.transaction() as session:
            await session.execute(text("insert into number values (1)"))

        assert await numbers(one) == [1]


class TestCodes:
    async def test_a_snapshot_that_is_too_old_is_busy(self, one: Database) -> None:
        """A transaction that did not begin as a writer cannot become one behind another: 517, which no wait helps."""
        deferred = one.engine.execution_options(isolation_level="AUTOCOMMIT")
        second = Database(one.url)

        with pytest.raises(DatabaseBusy) as caught:
            async with deferred.connect() as connection, second:
                await connection.execute(text("begin deferred"))
                await connection.execute(text("select * from number"))
                async with second.transaction() as session:
                    await session.execute(text("insert into number values (1)"))
                await connection.execute(text("insert into number values (2)"))

        assert getattr(caught.value.orig, "sqlite_errorcode", None) == 517

    async def test_a_number_of_a_row_is_unique_too(self, one: Database) -> None:
        """A rowid without a column of its own has a code of its own: 2579."""
        async with one.engine.begin() as connection:
            await connection.execute(text("create table plain (word text)"))
            await connection.execute(text("insert into plain (rowid) values (1)"))

        with pytest.raises(UniqueViolation) as caught:
            async with one.transaction() as session:
                await session.execute(text("insert into plain (rowid) values (1)"))

        assert getattr(caught.value.orig, "sqlite_errorcode", None) == 2579

    async def test_a_table_that_is_being_read_is_locked(self, one: Database) -> None:
        """A table cannot be dropped while a cursor of the same connection is in it: 6."""
        async with one.engine.begin() as connection:
            await connection.execute(text("insert into number values (1), (2), (3)"))

        with pytest.raises(DatabaseFault) as caught:
            async with one.transaction() as session:
                rows = await session.stream(text("select i from number"))
                await anext(aiter(rows))
                await session.execute(text("drop table number"))

        assert caught.value.code == DatabaseBusy.code

    @pytest.mark.parametrize("value", [2**70, "\ud800"], ids=["a number of 70 bits", "half a character"])
    async def test_what_was_said_before_is_not_said_again(self, one: Database, value: object) -> None:
        """A value that cannot be sent is refused for itself, and not with the error of the statement before."""
        late = text("select :value")

        async with one.read() as session:
            await session.execute(late, {"value": 1})  # SQLite keeps it prepared, and forgets no error for it then
            with pytest.raises(OperationalFault, match="malformed JSON"):
                await session.execute(text("select json('{')"))
            with pytest.raises(ValueRefused):
                await session.execute(late, {"value": value})

    async def test_a_name_that_was_taken_before_is_not_taken_again(self, one: Database) -> None:
        """It is no UniqueViolation either, which would be made a conflict or be tried again."""
        write = text("insert into number values (:i)")
        alone = one.engine.execution_options(isolation_level="AUTOCOMMIT")

        async with alone.connect() as connection:
            await connection.execute(write, {"i": 1})
            with pytest.raises(UniqueViolation):
                await connection.execute(write, {"i": 1})
            with pytest.raises(ValueRefused):
                await connection.execute(write, {"i": 2**70})

    async def test_an_error_behind_another_one_is_its_own(self, one: Database) -> None:
        """What fails while another error is handled fails for what the library says of it."""
        async with one.read() as session:
            try:
                raise Failure
            except Failure:
                with pytest.raises(OperationalFault, match="malformed JSON"):
                    await session.execute(text("select json('{')"))


class TestCancellation:
    async def test_a_statement_that_has_not_begun_is_stopped(self, one: Database) -> None:
        """A cancellation that is faster than the thread of the connection stops it all the same, and frees the lock."""
        queued, gate = asyncio.Event(), threading.Event()

        def hold_up(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            if statement == SLOW["sqlite"]:
                connection.connection.driver_connection._tx.put_nowait((None, gate.wait))
                queued.set()

        async def work() -> None:
            async with one.transaction() as session:
                await session.execute(text("insert into number values (1)"))
                await session.execute(text(SLOW["sqlite"]))

        event.listen(one.engine.sync_engine, "before_cursor_execute", hold_up)
        task = asyncio.create_task(work())
        await queued.wait()
        task.cancel()
        await asyncio.sleep(0)
        gate.set()

        assert await soon(task.done)
        assert task.cancelled()
        async with one.transaction() as session:
            await session.execute(text("insert into number values (2)"))
        assert await numbers(one) == [2]


class TestWaiting:
    async def test_begin_waits_for_its_turn(self, one: Database, open_database: OpenDatabase) -> None:
        """A second writer begins when the first has ended, without an error."""
        sqlite = open_database(one)
        order: list[str] = []

        async def write(name: str, begun: asyncio.Event, go_on: asyncio.Event) -> None:
            async with sqlite.transaction() as session:
                await session.execute(text("select 1"))
                order.append(name)
                begun.set()
                await go_on.wait()

        begun, go_on, ready = asyncio.Event(), asyncio.Event(), asyncio.Event()
        ready.set()
        first = asyncio.create_task(write("first", begun, go_on))
        await begun.wait()
        sent: list[str] = []
        event.listen(sqlite.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2]))
        second = asyncio.create_task(write("second", asyncio.Event(), ready))
        await soon(lambda: "BEGIN IMMEDIATE" in sent)
        before = list(order)
        go_on.set()
        await asyncio.gather(first, second)

        assert before == ["first"]
        assert order == ["first", "second"]

    async def test_the_usual_wait_has_an_end(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """lock_timeout of the Database is how long every writer waits."""
        hurried = open_database(sqlite, lock_timeout=0.05)

        with pytest.raises(DatabaseBusy):
            async with sqlite.transaction() as session:
                await session.execute(text("select 1"))
                async with hurried.transaction() as other:
                    await other.execute(text("select 1"))


class TestStatementTimeout:
    async def test_reads_have_it(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """statement_timeout of the Database stops a query of a reader."""
        database = open_database(sqlite, statement_timeout=0.1)

        with pytest.raises(StatementTimeout):
            async with database.read() as session:
                await session.execute(text(SLOW["sqlite"]))

    async def test_the_next_statement_is_not_hit(self, one: Database) -> None:
        """A limit that was not reached ends with its statement."""
        async with one.transaction(statement_timeout=0.1) as session:
            await session.execute(text("insert into number values (1)"))
            await asyncio.sleep(0.2)
            await session.execute(text("insert into number values (2)"))

        assert await numbers(one) == [1, 2]

    async def test_a_failed_statement_leaves_no_timer(self, one: Database) -> None:
        """An error ends the limit as well."""
        async with one.transaction(statement_timeout=0.1) as session:
            with pytest.raises(Exception, match="syntax error"):
                await session.execute(text("selec 1"))
            await asyncio.sleep(0.2)
            await session.execute(text("insert into number values (1)"))

        assert await numbers(one) == [1]
