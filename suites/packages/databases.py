"""Empty databases: a server is started where the first is asked for, unless the environment names one."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import NullPool, make_url
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel.testing import MariaDBServer, PostgreSQLServer

__all__ = ["Servers"]

_SERVERS: Final = {"postgresql": PostgreSQLServer, "mariadb": MariaDBServer}
_GIVEN: Final = {"postgresql": "SQLKEEL_TEST_POSTGRES", "mariadb": "SQLKEEL_TEST_MARIADB"}


class Servers:
    """The servers of a run, as the tests have them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._urls: dict[str, str] = {}

    @contextmanager
    def two_databases(self, product: str, folder: Path) -> Iterator[tuple[str, str]]:
        """Make two empty databases, and drop them afterwards."""
        if product == "sqlite":
            yield f"sqlite+aiosqlite:///{folder}/created.db", f"sqlite+aiosqlite:///{folder}/migrated.db"
            return
        url = self._url(product)
        names = [f"sqlkeel_packages_{secrets.token_hex(4)}" for _ in range(2)]
        asyncio.run(_send(url, *(f"CREATE DATABASE {name}" for name in names)))
        try:
            first, second = (make_url(url).set(database=name).render_as_string(hide_password=False) for name in names)
            yield first, second
        finally:
            asyncio.run(_send(url, *(f"DROP DATABASE {name}" for name in names)))

    def _url(self, product: str) -> str:
        if product not in self._urls:
            given = os.environ.get(_GIVEN[product])
            self._urls[product] = given or self._stack.enter_context(_SERVERS[product]()).url()
        return self._urls[product]


async def _send(url: str, *statements: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in statements:
            await connection.exec_driver_sql(statement)
    await engine.dispose()
