"""The members of a native enumeration of PostgreSQL: compared, and changed without losing a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ARRAY, Column, Enum, Integer, MetaData, String, Table, text

from sqlkeel.errors import ModelsDiffer, ValueRefused
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import round_trip

COLORED = """
from sqlalchemy import Column, Enum, Integer, MetaData, Table
class Base:
    metadata = MetaData()
Table("car", Base.metadata, Column("id", Integer, primary_key=True), Column("color", Enum({members}, name="color")))
"""


def cars(*members: str, default: str | None = None, several: bool = False, schema: str | None = None) -> MetaData:
    """Return a table with a column of the type, or of an array of it."""
    metadata = MetaData()
    kind: Any = Enum(*members, name="color", schema=schema)
    column = Column("color", ARRAY(kind) if several else kind, server_default=default)
    Table("car", metadata, Column("id", Integer, primary_key=True), column)
    return metadata


def also(
    metadata: MetaData, *members: str, default: str | None = None, table: str = "wall", kind: Any = None
) -> MetaData:
    """Add another table with the type, or with another one."""
    column = Column("color", kind or Enum(*members, name="color"), server_default=default)
    Table(table, metadata, Column("id", Integer, primary_key=True), column)
    return metadata


def walls(*members: str, default: str | None = None) -> MetaData:
    """Return only another table with the type."""
    return also(MetaData(), *members, default=default)


async def migrate(database: Database, folder: Path, metadata: MetaData) -> Migrations:
    """Write a revision and apply it."""
    migrations = Migrations(database, metadata, folder / "migrations")
    await migrations.new("change")
    await migrations.up()
    return migrations


CASES = {
    "added": (cars("a", "b"), cars("a", "b", "c")),
    "added before the first": (cars("a", "b"), cars("c", "a", "b")),
    "added in the middle": (cars("a", "b"), cars("a", "x", "y", "b")),
    "with quotes": (cars("a", "it's", "100%"), cars("a", "it's", "1:b", "100%", "\\x", "o'k 5%")),
    "removed": (cars("a", "b", "c"), cars("a", "c")),
    "renamed": (cars("a", "b"), cars("a", "x")),
    "in another order": (cars("a", "b"), cars("b", "a")),
    "a default that stays": (cars("a", "b", default="a"), cars("b", "a", default="a")),
    "a default that is new": (cars("a", default="a"), cars("a", "b", default="b")),
    "a default that is gone": (cars("a", "b", default="b"), cars("a")),
    "a default for another": (cars("a", "b", default="b"), cars("a", "c", default="c")),
    "several": (cars("a", "b", default="{a}", several=True), cars("b", "a", default="{a,b}", several=True)),
    "another schema": (cars("a", "b", schema="other"), cars("a", "c", schema="other")),
    "a new table": (cars("a"), also(cars("a", "b"), "a", "b", default="b")),
    "a dropped table": (also(cars("a", "b"), "a", "b"), cars("a")),
    "a dropped table with a default": (also(cars("a", "b"), "a", "b", default="b"), cars("a")),
    "a changed column with a default": (
        also(cars("a", "b"), "a", "b", default="b"),
        also(cars("a"), kind=String(9), default="b"),
    ),
    "moved, and added": (cars("a"), walls("a", "b", default="b")),
    "moved, and added in the middle": (cars("a", "b"), walls("a", "x", "b")),
    "moved, and removed": (cars("a", "b", default="b"), walls("a")),
    "moved, and replaced": (cars("a", "b", default="b"), walls("a", "c", default="c")),
    "moved, and in another order": (cars("a", "b"), walls("b", "a")),
    "moved beside one that stays": (
        also(also(cars("a"), "a"), "a", table="roof"),
        also(also(MetaData(), "a", "b", table="roof"), "a", "b", table="floor"),
    ),
}


class TestPostgreSQL:
    @pytest.mark.parametrize("case", CASES)
    async def test_there_and_back(self, postgres: Database, tmp_path: Path, case: str) -> None:
        """The models agree after each step, and a second revision has nothing to do."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA other"))

        await round_trip(postgres, tmp_path, *CASES[case])

    async def test_with_psycopg(self, psycopg: Database, tmp_path: Path) -> None:
        """The members are not read as parameters."""
        await round_trip(psycopg, tmp_path, *CASES["with quotes"])

    async def test_what_differs_is_told(self, postgres: Database, tmp_path: Path) -> None:
        """By the name of the type."""
        await migrate(postgres, tmp_path, cars("red", "blue"))

        with pytest.raises(ModelsDiffer) as caught:
            await Migrations(postgres, cars("red", "green"), tmp_path / "migrations").check()

        assert caught.value.differences == ("type color is red, blue, not red, green",)

    async def test_the_rows_keep_their_values(self, postgres: Database, tmp_path: Path) -> None:
        """Also where the type is made anew."""
        await migrate(postgres, tmp_path, cars("a", "b", "c", default="a"))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES ('c'), (DEFAULT), (NULL)"))

        await migrate(postgres, tmp_path, cars("c", "a", default="a"))

        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car DEFAULT VALUES"))
            found = await connection.scalars(text("SELECT color FROM car ORDER BY color NULLS FIRST"))
            assert list(found) == [None, "c", "a", "a"]

    async def test_a_row_with_a_member_that_is_gone_stops_it(self, postgres: Database, tmp_path: Path) -> None:
        """The type stays as it was; the revision says so before."""
        await migrate(postgres, tmp_path, cars("a", "b"))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES ('b')"))
        migrations = Migrations(postgres, cars("a"), tmp_path / "migrations")
        path = await migrations.new("fewer")

        with pytest.raises(ValueRefused):
            await migrations.up()

        assert path is not None
        assert "# A row with b makes this fail: first give it another color by an UPDATE." in path.read_text()
        async with postgres.engine.connect() as connection:
            assert list(await connection.scalars(text("SELECT color FROM car"))) == ["b"]

    async def test_rows_of_a_column_that_goes_stop_nothing(self, postgres: Database, tmp_path: Path) -> None:
        """A member is taken from the type behind the column that had it."""
        await migrate(postgres, tmp_path, cars("a", "b"))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES ('b')"))

        migrations = await migrate(postgres, tmp_path, walls("a", "c"))

        await migrations.check()

    async def test_a_rename_is_told(self, postgres: Database, tmp_path: Path) -> None:
        """As that of a column is."""
        await migrate(postgres, tmp_path, cars("red", "blue"))

        path = await Migrations(postgres, cars("crimson", "blue"), tmp_path / "migrations").new("change")

        assert path is not None
        statement = "ALTER TYPE color RENAME VALUE 'red' TO 'crimson'"
        assert f'write instead: op.execute("{statement}")' in path.read_text()

    async def test_members_are_added_in_place(self, postgres: Database, tmp_path: Path) -> None:
        """No row is copied; the SQL can be printed, and that of a type that is made anew cannot."""
        url = postgres.url.render_as_string(hide_password=False)
        folder = make_project(tmp_path, name="enumerated_models", models=COLORED.format(members="'a'"))
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        run_command(folder, "sqlkeel", "migrate", "new", "step", url=url)
        run_command(folder, "sqlkeel", "migrate", "up", url=url)
        (folder / "enumerated_models.py").write_text(COLORED.format(members="'a', 'b'"))
        run_command(folder, "sqlkeel", "migrate", "new", "step", url=url)

        there = run_command(folder, "alembic", "upgrade", "head", "--sql", url=url)
        back = run_command(folder, "alembic", "downgrade", "head:-1", "--sql", url=url)

        assert "ALTER TYPE color ADD VALUE 'b' AFTER 'a';" in there.stdout
        assert "The members of color cannot be changed by printed SQL" in back.stdout


class TestOtherDatabases:
    async def test_they_have_no_such_types(self, postgres: Database, db: Database, tmp_path: Path) -> None:
        """A revision of PostgreSQL changes nothing there."""
        before, after = CASES["a default that stays"]
        await round_trip(postgres, tmp_path, before, after)

        await Migrations(db, before, tmp_path / "migrations").up()

        await Migrations(db, before, tmp_path / "migrations").down("base")
