"""What PostgreSQL is asked about a COMMIT without an answer, when the server that answers has been killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import make_url, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database
from sqlkeel.errors import ConnectionLost
from sqlkeel.testing import PostgreSQLServer
from tests.faults.network import is_commit
from tests.faults.postgresql import SAFE, kill_everything
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.servers import launched


class Base(sqlkeel.Base): ...


class Note(Base):
    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


@pytest.fixture
def server() -> Iterator[PostgreSQLServer]:
    """A server that writes its log when somebody commits, and not before."""
    with launched("postgresql", lambda: PostgreSQLServer(settings={**SAFE, "wal_writer_delay": "10s"})) as server:
        yield server


@pytest.fixture
async def proxy(server: PostgreSQLServer) -> AsyncIterator[Proxy]:
    """A proxy to it."""
    async with proxy_to("127.0.0.1", server.port) as proxy:
        yield proxy


@pytest.fixture
async def direct(server: PostgreSQLServer) -> AsyncIterator[Database]:
    """The database with its table, past the proxy."""
    async with Database(server.url()) as database:
        async with database.engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
        yield database


@pytest.fixture(params=["asyncpg", "psycopg"])
async def database(
    request: pytest.FixtureRequest, server: PostgreSQLServer, proxy: Proxy, direct: Database
) -> AsyncIterator[Database]:
    """The same database, through the proxy, in a pool of one connection."""
    url = make_url(server.url(driver=request.param)).set(port=proxy.port)
    async with Database(url, pool_size=1, max_overflow=0, pool_timeout=0.2) as database:
        yield database


async def write(database: Database, number: int, numbers: list[str]) -> None:
    """Write one note, and tell the number of the transaction."""
    async with database.transaction() as session:
        session.add(Note(id=number))
        await session.flush()
        numbers += await session.scalars(text("SELECT pg_current_xact_id()::text"))


async def notes(database: Database) -> list[int]:
    """Read what is there."""
    async with database.read() as session:
        return list(await session.scalars(select(Note.id)))


class TestKilledServer:
    async def test_another_transaction_of_the_same_number_is_not_taken_for_this_one(
        self, server: PostgreSQLServer, proxy: Proxy, database: Database, direct: Database
    ) -> None:
        """A killed server gives numbers out again: that one of them was committed says nothing of the lost one."""
        sent, numbers = asyncio.Event(), list[str]()

        def swallow() -> None:
            proxy.drop()
            proxy.refuses = True
            sent.set()

        proxy.call_at(is_commit, swallow)
        lost = asyncio.create_task(write(database, 1, numbers))
        await sent.wait()
        kill_everything(server)
        server.start()
        await direct.dispose()
        await write(direct, 2, numbers)
        proxy.resume()

        with pytest.raises(ConnectionLost, match="has rolled back"):
            await lost

        assert numbers[0] == numbers[1]
        assert await notes(direct) == [2]

    async def test_what_was_committed_before_the_server_died_is_committed(
        self, server: PostgreSQLServer, proxy: Proxy, database: Database, direct: Database
    ) -> None:
        """The answer to COMMIT is lost and the server killed: the one that comes back knows what it had committed."""
        proxy.call_at(is_commit, lambda: setattr(proxy, "refuses", True))
        proxy.cut_at(is_commit, deliver=True)
        asked = asyncio.create_task(write(database, 1, []))
        await proxy.was_cut.wait()
        kill_everything(server)
        server.start()
        await direct.dispose()
        proxy.resume()

        await asked

        assert await notes(direct) == [1]


class TestSmallPool:
    async def test_the_question_needs_no_second_connection(
        self, proxy: Proxy, database: Database, direct: Database
    ) -> None:
        """A pool of one connection can ask what became of the COMMIT of that connection."""
        proxy.cut_at(is_commit, deliver=True)

        await write(database, 1, [])

        assert await notes(direct) == [1]
