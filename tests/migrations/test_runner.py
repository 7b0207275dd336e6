"""Migrations from the first file to the last."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, func, select, text
from sqlalchemy.ext.asyncio import create_async_engine

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase
from tests.migrations.models import Base, Member, Team
from tests.migrations.revisions import MAKE_A, MAKE_B, empty_migrations, revision, tables

FAIL = 'op.execute("SELECT 1 FROM nowhere")'


class TestNew:
    async def test_the_first_one_makes_the_directory(self, migrations: Migrations) -> None:
        """A project needs nothing but its models to begin."""
        path = await migrations.new("first tables")

        assert path is not None
        assert path.parent == migrations.directory / "versions"
        assert (migrations.directory / "env.py").exists()
        assert (migrations.directory / "script.py.mako").exists()

    async def test_the_database_gets_what_the_models_say(self, migrations: Migrations) -> None:
        """After a generated revision ran, no difference is left: keys, types, defaults, checks, partial indexes."""
        await migrations.new("first tables")

        await migrations.up()
        await migrations.check()

        assert [revision.applied for revision in await migrations.status()] == [True]

    async def test_a_second_one_finds_nothing(self, migrations: Migrations) -> None:
        """Where models and database agree, no empty revision is written."""
        first = await migrations.new("first tables")
        await migrations.up()

        second = await migrations.new("first tables")

        assert second is None
        assert list((migrations.directory / "versions").glob("*.py")) == [first]

    async def test_the_revision_runs_on_psycopg(self, psycopg: Database, tmp_path: Path) -> None:
        """The other driver of PostgreSQL sees the same database."""
        migrations = Migrations(psycopg, Base, tmp_path / "migrations")
        await migrations.new("first tables")

        await migrations.up()
        await migrations.check()

        assert [revision.applied for revision in await migrations.status()] == [True]

    async def test_a_database_that_is_behind_is_refused(self, migrations: Migrations) -> None:
        """What is written but not applied would be written again."""
        path = await migrations.new("first tables")
        assert path is not None

        with pytest.raises(errors.DatabaseBehind) as caught:
            await migrations.new("second")

        assert caught.value.pending == (path.name,)

    async def test_a_file_is_never_overwritten(self, migrations: Migrations) -> None:
        """The same message on the same day makes another file."""
        first = await migrations.new("add users", autogenerate=False)
        second = await migrations.new("add users", autogenerate=False)

        assert first is not None
        assert second is not None
        assert second.name == first.name.replace(".py", "_2.py")
        assert [one.path for one in await migrations.status()] == [first, second]

    async def test_concurrent_calls_write_no_file_twice(self, migrations: Migrations) -> None:
        """Two callers who cannot both follow the same revision do not take each other's file."""
        calls = [migrations.new("add users", autogenerate=False) for _ in range(4)]

        paths = await asyncio.gather(*calls)

        assert len(set(paths)) == 4

    async def test_a_message_cannot_break_the_file(self, migrations: Migrations) -> None:
        """Quotes, backslashes and line ends in a message stay in the docstring."""
        await migrations.new('it\'s """odd"""\n and \\N{odd}', autogenerate=False)

        [only] = await migrations.status()

        assert only.message == "it's '''odd''' and /N{odd}"

    async def test_a_message_is_needed(self, migrations: Migrations) -> None:
        """A revision without a message would have a file without a name."""
        with pytest.raises(errors.MigrationError, match="needs a message"):
            await migrations.new("  ")

    async def test_a_changed_column_is_found(self, db: Database, tmp_path: Path) -> None:
        """A revision is written for a changed default and a new column, and leaves no difference."""
        before, after = MetaData(), MetaData()
        Table("a", before, Column("id", Integer, primary_key=True), Column("n", Integer, server_default="1"))
        Table(
            "a",
            after,
            Column("id", Integer, primary_key=True),
            Column("n", Integer, server_default="2"),
            Column("m", Integer),
        )
        await Migrations(db, before, tmp_path / "migrations").new("first")
        await Migrations(db, before, tmp_path / "migrations").up()
        migrations = Migrations(db, after, tmp_path / "migrations")

        path = await migrations.new("second")
        await migrations.up()

        assert path is not None
        await migrations.check()


