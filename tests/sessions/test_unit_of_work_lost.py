"""A unit of work whose connection breaks in COMMIT: the end is looked up where the server can be asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select, text

from sqlkeel.errors import CommitUnknown, ConnectionLost, TransientFault
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions import _unit_of_work as unit_of_work_module
from sqlkeel.testing import PostgreSQLServer
from tests.engines.peers import soon
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase
from tests.sessions.unit_of_work_models import Base, User, at_commit, emails

pytestmark = pytest.mark.tables(Base.metadata)


def is_commit(data: bytes) -> bool:
    """Recognise the message of each driver."""
    return b"COMMIT" in data


@pytest.fixture
async def proxy(server: Database) -> AsyncIterator[Proxy]:
    """The way to the server, on which a COMMIT can be lost."""
    async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
        yield proxy


@pytest.fixture
def remote(server: Database, proxy: Proxy, open_database: OpenDatabase) -> Callable[..., Database]:
    """Open the server's database by way of the proxy."""
    url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    return lambda **options: open_database(url, **options)


only_postgresql = pytest.mark.parametrize("server", ["asyncpg", "psycopg"], indirect=True)
only_mariadb = pytest.mark.parametrize("server", ["mariadb"], indirect=True)
delivered = pytest.mark.parametrize("deliver", [True, False], ids=["delivered", "not delivered"])

Remote = Callable[..., Database]


