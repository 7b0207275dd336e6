"""A rename looks like a drop and an addition; the revision says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Integer, MetaData, String, Table, text

from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database

LOSES = "# This loses the values of"


def table(name: str, *columns: Any) -> MetaData:
    """Return one table."""
    metadata = metadata_with_names()
    Table(name, metadata, Column("id", Integer, primary_key=True), *columns)
    return metadata


async def written(db: Database, folder: Path, before: MetaData, after: MetaData) -> list[str]:
    """Return the comments of the revision from one to the other, which runs."""
    first = Migrations(db, before, folder / "migrations")
    await first.new("first")
    await first.up()
    migrations = Migrations(db, after, folder / "migrations")
    path = await migrations.new("second")
    assert path is not None
    await migrations.up()
    await migrations.check()
    await migrations.down()
    return [line.strip() for line in path.read_text().splitlines() if line.strip().startswith(LOSES)]


class TestRenames:
    async def test_a_column(self, db: Database, tmp_path: Path) -> None:
        """The line can be pasted."""
        before, after = (table("a", Column(name, String(9))) for name in ("body", "text"))

        [line] = await written(db, tmp_path, before, after)

        assert line == (
            f"{LOSES} body. If it was renamed to text, write instead of both: "
            "alter_column('body', new_column_name='text')"
        )

    async def test_a_column_of_another_type(self, db: Database, tmp_path: Path) -> None:
        """A number is no text of another name."""
        before, after = table("a", Column("body", String(9))), table("a", Column("size", Integer))

        assert await written(db, tmp_path, before, after) == []

    async def test_a_table(self, db: Database, tmp_path: Path) -> None:
        """One of mostly the same columns."""
        before, after = (table(name, Column("x", Integer), Column("y", Integer)) for name in ("a", "b"))

        [line] = await written(db, tmp_path, before, after)

        assert line.endswith("op.rename_table('a', 'b')")

    async def test_another_table(self, db: Database, tmp_path: Path) -> None:
        """One that shares its key only."""
        before, after = table("a", Column("x", Integer)), table("b", Column("y", Integer))

        assert await written(db, tmp_path, before, after) == []

    async def test_what_is_written_instead_keeps_the_rows(self, db: Database, tmp_path: Path) -> None:
        """On every database, in a batch on SQLite."""
        before, after = (table("a", Column(name, String(9))) for name in ("body", "text"))
        first = Migrations(db, before, tmp_path / "migrations")
        await first.new("first")
        await first.up()
        async with db.engine.begin() as connection:
            await connection.execute(text("INSERT INTO a (id, body) VALUES (1, 'kept')"))
        migrations = Migrations(db, after, tmp_path / "migrations")
        path = await migrations.new("rename", autogenerate=False)
        assert path is not None
        rename = "batch.alter_column('body', new_column_name='text', existing_type=sa.String(9))"
        body = f'with op.batch_alter_table("a") as batch:\n        {rename}'
        path.write_text(path.read_text().replace("pass", body, 1))

        await migrations.up()

        await migrations.check()
        async with db.engine.connect() as connection:
            assert list(await connection.scalars(text("SELECT text FROM a"))) == ["kept"]
