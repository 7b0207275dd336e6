"""Native enumerations in migrations: made with the first column that has one, dropped with the last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Column,
    DefaultClause,
    Dialect,
    Enum,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    TypeDecorator,
    inspect,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import DOMAIN

from sqlkeel.errors import MigrationError, ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import round_trip, tables
from tests.migrations.test_ownership import execute

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


class Coded(TypeDecorator[str]):
    """A domain on PostgreSQL, and a text on the others."""

    impl = DOMAIN("code", Text)
    cache_ok = True

    def __repr__(self) -> str:
        return "Coded()"

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        """Return what it is there."""
        return dialect.type_descriptor(self.impl_instance if dialect.name == "postgresql" else String(20))


VARIANTS: dict[str, Any] = {
    "domain": String(20).with_variant(DOMAIN("code", Text, check="VALUE <> ''"), "postgresql"),
    "array of a domain": JSON().with_variant(postgresql.ARRAY(DOMAIN("code", Text)), "postgresql"),
    "enumeration": String(20).with_variant(postgresql.ENUM("red", name="color"), "postgresql"),
    "array of an enumeration": JSON().with_variant(ARRAY(postgresql.ENUM("red", name="color")), "postgresql"),
    "domain of a decorator": Coded(),
    "variants of an enumeration": Enum("red", name="color").with_variant(String(20), "sqlite", "mariadb"),
    "variants of a domain": DOMAIN("code", Text).with_variant(String(20), "sqlite", "mysql", "mariadb"),
}


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


def tables_of(schema: str | None = None, **columns: dict[str, Any]) -> MetaData:
    """Return a table for each name, with columns of the types."""
    metadata = metadata_with_names()
    for name, kinds in columns.items():
        parts = [Column(column, kind) for column, kind in kinds.items()]
        Table(name, metadata, Column("id", Integer, primary_key=True), *parts, schema=schema)
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

    @pytest.mark.parametrize("kind", VARIANTS)
    async def test_what_only_postgresql_has(self, db: Database, tmp_path: Path, kind: str) -> None:
        """A table with it is made and dropped, and copied on SQLite; the others make no such type."""
        before, after = models(car=VARIANTS[kind]), models(car=VARIANTS[kind], wall=VARIANTS[kind])
        after.tables["car"].c.color.nullable = False

        await round_trip(db, tmp_path, before, after)

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


class TestDomains:
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (Integer(), BigInteger().with_variant(DOMAIN("positive", BigInteger, check="VALUE > 0"), "postgresql")),
            (Numeric(10, 2), Numeric(12, 4).with_variant(DOMAIN("amount", Numeric(12, 4)), "postgresql")),
        ],
        ids=["whole", "amount"],
    )
    async def test_a_column_of_numbers_becomes_one(
        self, postgres: Database, tmp_path: Path, before: Any, after: Any
    ) -> None:
        """The type is made before the rows are looked at for what it would round."""
        await round_trip(postgres, tmp_path, models(car=before), models(car=after))

    async def test_its_default_and_not_null_are_not_the_columns(self, db: Database, tmp_path: Path) -> None:
        """What the column says itself is compared, whatever its type says."""
        kind = String(20).with_variant(DOMAIN("code", Text, default="a:b", not_null=True), "postgresql")
        before, after = models(car=kind), models(car=kind)
        after.tables["car"].c.color.nullable = False
        after.tables["car"].c.color.server_default = DefaultClause("a:b")

        await round_trip(db, tmp_path, before, after)

    async def test_its_default_is_for_the_rows(self, postgres: Database, tmp_path: Path) -> None:
        """A required column is added, also where the type is a variant."""
        await migrate(postgres, tmp_path, models(car=None))
        await execute(postgres, "INSERT INTO car DEFAULT VALUES")
        metadata = models(car=String(20).with_variant(DOMAIN("code", Text, default="a"), "postgresql"))
        metadata.tables["car"].c.color.nullable = False

        await migrate(postgres, tmp_path, metadata)

        assert await execute(postgres, "SELECT color FROM car") == ["a"]


MOVES: dict[str, tuple[MetaData, MetaData]] = {
    "to another column": (tables_of(car={"x": color()}), tables_of(car={"y": color()})),
    "to another table": (tables_of(car={"x": color()}, wall={}), tables_of(car={}, wall={"y": color()})),
    "to a new table": (tables_of(car={"x": color()}), tables_of(wall={"y": color()})),
    "from a table that goes": (tables_of(car={"x": color()}, wall={}), tables_of(wall={"y": color()})),
    "to an array": (tables_of(car={"x": color()}), tables_of(car={"y": ARRAY(color())})),
    "to a table in another schema": (tables_of(car={"x": color()}), tables_of("other", wall={"y": color()})),
    "in another schema": (
        tables_of("other", car={"x": color(schema="other")}),
        tables_of("other", wall={"y": color(schema="other")}),
    ),
    "to a column that changes": (tables_of(car={"x": color(), "y": String(9)}), tables_of(car={"y": color()})),
    "from a column that changes": (
        tables_of(car={"x": color()}),
        tables_of(car={"x": String(9), "y": color()}),
    ),
    "two that change places": (
        tables_of(car={"x": color(), "y": Enum("red", name="shade")}),
        tables_of(car={"x": Enum("red", "blue", name="shade"), "y": color("red")}),
    ),
    "a domain": (
        tables_of(car={"x": DOMAIN("code", Text)}, wall={}),
        tables_of(car={}, wall={"y": DOMAIN("code", Text)}),
    ),
}


class TestMoves:
    @pytest.mark.parametrize("case", MOVES)
    async def test_the_type_stays(self, postgres: Database, tmp_path: Path, case: str) -> None:
        """One revision drops the last column of a type and makes another: the type goes with the first revision."""
        await execute(postgres, "CREATE SCHEMA other")

        await round_trip(postgres, tmp_path, *MOVES[case])
        await Migrations(postgres, MOVES[case][1], tmp_path / "migrations").down("base")

        assert await execute(postgres, "SELECT typname FROM pg_type WHERE typname IN ('color', 'shade', 'code')") == []

    async def test_to_one_that_revisions_make_by_hand(self, postgres: Database, tmp_path: Path) -> None:
        """The type is dropped by hand then, too."""
        before, after = tables_of(car={"x": color()}), tables_of(car={"y": color(create_type=False)})

        await round_trip(postgres, tmp_path, before, after)

        assert await types(postgres) == ["color"]


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

    async def test_one_with_more_members_is_used(self, postgres: Database, tmp_path: Path) -> None:
        """No INSERT fails; that there are more is found by `check`."""
        await execute(postgres, "CREATE TYPE color AS ENUM ('red', 'green', 'blue')")
        migrations = Migrations(postgres, models(car=color()), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        with pytest.raises(ModelsDiffer, match="type color is red, green, blue, not red, blue"):
            await migrations.check()

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
