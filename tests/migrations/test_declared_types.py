"""Types of SQLite that reflection reads as another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BINARY, Column, Integer, MetaData, Table
from sqlalchemy.types import UserDefinedType

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database


class Money(UserDefinedType[Any]):
    """A type of a name that nobody knows."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return the name."""
        return "Money (12, 2)"


def one_column(kind: Any) -> MetaData:
    """Return a table with a column of this type."""
    metadata = MetaData()
    Table("a", metadata, Column("id", Integer, primary_key=True), Column("b", kind))
    return metadata


async def check(db: Database, made: MetaData, models: MetaData, folder: Path) -> None:
    """Make the tables of one, and compare them with the other."""
    async with db.engine.begin() as connection:
        await connection.run_sync(made.create_all)
    migrations = Migrations(db, models, folder)
    await migrations.new("nothing", autogenerate=False)
    await migrations.up()
    await migrations.check()


class TestDeclaredTypes:
    @pytest.mark.parametrize("kind", [BINARY(16), Money()], ids=["known to others", "of the project"])
    async def test_what_stands_in_the_table_is_the_same(self, sqlite: Database, tmp_path: Path, kind: Any) -> None:
        """SQLAlchemy reads a NUMERIC of a name that it does not know."""
        await check(sqlite, one_column(kind), one_column(kind), tmp_path)

    @pytest.mark.parametrize("kind", [BINARY(17), Money()], ids=["length", "name"])
    async def test_another_one_is_a_difference(self, sqlite: Database, tmp_path: Path, kind: Any) -> None:
        """A length, or another name."""
        with pytest.raises(errors.ModelsDiffer):
            await check(sqlite, one_column(BINARY(16)), one_column(kind), tmp_path)
