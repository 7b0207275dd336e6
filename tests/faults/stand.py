"""A server of its own behind a proxy, with a pool that is too small: where the bank is put through the weather."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar, Final, Self

from sqlalchemy import NullPool, QueuePool, make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from sqlkeel import Database
from sqlkeel.testing import Server
from tests.faults.bank import open_accounts
from tests.faults.network import Network, People
from tests.faults.proxy import Proxy, proxy_to
from tests.faults.tellers import Teller
from tests.faults.weather import Fault

__all__ = ["ServerStand"]

Look = Callable[[AsyncConnection], Awaitable[list[str]]]

BANK: Final = "bank"
RECOVERY_SECONDS: Final = 30
"""How long a server may refuse connections after one of its processes was killed."""

SETTLE_SECONDS: Final = 30
"""How long a server may take to notice that a client is gone; MariaDB looks when its statement ends."""


class ServerStand(ABC):
    """One server, one driver, one pool."""

    driver: ClassVar[str]
    launcher: ClassVar[type[Server]]
    settings: ClassVar[Mapping[str, str]]
    """Of the server, so that it keeps what is committed when it is killed."""

    create_database: ClassVar[str] = f"create database {BANK}"
    connections: ClassVar[str]
    """The SQL for how many connections to the bank there are, besides our own."""
    busy: ClassVar[str]
    """The SQL that describes each transaction and lock that is open."""

    def __init__(self, server: Server, proxy: Proxy, workers: int) -> None:
        self.server = server
        self.proxy = proxy
        self.pool_size = max(2, workers // 2)
        through_proxy = make_url(server.url(BANK, driver=self.driver)).set(port=proxy.port)
        self.database = Database(
            through_proxy,
            pool_size=self.pool_size,
            max_overflow=1,
            pool_timeout=0.5,
            lock_timeout=2,
            statement_timeout=3,
            idle_timeout=5,
        )

    @classmethod
    @asynccontextmanager
    async def open(cls, workers: int) -> AsyncIterator[Self]:
        """Start a server with an open bank on it."""
        server = cls.launcher(settings=cls.settings)
        try:
            await asyncio.to_thread(server.start)
            async with proxy_to("127.0.0.1", server.port) as proxy:
                stand = cls(server, proxy, workers)
                async with stand.direct(None) as connection:
                    await connection.exec_driver_sql(cls.create_database)
                async with stand.direct() as connection:
                    await open_accounts(connection)
                yield stand
        finally:
            await asyncio.to_thread(server.close)

    @asynccontextmanager
    async def direct(self, database: str | None = BANK) -> AsyncIterator[AsyncConnection]:
        """Connect past the proxy and past the pool, as soon as the server has recovered from the last fault."""
        url = self.server.url(database, driver=self.driver)
        engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        connection = await _connected(engine)
        try:
            yield connection
        finally:
            await connection.close()

    def faults(self, tellers: Sequence[Teller]) -> Mapping[str, Fault]:
        """Return everything that can happen here."""
        people = People(self.database, tellers, self.pool_size + 1)
        return {
            **Network(self.proxy).faults(),
            **people.faults(),
            **people.faults_at_commit(self.proxy),
            **self.server_faults(),
        }

    @abstractmethod
    def server_faults(self) -> Mapping[str, Fault]:
        """Return what can happen to the server and its backends."""

    async def heal(self) -> None:
        """Take every fault back."""
        self.proxy.forget()
        self.proxy.resume()
        if not self.server.running:
            await asyncio.to_thread(self.server.start)

    async def leftovers(self) -> list[str]:
        """Describe what is still held when nobody works any more; closes the pool."""
        found = [*self._checked_out(), *await self._settled(self._held)]
        await self.database.dispose()
        return [*found, *await self._settled(self._connected)]

    async def restart(self, end: Callable[[], None]) -> None:
        """End the server, and start it again in the same place."""
        await asyncio.to_thread(end)
        await asyncio.to_thread(self.server.start)

    def _pools(self) -> list[QueuePool]:
        return [engine.pool for engine in self.database.engines if isinstance(engine.pool, QueuePool)]

    def _checked_out(self) -> list[str]:
        missing = sum(pool.checkedout() for pool in self._pools())
        return [f"the pool misses {missing} connections"] if missing else []

    async def _held(self, connection: AsyncConnection) -> list[str]:
        held = [*(await connection.exec_driver_sql(self.busy)).scalars()]
        pooled = sum(pool.checkedin() for pool in self._pools())
        there = (await connection.exec_driver_sql(self.connections)).scalar_one()
        if there > pooled:
            held.append(f"the server has {there} connections, the pools {pooled}")
        return held

    async def _connected(self, connection: AsyncConnection) -> list[str]:
        there = (await connection.exec_driver_sql(self.connections)).scalar_one()
        return [f"{there} connections are left after the pools were closed"] if there else []

    async def _settled(self, look: Look) -> list[str]:
        """Look until there is nothing to see any more."""
        end = asyncio.get_running_loop().time() + SETTLE_SECONDS
        while True:
            async with self.direct() as connection:
                seen = await look(connection)
            if not seen or asyncio.get_running_loop().time() > end:
                return seen
            await asyncio.sleep(0.1)


async def _connected(engine: AsyncEngine) -> AsyncConnection:
    end = asyncio.get_running_loop().time() + RECOVERY_SECONDS
    while True:
        try:
            return await engine.connect()
        except (DBAPIError, OSError):
            if asyncio.get_running_loop().time() > end:
                raise
        await asyncio.sleep(0.05)
