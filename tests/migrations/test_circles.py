"""Tables that refer to each other: made by one revision, on every database, and dropped again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, MetaData, Table, inspect

from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import tables


def table(name: str, metadata: MetaData, *parts: Any) -> Table:
    """Return a table with a key."""
    return Table(name, metadata, Column("id", Integer, primary_key=True), *parts)


def pair(metadata: MetaData, **options: Any) -> MetaData:
    """Return a team with a captain, who is a member of a team."""
    table("member", metadata, Column("team_id", ForeignKey("team.id")))
    table("team", metadata, Column("captain_id", ForeignKey("member.id", **options)))
    return metadata


def ring(metadata: MetaData) -> MetaData:
    """Return three tables in a circle, one that hangs on it, and one that refers to itself by two columns."""
    for name, next_one in {"a": "b", "b": "c", "c": "a"}.items():
        table(name, metadata, Column("next_id", ForeignKey(f"{next_one}.id", ondelete="CASCADE")))
    table("above_a", metadata, Column("a_id", ForeignKey("a.id")))
    node = (Column("tree", Integer, primary_key=True), Column("up", Integer), Column("up_tree", Integer))
    table("node", metadata, *node, ForeignKeyConstraint(["up", "up_tree"], ["node.id", "node.tree"], use_alter=True))
    return metadata


MODELS = {
    "named": lambda: pair(metadata_with_names(), use_alter=True),
    "without use_alter": lambda: pair(metadata_with_names()),
    "without names": lambda: pair(MetaData(), use_alter=True),
    "a name of its own": lambda: pair(MetaData(), use_alter=True, name="captain"),
    "a ring": lambda: ring(metadata_with_names()),
}
every_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)


async def keys(database: Database) -> dict[str, int]:
    """Return how many foreign keys each table has."""
    async with database.engine.connect() as connection:
        found = await connection.run_sync(lambda sync: inspect(sync).get_multi_foreign_keys())
    return {name: len(one) for (_, name), one in found.items() if name != "alembic_version"}


class TestNewTables:
    @every_model
    async def test_all_keys_are_made_by_one_revision(self, db: Database, tmp_path: Path, make: Any) -> None:
        """There, back, and there again; a second revision has nothing to write."""
        metadata = make()
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        assert await keys(db) == {one.name: len(one.foreign_key_constraints) for one in metadata.tables.values()}
        assert await migrations.new("second") is None
        await migrations.down()
        assert await tables(db) == {"alembic_version"}
        await migrations.up()
        await migrations.check()

    @every_model
    async def test_a_revision_of_sqlite_runs_on_all(
        self, sqlite: Database, db: Database, tmp_path: Path, make: Any
    ) -> None:
        """SQLite has the keys in CREATE TABLE, the others add them."""
        metadata = make()
        await Migrations(sqlite, metadata, tmp_path / "migrations").new("first")

        await Migrations(db, metadata, tmp_path / "migrations").up()

        await Migrations(db, metadata, tmp_path / "migrations").check()
        await Migrations(db, metadata, tmp_path / "migrations").down()
        assert await tables(db) == {"alembic_version"}

    async def test_the_models_stay_as_they_are(self, db: Database, tmp_path: Path) -> None:
        """A key without use_alter has none afterwards."""
        metadata = pair(metadata_with_names())

        await Migrations(db, metadata, tmp_path / "migrations").new("first")

        assert not any(key.use_alter for one in metadata.tables.values() for key in one.foreign_key_constraints)

    async def test_tables_in_no_circle_are_written_as_ever(self, db: Database, tmp_path: Path) -> None:
        """The key stands in CREATE TABLE."""
        metadata = metadata_with_names()
        table("child", metadata, Column("parent_id", ForeignKey("parent.id")))
        table("parent", metadata)

        path = await Migrations(db, metadata, tmp_path / "migrations").new("first")

        assert path is not None
        assert "circular" not in path.read_text()
