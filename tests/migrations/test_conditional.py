"""What has a condition: written with it, so that a revision runs everywhere, and missed only where it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, Column, Index, Integer, MetaData, Table, UniqueConstraint, inspect

from sqlkeel.errors import ModelsDiffer, NotSupported
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database

PARTS = {
    "index": lambda: Index("part", "a", postgresql_using="hash"),
    "check": lambda: CheckConstraint("num_nonnulls(a, id) = 2", name="part"),
    "unique": lambda: UniqueConstraint("a", name="part"),
}
every_part = pytest.mark.parametrize("part", PARTS)


def models(*parts: Any, make: Any = metadata_with_names) -> MetaData:
    """Return a table of two numbers."""
    metadata: MetaData = make()
    Table("thing", metadata, Column("id", Integer, primary_key=True), Column("a", Integer), *parts)
    return metadata


async def parts_of(database: Database) -> list[str]:
    """Return the kinds of what the table has but its key."""
    async with database.engine.connect() as connection:
        inspector: Any = await connection.run_sync(inspect)
        kinds = ("get_check_constraints", "get_unique_constraints", "get_indexes")
        return [
            kind for kind in kinds if await connection.run_sync(lambda _, kind=kind: getattr(inspector, kind)("thing"))
        ]


class TestWritten:
    @every_part
    @pytest.mark.parametrize("make", [MetaData, metadata_with_names], ids=["bare", "named"])
    async def test_a_revision_of_sqlite_runs_on_all(
        self, sqlite: Database, db: Database, tmp_path: Path, part: str, make: Any
    ) -> None:
        """It is made where its condition holds, with its table, and nowhere else."""
        metadata = models(PARTS[part]().ddl_if(dialect="postgresql"), make=make)
        await Migrations(sqlite, metadata, tmp_path / "migrations").new("first")
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.up()

        await migrations.check()
        assert bool(await parts_of(db)) == (db.engine.dialect.name == "postgresql")
        await migrations.down()
        await migrations.up()

    @every_part
    async def test_it_is_added_to_a_table_that_is_there(self, db: Database, tmp_path: Path, part: str) -> None:
        """Where its condition holds; elsewhere there is nothing to write."""
        migrations = Migrations(db, models(), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        migrations = Migrations(db, models(PARTS[part]().ddl_if(dialect=("postgresql",))), tmp_path / "migrations")

        path = await migrations.new("second")
        await migrations.up()

        await migrations.check()
        holds = db.engine.dialect.name == "postgresql"
        assert (path is not None, bool(await parts_of(db))) == (holds, holds)

    @pytest.mark.parametrize(
        "condition", [{"callable_": lambda *_, **__: True}, {"callable_": lambda *_, **__: True, "dialect": "sqlite"}]
    )
    async def test_a_function_cannot_be_written(self, db: Database, tmp_path: Path, condition: dict[str, Any]) -> None:
        """It is refused, and leaves no file."""
        metadata = models(PARTS["unique"]().ddl_if(**condition))

        with pytest.raises(NotSupported, match=r"The ddl_if\(\) of part on thing cannot be written"):
            await Migrations(db, metadata, tmp_path / "migrations").new("first")

        assert not (tmp_path / "migrations").exists()


class TestCompared:
    @every_part
    async def test_one_that_is_missing_is_found(self, postgres: Database, tmp_path: Path, part: str) -> None:
        """Where its condition holds."""
        migrations = Migrations(postgres, models(), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        with pytest.raises(ModelsDiffer, match="part"):
            await Migrations(
                postgres, models(PARTS[part]().ddl_if(dialect="postgresql")), tmp_path / "migrations"
            ).check()
