"""The same files, started by Alembic itself."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.ddl.impl import _impls
from sqlalchemy import Engine, MetaData, NullPool, Table, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import empty_migrations, revision, tables

INI = "[alembic]\nscript_location = %(here)s/migrations\n"
MAKE_A = 'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))'
COPY_A = """
with op.batch_alter_table("a") as batch:
    batch.add_column(sa.Column("n", sa.Integer))
    batch.alter_column("id", type_=sa.BigInteger)
""".strip()
MAKE_THEIRS = MAKE_A.replace('"a"', '"theirs"')


def url_of(database: Database) -> str:
    """Return the URL with its password."""
    return database.url.render_as_string(hide_password=False)


class TestAlembic:
    async def test_upgrade_head_works_with_an_ini(self, db: Database, tmp_path: Path) -> None:
        """A team that knows Alembic goes on typing what it knows."""
        make_project(tmp_path)
        (tmp_path / "alembic.ini").write_text(INI)
        await revision(empty_migrations(db, tmp_path), "make a", MAKE_A)

        done = run_command(tmp_path, "alembic", "upgrade", "head", url=url_of(db))

        assert done.returncode == 0, done.stderr
        assert await tables(db) == {"a", "alembic_version"}

    async def test_both_programs_take_turns(self, db: Database, tmp_path: Path) -> None:
        """Two processes that migrate one database at once both succeed."""
        make_project(tmp_path)
        (tmp_path / "alembic.ini").write_text(INI)
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        await revision(migrations, "sleep", "import time\ntime.sleep(1)")
        commands = [("alembic", "upgrade", "head"), ("sqlkeel", "migrate", "up"), ("sqlkeel", "migrate", "up")]

        done = await asyncio.gather(
            *(asyncio.to_thread(run_command, tmp_path, *one, url=url_of(db)) for one in commands)
        )

        assert [one.returncode for one in done] == [0, 0, 0], [one.stderr for one in done]
        assert [one.applied for one in await migrations.status()] == [True, True]

    async def test_sql_can_be_printed(self, db: Database, tmp_path: Path) -> None:
        """--sql prints the statements and touches nothing."""
        make_project(tmp_path)
        (tmp_path / "alembic.ini").write_text(INI)
        await revision(empty_migrations(db, tmp_path), "make a", MAKE_A)

        done = run_command(tmp_path, "alembic", "upgrade", "head", "--sql", url=url_of(db))

        assert "CREATE TABLE a" in done.stdout, done.stderr
        assert await tables(db) == set()

    async def test_inside_of_a_loop_it_says_what_to_await(
        self, sqlite: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """alembic.command cannot run in a running event loop; the hint names what can."""
        make_project(tmp_path)
        monkeypatch.setenv("DATABASE_URL", url_of(sqlite))
        await revision(empty_migrations(sqlite, tmp_path), "make a", MAKE_A)
        config = Config()
        config.set_main_option("script_location", str(tmp_path / "migrations"))

        with pytest.raises(errors.MigrationError, match="running event loop") as caught:
            command.upgrade(config, "head")

        assert caught.value.hint.startswith("await Migrations(")


@pytest.fixture
def other(tmp_path: Path, open_database: OpenDatabase) -> Database:
    """A file that is not the one of DATABASE_URL."""
    return open_database(f"sqlite:///{tmp_path / 'other.db'}")


def plain_engine(database: Database, *, foreign_keys: str = "ON") -> Engine:
    """Return an engine without asyncio and without sqlkeel."""
    engine = create_engine(f"sqlite:///{database.url.database}", poolclass=NullPool)
    event.listen(engine, "connect", lambda driver, _: driver.execute(f"PRAGMA foreign_keys={foreign_keys}"))
    return engine


async def with_child(database: Database, directory: Path) -> Engine:
    """Make a table and a row of it that another one refers to, and a revision that copies the table."""
    migrations = empty_migrations(database, directory)
    await migrations.up()
    await revision(migrations, "copy a", COPY_A)
    engine = plain_engine(database)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO a VALUES (1)"))
        connection.execute(text("CREATE TABLE b (a_id INTEGER REFERENCES a ON DELETE CASCADE)"))
        connection.execute(text("INSERT INTO b VALUES (1)"))
    return engine


async def upgrade_on(connection: AsyncConnection, config: Config) -> None:
    """Upgrade as Alembic's documentation says: with a connection of one's own."""

    def upgrade(sync: Any) -> None:
        config.attributes["connection"] = sync
        command.upgrade(config, "head")

    await connection.run_sync(upgrade)


class TestCaller:
    """The database that a caller of Alembic names is the one that is migrated."""

    @pytest.fixture
    async def config(self, tmp_path: Path, other: Database, monkeypatch: pytest.MonkeyPatch) -> Config:
        """A project whose DATABASE_URL names a file that must not be touched."""
        monkeypatch.setattr(sys, "path", list(sys.path))
        make_project(tmp_path, name="shop_of_caller")
        (tmp_path / "alembic.ini").write_text(INI)
        await revision(empty_migrations(other, tmp_path), "make a", MAKE_A)
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'production.db'}")
        return Config(str(tmp_path / "alembic.ini"))

    @pytest.fixture(autouse=True)
    def untouched(self, config: Config, tmp_path: Path) -> Any:
        """The database of DATABASE_URL is not even made."""
        yield
        assert not (tmp_path / "production.db").exists()
        sys.modules.pop("shop_of_caller", None)

    async def test_a_url(self, db: Database, config: Config) -> None:
        """set_main_option wins over DATABASE_URL."""
        config.set_main_option("sqlalchemy.url", url_of(db).replace("%", "%%"))

        await asyncio.to_thread(command.upgrade, config, "head")

        assert await tables(db) == {"a", "alembic_version"}

    async def test_a_url_whose_statements_are_printed(self, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
        """The SQL is that of the database named."""
        config.set_main_option("sqlalchemy.url", "postgresql://nobody@nowhere/a")

        command.upgrade(config, "head", sql=True)

        assert "SERIAL NOT NULL" in capsys.readouterr().out

    @pytest.mark.parametrize("make", [create_engine, create_async_engine], ids=["engine", "async_engine"])
    async def test_an_engine_for_printed_statements(
        self, config: Config, capsys: pytest.CaptureFixture[str], make: Any
    ) -> None:
        """The SQL is that of the engine given, which is not connected to."""
        config.attributes["connection"] = make("postgresql+psycopg://nobody@nowhere/a")

        command.upgrade(config, "head", sql=True)

        assert "SERIAL NOT NULL" in capsys.readouterr().out

    async def test_something_else_for_printed_statements(self, config: Config) -> None:
        """It is refused as for a migration."""
        config.attributes["connection"] = "postgresql://nobody@nowhere/a"

        with pytest.raises(errors.MigrationError, match="is a str, which Alembic cannot use"):
            command.upgrade(config, "head", sql=True)

    async def test_a_connection(self, every_driver: Database, config: Config) -> None:
        """The revisions run on it, and are committed as Alembic does it."""
        async with every_driver.engine.connect() as connection:
            await upgrade_on(connection, config)

        assert await tables(every_driver) == {"a", "alembic_version"}

    async def test_a_transaction_of_the_caller(self, every_driver: Database, config: Config) -> None:
        """What is written in it is committed by its owner."""
        async with every_driver.engine.begin() as connection:
            await upgrade_on(connection, config)

        assert await tables(every_driver) == {"a", "alembic_version"}

    async def test_a_transaction_that_is_rolled_back(
        self, sqlite: Database, postgres: Database, config: Config
    ) -> None:
        """Nothing stays of the migration, where DDL is transactional."""
        for database in (sqlite, postgres):
            async with database.engine.connect() as connection:
                await connection.begin()
                await upgrade_on(connection, config)
                await connection.rollback()

        assert [await tables(database) for database in (sqlite, postgres)] == [set(), set()]

    async def test_an_engine(self, other: Database, config: Config) -> None:
        """An engine without asyncio, as test plugins give it."""
        config.attributes["connection"] = plain_engine(other)

        command.upgrade(config, "head")

        assert await tables(other) == {"a", "alembic_version"}

    async def test_an_async_engine(self, other: Database, config: Config) -> None:
        """It is connected to in a loop of its own."""
        config.attributes["connection"] = create_async_engine(other.url, poolclass=NullPool)

        await asyncio.to_thread(command.upgrade, config, "head")

        assert await tables(other) == {"a", "alembic_version"}

    async def test_an_async_connection_is_refused(self, sqlite: Database, config: Config) -> None:
        """The hint says how to give it."""
        async with sqlite.engine.connect() as connection:
            config.attributes["connection"] = connection

            with pytest.raises(errors.MigrationError, match="which Alembic cannot use") as caught:
                command.upgrade(config, "head")

        assert "run_sync" in caught.value.hint

    async def test_two_that_differ_are_refused(self, config: Config, tmp_path: Path) -> None:
        """alembic.ini and DATABASE_URL: nobody knows which one is meant; no password is shown."""
        (tmp_path / "alembic.ini").write_text(f"{INI}sqlalchemy.url = postgresql://ann:secret@db.example/shop\n")

        with pytest.raises(errors.ConfigurationError, match="Two databases are named") as caught:
            await asyncio.to_thread(command.upgrade, Config(str(tmp_path / "alembic.ini")), "head")

        assert "postgresql://ann:***@db.example/shop by sqlalchemy.url" in caught.value.message
        assert f"sqlite+aiosqlite:///{tmp_path}/production.db by DATABASE_URL" in caught.value.message

    async def test_the_command_says_it_in_a_sentence(self, sqlite: Database, tmp_path: Path) -> None:
        """``alembic current`` prints no traceback for what is wrong with the project, and nothing of event loops."""
        make_project(tmp_path)
        await revision(empty_migrations(sqlite, tmp_path), "make a", MAKE_A)
        (tmp_path / "alembic.ini").write_text(f"{INI}sqlalchemy.url = sqlite:///other.db\n")

        done = run_command(tmp_path, "alembic", "current", url=url_of(sqlite))

        assert done.returncode != 0
        assert "FAILED: Two databases are named: sqlite:///other.db" in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "event loop" not in done.stderr

    async def test_the_file_alone_will_do(
        self, other: Database, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without DATABASE_URL the URL of alembic.ini is the database, for both programs."""
        monkeypatch.delenv("DATABASE_URL")
        (tmp_path / "alembic.ini").write_text(f"{INI}sqlalchemy.url = sqlite:///%(here)s/other.db\n")

        await asyncio.to_thread(command.upgrade, Config(str(tmp_path / "alembic.ini")), "head")

        checked = run_command(tmp_path, "sqlkeel", "migrate", "status")
        assert "applied" in checked.stdout, checked.stderr
        assert await tables(other) == {"a", "alembic_version"}

    async def test_a_borrowed_connection_with_foreign_keys_keeps_rows(
        self, other: Database, config: Config, tmp_path: Path
    ) -> None:
        """In a transaction they cannot be switched off, so a copy that would delete children is refused."""
        engine = await with_child(other, tmp_path)
        with pytest.raises(errors.MigrationError, match="would delete the rows"), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM b")) == 1

    async def test_outside_of_a_transaction_foreign_keys_are_switched_off(
        self, other: Database, config: Config, tmp_path: Path
    ) -> None:
        """And on again: the copy deletes nothing, and the connection is as it was."""
        engine = await with_child(other, tmp_path)

        with engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

            assert connection.scalar(text("SELECT count(*) FROM b")) == 1
            assert connection.scalar(text("PRAGMA foreign_keys")) == 1

    async def test_a_run_that_breaks_references_is_refused_on_loan(
        self, other: Database, config: Config, tmp_path: Path
    ) -> None:
        """Rows that point nowhere are found before the caller can commit."""
        engine = plain_engine(other, foreign_keys="OFF")
        migrations = empty_migrations(other, tmp_path)
        await migrations.up()
        await revision(migrations, "delete", 'op.execute("DELETE FROM a")')
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO a VALUES (1)"))
            connection.execute(text("CREATE TABLE b (a_id INTEGER REFERENCES a)"))
            connection.execute(text("INSERT INTO b VALUES (1)"))

        with pytest.raises(errors.MigrationError, match="reference missing rows"), engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM a")) == 1