class TestUp:
    async def test_it_applies_what_is_missing_in_order(self, db: Database, tmp_path: Path) -> None:
        """Every revision runs once, the oldest first, and is returned."""
        migrations = empty_migrations(db, tmp_path)
        first = await revision(migrations, "make a", MAKE_A)
        second = await revision(migrations, "make b", MAKE_B)

        done = await migrations.up()

        assert [one.path for one in done] == [first, second]
        assert {"a", "b"} <= await tables(db)
        assert await migrations.up() == []

    async def test_it_stops_at_a_target(self, db: Database, tmp_path: Path) -> None:
        """A target that is not the newest leaves the rest pending."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "make b", MAKE_B)

        await migrations.up("+1")

        assert [one.applied for one in await migrations.status()] == [True, False]

    async def test_an_unknown_target_is_refused(self, db: Database, tmp_path: Path) -> None:
        """A revision that is not there cannot be reached."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        with pytest.raises(errors.MigrationError, match="nowhere"):
            await migrations.up("nowhere")

    async def test_a_failed_revision_leaves_nothing_on_sqlite(self, sqlite: Database, tmp_path: Path) -> None:
        """The whole run is one transaction there."""
        migrations = empty_migrations(sqlite, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "fail", f"{MAKE_B}\n{FAIL}")

        with pytest.raises(errors.SchemaMissing) as caught:
            await migrations.up()

        assert await tables(sqlite) == set()
        assert "fail.py failed; the whole run was rolled back" in caught.value.__notes__[0]

    async def test_a_failed_revision_leaves_nothing_on_postgresql(self, postgres: Database, tmp_path: Path) -> None:
        """Each revision is a transaction; those before it stay."""
        migrations = empty_migrations(postgres, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "fail", f"{MAKE_B}\n{FAIL}")

        with pytest.raises(errors.SchemaMissing) as caught:
            await migrations.up()

        assert await tables(postgres) == {"a", "alembic_version"}
        assert [one.applied for one in await migrations.status()] == [True, False]
        assert "fail.py was rolled back" in caught.value.__notes__[0]

    async def test_a_failed_revision_stays_half_done_on_mariadb(self, mariadb: Database, tmp_path: Path) -> None:
        """MariaDB commits every DDL statement; the error says so."""
        migrations = empty_migrations(mariadb, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "fail", f"{MAKE_B}\n{FAIL}")

        with pytest.raises(errors.SchemaMissing) as caught:
            await migrations.up()

        assert await tables(mariadb) == {"a", "b", "alembic_version"}
        assert [one.applied for one in await migrations.status()] == [True, False]
        assert "MariaDB commits every DDL statement" in caught.value.__notes__[0]

    async def test_the_users_own_error_comes_through(self, db: Database, tmp_path: Path) -> None:
        """A bug in a revision is not dressed up as something else."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "look up", '{}["nothing"]')

        with pytest.raises(KeyError) as caught:
            await migrations.up()

        assert "look_up.py" in caught.value.__notes__[0]

    async def test_rows_are_committed(self, db: Database, tmp_path: Path) -> None:
        """What a revision writes into a table is there afterwards."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "fill a", f'{MAKE_A}\nop.execute("INSERT INTO a VALUES (7)")')

        await migrations.up()

        async with db.read() as session:
            assert (await session.execute(text("SELECT id FROM a"))).scalars().all() == [7]

    async def test_concurrent_calls_take_turns(self, db: Database, tmp_path: Path) -> None:
        """Every caller succeeds, and every revision runs once."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "make b", MAKE_B)

        done = await asyncio.gather(*(migrations.up() for _ in range(4)))

        assert sorted(map(len, done)) == [0, 0, 0, 2]

    async def test_status_does_not_stop_a_migration(self, db: Database, tmp_path: Path) -> None:
        """Questions asked while a migration runs are answered."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        await asyncio.gather(*(work() for work in (migrations.up, migrations.status) for _ in range(4)))

        assert [one.applied for one in await migrations.status()] == [True]

    async def test_one_connection_is_enough(self, db: Database, open_database: OpenDatabase, tmp_path: Path) -> None:
        """A pool of a single connection is not waited for twice."""
        small = open_database(db, pool_size=1, max_overflow=0, pool_timeout=2)
        migrations = empty_migrations(small, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        await migrations.up()

        assert "a" in await tables(small)

    async def test_a_database_in_memory_keeps_its_tables(self, open_database: OpenDatabase, tmp_path: Path) -> None:
        """Its only connection is not closed after a migration."""
        memory = open_database("sqlite+aiosqlite://")
        migrations = empty_migrations(memory, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        await migrations.up()

        assert {"a", "alembic_version"} == await tables(memory)

    async def test_a_plain_engine_will_do(self, sqlite: Database, tmp_path: Path) -> None:
        """On SQLAlchemy's own engine a failed revision is rolled back too."""
        engine = create_async_engine(sqlite.url)
        migrations = Migrations(engine, MetaData(), tmp_path / "migrations")
        await revision(migrations, "fail", f"{MAKE_B}\n{FAIL}")

        with pytest.raises(Exception, match="nowhere"):
            await migrations.up()

        await engine.dispose()
        assert await tables(sqlite) == set()

    async def test_concurrent_indexes_can_be_built(self, postgres: Database, tmp_path: Path) -> None:
        """CREATE INDEX CONCURRENTLY works while another migrator waits for its turn."""
        migrations = empty_migrations(postgres, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        concurrently = 'op.create_index("a_id_idx", "a", ["id"], postgresql_concurrently=True)'
        await revision(migrations, "index", f"with op.get_context().autocommit_block():\n    {concurrently}")

        done = await asyncio.gather(*(migrations.up() for _ in range(3)))

        assert sorted(map(len, done)) == [0, 0, 2]

    async def test_a_migration_may_take_long(
        self, postgres: Database, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """The statement timeout of the application does not stop it, and is in force again afterwards."""
        hasty = open_database(postgres, statement_timeout=0.2, idle_timeout=0.2, pool_size=1, max_overflow=0)
        migrations = empty_migrations(hasty, tmp_path)
        await revision(migrations, "sleep", 'op.execute("SELECT pg_sleep(0.5)")\nimport time\ntime.sleep(0.5)')

        await migrations.up()

        with pytest.raises(errors.StatementTimeout):
            async with hasty.transaction() as session:
                await session.execute(text("SELECT pg_sleep(0.5)"))

    async def test_a_migration_may_take_long_on_mariadb(
        self, mariadb: Database, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """The statement timeout of the application does not stop it there either."""
        hasty = open_database(mariadb, statement_timeout=0.1, pool_size=1, max_overflow=0)
        migrations = empty_migrations(hasty, tmp_path)
        await revision(
            migrations, "count", 'op.execute("SELECT SUM(a.seq * b.seq) FROM seq_1_to_4000 a, seq_1_to_4000 b")'
        )

        done = await migrations.up()

        assert len(done) == 1

    async def test_a_table_in_use_is_not_waited_for_long(self, postgres: Database, tmp_path: Path) -> None:
        """A statement that waits for its lock makes everybody behind it wait too, so it gives up."""
        migrations = empty_migrations(postgres, tmp_path, lock_timeout=0.2)
        await revision(migrations, "make a", MAKE_A)
        await migrations.up()
        await revision(migrations, "change a", 'op.add_column("a", sa.Column("n", sa.Integer))')

        async with postgres.transaction() as session:
            await session.execute(text("SELECT * FROM a"))
            with pytest.raises(errors.LockTimeout) as caught:
                await migrations.up()

        assert caught.value.hint == "A table was in use for more than 0.2 s; run it again when it is not."
        assert len(await migrations.up()) == 1


class TestDown:
    async def test_it_takes_the_last_one_back(self, db: Database, tmp_path: Path) -> None:
        """Without a target one revision goes."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A, 'op.drop_table("a")')
        last = await revision(migrations, "make b", MAKE_B, 'op.drop_table("b")')
        await migrations.up()

        done = await migrations.down()

        assert [one.path for one in done] == [last]
        assert await tables(db) == {"a", "alembic_version"}

    async def test_generated_revisions_can_be_taken_back(self, migrations: Migrations, db: Database) -> None:
        """Up, down to nothing and up again works on every database, foreign keys and generated columns included."""
        await migrations.new("first tables")
        await migrations.up()

        await migrations.down("base")

        assert await tables(db) == {"alembic_version"}
        await migrations.up()
        await migrations.check()

    async def test_there_may_be_nothing_to_take_back(self, db: Database, tmp_path: Path) -> None:
        """A database without revisions is left alone."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        assert await migrations.down() == []

    async def test_too_far_is_refused(self, db: Database, tmp_path: Path) -> None:
        """Two of one revisions cannot be taken back."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await migrations.up()

        with pytest.raises(errors.MigrationError):
            await migrations.down("-2")


class TestDataOfTheModels:
    async def test_a_migrated_database_works(self, migrations: Migrations, db: Database) -> None:
        """Rows go in and come out, and a deleted row frees its unique value."""
        await migrations.new("first tables")
        await migrations.up()

        async with db.transaction() as session:
            team = Team(name="red", members=[Member(email="a@x.org", badge=1, settings={"a": 1})])
            session.add(team)
        async with db.transaction() as session:
            await session.delete(await session.get_one(Team, team.id))
        async with db.transaction() as session:
            session.add(Team(name="red"))

        async with db.read() as session:
            assert await session.scalar(select(func.count()).select_from(Team)) == 1


class TestTenants:
    @pytest.mark.parametrize("call", ["new", "up", "down", "status", "check"])
    async def test_a_translated_schema_is_refused(
        self, db: Database, open_database: OpenDatabase, tmp_path: Path, call: str
    ) -> None:
        """The second tenant would have no tables: what was done for the first one would count as done for all."""
        await Migrations(db, Base, tmp_path).new("first tables")
        options = {"schema_translate_map": {None: "tenant"}}
        tenant = Migrations(open_database(db, execution_options=options), Base, tmp_path)
        arguments = ["again"] if call == "new" else []

        with pytest.raises(errors.NotSupported, match="schema_translate_map") as caught:
            await getattr(tenant, call)(*arguments)

        assert "search_path" in caught.value.hint

    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    async def test_each_schema_has_its_own(
        self, postgres: Database, open_database: OpenDatabase, tmp_path: Path, driver: str
    ) -> None:
        """Connected to its schema as the hint says, each tenant has its tables, and knows what was applied."""
        url = postgres.url.set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)
        async with postgres.engine.begin() as connection:
            for name in ("one", "two"):
                await connection.execute(text(f"CREATE SCHEMA {name}"))
        for name in ("one", "two"):
            settings = {
                "asyncpg": {"server_settings": {"search_path": name}},
                "psycopg": {"options": f"-c search_path={name}"},
            }
            migrations = Migrations(open_database(url, connect_args=settings[driver]), Base, tmp_path)
            if name == "one":
                await migrations.new("first tables")
            before = [revision.applied for revision in await migrations.status()]

            await migrations.up()
            await migrations.check()

            assert before == [False]
            assert [revision.applied for revision in await migrations.status()] == [True]
