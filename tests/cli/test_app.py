"""The command line as a whole."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import URL
from typer.testing import CliRunner

import sqlkeel
from sqlkeel.cli import app
from sqlkeel.sessions import Database
from tests.migrations.project_folder import make_project, run_command

UNREACHABLE = {
    "sqlite": ("sqlite:////nowhere/app.db", "There is no database file /nowhere/app.db"),
    "postgresql": ("postgresql://joe:s3cret@127.0.0.1:1/x", "No connection"),
    "psycopg": ("postgresql+psycopg://joe:s3cret@127.0.0.1:1/x", "No connection"),
    "mariadb": ("mariadb://joe:s3cret@127.0.0.1:1/x", "No connection"),
}


class TestHelp:
    @pytest.mark.parametrize(
        "command",
        [
            ["migrate", "new"],
            ["migrate", "up"],
            ["migrate", "down"],
            ["migrate", "status"],
            ["migrate", "check"],
            ["lint"],
            ["demo"],
            ["explain"],
        ],
        ids=" ".join,
    )
    def test_every_command_shows_an_example(self, command: list[str]) -> None:
        """A line that can be copied is worth more than a list of options."""
        result = CliRunner().invoke(app, [*command, "--help"])

        assert result.exit_code == 0
        assert f"Example:  sqlkeel {' '.join(command)}" in result.output

    def test_version(self) -> None:
        """The package, the command and the module say which version they are."""
        module = subprocess.run([sys.executable, "-m", "sqlkeel", "--version"], capture_output=True, text=True)

        result = CliRunner().invoke(app, ["--version"])

        assert result.output == module.stdout == f"sqlkeel {sqlkeel.__version__}\n"

    def test_no_command_shows_the_help(self) -> None:
        """Who types nothing is told what there is."""
        result = CliRunner().invoke(app, [])

        assert "migrate" in result.output

    def test_it_loads_neither_alembic_nor_a_framework(self) -> None:
        """Help comes at once: what a command needs is loaded by the command."""
        program = (
            "import sys, sqlkeel.cli as cli\n"
            "from typer.testing import CliRunner\n"
            "CliRunner().invoke(cli.app, ['--help'])\n"
            "print(*{'alembic', 'fastapi', 'mako', 'starlette'} & sys.modules.keys())"
        )

        loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

        assert loaded.stdout.strip() == ""


class TestExitCodes:
    def test_wrong_usage_is_2(self) -> None:
        """A command that does not exist is the caller's mistake."""
        assert CliRunner().invoke(app, ["migrate", "sideways"]).exit_code == 2

    def test_an_error_is_1_and_goes_to_standard_error(self, tmp_path: Path) -> None:
        """The message and the hint, nothing on standard output, no traceback."""
        done = run_command(tmp_path, "sqlkeel", "migrate", "up")

        assert done.returncode == 1
        assert done.stdout == ""
        assert done.stderr.startswith("No pyproject.toml with [tool.sqlkeel] in")
        assert 'models = "app.models:Base"' in done.stderr

    def test_a_bug_of_the_project_keeps_its_traceback(self, tmp_path: Path) -> None:
        """A module that fails while it is imported is shown as Python shows it."""
        make_project(tmp_path, models="1 / 0")

        done = run_command(tmp_path, "sqlkeel", "migrate", "up", url="sqlite:///app.db")

        assert done.returncode == 1
        assert "ZeroDivisionError" in done.stderr