class TestRun:
    async def test_the_projects_own_options_win(self, db: Database, tmp_path: Path) -> None:
        """What env.py gives to run() reaches Alembic: here, tables of somebody else."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", f"{MAKE_A}\n{MAKE_THEIRS}")
        await migrations.up()
        env = migrations.directory / "env.py"
        env.write_text(
            "from sqlkeel.migrations.env import run\n"
            "run(include_object=lambda item, name, kind, reflected, other: name != 'theirs')\n"
        )

        with pytest.raises(errors.ModelsDiffer) as caught:
            await migrations.check()

        assert caught.value.differences == ("has the extra table a",)

    async def test_the_version_table_may_have_another_name(self, db: Database, tmp_path: Path) -> None:
        """Two projects can share a database."""
        migrations = Migrations(db, MetaData(), tmp_path / "migrations")
        await revision(migrations, "make a", MAKE_A)
        env = migrations.directory / "env.py"
        env.write_text("from sqlkeel.migrations.env import run\nrun(version_table='shop_version')\n")

        await migrations.up()

        assert await tables(db) == {"a", "shop_version"}
        assert [one.applied for one in await migrations.status()] == [True]


class TestImplementation:
    """Alembic keeps one implementation for each dialect, and whoever defines one last is asked."""

    @pytest.fixture
    def theirs(self, db: Database, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """Another library's implementation for the database, and the names of the tables that it was asked to make."""
        dialect, asked = db.engine.dialect.name, list[str]()
        usual = _impls[dialect]
        monkeypatch.setitem(_impls, dialect, usual)  # puts it back afterwards

        def create_table(self: Any, table: Table, **options: Any) -> None:
            asked.append(table.name)
            super(made, self).create_table(table, **options)

        made: Any = type("Theirs", (usual,), {"__dialect__": dialect, "create_table": create_table})
        return asked

    async def test_another_librarys_is_asked_too(self, db: Database, tmp_path: Path, theirs: list[str]) -> None:
        """It makes the table, and ours still refuses to make up values for its rows."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", f"{MAKE_A}\nop.execute('INSERT INTO a VALUES (1)')")
        await revision(migrations, "add n", 'op.add_column("a", sa.Column("n", sa.Integer, nullable=False))')

        with pytest.raises(errors.MigrationError, match="no value"):
            await migrations.up()

        assert theirs == ["a"]

    async def test_so_it_is_for_printed_statements(
        self, db: Database, tmp_path: Path, theirs: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Where the statements are printed, it is asked, too."""
        make_project(tmp_path)
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)
        config = Config()
        config.set_main_option("script_location", str(migrations.directory))
        config.attributes["connection"] = create_engine(db.url)

        await asyncio.to_thread(command.upgrade, config, "head", sql=True)

        assert theirs == ["a"]
        assert "CREATE TABLE a" in capsys.readouterr().out
