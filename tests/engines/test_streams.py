"""Streams: rows that are still on the server, in sessions that only read and in transactions."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final

import pytest
from sqlalchemy import ForeignKey, String, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncResult
from sqlalchemy.orm import Mapped, mapped_column, selectinload

import sqlkeel
from sqlkeel import IntKeyMixin, Repository
from sqlkeel.errors import ConnectionLost, DatabaseFault, NotSupported, SessionShared
from sqlkeel.models import children, parent
from sqlkeel.sessions import Database, Session
from tests.fixtures.databases import OpenDatabase

ROWS = 1_500
IN_TRANSACTION = (
    "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
)


class Base(sqlkeel.Base):
    """The models of this file."""


class Person(IntKeyMixin, Base):
    """One of many."""

    __tablename__ = "streams_person"
    name: Mapped[str] = mapped_column(String(50))
    notes: Mapped[list[Note]] = children(back_populates="person")


class Note(IntKeyMixin, Base):
    """What belongs to somebody."""

    __tablename__ = "streams_note"
    person_id: Mapped[int] = mapped_column(ForeignKey("streams_person.id", ondelete="CASCADE"), index=True)
    person: Mapped[Person] = parent(back_populates="notes")


pytestmark = [
    pytest.mark.tables(Base.metadata),
    # What the drivers say of a stream that was left in the middle: they clean up behind it.
    pytest.mark.filterwarnings("ignore:Previous unbuffered result"),
    pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


class Failure(Exception):
    """What goes wrong in a test."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    """Let the garbage collector find nothing: what only it closes stays open."""
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(params=["postgres", "psycopg", "mariadb"])
def remote(request: pytest.FixtureRequest) -> Database:
    """Each database with connections that can break."""
    database: Database = request.getfixturevalue(request.param)
    return database


async def fill(database: Database) -> None:
    """Write more rows than fit into the buffer of a stream."""
    async with database.transaction() as session:
        await Repository(session, Person).insert_many([{"name": f"person {n}"} for n in range(ROWS)])


@pytest.fixture
async def people(every_driver: Database) -> Database:
    """Each database with rows, through each of its drivers."""
    await fill(every_driver)
    return every_driver


async def orm(session: Session) -> int:
    """Stream objects."""
    return len([one async for one in await session.stream_scalars(select(Person))])


async def core(session: Session) -> int:
    """Stream the rows of a text."""
    return len([row async for row in await session.stream(text("select * from streams_person"))])


async def portions(session: Session) -> int:
    """Stream objects in portions."""
    statement = select(Person).execution_options(yield_per=10)
    return len([one async for one in await session.stream_scalars(statement)])


async def partitions(session: Session) -> int:
    """Stream lists of objects."""
    result = await session.stream_scalars(select(Person).execution_options(yield_per=100))
    return sum([len(part) async for part in result.partitions()])


async def two_in_a_row(session: Session) -> int:
    """Stream, and stream once more."""
    await core(session)
    return await core(session)


async def after_an_early_end(session: Session) -> int:
    """Leave a stream after its first row, and stream again."""
    async for _ in await session.stream(text("select * from streams_person")):
        break
    return await core(session)


async def after_an_error(session: Session) -> int:
    """Fail in the loop over a stream, and stream again."""
    with pytest.raises(Failure):
        async for _ in await session.stream(text("select * from streams_person")):
            raise Failure
    return await core(session)


async def after_a_close(session: Session) -> int:
    """Close a stream by hand, and stream again."""
    result = await session.stream(text("select * from streams_person"))
    await result.fetchone()
    await result.close()
    return await core(session)


STREAMS: dict[str, Callable[[Session], Coroutine[Any, Any, int]]] = {
    "objects": orm,
    "rows": core,
    "portions": portions,
    "partitions": partitions,
    "two in a row": two_in_a_row,
    "after an early end": after_an_early_end,
    "after an error": after_an_error,
    "after a close": after_a_close,
}


async def to_the_end(result: AsyncResult[Any]) -> None:
    """Read all rows."""
    assert len([row async for row in result]) == ROWS


async def by_hand(result: AsyncResult[Any]) -> None:
    """Close it after a row."""
    await result.fetchone()
    await result.close()


async def portions_to_the_end(result: AsyncResult[Any]) -> None:
    """Read all rows in portions."""
    assert sum([len(part) async for part in result.partitions(100)]) == ROWS


async def few(result: AsyncResult[Any]) -> None:
    """Take no more than was asked for, in one piece."""
    await result.fetchmany(10)
    await result.close()


OVER: Final[dict[str, Callable[[AsyncResult[Any]], Coroutine[Any, Any, None]]]] = {
    "to the end": to_the_end,
    "by hand": by_hand,
    "in portions": portions_to_the_end,
    "few": few,
}


def checked_out(database: Database) -> int:
    """Count the connections that are missing in the pools."""
    return sum(engine.pool.checkedout() for engine in database.engines)  # type: ignore[attr-defined]


class TestRead:
    @pytest.mark.parametrize("stream", STREAMS)
    async def test_every_row_comes(self, people: Database, stream: str) -> None:
        """A session that only reads streams, whatever the database, and leaves nothing open."""
        async with people.read() as session:
            found = await STREAMS[stream](session)

        assert found == ROWS
        assert checked_out(people) == 0

    @pytest.mark.parametrize("stream", STREAMS)
    async def test_a_transaction_streams_too(self, people: Database, stream: str) -> None:
        """As it did."""
        async with people.transaction(read_only=True) as session:
            found = await STREAMS[stream](session)

        assert found == ROWS

    async def test_a_cancelled_stream_leaves_nothing(self, people: Database) -> None:
        """Who is cancelled in the loop can stream again in the same session."""
        reading = asyncio.Event()

        async def read(session: Session) -> None:
            async for _ in await session.stream(text("select * from streams_person")):
                reading.set()
                await asyncio.sleep(10)

        async with people.read() as session:
            task = asyncio.create_task(read(session))
            await reading.wait()
            task.cancel()
            await asyncio.wait({task})

            assert await core(session) == ROWS

        assert checked_out(people) == 0

    async def test_another_task_is_refused(self, people: Database) -> None:
        """A stream is a use of its session each time that it asks for rows."""
        async with people.read() as session:
            found = await asyncio.gather(core(session), core(session), return_exceptions=True)

        assert found[0] == ROWS
        assert isinstance(found[1], SessionShared)


@pytest.fixture(params=["postgres", "psycopg"])
def server(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL, through each of its drivers."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture
async def postgresql(server: Database) -> Database:
    """PostgreSQL with rows."""
    await fill(server)
    return server


async def in_transaction(database: Database) -> int:
    """Count the connections that are in a transaction and do nothing."""
    async with database.engine.connect() as connection:
        return int((await connection.execute(text(IN_TRANSACTION))).scalar_one())


FAILS_LATE: Final = {
    "sqlite": "with recursive numbers(i) as (select 1 union all select i + 1 from numbers where i < 2000) "
    "select abs(case i when 1500 then -9223372036854775808 else i end) from numbers",
    "postgresql": "select 1 / (1500 - i) from generate_series(1, 2000) as i",
    "mariadb": "select extractvalue('<a/>', if(seq = 1500, '///', 'a')) from seq_1_to_2000",
}
ENDLESS: Final = {
    "postgresql": "select repeat('x', 10000) from generate_series(1, 100000)",
    "mariadb": "select repeat('x', 10000) from seq_1_to_100000",
}
KILL: Final = {
    "postgresql": ("select pg_backend_pid()", "select pg_terminate_backend({})"),
    "mariadb": ("select connection_id()", "kill {}"),
}
BLOCKS: Final[dict[str, Callable[[Database], Any]]] = {
    "transaction": lambda database: database.transaction(),
    "read": lambda database: database.read(),
    "begin": lambda database: database.engine.begin(),
    "connect": lambda database: database.engine.connect(),
}


@pytest.mark.parametrize("block", BLOCKS)
class TestFailures:
    async def test_one_among_the_rows_is_ours(self, every_driver: Database, block: str) -> None:
        """What the server finds at a late row is a fault like that of a statement, and the connection is sound."""
        with pytest.raises(DatabaseFault) as caught:
            async with BLOCKS[block](every_driver) as stand:
                result = await stand.stream(text(FAILS_LATE[every_driver.dialect]))
                [row async for row in result]

        assert not isinstance(caught.value, ConnectionLost)
        assert isinstance(caught.value, DBAPIError)
        assert not caught.value.connection_invalidated

    async def test_a_lost_connection_is_lost(self, remote: Database, open_database: OpenDatabase, block: str) -> None:
        """A connection that breaks among the rows is closed, and the pool has a new one."""
        database = open_database(remote, pool_size=1, max_overflow=0)
        own_id, kill = KILL[remote.dialect]

        with pytest.raises(ConnectionLost) as caught:
            async with BLOCKS[block](database) as stand:
                number = (await stand.execute(text(own_id))).scalar_one()
                result = await stand.stream(text(ENDLESS[remote.dialect]))
                await result.fetchone()
                async with remote.engine.connect() as other:
                    await other.execute(text(kill.format(number)))
                [row async for row in result]

        assert caught.value.connection_invalidated
        async with BLOCKS[block](database) as stand:
            assert (await stand.execute(text(own_id))).scalar_one() != number


class TestConnections:
    """Streams of connections, of which nobody but SQLAlchemy and the driver knows."""

    @pytest.mark.parametrize("end", OVER)
    async def test_one_that_is_over_stops_nothing(self, people: Database, end: str) -> None:
        """A result that was read or closed may be held on to; the next statement is answered."""
        async with people.engine.connect() as connection:
            result = await connection.stream(text("select * from streams_person"))
            await OVER[end](result)

            answer = await connection.scalar(text("select 7"))

            assert answer == 7
            assert result is not None

    @pytest.mark.parametrize("block", ["transaction", "read"])
    async def test_one_of_a_session_in_a_block(self, people: Database, block: str) -> None:
        """The block of a stream closes it, on the connection of a session too."""
        async with BLOCKS[block](people) as session:
            connection: AsyncConnection = await session.connection()
            async with connection.stream(text("select * from streams_person")) as result:
                await result.fetchone()

            assert await session.scalar(text("select 7")) == 7


class TestPostgreSQL:
    async def test_the_transaction_ends_with_the_stream(self, postgresql: Database) -> None:
        """The session goes on without one."""
        async with postgresql.read() as session:
            stream = await session.stream(text("select * from streams_person"))
            await stream.fetchone()
            during = await in_transaction(postgresql)
            await stream.close()
            after = await in_transaction(postgresql)

        assert (during, after) == (1, 0)

    async def test_it_ends_with_the_session(self, postgresql: Database) -> None:
        """A stream that nobody has closed is not taken along by the connection."""
        async with postgresql.read() as session:
            stream = await session.stream(text("select * from streams_person"))
            await stream.fetchone()

        assert await in_transaction(postgresql) == 0
        async with postgresql.read() as session:
            assert await session.scalar(text("select 7")) == 7

    async def test_a_statement_beside_it_is_answered(self, postgresql: Database) -> None:
        """Relations may be loaded in the loop."""
        statement = select(Person).options(selectinload(Person.notes)).execution_options(yield_per=10)

        async with postgresql.read() as session:
            notes = [len(person.notes) async for person in await session.stream_scalars(statement)]

        assert notes == [0] * ROWS

    async def test_two_streams_take_turns(self, postgresql: Database) -> None:
        """The transaction ends with the last of them."""
        async with postgresql.read() as session:
            first = await session.stream(text("select id from streams_person order by id"))
            second = await session.stream(text("select id from streams_person order by id"))
            pairs = [(one[0], (await anext(second))[0]) async for one in first]
            during = await in_transaction(postgresql)
            await second.close()
            after = await in_transaction(postgresql)

        assert len(pairs) == ROWS
        assert (during, after) == (1, 0)

    async def test_a_statement_that_fails_beside_it_stops_nothing_else(self, postgresql: Database) -> None:
        """Each statement of the session still stands on its own; only the stream is gone with it."""
        async with postgresql.read() as session:
            stream = await session.stream(text("select * from streams_person"))
            await stream.fetchone()
            with pytest.raises(Exception, match="nowhere"):
                await session.execute(text("select * from nowhere"))

            assert await session.scalar(text("select 7")) == 7
            assert await core(session) == ROWS

    async def test_it_cannot_write(self, postgresql: Database) -> None:
        """The transaction of a stream is one that only reads."""
        async with postgresql.read() as session:
            stream = await session.stream(text("select * from streams_person"))
            with pytest.raises(Exception, match="read-only"):
                await session.execute(text("delete from streams_note"))
            await stream.close()


class TestMariaDB:
    @pytest.fixture
    async def mariadb_people(self, mariadb: Database) -> Database:
        """MariaDB with rows."""
        await fill(mariadb)
        return mariadb

    async def test_a_statement_beside_it_is_refused(self, mariadb_people: Database) -> None:
        """The driver would throw the rest of the rows away, and say nothing."""
        async with mariadb_people.read() as session:
            stream = await session.stream(text("select * from streams_person"))
            await stream.fetchone()

            with pytest.raises(NotSupported, match="one after the other") as caught:
                await session.scalar(text("select 7"))

            assert "close it" in str(caught.value)
            assert len(await stream.fetchall()) == ROWS - 1
            assert await session.scalar(text("select 7")) == 7

    async def test_a_connection_refuses_it_too(self, mariadb_people: Database) -> None:
        """Rows that a connection of the engine streams are lost in the same way."""
        async with mariadb_people.engine.connect() as connection:
            stream = await connection.stream(text("select * from streams_person"))
            await stream.fetchone()

            with pytest.raises(NotSupported, match="one after the other"):
                await connection.execute(text("select 7"))

            assert len(await stream.fetchall()) == ROWS - 1

    async def test_relations_that_are_loaded_beside_it_are_refused(self, mariadb_people: Database) -> None:
        """Ten of fifteen hundred rows would come, without an error."""
        statement = select(Person).options(selectinload(Person.notes)).execution_options(yield_per=10)

        with pytest.raises(NotSupported):
            async with mariadb_people.transaction() as session:
                [person async for person in await session.stream_scalars(statement)]

    async def test_a_stream_that_nobody_holds_is_over(self, mariadb_people: Database) -> None:
        """Leaving the loop is enough."""
        async with mariadb_people.read() as session:
            async for _ in await session.stream(text("select * from streams_person")):
                break

            assert await session.scalar(text("select 7")) == 7


class TestPrivateNames:
    """What SQLAlchemy keeps under private names."""

    async def test_a_stream_has_the_attributes_of_sqlalchemys_own(self, db: Database) -> None:
        """What reads the rows is ours around SQLAlchemy's, and hands on what it has not itself."""
        async with db.session() as session:
            result = await session.run_sync(
                lambda inner: inner.execute(select(Person).execution_options(yield_per=15)).raw.cursor_strategy
            )
            assert result._max_row_buffer == 15
            await session.close()
