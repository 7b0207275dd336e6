"""A revision drops what the project made, and nothing else that stands in the same database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Date, ForeignKey, Integer, MetaData, Table

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import code, empty_migrations, revision, tables

MAKE_A = 'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))'
PARTITIONED = """
op.create_table("a", sa.Column("d", sa.Date, primary_key=True), postgresql_partition_by="RANGE (d)")
op.create_table("a_2024", sa.Column("d", sa.Date, primary_key=True))
op.execute("ALTER TABLE a ATTACH PARTITION a_2024 FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')")
op.execute("INSERT INTO a VALUES ('2024-05-05')")
""".strip()
INHERITED = """
op.create_table("a", sa.Column("d", sa.Date, primary_key=True))
op.create_table("a_old", sa.Column("d", sa.Date, nullable=False))
op.execute("ALTER TABLE a_old INHERIT a")
op.execute("INSERT INTO a_old VALUES ('2024-05-05')")
""".strip()


def models(*parts: Any, schema: str | None = None) -> MetaData:
    """Return the table a with a key and *parts*."""
    metadata = metadata_with_names()
    Table("a", metadata, Column("id", Integer, primary_key=True), *parts, schema=schema)
    return metadata


async def execute(db: Database, *statements: str) -> list[Any]:
    """Send SQL as somebody else would, and return the first values of the last answer."""
    async with db.engine.begin() as connection:
        answers = [await connection.exec_driver_sql(statement) for statement in statements]
        return list(answers[-1].scalars()) if answers[-1].returns_rows else []


async def migrated(db: Database, metadata: MetaData, folder: Path) -> Migrations:
    """Write and run a revision of what these models have changed."""
    migrations = Migrations(db, metadata, folder / "migrations")
    await migrations.new("change")
    await migrations.up()
    return migrations


class TestTablesOfOthers:
    @pytest.mark.parametrize("name", ["audit", "ddl_version", "spatial_ref_sys", "Odd%Name"])
    async def test_a_table_that_no_revision_made_is_left_alone(
        self, every_driver: Database, tmp_path: Path, name: str
    ) -> None:
        """Another program's table, another version table: neither a difference nor dropped, and its rows stay."""
        quoted = every_driver.engine.dialect.identifier_preparer.quote(name)
        migrations = await migrated(every_driver, models(), tmp_path)
        async with every_driver.engine.begin() as connection:
            await connection.exec_driver_sql(f"CREATE TABLE {quoted} (n integer)")
            await connection.exec_driver_sql(f"INSERT INTO {quoted} VALUES (1)")

        await migrations.check()

        assert await migrations.new("again") is None

    async def test_nothing_is_dropped_by_a_fresh_directory(self, every_driver: Database, tmp_path: Path) -> None:
        """A project that begins with revisions in a database in use does not empty it."""
        await execute(every_driver, "CREATE TABLE a (id integer PRIMARY KEY)", "CREATE TABLE b (id integer)")

        written = await Migrations(every_driver, MetaData(), tmp_path / "migrations").new("begin")

        assert written is None

    async def test_what_a_revision_made_is_dropped_when_its_model_goes(self, db: Database, tmp_path: Path) -> None:
        """The table of a removed model is the project's own."""
        await migrated(db, models(), tmp_path)
        migrations = Migrations(db, MetaData(), tmp_path / "migrations")

        await migrations.new("drop a")
        await migrations.up()

        assert "a" not in await tables(db)

    async def test_a_renamed_table_is_still_the_projects(self, db: Database, tmp_path: Path) -> None:
        """Its name is followed through the revisions."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make", MAKE_A)
        await revision(migrations, "rename", 'op.rename_table("a", "b")')
        await migrations.up()

        with pytest.raises(errors.ModelsDiffer) as caught:
            await migrations.check()

        assert caught.value.differences == ("has the extra table b",)

    async def test_what_a_revision_dropped_is_not_the_projects_any_more(self, db: Database, tmp_path: Path) -> None:
        """Somebody else may take the name of a table that was dropped; the way back counts for nothing."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make", MAKE_A, 'op.drop_table("a")')
        await revision(migrations, "drop", 'op.drop_table("a")', MAKE_A)
        await migrations.up()
        await execute(db, "CREATE TABLE a (id integer)")

        assert await migrations.new("again") is None

    async def test_a_name_at_the_top_of_the_file_is_read(self, db: Database, tmp_path: Path) -> None:
        """op.create_table(TABLE) made the table that TABLE names."""
        migrations = empty_migrations(db, tmp_path)
        path = await revision(migrations, "make", MAKE_A.replace('"a"', "TABLE"))
        path.write_text(path.read_text().replace("revision = ", 'TABLE = "a"\nrevision = ', 1))
        await migrations.up()

        with pytest.raises(errors.ModelsDiffer, match="has the extra table a"):
            await migrations.check()

    async def test_a_child_of_a_table_of_others(self, db: Database, tmp_path: Path) -> None:
        """A foreign key to it does not make it the project's."""
        await execute(db, "CREATE TABLE audit (id integer PRIMARY KEY)")
        migrations = empty_migrations(db, tmp_path)
        key = 'sa.Column("audit_id", sa.Integer, sa.ForeignKey("audit.id"))'
        await revision(migrations, "make", f'op.create_table("a", {key})')
        await migrations.up()

        path = await migrations.new("drop a")

        assert path is not None
        assert "drop_table('audit')" not in code(path)

    async def test_views_are_left_alone(self, db: Database, tmp_path: Path) -> None:
        """A view over a table of the models is neither a difference nor dropped."""
        migrations = await migrated(db, models(), tmp_path)
        await execute(db, "CREATE VIEW a_view AS SELECT id FROM a")

        assert await migrations.new("again") is None
        await execute(db, "DROP VIEW a_view")