class TestErrors:
    @pytest.mark.parametrize("kind", UNREACHABLE)
    def test_a_server_that_is_down(self, tmp_path: Path, kind: str) -> None:
        """One message, on every driver, without the password."""
        url, message = UNREACHABLE[kind]
        make_project(tmp_path)
        run_command(tmp_path, "sqlkeel", "migrate", "new", "first", "--empty", url="sqlite:///ok.db")

        done = run_command(tmp_path, "sqlkeel", "migrate", "status", "--database-url", url)

        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert "s3cret" not in done.stderr

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("nonsense", "The database URL cannot be read."),
            ("oracle://joe:s3cret@x/y", "sqlkeel does not support 'oracle'"),
            ("postgres://joe:s3cret@x/y", "Write postgresql:// instead of postgres://"),
            ("postgresql+pg8000://joe:s3cret@x/y", "Write postgresql+asyncpg://"),
        ],
    )
    def test_a_url_that_cannot_be_used(self, tmp_path: Path, url: str, message: str) -> None:
        """The message says what is wrong with it, and does not repeat it."""
        make_project(tmp_path)

        done = run_command(tmp_path, "sqlkeel", "migrate", "status", "--database-url", url)

        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
        assert "s3cret" not in done.stderr

    def test_no_database_at_all(self, tmp_path: Path) -> None:
        """The message names what to set."""
        make_project(tmp_path)

        done = run_command(tmp_path, "sqlkeel", "migrate", "status")

        assert done.returncode == 1
        assert "DATABASE_URL is not set" in done.stderr

    def test_a_missing_driver_names_the_extra(self, tmp_path: Path) -> None:
        """The hint is the command that installs it."""
        hide = (
            "import importlib.util as u\n"
            "find = u.find_spec\n"
            "u.find_spec = lambda name, *rest: None if name == 'asyncpg' else find(name, *rest)\n"
        )
        make_project(tmp_path)

        done = subprocess.run(
            [sys.executable, "-c", f"{hide}from sqlkeel.cli import main; main()", "migrate", "status"],
            cwd=tmp_path,
            env={"DATABASE_URL": "postgresql://joe:s3cret@x/y"},
            capture_output=True,
            text=True,
            check=False,
        )

        assert done.returncode == 1
        assert "The driver 'asyncpg' is not installed." in done.stderr
        assert "pip install 'sqlkeel[postgres]'" in done.stderr


class TestRefusals:
    async def test_a_wrong_user_or_password(self, refused: Database, tmp_path: Path) -> None:
        """The server's refusal is one message with what to look at, without the password."""
        url = refused.url.set(username="nobody_here", password="wr0ng")

        done = await status(tmp_path, url)

        assert done.returncode == 1
        assert "'nobody_here'" in done.stderr.replace('"', "'")
        assert "hint: Check user and password in the URL" in done.stderr
        assert "Traceback" not in done.stderr
        assert "wr0ng" not in done.stderr

    async def test_a_database_that_does_not_exist(self, refused: Database, tmp_path: Path) -> None:
        """The hint says that databases are not made here."""
        done = await status(tmp_path, refused.url.set(database="keel_no_such_database"))

        assert done.returncode == 1
        assert "keel_no_such_database" in done.stderr
        assert "CREATE DATABASE keel_no_such_database" in done.stderr

    async def test_psycopg_does_not_say_why(self, psycopg: Database, tmp_path: Path) -> None:
        """It gives no code for a refused connection, so only the server's own words tell."""
        done = await status(tmp_path, psycopg.url.set(username="nobody_here", password="wr0ng"))

        assert done.returncode == 1
        assert "nobody_here" in done.stderr
        assert "Traceback" not in done.stderr
        assert "wr0ng" not in done.stderr


@pytest.fixture(params=["postgres", "mariadb"])
def refused(request: pytest.FixtureRequest) -> Database:
    """Each server in turn."""
    database: Database = request.getfixturevalue(request.param)
    return database


async def status(folder: Path, url: URL) -> subprocess.CompletedProcess[str]:
    """Ask a database for its status, in a project with one revision."""
    make_project(folder)
    first = ("sqlkeel", "migrate", "new", "first", "--empty")
    await asyncio.to_thread(run_command, folder, *first, url="sqlite:///ok.db")
    text = url.render_as_string(hide_password=False)
    return await asyncio.to_thread(run_command, folder, "sqlkeel", "migrate", "status", url=text)
