"""Statements of MariaDB that were given up: ended on their own server, and nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Any

import asyncmy
import pytest
from sqlalchemy import text

from sqlkeel.sessions import Database
from sqlkeel.testing import MariaDBServer
from tests.engines.peers import SLOW, is_gone, number_of, soon
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase
from tests.fixtures.servers import launched


@pytest.fixture(scope="module")
def other_server(mariadb_server: MariaDBServer) -> Iterator[MariaDBServer]:
    """A second server, as of a cluster, with the password of the first one."""

    def make() -> MariaDBServer:
        made = MariaDBServer()
        made.password = mariadb_server.password
        return made

    with launched("mariadb", make) as server:
        yield server


class TestBalancer:
    """A cancelled statement is killed from a second connection, which a balancer may give to another server."""

    async def test_nobody_elses_connection_is_killed(
        self, mariadb_server: MariaDBServer, other_server: MariaDBServer, open_database: OpenDatabase
    ) -> None:
        """There the number of ours is a stranger's."""
        async with proxy_to("127.0.0.1", mariadb_server.port) as balancer, AsyncExitStack() as stack:
            database = await connected_through(balancer, mariadb_server, open_database)
            stranger = await with_number(await number_of(database), other_server, stack)
            balancer.target = "127.0.0.1", other_server.port
            with pytest.raises(TimeoutError):
                await cancelled_statement(database)

            async with stranger.cursor() as cursor:
                answer = await cursor.execute("select 1")

        assert answer == 1

    async def test_the_right_one_is_looked_for(
        self, mariadb_server: MariaDBServer, other_server: MariaDBServer, open_database: OpenDatabase
    ) -> None:
        """Where the next server is another one, the one after it may be ours: the statement ends."""
        async with proxy_to("127.0.0.1", mariadb_server.port) as balancer:
            database = await connected_through(balancer, mariadb_server, open_database)
            number = await number_of(database)
            direct = open_database(mariadb_server.url())
            balancer.targets = [("127.0.0.1", other_server.port), ("127.0.0.1", mariadb_server.port)]
            with pytest.raises(TimeoutError):
                await cancelled_statement(database)

            assert await soon(lambda: is_gone(number, direct), seconds=3.0)


async def connected_through(balancer: Proxy, server: MariaDBServer, open_database: OpenDatabase) -> Database:
    """Open a database by way of the balancer, whose numbers the other server has not given yet."""
    for _ in range(5):
        await number_of(open_database(server.url()))
    return open_database(server.url().replace(f":{server.port}/", f":{balancer.port}/"), pool_size=1)


async def with_number(number: int, server: MariaDBServer, stack: AsyncExitStack) -> Any:
    """Connect to a server until it gives that number."""
    while True:
        connection = await asyncmy.connect(host="127.0.0.1", port=server.port, user="root", password=server.password)
        await stack.enter_async_context(connection)
        if connection.thread_id() >= number:
            assert connection.thread_id() == number
            return connection


async def cancelled_statement(database: Database) -> None:
    """Give a statement up that would run for long."""
    async with asyncio.timeout(0.3), database.transaction() as session:
        await session.execute(text(SLOW["mariadb"]))
