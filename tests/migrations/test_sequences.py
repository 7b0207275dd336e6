"""Sequences in migrations: written with the tables that count by them, made first, found missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import render
from sqlalchemy import BigInteger, Column, Integer, MetaData, Sequence, String, Table, insert, inspect, select

from sqlkeel.errors import ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import code, tables

COUNTED = """
from sqlalchemy import Column, Integer, MetaData, Sequence, Table
class Base:
    metadata = MetaData()
Table("job", Base.metadata, Column("id", Integer, Sequence("job_number"), primary_key=True))
"""


def models(*columns: Any, name: str = "job", metadata: MetaData | None = None) -> MetaData:
    """Return a table of jobs, numbered by a sequence where no other columns are given."""
    metadata = metadata_with_names() if metadata is None else metadata
    Table(name, metadata, *(columns or counted()))
    return metadata


def counted(**options: Any) -> tuple[Column[Any], ...]:
    """Return a key that a sequence counts, and something to insert."""
    return Column("id", Integer, Sequence("job_number", **options), primary_key=True), Column("what", String(9))


async def keys(database: Database, metadata: MetaData, *, table: str = "job") -> list[Any]:
    """Insert two rows without their keys, and return these."""
    statement = insert(metadata.tables[table]).values(what="x")
    async with database.engine.begin() as connection:
        return [(await connection.execute(statement)).inserted_primary_key[0] for _ in range(2)]


async def sequences(database: Database) -> list[str]:
    """Return the names of the sequences; none where there are none."""
    async with database.engine.connect() as connection:
        if not connection.dialect.supports_sequences:
            return []
        return await connection.run_sync(lambda sync: inspect(sync).get_sequence_names())


class TestNewTable:
    async def test_it_counts_by_its_sequence(self, db: Database, tmp_path: Path) -> None:
        """There, back, and there again; the insert asks the sequence where there is one."""
        metadata = models()
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        await migrations.check()

        assert await keys(db, metadata) == [1, 2]
        await migrations.down()
        assert (await sequences(db), await tables(db)) == ([], {"alembic_version"})
        await migrations.up()
        assert await keys(db, metadata) == [1, 2]

    async def test_a_revision_of_sqlite_runs_on_all(self, sqlite: Database, db: Database, tmp_path: Path) -> None:
        """SQLite has no sequences, and is not told to make one."""
        metadata = models(*counted(start=7))
        await Migrations(sqlite, metadata, tmp_path / "migrations").new("first")

        await Migrations(db, metadata, tmp_path / "migrations").up()

        await Migrations(db, metadata, tmp_path / "migrations").check()
        counts = db.engine.dialect.supports_sequences
        assert await keys(db, metadata) == ([7, 8] if counts else [1, 2])

    @pytest.mark.parametrize(
        "options",
        [
            {"start": 5, "increment": 10, "minvalue": 5, "maxvalue": 500, "cycle": True, "cache": 3},
            {"start": -1, "increment": -1, "nominvalue": True, "nomaxvalue": True},
        ],
        ids=["up", "down"],
    )
    async def test_its_options_are_kept(self, db: Database, tmp_path: Path, options: dict[str, Any]) -> None:
        """All that CREATE SEQUENCE takes is written."""
        path = await Migrations(db, models(*counted(**options)), tmp_path / "migrations").new("first")

        assert path is not None
        listed = ", ".join(f"{name}={value!r}" for name, value in options.items())
        assert code(path).count(f"sa.Sequence('job_number', {listed})") == 3  # made, used, dropped

    async def test_two_tables_share_one(self, db: Database, tmp_path: Path) -> None:
        """It is made once, and the second table, which comes later, takes it as it is."""
        migrations = Migrations(db, models(), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        both = models(*counted(), name="task", metadata=models())
        migrations = Migrations(db, both, tmp_path / "migrations")
        path = await migrations.new("second")
        await migrations.up()

        await migrations.check()
        assert path is not None
        assert ".create(" not in path.read_text()
        made = [*await keys(db, both), *await keys(db, both, table="task")]
        assert made == ([1, 2, 3, 4] if db.engine.dialect.supports_sequences else [1, 2, 1, 2])

    async def test_a_default_of_the_server(self, postgres: Database, tmp_path: Path) -> None:
        """The sequence is there before the default that names it."""
        number = Sequence("receipt_number")
        parts = (
            Column("id", Integer, primary_key=True),
            Column("number", BigInteger, server_default=number.next_value()),
        )
        migrations = Migrations(postgres, models(*parts), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        assert "receipt_number" in await sequences(postgres)


class TestExistingTable:
    @pytest.fixture(params=["postgres", "mariadb"])
    def db(self, request: pytest.FixtureRequest) -> Database:
        """Each database that has sequences."""
        database: Database = request.getfixturevalue(request.param)
        return database

    async def test_a_sequence_that_is_missing_is_found(self, db: Database, tmp_path: Path) -> None:
        """A table that counted by itself gets one; the inserts of the models fail without."""
        counting = Column("id", Integer, primary_key=True), Column("what", String(9))
        migrations = Migrations(db, models(*counting), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        migrations = Migrations(db, models(), tmp_path / "migrations")
        with pytest.raises(ModelsDiffer, match="has no sequence job_number"):
            await migrations.check()
        await migrations.new("second")
        await migrations.up()

        assert await migrations.new("nothing") is None

    async def test_one_of_nobody_is_made_too(self, postgres: Database, tmp_path: Path) -> None:
        """A sequence of the metadata that no column uses."""
        metadata = models(Column("id", Integer, primary_key=True))
        number = Sequence("invoice_number", start=1000, metadata=metadata)
        migrations = Migrations(postgres, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        async with postgres.engine.connect() as connection:
            assert await connection.scalar(select(number.next_value())) == 1000

    async def test_those_of_tables_that_are_left_out(self, postgres: Database, tmp_path: Path) -> None:
        """They are no more compared than their tables."""
        migrations = Migrations(postgres, models(), tmp_path / "migrations")
        await migrations.new("empty", autogenerate=False)
        await migrations.up()
        (tmp_path / "migrations" / "env.py").write_text(
            "from sqlkeel.migrations.env import run\nrun(include_object=lambda item, *_: item.name != 'job')\n"
        )

        await migrations.check()

    async def test_an_optional_one_is_for_databases_that_count_by_nothing_else(
        self, postgres: Database, tmp_path: Path
    ) -> None:
        """PostgreSQL takes SERIAL."""
        metadata = models(*counted(optional=True))
        migrations = Migrations(postgres, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        assert await sequences(postgres) == ["job_id_seq"]
        assert await keys(postgres, metadata) == [1, 2]


class TestRendering:
    async def test_as_sql(self, postgres: Database, tmp_path: Path) -> None:
        """``alembic upgrade head --sql`` has it, too."""
        url = postgres.url.render_as_string(hide_password=False)
        folder = make_project(tmp_path, name="counted_models", models=COUNTED)
        (folder / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
        assert run_command(folder, "sqlkeel", "migrate", "new", "first", url=url).returncode == 0

        done = run_command(folder, "alembic", "upgrade", "head", "--sql", url=url)

        assert "CREATE SEQUENCE job_number" in done.stdout
        assert "id INTEGER NOT NULL" in done.stdout

    def test_alembic_writes_a_column_by_itself(self) -> None:
        """There is no public name for it; a table with a sequence could not be written without."""
        assert callable(render._render_column)

    def test_a_metadata_knows_its_sequences(self) -> None:
        """There is no public name for them; one that no column uses would not be made without."""
        metadata = MetaData()
        number = Sequence("invoice_number", metadata=metadata)

        assert [*metadata._sequences.values()] == [number]
