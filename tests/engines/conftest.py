"""What the tests of engines ask for beside the databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sqlkeel.sessions import Database
from tests.faults.proxy import Proxy, proxy_to
from tests.fixtures.databases import OpenDatabase


@pytest.fixture
async def proxy(server: Database) -> AsyncIterator[Proxy]:
    """The way to the server, on which a COMMIT can be made unreadable."""
    async with proxy_to(server.url.host or "127.0.0.1", server.url.port or 0) as proxy:
        yield proxy


@pytest.fixture
def single(server: Database, proxy: Proxy, open_database: OpenDatabase) -> Database:
    """The server's database by way of the proxy, with one connection."""
    url = server.url.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    return open_database(url, pool_size=1, max_overflow=0)
