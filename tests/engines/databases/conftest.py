"""What the tests of one database ask for: PostgreSQL through a pooler."""

from __future__ import annotations

import pytest

from sqlkeel.sessions import Database
from sqlkeel.testing import PgBouncerServer
from tests.engines.databases.pgbouncer_settings import CLIENTS
from tests.fixtures.databases import OpenDatabase


@pytest.fixture(params=["asyncpg", "psycopg"])
def url(request: pytest.FixtureRequest, pgbouncer: PgBouncerServer, postgres: Database) -> str:
    """The test's database through the pooler, by each driver."""
    return pgbouncer.url(postgres.url.database, driver=request.param)


@pytest.fixture
def pooled(url: str, open_database: OpenDatabase) -> Database:
    """A Database that knows of the pooler, with more connections to it than it has to the server."""
    return open_database(url, pooler="pgbouncer", pool_size=CLIENTS, max_overflow=0)
