"""Native enumerations in migrations: made with the first column that has one, dropped with the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ARRAY, Column, Enum, Integer, MetaData, Table, TypeDecorator, inspect, text

from sqlkeel.database import Database
from sqlkeel.errors import MigrationError
from sqlkeel.migrations import Migrations
from sqlkeel.naming import metadata_with_names
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import tables

COLORED = """
from sqlalchemy import Column, Enum, Integer, MetaData, Table
class Base:
    metadata = MetaData()
for name in ("car", "wall"):
    Table(name, Base.metadata, Column("id", Integer, primary_key=True), Column("color", Enum("red", name="color")))
"""


class Decorated(TypeDecorator[str]):
    impl = Enum("red", "blue", name="color")
    cache_ok = True


def color(*members: str, **options: Any) -> Enum:
    """Return the type."""
    return Enum(*(members or ("red", "blue")), name="color", **options)


def models(**columns: Any) -> MetaData:
    """Return a table for each name, with a column of the type where there is one."""
    metadata = metadata_with_names()
    for name, kind in columns.items():
        parts = [Column("color", kind)] if kind is not None else []
        Table(name, metadata, Column("id", Integer, primary_key=True), *parts)
    return metadata


async def migrate(database: Database, folder: Path, metadata: MetaData) -> Path:
    """Write a revision, apply it, and see that nothing is left to write."""
    migrations = Migrations(database, metadata, folder / "migrations")
    path = await migrations.new("change")
    await migrations.up()
    await migrations.check()
    assert path is not None
    return path


async def types(database: Database) -> list[str]:
    """Return the names of the types; none where there are none."""
    async with database.engine.connect() as connection:
        inspector: Any = await connection.run_sync(inspect)
        return await connection.run_sync(lambda _: [one["name"] for one in getattr(inspector, "get_enums", list)()])


class TestEveryDatabase:
    @pytest.mark.parametrize("kind", [color(), Decorated()], ids=["plain", "decorated"])
    async def test_a_table_can_be_made_again(self, db: Database, tmp_path: Path, kind: Any) -> None:
        """Nothing is left of it; two tables share the type."""
        metadata = models(car=kind, wall=color())
        await migrate(db, tmp_path, metadata)
        migrations = Migrations(db, metadata, tmp_path / "migrations")

        await migrations.down()

        assert (await types(db), await tables(db)) == ([], {"alembic_version"})
        await migrations.up()
        await migrations.check()

    async def test_a_revision_of_sqlite_runs_on_all(self, sqlite: Database, db: Database, tmp_path: Path) -> None:
        """Where there are no such types, nothing is dropped."""
        metadata = models(car=color())
        await Migrations(sqlite, metadata, tmp_path / "migrations").new("first")
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.up()

        await migrations.down()

        assert (await types(db), await tables(db)) == ([], {"alembic_version"})

    async def test_a_new_column_of_a_table_that_is_there(self, db: Database, tmp_path: Path) -> None:
        """The type is made for it, and goes with it."""
        await migrate(db, tmp_path, models(car=None))
        metadata = models(car=color())
        await migrate(db, tmp_path, metadata)

        await Migrations(db, metadata, tmp_path / "migrations").down()

        assert await types(db) == []

    async def test_the_steps_of_years_in_one_run(self, db: Database, tmp_path: Path) -> None:
        """Made, used by a second table, dropped with both, made once more."""
        for metadata in (models(car=color()), models(car=color(), wall=color()), models(x=None), models(car=color())):
            await migrate(db, tmp_path, metadata)
        migrations = Migrations(db, metadata, tmp_path / "migrations")

        await migrations.down("base")

        assert (await types(db), await tables(db)) == ([], {"alembic_version"})
        await migrations.up()
        await migrations.down("base")
        assert (await types(db), await tables(db)) == ([], {"alembic_version"})


class TestPostgreSQL:
    async def test_a_type_that_another_table_has_stays(self, postgres: Database, tmp_path: Path) -> None:
        """The second table comes and goes."""
        await migrate(postgres, tmp_path, models(car=color()))
        both = models(car=color(), wall=color())
        await migrate(postgres, tmp_path, both)

        await Migrations(postgres, both, tmp_path / "migrations").down()

        assert await types(postgres) == ["color"]

    async def test_a_type_that_a_table_of_somebody_else_has_stays(self, postgres: Database, tmp_path: Path) -> None:
        """DROP TYPE would fail."""
        await migrate(postgres, tmp_path, models(car=color()))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE theirs (color color)"))

        await migrate(postgres, tmp_path, models(other=None))

        assert await types(postgres) == ["color"]

    async def test_a_type_that_is_there_is_used(self, postgres: Database, tmp_path: Path) -> None:
        """As where Alembic has left it."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE TYPE color AS ENUM ('red', 'blue')"))

        await migrate(postgres, tmp_path, models(car=color()))

        assert await types(postgres) == ["color"]

    async def test_other_members_are_refused(self, postgres: Database, tmp_path: Path) -> None:
        """An INSERT of the new one would fail."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE TYPE color AS ENUM ('red')"))
        migrations = Migrations(postgres, models(car=color()), tmp_path / "migrations")
        await migrations.new("first")

        with pytest.raises(MigrationError, match="There is a type color with the members red, not red, blue") as caught:
            await migrations.up()

        assert str(caught.value.hint).startswith("ALTER TYPE color ADD VALUE")

    async def test_an_array_of_them(self, postgres: Database, tmp_path: Path) -> None:
        """It has the type as well."""
        metadata = models(car=ARRAY(color()))
        await migrate(postgres, tmp_path, metadata)

        await Migrations(postgres, metadata, tmp_path / "migrations").down()

        assert await types(postgres) == []

    async def test_one_that_revisions_make_by_hand(self, postgres: Database, tmp_path: Path) -> None:
        """``create_type=False`` leaves it to them, both ways."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE TYPE color AS ENUM ('red', 'blue')"))
        metadata = models(car=color(create_type=False))
        await migrate(postgres, tmp_path, metadata)

        await Migrations(postgres, metadata, tmp_path / "migrations").down()

        assert await types(postgres) == ["color"]

    async def test_as_sql(self, postgres: Database, tmp_path: Path) -> None:
        """``alembic upgrade head --sql`` makes it once."""
        url = postgres.url.render_as_string(hide_password=False)
        folder = make_project(tmp_path, name="colored_models", models=COLORED)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        run_command(folder, "sqlkeel", "migrate", "new", "first", url=url)

        there = run_command(folder, "alembic", "upgrade", "head", "--sql", url=url)
        back = run_command(folder, "alembic", "downgrade", "head:base", "--sql", url=url)

        assert there.stdout.count("CREATE TYPE color AS ENUM ('red');") == 1
        assert back.stdout.count("DROP TYPE color;") == 1
