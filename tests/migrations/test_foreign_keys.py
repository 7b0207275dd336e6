"""Foreign keys that are added to tables which are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, insert, text

from sqlkeel.migrations import Migrations
from sqlkeel.models import live_parent, metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import UTCDateTime


def tables(*of_child: Any) -> MetaData:
    """Return a child whose name comes before its parent's, both soft-deletable."""
    metadata = metadata_with_names()
    for name, parts in {"z_parent": (), "a_child": (Column("up", ForeignKey("z_parent.id")), *of_child)}.items():
        Table(name, metadata, Column("id", Integer, primary_key=True), Column("deleted_at", UTCDateTime), *parts)
    return metadata


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest) -> Database:
    """Each database that can check a foreign key at COMMIT."""
    database: Database = request.getfixturevalue(request.param)
    return database


class TestOrder:
    async def test_a_child_may_come_before_its_parent(self, db: Database, tmp_path: Path) -> None:
        """What its foreign key refers to is made first, by the same revision; the rows stay, there and back."""
        before, after = tables(), tables(live_parent("up"))
        await Migrations(db, before, tmp_path / "m").new("first")
        await Migrations(db, before, tmp_path / "m").up()
        async with db.engine.begin() as connection:
            await connection.execute(insert(before.tables["z_parent"]).values(id=1))
            await connection.execute(insert(before.tables["a_child"]).values(id=1, up=1))

        migrations = Migrations(db, after, tmp_path / "m")
        await migrations.new("live parents")
        await migrations.up()
        await migrations.check()
        async with db.engine.begin() as connection:
            live = await connection.scalar(text("SELECT is_live FROM a_child"))
        await migrations.down()

        assert live == 1
        async with db.engine.begin() as connection:
            assert (await connection.execute(text("SELECT id, up FROM a_child"))).all() == [(1, 1)]

    async def test_a_later_change_of_the_table(self, db: Database, tmp_path: Path) -> None:
        """SQLite copies the table; a generated column is made anew, and not copied."""
        before, after = (
            tables(live_parent("up")),
            tables(live_parent("up"), Column("name", String(5), nullable=False, server_default="x")),
        )
        after.tables["a_child"].c.up.nullable = False
        await Migrations(db, before, tmp_path / "m").new("first")
        await Migrations(db, before, tmp_path / "m").up()
        async with db.engine.begin() as connection:
            await connection.execute(insert(before.tables["z_parent"]).values(id=1))
            await connection.execute(insert(before.tables["a_child"]).values(id=1, up=1))

        migrations = Migrations(db, after, tmp_path / "m")
        await migrations.new("change")
        await migrations.up()

        await migrations.check()
        async with db.engine.begin() as connection:
            assert (await connection.execute(text("SELECT up, name, is_live FROM a_child"))).all() == [(1, "x", 1)]
