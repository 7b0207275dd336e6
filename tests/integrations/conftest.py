"""What the integration tests ask for beside the databases."""

from __future__ import annotations

import pytest

from sqlkeel import Database


@pytest.fixture(params=["sqlite", "postgres", "psycopg"])
def deferring(request: pytest.FixtureRequest) -> Database:
    """Each driver in turn whose database looks at a constraint in COMMIT."""
    database: Database = request.getfixturevalue(request.param)
    return database
