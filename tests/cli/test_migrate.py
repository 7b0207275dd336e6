"""sqlkeel migrate, from an empty folder on."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from sqlkeel.sessions import Database
from tests.migrations.project_folder import MODELS, make_project, run_command
from tests.migrations.revisions import tables

WITH_NAME = MODELS + "    name: Mapped[str | None] = mapped_column(String(50))\n"


class Shell:
    """A person in the folder of a project."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url

    async def migrate(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Type ``sqlkeel migrate`` and *arguments*."""
        return await asyncio.to_thread(run_command, self.folder, "sqlkeel", "migrate", *arguments, url=self.url)


@pytest.fixture
def shell(sqlite: Database, tmp_path: Path) -> Shell:
    """A fresh project."""
    return Shell(make_project(tmp_path), sqlite.url.render_as_string(hide_password=False))


class TestFromTheBeginning:
    async def test_a_fresh_project_gets_going(self, db: Database, tmp_path: Path) -> None:
        """The first makes the directory, up the tables; check is content, and a second new writes nothing."""
        shell = Shell(make_project(tmp_path), db.url.render_as_string(hide_password=False))

        new = await shell.migrate("new", "add users table")
        up = await shell.migrate("up")
        check = await shell.migrate("check")
        again = await shell.migrate("new", "add users table")

        [file] = (shell.folder / "migrations" / "versions").glob("*_add_users_table.py")
        assert new.stdout == f"Wrote migrations/versions/{file.name}\n", new.stderr
        assert up.stdout.startswith(f"up  {file.name}  (")
        assert up.stderr == ""
        assert await tables(db) == {"user", "alembic_version"}
        assert check.stdout == "The database is up to date and matches the models.\n"
        assert again.stdout == "Models and database agree; nothing to write.\n"
        assert [one.returncode for one in (new, up, check, again)] == [0, 0, 0, 0]


class TestCommands:
    async def test_status_is_a_table(self, shell: Shell) -> None:
        """Each revision stands there with its day, its message and its state."""
        nothing = await shell.migrate("status")
        await shell.migrate("new", "add users table")
        await shell.migrate("up")
        await shell.migrate("new", "later", "--empty")

        status = await shell.migrate("status")

        assert nothing.returncode == 1
        header, first, second = status.stdout.splitlines()
        assert header.split() == ["revision", "date", "message", "state"]
        assert first.split()[2:] == ["add", "users", "table", "applied"]
        assert second.split()[2:] == ["later", "pending"]

    async def test_down_takes_back(self, shell: Shell, sqlite: Database) -> None:
        """The last revision goes; after it there is nothing to take back."""
        await shell.migrate("new", "add users table")
        await shell.migrate("up")

        down = await shell.migrate("down")
        again = await shell.migrate("down")

        assert down.stdout.startswith("down  ")
        assert again.stdout == "Nothing to revert.\n"
        assert await tables(sqlite) == {"alembic_version"}

    async def test_an_option_may_look_like_one(self, shell: Shell) -> None:
        """-1 is a target and no option."""
        await shell.migrate("new", "add users table")
        await shell.migrate("up")

        down = await shell.migrate("down", "--", "-1")

        assert down.returncode == 0

    async def test_check_fails_where_the_database_is_behind(self, shell: Shell) -> None:
        """Exit code 1, the revision, and what to type."""
        await shell.migrate("new", "add users table")

        check = await shell.migrate("check")

        assert check.returncode == 1
        assert "1 revision(s) are not applied" in check.stderr
        assert "hint: sqlkeel migrate up" in check.stderr

    async def test_check_fails_where_the_models_differ(self, shell: Shell) -> None:
        """Exit code 1, and each difference."""
        await shell.migrate("new", "add users table")
        await shell.migrate("up")
        (shell.folder / "shop_models.py").write_text(WITH_NAME)

        check = await shell.migrate("check")

        assert check.returncode == 1
        assert "has no column user.name" in check.stderr

    async def test_a_failed_revision_says_what_it_left(self, shell: Shell) -> None:
        """The database's message, the statement, and what became of the revision."""
        await shell.migrate("new", "fail", "--empty")
        [file] = (shell.folder / "migrations" / "versions").glob("*.py")
        file.write_text(file.read_text().replace("    pass", "    op.execute('SELECT 1 FROM nowhere')"))

        up = await shell.migrate("up")

        assert up.returncode == 1
        assert "The table or column does not exist" in up.stderr
        assert f"{file.name} " in up.stderr
        assert "SQL: SELECT 1 FROM nowhere" in up.stderr
        assert "Traceback" not in up.stderr

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ('op.create_check_constraint("x", "user", "id > 0")', "NotImplementedError: No support for ALTER"),
            ("1 / 0", "ZeroDivisionError: division by zero"),
        ],
    )
    async def test_what_fails_in_a_revision_is_one_line(self, shell: Shell, line: str, said: str) -> None:
        """Where it failed, what was said, and what is left; no traceback of libraries."""
        await shell.migrate("new", "--empty", "first")
        [path] = (shell.folder / "migrations" / "versions").glob("*.py")
        path.write_text(path.read_text().replace("    pass", f"    {line}", 1))

        done = await shell.migrate("up")

        first, *rest = done.stderr.splitlines()
        assert done.returncode == 1
        assert re.match(rf"migrations/versions/{path.name}:\d+: {said}", first)
        assert rest == [f"{path.name} failed; the whole run was rolled back."]

    async def test_what_the_models_print_is_no_result(self, shell: Shell) -> None:
        """It goes to standard error."""
        models = shell.folder / "shop_models.py"
        models.write_text(f"print('loading')\n{models.read_text()}")

        done = await shell.migrate("new", "add users table")

        assert done.stdout.startswith("Wrote ")
        assert "loading" in done.stderr

    async def test_status_makes_no_file(self, shell: Shell) -> None:
        """A relative path begins elsewhere in a folder below."""
        await shell.migrate("new", "add users table")
        below = shell.folder / "below"
        below.mkdir()

        done = await Shell(below, "sqlite:///shop.db").migrate("status")

        assert done.returncode == 1
        assert done.stderr.startswith(f"There is no database file {below}/shop.db.")
        assert list(below.iterdir()) == []

    async def test_new_says_what_may_be_a_rename(self, shell: Shell) -> None:
        """Before anybody runs it; and nothing of a plain change."""
        models = shell.folder / "shop_models.py"
        models.write_text(WITH_NAME)
        first = await shell.migrate("new", "add users table")
        await shell.migrate("up")
        models.write_text(WITH_NAME.replace("    name:", "    title:"))

        done = await shell.migrate("new", "name is title")

        assert len(first.stdout.splitlines()) == 1
        assert done.stdout.splitlines()[1:] == [
            "  This loses the values of name. If it was renamed to title, write instead of both: "
            "alter_column('name', new_column_name='title')"
        ]
