"""Columns that change to a native enumeration, between two, and away from one: with the cast that PostgreSQL needs."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Enum,
    Integer,
    Interval,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    Uuid,
    inspect,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError

from sqlkeel.errors import MigrationError
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import Choice
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import round_trip

PLAIN = """
from sqlalchemy import Column, Integer, MetaData, String, Table
class Base:
    metadata = MetaData()
Table("car", Base.metadata, Column("id", Integer, primary_key=True), Column("color", String(20)))
"""
COLORED = PLAIN.replace("String", "Enum").replace("Enum(20)", "Enum('red', name='color')")


class Shade(enum.Enum):
    red = "red"
    blue = "blue"


def color(name: str = "color", **options: Any) -> Enum:
    """Return a type."""
    return Enum("red", "blue", name=name, **options)


def models(kind: Any, **options: Any) -> MetaData:
    """Return a table with a column of the type."""
    metadata = metadata_with_names()
    schema = options.pop("table_schema", None)
    Table("car", metadata, Column("id", Integer, primary_key=True), Column("color", kind, **options), schema=schema)
    return metadata


async def types(database: Database, schema: str = "public") -> list[str]:
    """Return the names of the types."""
    async with database.engine.connect() as connection:
        found: Any = await connection.run_sync(lambda sync: inspect(sync).get_enums(schema=schema))  # type: ignore[attr-defined]
        return [one["name"] for one in found]


async def migrate(database: Database, folder: Path, metadata: MetaData) -> Path:
    """Write a revision, apply it, and see that nothing is left to write."""
    migrations = Migrations(database, metadata, folder / "migrations")
    path = await migrations.new("change")
    await migrations.up()
    await migrations.check()
    assert path is not None
    return path


class TestMariaDB:
    async def test_it_runs_the_revisions_of_postgresql(
        self, postgres: Database, mariadb: Database, tmp_path: Path
    ) -> None:
        """The cast and the type by name are PostgreSQL's alone."""
        after = models(color(), server_default="red")
        await round_trip(postgres, tmp_path, models(String(20)), after)
        migrations = Migrations(mariadb, after, tmp_path / "migrations")

        await migrations.up()

        await migrations.check()
        await migrations.down("base")


class TestSQLite:
    async def test_its_revisions_run_on_postgresql(self, sqlite: Database, postgres: Database, tmp_path: Path) -> None:
        """They have no cast in them: rows and defaults become the new type, and the old ones on the way back."""
        steps = [models(kind, server_default="red") for kind in (String(20), color())]
        for step in steps:
            await migrate(sqlite, tmp_path, step)
        migrations = Migrations(postgres, steps[-1], tmp_path / "migrations")
        for _ in steps:
            await migrations.up("+1")
            async with postgres.engine.begin() as connection:
                await connection.execute(text("INSERT INTO car DEFAULT VALUES"))
        await migrations.check()

        await migrations.down()

        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car DEFAULT VALUES"))
            assert list(await connection.scalars(text("SELECT color FROM car"))) == ["red"] * 3
        assert await types(postgres) == []


