"""sqlkeel purge."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from sqlkeel.cli import app
from sqlkeel.sessions import Database
from tests.migrations.project_folder import make_project, run_command
from tests.soft_delete.purge_models import Base, Invoice, Post, User, dead, fill, keys

PROJECT = "from tests.soft_delete.purge_models import Base, Badge, Post, User\n"

pytestmark = pytest.mark.tables(Base.metadata)


class Shell:
    """A person in the folder of a project."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url: str | None = url

    async def purge(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type ``sqlkeel purge`` and *arguments*."""
        return await asyncio.to_thread(run_command, self.folder, "sqlkeel", "purge", *arguments, url=self.url)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the models of the tests."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]), prepend=os.pathsep)
    return make_project(tmp_path, models=PROJECT)


@pytest.fixture
def every_shell(db: Database, folder: Path) -> Shell:
    """The project on each database."""
    return Shell(folder, db.url.render_as_string(hide_password=False))


@pytest.fixture
def shell(sqlite: Database, folder: Path) -> Shell:
    """The project on SQLite."""
    return Shell(folder, sqlite.url.render_as_string(hide_password=False))


async def users(db: Database) -> None:
    """Commit three old deleted users with posts; an invoice keeps one of them."""
    await fill(
        db,
        {
            User: [dead(id=n) for n in (1, 2, 3)],
            Post: [dead(id=n, user_id=n) for n in (1, 2, 3)],
            Invoice: [{"id": 1, "user_id": 3}],
        },
    )


class TestPurge:
    async def test_it_removes_and_says_what(self, every_shell: Shell, db: Database) -> None:
        """A row for each table, what was removed and what was kept, and why that is."""
        await users(db)

        done = await every_shell.purge("shop_models:User", "--older-than", "30d", "--batch", "2")

        assert done.returncode == 0, done.stderr
        assert [line.split() for line in done.stdout.splitlines()[:4]] == [
            ["table", "removed", "kept"],
            ["purge_box", "0", "0"],
            ["purge_post", "3", "0"],
            ["purge_user", "2", "1"],
        ]
        assert done.stdout.splitlines()[4].startswith("Kept rows are old enough")
        assert done.stderr == ""
        assert await keys(db, User) == [3]

    async def test_without_models_all_are_purged(self, shell: Shell, sqlite: Database) -> None:
        """The models of pyproject.toml, every one with soft delete."""
        await users(sqlite)

        done = await shell.purge("--older-than", "4w")

        assert {"purge_org", "purge_token"} <= {line.split()[0] for line in done.stdout.splitlines()}
        assert await keys(sqlite, Post) == []

    async def test_a_dry_run_counts(self, shell: Shell, sqlite: Database) -> None:
        """What is old enough, and nothing is removed."""
        await users(sqlite)

        done = await shell.purge("shop_models:User", "--older-than", "12h", "--dry-run")

        assert [line.split()[:2] for line in done.stdout.splitlines()[1:4]] == [
            ["purge_box", "0"],
            ["purge_post", "3"],
            ["purge_user", "3"],
        ]
        assert await keys(sqlite, User) == [1, 2, 3]

    async def test_a_terminal_sees_the_progress(self, shell: Shell) -> None:
        """On standard error, while it runs; the table alone is on standard output."""
        shown = await asyncio.to_thread(on_a_terminal, shell)

        assert "purge_org: 0 removed, 0 kept" in shown


def on_a_terminal(shell: Shell) -> str:
    """Run a purge with a terminal as standard error, and return what it shows there."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "DATABASE_URL": str(shell.url), "TERM": "xterm"}
    command = [str(Path(sys.executable).with_name("sqlkeel")), "purge", "--older-than", "1d"]
    subprocess.run(command, cwd=shell.folder, env=environment, stdout=subprocess.DEVNULL, stderr=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    return shown


class TestHelp:
    def test_it_shows_an_example(self) -> None:
        """As every command does."""
        result = CliRunner().invoke(app, ["purge", "--help"])

        assert "Example:  sqlkeel purge --older-than 30d" in result.output


class TestWrongInput:
    @pytest.mark.parametrize("wrong", ["6m", "30", "30 days", "d", "0d", "-3d", "1d12h", "99999999999d", "x"])
    def test_a_time_that_is_none(self, wrong: str) -> None:
        """Hours, days or weeks; a letter that could be minutes or months is refused."""
        result = CliRunner().invoke(app, ["purge", f"--older-than={wrong}"])

        assert result.exit_code == 1
        assert result.stderr.startswith(f"--older-than '{wrong}' ")
        assert "hint: 30d" in result.stderr
        assert result.stdout == ""

    def test_no_time_at_all(self) -> None:
        """There is no usual one: it is the caller's decision."""
        result = CliRunner().invoke(app, ["purge"])

        assert result.exit_code == 2
        assert "--older-than" in result.stderr

    def test_no_models(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message says where they are named."""
        monkeypatch.chdir(tmp_path)

        result = CliRunner().invoke(app, ["purge", "--older-than", "30d"])

        assert result.exit_code == 1
        assert result.stderr.startswith("No pyproject.toml with [tool.sqlkeel] in")

    @pytest.mark.parametrize(
        ("models", "message"),
        [
            ("nowhere:Base", "there is no module 'nowhere'"),
            ("shop_models:User", "User has no soft delete."),
            ("shop_models:String", "is neither a declarative base nor a MetaData"),
        ],
    )
    def test_models_that_cannot_be_purged(self, tmp_path: Path, models: str, message: str) -> None:
        """One message, and no traceback."""
        make_project(tmp_path)

        done = run_command(tmp_path, "sqlkeel", "purge", models, "--older-than", "30d", url="sqlite:///x.db")

        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        "models", ["", ":", ":Base", ".shop:Base", "shop..models", "shop models", "shop/models.py"]
    )
    def test_a_name_that_is_no_module(self, models: str) -> None:
        """It is refused as it stands, and not by the traceback of an import."""
        result = CliRunner().invoke(app, ["purge", models, "--older-than=30d"])

        assert result.exit_code == 1
        assert result.stderr.startswith(f"{models!r} does not name a module.")

    async def test_no_database(self, shell: Shell) -> None:
        """The message names what to set."""
        shell.url = None

        done = await shell.purge("--older-than", "30d")

        assert done.returncode == 1
        assert "DATABASE_URL is not set" in done.stderr

    async def test_a_server_that_is_down(self, shell: Shell) -> None:
        """One message, without the password."""
        url = "postgresql://joe:s3cret@127.0.0.1:1/x"

        done = await shell.purge("--older-than", "30d", "--database-url", url)

        assert done.returncode == 1
        assert done.stderr.startswith("No connection to 127.0.0.1:1 could be made.")
        assert "s3cret" not in done.stderr

    async def test_a_database_that_is_not_migrated(self, every_shell: Shell, db: Database) -> None:
        """The hint is the command that does it."""
        async with db.engine.begin() as connection:
            await connection.execute(text("ALTER TABLE purge_token RENAME TO purge_other"))
        try:
            done = await every_shell.purge("--older-than", "30d")
        finally:
            async with db.engine.begin() as connection:
                await connection.execute(text("ALTER TABLE purge_other RENAME TO purge_token"))

        assert done.returncode == 1
        assert done.stderr.startswith("The table or column does not exist")
        assert "hint: sqlkeel migrate up" in done.stderr
        assert "Traceback" not in done.stderr
