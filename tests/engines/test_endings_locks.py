"""What an ending does to the locks, the tickets and the statements beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine.default import DefaultDialect

from sqlkeel.engines._endings import _ENDS, _SAVEPOINT_ENDS
from sqlkeel.engines._plain import InterfaceFault
from sqlkeel.errors import DatabaseFault, StatementTimeout
from sqlkeel.sessions import Database, Session
from tests.engines.ending_tables import Change, connection_of, entries, metadata, one
from tests.engines.peers import soon, statements_running
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.tables(metadata)
BRIEF = {"postgresql": "select pg_sleep(2)", "mariadb": "select sleep(2)"}
"""A statement that can be waited for."""


class TestLocks:
    @pytest.mark.parametrize("server", ["mariadb"], indirect=True)
    async def test_a_refused_release_does_not_forget_them(
        self, single: Database, server: Database, proxy: Proxy
    ) -> None:
        """A lock of a name that could not be given back is given back with the connection."""
        async with single.engine.connect() as connection:
            async with Session(connection) as session:
                await session.advisory_lock("import")
                await session.commit()
            proxy.garble(b"RELEASE_ALL_LOCKS")
            with pytest.raises(DatabaseFault):
                await connection.execute(text("select 1"))

        async with server.transaction() as session:
            await session.advisory_lock("import", nowait=True)


class TestTicket:
    @pytest.mark.parametrize("server", ["asyncpg", "psycopg"], indirect=True)
    async def test_a_timeout_is_a_timeout(self, server: Database) -> None:
        """A limit that strikes in the last question before COMMIT is no swallowed error."""
        async with server.engine.begin() as connection:
            await connection.execute(text("create schema slow"))
            await connection.execute(text(SLOW_TICKET))

        with pytest.raises(StatementTimeout):
            async with server.transaction(statement_timeout=0.2) as session:
                await session.execute(one)
                await session.execute(text("set local search_path = slow, pg_catalog, public"))

        assert isinstance(await connection_of(server), int)
        async with server.engine.begin() as connection:
            await connection.execute(text("drop schema slow cascade"))


SLOW_TICKET = """
create function slow.pg_current_wal_insert_lsn() returns pg_lsn language sql volatile
as $$ select pg_catalog.pg_current_wal_insert_lsn() from pg_sleep(10) $$
"""


async def is_quiet(database: Database) -> bool:
    """Tell whether the server works for nobody else on this database."""
    return not await statements_running(database)


class TestBesideAStatement:
    """A connection that two tasks have: one waits for a statement when the other ends the transaction."""

    async def test_nothing_is_committed_and_nobody_waits_for_ever(self, server: Database) -> None:
        """The end waits for the statement, or is refused by an error that does not leave open what became of it."""
        async with asyncio.timeout(10):
            ended = await asyncio.gather(self.end_beside_statement(server), return_exceptions=True)

        assert [type(end) for end in ended] in ([InterfaceFault], [type(None)])
        assert await entries(server) == ([1] if ended == [None] else [])
        assert server.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_the_error_of_the_block_is_kept(self, server: Database) -> None:
        """A rollback that is refused is noted on what the block raised, and the connection is closed."""
        with pytest.raises(Change):
            await self.end_beside_statement(server, Change())

        assert await entries(server) == []
        assert server.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_every_task_is_answered(self, server: Database) -> None:
        """The statement has its answer, or an error, and is over on the server."""
        async with asyncio.timeout(10):
            await asyncio.gather(self.end_beside_statement(server), return_exceptions=True)
            await asyncio.wait({self.waiting})

        assert self.waiting.done()

    @pytest.fixture(autouse=True)
    async def until_it_is_quiet(self, server: Database) -> AsyncIterator[None]:
        """Wait for what MariaDB goes on with after its client is gone."""
        yield
        assert await soon(lambda: is_quiet(server))

    async def end_beside_statement(self, server: Database, error: Exception | None = None) -> None:
        """Let a task wait for a statement, and leave the block, with *error* if there is one."""
        async with server.transaction() as session:
            connection = await session.connection()
            await connection.execute(one)
            self.waiting = asyncio.create_task(connection.execute(text(BRIEF[server.dialect])))
            self.waiting.add_done_callback(lambda task: task.exception())
            assert await soon(lambda: statements_running(server))
            if error is not None:
                raise error


class TestForeignMethods:
    """The methods of SQLAlchemy's dialects that are replaced on our own dialect objects."""

    @pytest.mark.parametrize("name", [*_ENDS, *_SAVEPOINT_ENDS])
    def test_every_end_has_its_method(self, name: str) -> None:
        """Canary of `do_commit` and the like: else the connection of a COMMIT that failed would be used again."""
        assert callable(getattr(DefaultDialect, name))

    def test_a_connection_ends_by_the_methods_of_its_dialect_object(self) -> None:
        """Canary: were they called on the class, or kept from before, nobody would watch them."""
        engine = create_engine("sqlite://")
        seen: list[str] = []

        def record(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args: (seen.append(name), usual(*args))[1]  # type: ignore[func-returns-value]

        for name in (*_ENDS, *_SAVEPOINT_ENDS):
            setattr(engine.dialect, name, record(name, getattr(engine.dialect, name)))
        with engine.connect() as connection:
            connection.begin_nested().commit()
            connection.begin_nested().rollback()
            connection.commit()
            connection.exec_driver_sql("select 1")
            connection.rollback()
            ended = seen[-4:]

        assert ended == ["do_release_savepoint", "do_rollback_to_savepoint", "do_commit", "do_rollback"]
        engine.dispose()