class TestPostgreSQL:
    @pytest.mark.parametrize(
        ("before", "after", "default"),
        [
            pytest.param(String(20), color(), None, id="text to enum"),
            pytest.param(color(), String(20), "red", id="enum to text"),
            pytest.param(color("shade"), color(), "red", id="another name"),
            pytest.param(ARRAY(String(20)), ARRAY(color()), "{red}", id="arrays to enum"),
            pytest.param(ARRAY(color("shade")), ARRAY(color()), "{red}", id="arrays of another name"),
            pytest.param(ARRAY(color()), ARRAY(String(20)), None, id="arrays to text"),
            pytest.param(String(20), color(schema="other"), "red", id="into another schema"),
            pytest.param(color(schema="other"), color(), "red", id="from another schema"),
            pytest.param(Choice(Shade), color(), "red", id="choice to enum"),
            pytest.param(color(), Choice(Shade), "red", id="enum to choice"),
            pytest.param(color(native_enum=False, create_constraint=True), color(), "red", id="check to enum"),
            pytest.param(color(), color(native_enum=False, create_constraint=True), None, id="enum to check"),
            pytest.param(String(20), Integer(), "5", id="text to a number"),
            pytest.param(BigInteger(), Text(), "5", id="a number to text"),
            pytest.param(Text(), Boolean(), "true", id="text to yes or no"),
            pytest.param(String(36), Uuid(), "00000000-0000-0000-0000-00000000000a", id="text to uuid"),
            pytest.param(Text(), JSON(), "{}", id="text to json"),
            pytest.param(JSONB(), Text(), "{}", id="json to text"),
            pytest.param(String(20), Date(), "2024-01-02", id="text to a day"),
            pytest.param(Text(), DateTime(), "2024-01-02 10:00:00", id="text to a moment"),
            pytest.param(String(20), Numeric(10, 2), "1.25", id="text to an amount"),
        ],
    )
    async def test_there_and_back(
        self, postgres: Database, tmp_path: Path, before: Any, after: Any, default: str | None
    ) -> None:
        """The models agree after each step, and no type is left that no column has."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA other"))
        before, after = (models(one, server_default=default) for one in (before, after))

        await round_trip(postgres, tmp_path, before, after)
        await Migrations(postgres, after, tmp_path / "migrations").down("base")

        assert await types(postgres) + await types(postgres, "other") == []

    async def test_a_table_in_another_schema(self, postgres: Database, tmp_path: Path) -> None:
        """The type is in the schema of its table."""
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA other"))
        after = models(color(schema="other"), table_schema="other", server_default="red")

        await round_trip(postgres, tmp_path, models(String(20), table_schema="other"), after)

        assert await types(postgres, "other") == ["color"]

    async def test_the_rows_keep_their_values(self, postgres: Database, tmp_path: Path) -> None:
        """There and back."""
        await migrate(postgres, tmp_path, models(String(20)))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES ('red'), (NULL)"))
        await migrate(postgres, tmp_path, models(color(), server_default="blue"))
        await migrate(postgres, tmp_path, models(color("shade"), server_default="blue"))

        await Migrations(postgres, models(String(20)), tmp_path / "migrations").down("-2")

        async with postgres.engine.connect() as connection:
            rows = await connection.execute(text("SELECT color FROM car ORDER BY id"))
            assert list(rows.scalars()) == ["red", None]

    async def test_a_value_that_is_no_member_is_refused(self, postgres: Database, tmp_path: Path) -> None:
        """The type that was made for it is gone with the revision."""
        await migrate(postgres, tmp_path, models(String(20)))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES ('green')"))
        migrations = Migrations(postgres, models(color()), tmp_path / "migrations")
        await migrations.new("change")

        with pytest.raises(DBAPIError, match="A value does not fit its column"):
            await migrations.up()

        assert await types(postgres) == []

    @pytest.mark.parametrize("value", ["1.5", "12 pieces", ""])
    async def test_a_text_that_is_no_whole_number_is_refused(
        self, postgres: Database, tmp_path: Path, value: str
    ) -> None:
        """Nothing of it is cut off."""
        await migrate(postgres, tmp_path, models(String(20)))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("INSERT INTO car (color) VALUES (:value)"), {"value": value})
        migrations = Migrations(postgres, models(Integer()), tmp_path / "migrations")
        await migrations.new("change")

        with pytest.raises(DBAPIError, match="A value does not fit"):
            await migrations.up()

    @pytest.mark.parametrize("kind", [Time(), DateTime(timezone=True), Interval()], ids=str)
    async def test_what_is_not_cast_says_what_to_write(self, postgres: Database, tmp_path: Path, kind: Any) -> None:
        """A text may have more than the column holds, or no zone."""
        await migrate(postgres, tmp_path, models(String(20)))
        migrations = Migrations(postgres, models(kind), tmp_path / "migrations")
        await migrations.new("change")

        with pytest.raises(MigrationError) as caught:
            await migrations.up()

        assert caught.value.hint is not None
        assert "postgresql_using='color::text::" in caught.value.hint

    async def test_a_default_that_changes_with_it(self, postgres: Database, tmp_path: Path) -> None:
        """The new one stands after, and the old one after the way back."""
        before, after = models(String(20), server_default="green"), models(color(), server_default="red")

        revision = await round_trip(postgres, tmp_path, before, after)

        assert "postgresql_using='color::text::color'" in revision

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (String(20), ARRAY(color())),
            (ARRAY(String(20)), color()),
            (ARRAY(color()), color()),
            (color(), ARRAY(color())),
            (ARRAY(Integer), Integer),
            (String(20), ARRAY(String(20))),
        ],
    )
    async def test_one_value_and_several(self, postgres: Database, tmp_path: Path, before: Any, after: Any) -> None:
        """No cast is right for that: the revision stops, and says what to write."""
        await migrate(postgres, tmp_path, models(before))
        migrations = Migrations(postgres, models(after), tmp_path / "migrations")
        await migrations.new("change")

        with pytest.raises(NotImplementedError, match=r"car\.color .* postgresql_using="):
            await migrations.up()

    async def test_a_type_that_another_column_has_stays(self, postgres: Database, tmp_path: Path) -> None:
        """DROP TYPE would fail."""
        await migrate(postgres, tmp_path, models(color()))
        async with postgres.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE theirs (color color)"))

        await migrate(postgres, tmp_path, models(String(20)))

        assert await types(postgres) == ["color"]

    async def test_as_sql(self, postgres: Database, tmp_path: Path) -> None:
        """``alembic upgrade --sql`` makes the type before the column changes, and drops it behind on the way back."""
        url = postgres.url.render_as_string(hide_password=False)
        folder = make_project(tmp_path, name="changed_models", models=PLAIN)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        for content in (PLAIN, COLORED):
            (folder / "changed_models.py").write_text(content)
            run_command(folder, "sqlkeel", "migrate", "new", "step", url=url)
            run_command(folder, "sqlkeel", "migrate", "up", url=url)

        there = run_command(folder, "alembic", "upgrade", "head", "--sql", url=url)
        back = run_command(folder, "alembic", "downgrade", "head:base", "--sql", url=url)

        assert there.stdout.index("CREATE TYPE color") < there.stdout.index("TYPE color USING color::text::color")
        assert there.stdout.count("CREATE TYPE color") == 1
        assert back.stdout.index("TYPE VARCHAR(20)") < back.stdout.index("DROP TYPE color")