class TestPartsOfTables:
    @pytest.fixture(params=["postgres", "psycopg"])
    def postgres(self, request: pytest.FixtureRequest) -> Database:
        """PostgreSQL through each driver."""
        database: Database = request.getfixturevalue(request.param)
        return database

    @pytest.mark.parametrize("made", [PARTITIONED, INHERITED], ids=["partition", "child"])
    async def test_they_keep_their_rows(self, postgres: Database, tmp_path: Path, made: str) -> None:
        """A partition, or what inherits, is part of its parent, even where a revision made it."""
        metadata = MetaData()
        Table("a", metadata, Column("d", Date, primary_key=True))
        await revision(empty_migrations(postgres, tmp_path), "make", made)
        migrations = Migrations(postgres, metadata, tmp_path / "migrations")
        await migrations.up()

        await migrations.check()

        assert await migrations.new("again") is None
        assert await execute(postgres, "SELECT count(*) FROM a") == [1]

    async def test_a_partition_that_has_a_model_is_compared(self, postgres: Database, tmp_path: Path) -> None:
        """What the models have is the project's, whatever it is."""
        metadata = MetaData()
        Table("a", metadata, Column("d", Date, primary_key=True))
        Table("a_2024", metadata, Column("d", Date, primary_key=True), Column("n", Integer))
        await revision(empty_migrations(postgres, tmp_path), "make", PARTITIONED)
        migrations = Migrations(postgres, metadata, tmp_path / "migrations")
        await migrations.up()

        with pytest.raises(errors.ModelsDiffer) as caught:
            await migrations.check()

        assert caught.value.differences == ("has no column a_2024.n",)

    @pytest.fixture
    async def of_extension(self, postgres: Database, tmp_path: Path) -> AsyncIterator[Migrations]:
        """A table that a revision made, and that an extension took over."""
        migrations = empty_migrations(postgres, tmp_path)
        await revision(migrations, "make", f'{MAKE_A}\nop.execute("ALTER EXTENSION plpgsql ADD TABLE a")')
        await migrations.up()
        yield migrations
        await execute(postgres, "ALTER EXTENSION plpgsql DROP TABLE a")

    async def test_a_table_of_an_extension_is_left_alone(self, of_extension: Migrations) -> None:
        """The server would refuse to drop it."""
        assert await of_extension.new("again") is None

    async def test_a_foreign_table_is_left_alone(self, postgres: Database, tmp_path: Path) -> None:
        """Its rows are somebody else's."""
        migrations = await migrated(postgres, models(), tmp_path)
        await execute(
            postgres,
            "CREATE FOREIGN DATA WRAPPER nothing",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing",
            "CREATE FOREIGN TABLE away (id integer) SERVER elsewhere",
        )

        written = await migrations.new("again")
        await execute(postgres, "DROP FOREIGN DATA WRAPPER nothing CASCADE")

        assert written is None


class TestSQLite:
    async def test_the_tables_of_a_virtual_table_are_left_alone(self, sqlite: Database, tmp_path: Path) -> None:
        """Full-text search keeps its rows in tables of its own."""
        migrations = await migrated(sqlite, models(), tmp_path)
        await execute(sqlite, "CREATE VIRTUAL TABLE search USING fts5(words)")

        assert await migrations.new("again") is None


