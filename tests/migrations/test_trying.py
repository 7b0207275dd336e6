"""Comparisons of other libraries, which make something in the database, look at it, and roll it back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from alembic.autogenerate.api import AutogenContext
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, Integer, Table, text

from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import tables

ENV: Final = """
from sqlkeel.migrations.env import run

run(autogenerate_plugins=["alembic.autogenerate.*", "sqlkeel.defaults", "tests.trying"])
"""
_theirs: Final = Plugin("tests.trying")
_rows: list[int] = []


def _try(context: AutogenContext, upgrade: Any, schemas: Any) -> PriorityDispatchResult:
    """Make a table, write into it, and take all back."""
    assert context.connection is not None
    with context.connection.begin_nested() as savepoint:
        context.connection.execute(text("CREATE TABLE tried AS SELECT 7 AS number"))
        _rows.append(context.connection.execute(text("SELECT number FROM tried")).scalar_one())
        savepoint.rollback()
    return PriorityDispatchResult.CONTINUE


_theirs.add_autogenerate_comparator(_try, "schema", priority=DispatchPriority.LAST)


@pytest.fixture(params=["postgres", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """Each driver of a database that rolls back what makes a table."""
    found: Database = request.getfixturevalue(request.param)
    return found


class TestTrying:
    async def test_they_may_write_and_nothing_stays(self, database: Database, tmp_path: Path) -> None:
        """``new`` and ``check`` do not read in a read-only transaction, and roll back what was tried."""
        metadata = metadata_with_names()
        Table("thing", metadata, Column("id", Integer, primary_key=True))
        migrations = Migrations(database, metadata, tmp_path / "migrations")
        await migrations.new("nothing", autogenerate=False)
        await migrations.up()
        (tmp_path / "migrations" / "env.py").write_text(ENV)
        _rows.clear()

        await migrations.new("first")
        await migrations.up()
        await migrations.check()

        assert _rows == [7, 7]
        assert await tables(database) == {"alembic_version", "thing"}
