"""The same files, started by Alembic itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import MetaData

from sqlkeel import errors
from sqlkeel.database import Database
from sqlkeel.migrations import Migrations
from tests.migrations.project_folder import make_project, run_command
from tests.migrations.revisions import empty_migrations, revision, tables

INI = "[alembic]\nscript_location = %(here)s/migrations\n"
MAKE_A = 'op.create_table("a", sa.Column("id", sa.Integer, primary_key=True))'
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

        assert caught.value.differences == ("has the unknown table a",)

    async def test_the_version_table_may_have_another_name(self, db: Database, tmp_path: Path) -> None:
        """Two projects can share a database."""
        migrations = Migrations(db, MetaData(), tmp_path / "migrations")
        await revision(migrations, "make a", MAKE_A)
        env = migrations.directory / "env.py"
        env.write_text("from sqlkeel.migrations.env import run\nrun(version_table='shop_version')\n")

        await migrations.up()

        assert await tables(db) == {"a", "shop_version"}
        assert [one.applied for one in await migrations.status()] == [True]