class TestSchemas:
    @pytest.fixture(params=["postgres", "psycopg", "mariadb"])
    def server(self, request: pytest.FixtureRequest) -> Database:
        """Each database that has schemas."""
        database: Database = request.getfixturevalue(request.param)
        return database

    @pytest.fixture
    async def shop(self, server: Database) -> AsyncIterator[str]:
        """A schema for the models, and beside it one of somebody else with a table."""
        name = f"shop_{server.url.database}"
        drop = [f"DROP SCHEMA IF EXISTS {one}" for one in (name, f"other_{name}")]
        drop = [f"{one} CASCADE" if server.dialect == "postgresql" else one for one in drop]
        make = [f"CREATE SCHEMA {name}", f"CREATE SCHEMA other_{name}", f"CREATE TABLE other_{name}.audit (id integer)"]
        await execute(server, *drop, *make)
        yield name
        await execute(server, *drop)

    async def test_the_schemas_of_the_models_are_compared(self, server: Database, shop: str, tmp_path: Path) -> None:
        """What is there is found, and not written again; what differs is."""
        migrations = await migrated(server, models(schema=shop), tmp_path)

        await migrations.check()
        with pytest.raises(errors.ModelsDiffer) as caught:
            await Migrations(server, models(Column("n", Integer), schema=shop), tmp_path / "migrations").check()

        assert caught.value.differences == ("has no column a.n",)

    async def test_rows_survive_a_change_there(self, server: Database, shop: str, tmp_path: Path) -> None:
        """A later revision changes the table of the schema, and no other."""
        await migrated(server, models(schema=shop), tmp_path)
        await execute(server, f"INSERT INTO {shop}.a VALUES (1)")

        migrations = Migrations(server, models(Column("n", Integer), schema=shop), tmp_path / "migrations")
        await migrations.new("more")
        await migrations.up()
        await migrations.check()

        assert await execute(server, f"SELECT id FROM {shop}.a WHERE n IS NULL") == [1]

    async def test_all_schemas_may_be_asked_for(self, server: Database, shop: str, tmp_path: Path) -> None:
        """With include_schemas=True, too, no table of somebody else is dropped.

        Without those of other tests, which come and go meanwhile: MariaDB has them on the same server.
        """
        migrations = await migrated(server, models(schema=shop), tmp_path)
        stays = f"kind != 'schema' or name == {shop!r} or 'sqlkeel_test_' not in str(name)"
        env = migrations.directory / "env.py"
        env.write_text(
            "from sqlkeel.migrations.env import run\n\n"
            f"run(include_schemas=True, include_name=lambda name, kind, parents: {stays})\n"
        )

        await migrations.check()

        assert await migrations.new("again") is None

    async def test_the_projects_own_filter_leaves_out_more(self, server: Database, shop: str, tmp_path: Path) -> None:
        """include_name in env.py is asked about what is the project's."""
        migrations = await migrated(server, models(schema=shop), tmp_path)
        env = migrations.directory / "env.py"
        env.write_text(
            "from sqlkeel.migrations.env import run\n\nrun(include_name=lambda name, kind, parents: name != 'a')\n"
        )

        with pytest.raises(errors.ModelsDiffer) as caught:
            await migrations.check()

        assert caught.value.differences == ("has no table a",)

    async def test_a_table_that_leaves_the_models_is_dropped_there(
        self, server: Database, shop: str, tmp_path: Path
    ) -> None:
        """The schema of the models that are left is looked at, also for what they had."""
        metadata = models(schema=shop)
        Table("b", metadata, Column("a_id", ForeignKey(f"{shop}.a.id")), schema=shop)
        await migrated(server, metadata, tmp_path)
        migrations = Migrations(server, models(schema=shop), tmp_path / "migrations")

        await migrations.new("drop b")
        await migrations.up()

        await migrations.check()
        assert await execute(server, f"SELECT count(*) FROM {shop}.a") == [0]

    @pytest.mark.parametrize("left", [MetaData(), models()], ids=["nothing", "the default schema"])
    async def test_the_last_table_of_a_schema_is_dropped_there(
        self, server: Database, shop: str, tmp_path: Path, left: MetaData
    ) -> None:
        """A schema in which the revisions made a table is looked at, also when no model names it any more."""
        before = models(schema=shop)
        Table("b", before, Column("id", Integer, primary_key=True), schema=shop)
        await migrated(server, before, tmp_path)
        await execute(server, f"CREATE TABLE {shop}.audit (id integer)")
        await migrated(server, left, tmp_path)
        migrations = Migrations(server, left, tmp_path / "migrations")
        there = f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{shop}' ORDER BY 1"

        await migrations.check()

        assert await execute(server, there) == ["audit"]
        await migrations.down()
        assert await execute(server, there) == ["a", "audit", "b"]

    async def test_a_schema_that_the_revisions_have_left_is_not_compared(
        self, server: Database, shop: str, tmp_path: Path
    ) -> None:
        """Somebody else may make a table of the same name there."""
        migrations = empty_migrations(server, tmp_path)
        await revision(migrations, "make", MAKE_A[:-1] + f', schema="{shop}")')
        await revision(migrations, "drop", f'op.drop_table("a", schema="{shop}")')
        await migrations.up()
        await execute(server, f"CREATE TABLE {shop}.a (id integer)")

        await migrations.check()

        assert await migrations.new("again") is None
