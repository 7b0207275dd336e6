"""Tables that leave the models are dropped in an order that works, and come back in one."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, text

from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import empty_migrations, revision, tables

CHAIN = "abcdefgh"
CIRCLE = """
op.create_table("a", sa.Column("id", sa.Integer, primary_key=True), sa.Column("b_id", sa.Integer))
op.create_table("b", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a_id", sa.Integer))
with op.batch_alter_table("a") as batch:
    batch.create_foreign_key("a_b_id_fkey", "b", ["b_id"], ["id"])
with op.batch_alter_table("b") as batch:
    batch.create_foreign_key("b_a_id_fkey", "a", ["a_id"], ["id"])
""".strip()


def chain(names: str) -> MetaData:
    """Return tables, each of which refers to the one before it and to itself."""
    metadata = metadata_with_names()
    for name, parent in zip(names, names[:1] + names, strict=False):
        keys = [Column("up", ForeignKey(f"{parent}.id")), Column("self", ForeignKey(f"{name}.id"))]
        Table(name, metadata, Column("id", Integer, primary_key=True), *keys)
    return metadata


class TestOrder:
    async def test_children_come_before_their_parents(self, every_driver: Database, tmp_path: Path) -> None:
        """Eight tables in a chain are dropped from its end, whatever the order of a set; and come back."""
        first = Migrations(every_driver, chain(CHAIN), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        migrations = Migrations(every_driver, MetaData(), tmp_path / "migrations")
        await migrations.new("drop all")

        await migrations.up()
        gone = await tables(every_driver)
        await migrations.down()

        assert gone == {"alembic_version"}
        assert await tables(every_driver) == {*CHAIN, "alembic_version"}

    async def test_a_table_that_stays_loses_its_foreign_key_first(self, every_driver: Database, tmp_path: Path) -> None:
        """The parent of a table that stays is dropped last, and the rows of that table stay."""
        first = Migrations(every_driver, chain("ba"), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        async with every_driver.engine.begin() as connection:
            await connection.execute(text("INSERT INTO b (id) VALUES (1)"))
            await connection.execute(text("INSERT INTO a (id, up) VALUES (1, 1)"))
        metadata = metadata_with_names()
        keys = [Column("up", Integer), Column("self", ForeignKey("a.id"))]
        Table("a", metadata, Column("id", Integer, primary_key=True), *keys)
        migrations = Migrations(every_driver, metadata, tmp_path / "migrations")

        await migrations.new("drop b")
        await migrations.up()

        assert await tables(every_driver) == {"a", "alembic_version"}
        async with every_driver.engine.connect() as connection:
            assert (await connection.execute(text("SELECT id, up FROM a"))).all() == [(1, 1)]

    async def test_a_circle_is_opened(self, every_driver: Database, tmp_path: Path) -> None:
        """Of two tables that refer to each other, a foreign key is dropped first, and made again last."""
        migrations = empty_migrations(every_driver, tmp_path)
        await revision(migrations, "make", CIRCLE)
        await migrations.up()
        await migrations.new("drop both")

        await migrations.up()
        gone = await tables(every_driver)
        await migrations.down()

        assert gone == {"alembic_version"}
        assert await tables(every_driver) == {"a", "b", "alembic_version"}