class TestLostCommit:
    """The connection breaks when COMMIT is sent: before the server has it, or before its answer is back."""

    @only_postgresql
    async def test_what_the_server_did_is_done(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """It had the COMMIT; asked, it says so, and the block ends like any other, hooks included."""
        database, heard, user = remote(), list[str](), User(id=1, email="a")

        async with database.transaction() as session:
            session.add(user)
            session.on_commit(heard.append, "committed")
            session.on_rollback(heard.append, "rolled back")
            proxy.cut_at(is_commit, deliver=True)

        assert heard == ["committed"]
        assert (user.id, user.email) == (1, "a")
        assert await emails(server) == ["a"]

    @delivered
    async def test_what_has_only_read_is_never_unknown(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """Nothing can have been written, so that it may be run again; nobody is asked."""
        database, heard = remote(), list[str]()

        with pytest.raises(ConnectionLost, match="only read") as caught:
            async with database.transaction(read_only=True) as session:
                await session.scalars(select(User))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_commit, deliver=deliver)

        assert isinstance(caught.value, TransientFault)
        assert heard == ["rolled back"]

    @only_postgresql
    async def test_what_the_server_did_not_is_lost(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """It never had the COMMIT and has rolled back: a connection that was lost like any other."""
        database, heard, user = remote(), list[str](), User(id=1, email="a")

        with pytest.raises(ConnectionLost, match="the server has rolled back") as caught:
            async with database.transaction() as session:
                session.add(user)
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_commit, deliver=False)

        assert isinstance(caught.value, TransientFault)
        assert isinstance(caught.value.__cause__, CommitUnknown)
        assert heard == ["rolled back"]
        assert (user.id, user.email) == (1, "a")
        assert await emails(server) == []

    @only_postgresql
    @delivered
    async def test_run_transaction_does_it_once(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """It runs again what was rolled back, and does not run again what was committed."""
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add(User(id=len(calls), email="a"))
            await session.flush()
            if len(calls) == 1:
                proxy.cut_at(is_commit, deliver=deliver)

        await remote().run_transaction(work)

        assert len(calls) == (1 if deliver else 2)
        assert await emails(server) == ["a"]

    @only_postgresql
    @delivered
    async def test_one_connection_is_enough_to_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool
    ) -> None:
        """The question goes over the place of the connection that broke."""
        database = remote(pool_size=1, max_overflow=0, pool_timeout=0.2)

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            proxy.cut_at(is_commit, deliver=deliver)
            await session.flush()

        result = await outcome(database, work)

        assert result is (None if deliver else ConnectionLost)
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    @only_postgresql
    @delivered
    async def test_nobody_there_to_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The server is gone for good: nobody knows, it is said so, and no hook of either kind is called."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0, 0.05, 0.1))
        database, heard = remote(), list[str]()

        def is_the_last(data: bytes) -> bool:
            proxy.target = (proxy.target[0], 1) if is_commit(data) else proxy.target
            return is_commit(data)

        with pytest.raises(CommitUnknown) as caught:
            async with database.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                proxy.cut_at(is_the_last, deliver=deliver)

        assert not isinstance(caught.value, TransientFault)
        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    async def test_an_unknown_one_is_not_run_again(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """run_transaction leaves to the caller what might be done twice."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", ())
        calls: list[int] = []

        async def work(session: Session) -> None:
            calls.append(1)
            session.add(User(id=len(calls), email="a"))
            await session.flush()
            proxy.cut_at(is_commit, deliver=True)

        with pytest.raises(CommitUnknown):
            await remote().run_transaction(work)

        assert len(calls) == 1
        assert await emails(server) == ["a"]

    @only_postgresql
    async def test_a_server_that_does_not_answer(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A firewall that swallows the question is not waited for until its end."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_FOR", 0.3)
        database = remote()

        def is_the_last(data: bytes) -> bool:
            if is_commit(data):
                asyncio.get_running_loop().call_later(0.25, proxy.stall)
            return is_commit(data)

        with pytest.raises(CommitUnknown):
            async with asyncio.timeout(5), database.transaction() as session:
                session.add(User(id=1, email="a"))
                monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.1,))
                proxy.cut_at(is_the_last, deliver=True)

        proxy.resume()

    @only_postgresql
    async def test_a_full_pool_cannot_be_asked_through(
        self, server: Database, proxy: Proxy, remote: Remote, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """That there is no connection for the question is no answer: it stays unknown."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0,))
        database = remote(pool_size=1, max_overflow=0, pool_timeout=0.5)
        done = asyncio.Event()

        async def wait_for_the_place() -> None:
            async with database.engine.connect():
                await done.wait()

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            await session.flush()
            others.append(asyncio.create_task(wait_for_the_place()))
            await asyncio.sleep(0)
            proxy.cut_at(is_commit, deliver=True)

        others: list[asyncio.Task[None]] = []
        result = await outcome(database, work)
        done.set()
        await asyncio.gather(*others)

        assert result is CommitUnknown

    @only_postgresql
    async def test_one_that_only_read_is_lost(self, server: Database, proxy: Proxy, remote: Remote) -> None:
        """Without a write there is nothing to ask for; it is unknown, and harmless."""
        database = remote()

        with pytest.raises(CommitUnknown):
            async with database.transaction() as session:
                await session.execute(select(User))
                proxy.cut_at(is_commit, deliver=True)

    @only_mariadb
    @delivered
    async def test_mariadb_cannot_be_asked(self, server: Database, proxy: Proxy, remote: Remote, deliver: bool) -> None:
        """It remembers no transaction: who lost the answer has to look."""
        database, heard = remote(), list[str]()

        with pytest.raises(CommitUnknown):
            async with database.transaction() as session:
                session.add(User(id=1, email="a"))
                session.on_commit(heard.append, "committed")
                session.on_rollback(heard.append, "rolled back")
                await session.flush()
                proxy.cut_at(is_commit, deliver=deliver)

        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    @delivered
    @pytest.mark.parametrize("how", ["commit", "begin"])
    async def test_a_plain_session_does_not_ask(
        self, server: Database, proxy: Proxy, remote: Remote, deliver: bool, how: str
    ) -> None:
        """Who commits by hand is told that it is unknown, and no hook of either kind is called."""
        heard: list[str] = []

        async with remote().session() as session:
            with pytest.raises(CommitUnknown):
                await COMMITS[how](session, heard, lambda: proxy.cut_at(is_commit, deliver=deliver))

        assert heard == []
        assert await emails(server) == (["a"] if deliver else [])

    @delivered
    async def test_the_pool_goes_on(self, server: Database, proxy: Proxy, remote: Remote, deliver: bool) -> None:
        """Whatever became of it, the next transaction finds a connection that works."""
        database = remote(pool_size=1, max_overflow=0)

        async def work(session: Session) -> None:
            session.add(User(id=1, email="a"))
            await session.flush()
            proxy.cut_at(is_commit, deliver=deliver)

        await outcome(database, work)
        async with database.transaction() as session:
            session.add(User(id=2, email="b"))

        assert (await emails(server))[-1] == "b"


@pytest.fixture
async def crashing(postgres_server: PostgreSQLServer, open_database: OpenDatabase) -> Database:
    """A database on a server that can be crashed, where the COMMIT of a new user would take a minute."""
    database = open_database(postgres_server.url())
    async with database.engine.begin() as connection:
        await connection.run_sync(Base.metadata.drop_all)
        await connection.run_sync(Base.metadata.create_all)
        await connection.execute(text("drop function if exists at_commit cascade"))
    await at_commit(database, "perform pg_sleep(60);")
    return database


async def crash_in_commit(database: Database, server: PostgreSQLServer) -> asyncio.Task[Any]:
    """Write a user, and crash the server while it commits."""

    async def work(session: Session) -> None:
        session.add(User(id=1, email="a"))

    async def committing() -> bool:
        running = "select count(*) from pg_stat_activity where state = 'active' and query ilike 'commit%'"
        async with database.engine.connect() as connection:
            return (await connection.execute(text(running))).scalar_one() == 1

    task = asyncio.create_task(outcome(database, work))
    assert await soon(committing)
    await asyncio.to_thread(server.crash)
    return task


class TestCrashedServer:
    """The whole server is gone in the middle of a COMMIT."""

    async def test_one_that_comes_back_is_asked(self, crashing: Database, postgres_server: PostgreSQLServer) -> None:
        """It has recovered without the transaction, so that this may be run again."""
        task = await crash_in_commit(crashing, postgres_server)
        await asyncio.to_thread(postgres_server.start)

        assert await task is ConnectionLost
        assert await emails(crashing) == []

    async def test_one_that_stays_away_is_not_waited_for(
        self, crashing: Database, postgres_server: PostgreSQLServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After the last question it is unknown."""
        monkeypatch.setattr(unit_of_work_module, "_ASKS_AFTER", (0.0, 0.1))
        task = await crash_in_commit(crashing, postgres_server)

        result = await task

        await asyncio.to_thread(postgres_server.start)
        assert result is CommitUnknown


async def write(session: Session, heard: list[str]) -> None:
    """Write a row, with a hook of each kind."""
    session.add(User(id=1, email="a"))
    session.on_commit(heard.append, "committed")
    session.on_rollback(heard.append, "rolled back")
    await session.flush()


async def commit_by_hand(session: Session, heard: list[str], then: Callable[[], None]) -> None:
    """Write a row, and commit it."""
    await write(session, heard)
    then()
    await session.commit()


async def commit_by_block(session: Session, heard: list[str], then: Callable[[], None]) -> None:
    """Write a row in a block that commits it."""
    async with session.begin():
        await write(session, heard)
        then()


COMMITS = {"commit": commit_by_hand, "begin": commit_by_block}


async def outcome(database: Database, work: Callable[[Session], Awaitable[None]]) -> type[BaseException] | None:
    """Do *work* in a transaction, and return the class of what its end raised."""
    try:
        async with database.transaction() as session:
            await work(session)
    except Exception as error:  # noqa: BLE001 - it is what is asked for
        return type(error)
    return None
