"""sqlkeel lint: what it looks at, what it prints, and the code that it ends with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import pytest
from sqlalchemy import MetaData, text
from typer.testing import CliRunner

from sqlkeel.cli import app
from sqlkeel.lint import check_database, load_rules
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.project_folder import MODELS, SETTINGS, make_project, run_command
from tests.migrations.revisions import tables

BAD_NAME = MODELS.replace('__tablename__ = "user"', '__tablename__ = "tblUsers"')
IGNORED = SETTINGS + '\n[tool.sqlkeel.lint.ignore]\n"snake-case:tblUsers" = "the name is in the contract"\n'
MAIN = """
from fastapi import FastAPI
from pydantic import BaseModel
import shop_models
app = FastAPI()
class UserOut(BaseModel):
    id: int
    email: str
@app.get("/")
def show() -> UserOut: ...
"""
UNMAPPED = """
from sqlalchemy.orm import Mapped, mapped_column, relationship
import sqlkeel
class Base(sqlkeel.Base): ...
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = relationship()
"""
DUAL = MODELS.replace("IntKeyMixin", "DualIDMixin")
LEGACY = MODELS.replace('"user"', '"users"')
TABLE = "CREATE TABLE users (id int, ageNow int, CONSTRAINT users_pkey PRIMARY KEY (id))"


@dataclass
class Done:
    """What a command printed, and the code that it ended with."""

    returncode: int
    stdout: str
    stderr: str


def lint(folder: Path, *arguments: str, url: str | None = None) -> Done:
    """Type ``sqlkeel lint`` and *arguments* in the folder: in this process, which saves the start of another."""
    environment = {"DATABASE_URL": url} if url else {}
    path, modules = list(sys.path), set(sys.modules)
    try:
        with contextlib.chdir(folder), mock.patch.dict(os.environ, environment):
            result = CliRunner().invoke(app, ["lint", *arguments])
    finally:
        sys.path[:] = path
        for name in {name for name in sys.modules if name.startswith("shop_")} - modules:
            _forget(name)
    return Done(result.exit_code, result.stdout, result.stderr)


def _forget(name: str) -> None:
    """Let go of a module and of its models, which the next test of this process would configure, broken or not."""
    for value in vars(sys.modules.pop(name)).values():
        if isinstance(value, type) and value.__module__ == name and hasattr(value, "registry"):
            value.registry.dispose(cascade=True)


async def lint_database(folder: Path, *arguments: str, url: str | None = None) -> Done:
    """Type it in a thread of its own, which has an event loop of its own."""
    return await asyncio.to_thread(lint, folder, *arguments, url=url)


def url_of(db: Database) -> str:
    """Return the URL with its password."""
    return db.url.render_as_string(hide_password=False)


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """A project whose models break a rule."""
    return make_project(tmp_path, models=BAD_NAME)


class TestModels:
    def test_good_models_pass(self, tmp_path: Path) -> None:
        """The models of pyproject.toml are looked at, without a database."""
        done = lint(make_project(tmp_path))

        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "The models follow all rules.\n"

    def test_a_broken_rule_is_shown_with_its_place_and_fix(self, bad: Path) -> None:
        """Exit code 1, the file and line, what is wrong, and what to write."""
        done = lint(bad)

        assert done.returncode == 1
        assert 'shop_models.py:7: snake-case  tblUsers: "tblUsers" is not lower_snake_case.' in done.stdout
        assert '    fix: Call it "tbl_users".' in done.stdout
        assert done.stdout.endswith("2 finding(s).\n")

    def test_models_can_be_named(self, tmp_path: Path) -> None:
        """No pyproject.toml is needed then, and a module will do."""
        make_project(tmp_path)
        (tmp_path / "pyproject.toml").unlink()

        base, module = lint(tmp_path, "shop_models:Base"), lint(tmp_path, "shop_models")

        assert (base.returncode, module.returncode) == (0, 0), base.stderr + module.stderr

    @pytest.mark.parametrize("target", ["nowhere:Base", "shop_models:Nothing", "shop_models.nothing"])
    def test_models_that_are_not_there(self, tmp_path: Path, target: str) -> None:
        """A mistyped name is exit code 2, and no traceback."""
        done = lint(make_project(tmp_path), target)

        assert done.returncode == 2
        assert f"{target!r} cannot be found" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("def (", "shop_odd cannot be loaded: SyntaxError: invalid syntax"),
            ("import shop_nowhere", "shop_odd cannot be loaded: ModuleNotFoundError: No module named 'shop_nowhere'"),
            ("raise RuntimeError('no key')", "shop_odd cannot be loaded: RuntimeError: no key"),
            (UNMAPPED, "The models cannot be loaded: InvalidRequestError: When initializing mapper"),
        ],
    )
    def test_models_that_do_not_work(self, tmp_path: Path, source: str, message: str) -> None:
        """What is wrong in the project's own code is one message, and not exit code 1, which means findings."""
        (tmp_path / "shop_odd.py").write_text(source)

        done = lint(tmp_path, "shop_odd")

        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_the_place_of_what_does_not_work(self, tmp_path: Path) -> None:
        """The message says where, also for the models that pyproject.toml names."""
        done = lint(make_project(tmp_path, models="\nraise RuntimeError('no key')\n"))

        assert done.returncode == 2
        assert "The models cannot be loaded: RuntimeError: no key" in done.stderr
        assert "shop_models.py:2" in done.stderr

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["a:b", "--database-url", "sqlite+aiosqlite://"], "a:b cannot be combined with --database-url"),
            (["a:b", "--fix-migration"], "a:b cannot be combined with --fix-migration"),
            (["--fix-migration", "--baseline", "b.json"], "b.json cannot be combined with --fix-migration"),
        ],
    )
    def test_what_would_not_be_looked_at(self, tmp_path: Path, arguments: list[str], message: str) -> None:
        """What an option makes meaningless is refused, and not passed over."""
        done = lint(tmp_path, *arguments)

        assert done.returncode == 2
        assert message in done.stderr

    def test_an_application_can_be_named(self, tmp_path: Path) -> None:
        """What it answers with is checked against the models of pyproject.toml."""
        make_project(tmp_path, models=DUAL)
        (tmp_path / "shop_main.py").write_text(MAIN)

        named = lint(tmp_path, "shop_main:app")
        (tmp_path / "pyproject.toml").write_text(
            SETTINGS.format(name="shop_models") + '[tool.sqlkeel.lint]\napp = "shop_main:app"\n'
        )
        configured = lint(tmp_path)

        assert "shop_main.py:7: internal-id  UserOut.id: show() answers with UserOut.id" in named.stdout
        assert (named.returncode, configured.returncode) == (1, 1)
        assert named.stdout == configured.stdout

    def test_the_shell_does_not_choose(self, tmp_path: Path) -> None:
        """With DATABASE_URL set, the models are looked at as without."""
        done = lint(make_project(tmp_path), url="postgresql://nobody@127.0.0.1:1/nowhere")

        assert (done.returncode, done.stdout) == (0, "The models follow all rules.\n")


class TestSettings:
    def test_ignore(self, tmp_path: Path) -> None:
        """What pyproject.toml lets through, with a reason, is no finding."""
        done = lint(make_project(tmp_path, models=BAD_NAME, settings=IGNORED))

        assert "snake-case" not in done.stdout

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ('ignore = ["snake-case"]', "ignore is a list, which has no reasons"),
            ('ignore = {"snake-case" = ""}', 'Ignoring "snake-case" needs a reason'),
            ('ignore = {"snakecase" = "a"}', "There is no rule snakecase"),
            ('singular = "news"', "singular = 'news' in [tool.sqlkeel.lint] is not a list of strings"),
            ("schemas = [1]", "schemas = [1] in [tool.sqlkeel.lint] is not a list of strings"),
            ("baseline = 5", "baseline = 5 in [tool.sqlkeel.lint] is not a string"),
            ('app = "shop_models:Base"', "app = 'shop_models:Base' is not an application with routes"),
            ('ignored = {"snake-case" = "a"}', "[tool.sqlkeel.lint] has no setting ignored"),
            ('exclde = {"a" = "b"}', "Did you mean exclude?"),
        ],
    )
    def test_what_makes_no_sense(self, tmp_path: Path, setting: str, message: str) -> None:
        """A wrong setting is exit code 2 and says what is wrong."""
        done = lint(
            make_project(
                tmp_path, settings=SETTINGS + f"[tool.sqlkeel.lint]\n{setting}\n".replace("{", "{{").replace("}", "}}")
            )
        )

        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr

    def test_no_table(self, tmp_path: Path) -> None:
        """A value in the place of the settings is refused."""
        done = lint(make_project(tmp_path, settings=SETTINGS + "lint = 5\n"))

        assert done.returncode == 2
        assert "lint = 5 in [tool.sqlkeel] is not a table" in done.stderr

    def test_no_project(self, tmp_path: Path) -> None:
        """Without a project and a name there is nothing to look at."""
        done = lint(tmp_path)

        assert done.returncode == 2
        assert "No pyproject.toml" in done.stderr


class TestExplain:
    def test_rule(self, tmp_path: Path) -> None:
        """A rule is explained without a project."""
        done = lint(tmp_path, "--explain", "snake-case")

        assert done.returncode == 0
        assert done.stdout.startswith("snake-case\n\nTables and columns are written in lower_snake_case.\n")

    def test_unknown(self, tmp_path: Path) -> None:
        """For a code that does not exist all are listed."""
        done = lint(tmp_path, "--explain", "snake")

        assert done.returncode == 2
        assert "There is no rule snake." in done.stderr
        assert all(rule.code in done.stderr for rule in load_rules())


class TestFormats:
    def test_json(self, bad: Path) -> None:
        """Standard output is the document and nothing else."""
        done = lint(bad, "--format", "json")

        assert done.returncode == 1
        assert {one["code"] for one in json.loads(done.stdout)["findings"]} == {"singular-table", "snake-case"}

    def test_json_beside_models_that_print(self, bad: Path) -> None:
        """What they print and log goes to standard error."""
        [models] = bad.glob("*.py")
        noise = "import logging, sys\nlogging.basicConfig(stream=sys.stdout)\nlogging.warning('a')\nprint('b')\n"
        models.write_text(noise + models.read_text())

        done = lint(bad, "--format", "json")

        assert json.loads(done.stdout)
        assert "b" in done.stderr

    def test_sarif(self, bad: Path) -> None:
        """So it is for SARIF, with paths as the repository has them."""
        (run,) = json.loads(lint(bad, "--format", "sarif").stdout)["runs"]

        places = {one["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for one in run["results"]}
        assert places == {"shop_models.py"}

    def test_github(self, bad: Path) -> None:
        """GitHub gets a command for each finding."""
        lines = lint(bad, "--format", "github").stdout.splitlines()

        assert [line.partition(",")[0] for line in lines] == [
            "::error title=sqlkeel singular-table",
            "::error title=sqlkeel snake-case",
        ]

    def test_nothing_found(self, tmp_path: Path) -> None:
        """Without a finding the document is still one."""
        done = lint(make_project(tmp_path), "--format", "json")

        assert (done.returncode, json.loads(done.stdout)) == (0, {"findings": []})

    def test_unknown(self, bad: Path) -> None:
        """A format that does not exist is the caller's mistake."""
        assert lint(bad, "--format", "xml").returncode == 2


class TestBaseline:
    def test_written_and_read(self, bad: Path) -> None:
        """What there was is let through; a new finding is not."""
        written = lint(bad, "--write-baseline", "lint.json")
        known = lint(bad, "--baseline", "lint.json")
        (bad / "shop_models.py").write_text(BAD_NAME + "    Odd: Mapped[int]\n")
        new = lint(bad, "--baseline", "lint.json")

        assert (written.returncode, known.returncode, new.returncode) == (0, 0, 1)
        assert written.stdout == "Wrote 2 finding(s) to lint.json.\n"
        assert known.stdout == "The models follow all rules.\n"
        assert "tblUsers.Odd" in new.stdout
        assert new.stdout.endswith("1 finding(s).\n")

    def test_repaired(self, bad: Path) -> None:
        """What is repaired is named beside the report, and does not fail."""
        lint(bad, "--write-baseline", "lint.json")
        (bad / "shop_models.py").write_text(MODELS)

        done = lint(bad, "--baseline", "lint.json", "--format", "json")

        assert (done.returncode, json.loads(done.stdout)) == (0, {"findings": []})
        assert "2 finding(s) of lint.json are fixed: singular-table:tblUsers, snake-case:tblUsers" in done.stderr
        assert "hint: sqlkeel lint --write-baseline lint.json" in done.stderr

    def test_in_the_settings(self, bad: Path) -> None:
        """The file can be named in pyproject.toml, from its folder on."""
        lint(bad, "--write-baseline", "lint.json")
        (bad / "pyproject.toml").write_text(
            SETTINGS.format(name="shop_models") + '[tool.sqlkeel.lint]\nbaseline = "lint.json"\n'
        )

        assert lint(bad).returncode == 0

    def test_missing(self, bad: Path) -> None:
        """A file that is not there is exit code 2."""
        assert lint(bad, "--baseline", "nowhere.json").returncode == 2

    def test_no_place_to_write(self, bad: Path) -> None:
        """So is a folder that is not there."""
        done = lint(bad, "--write-baseline", "nowhere/lint.json")

        assert done.returncode == 2
        assert "nowhere/lint.json cannot be written: No such file or directory" in done.stderr


class TestDatabase:
    async def test_findings(self, every_driver: Database, tmp_path: Path) -> None:
        """A live database is looked at without a project."""
        async with every_driver.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE posts (a int)"))

        done = await lint_database(tmp_path, "--database-url", url_of(every_driver))

        assert (done.returncode, done.stderr) == (1, "")
        assert done.stdout.splitlines()[0] == 'singular-table  posts: "posts" is a plural.'

    async def test_settings(self, sqlite: Database, tmp_path: Path) -> None:
        """The settings of the project hold for it, and what its models let through."""
        settings = SETTINGS + '[tool.sqlkeel.lint]\nignore = {{"singular-table:posts" = "as it is"}}\n'
        make_project(tmp_path, settings=settings)
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE posts (a int)"))

        done = await lint_database(tmp_path, "--database-url", url_of(sqlite))

        assert (done.returncode, done.stdout) == (0, "The database follows all rules.\n")

    def test_unreachable(self, tmp_path: Path) -> None:
        """A server that is down is exit code 2, and its password is not shown."""
        done = run_command(tmp_path, "sqlkeel", "lint", "--database-url", "postgresql://joe:s3cret@127.0.0.1:1/x")

        assert done.returncode == 2
        assert "No connection" in done.stderr
        assert "Traceback" not in done.stderr
        assert "s3cret" not in done.stderr


class TestFixMigration:
    async def test_from_finding_to_clean(self, db: Database, tmp_path: Path) -> None:
        """The migration is written, run, and nothing is found afterwards."""
        make_project(tmp_path, models=LEGACY)
        async with db.engine.begin() as connection:
            await connection.execute(text(TABLE))

        done = await lint_database(tmp_path, "--fix-migration", url=url_of(db))
        await Migrations(db, MetaData(), tmp_path / "migrations").up()

        assert (done.returncode, done.stderr) == (0, "")
        assert "users → user\nWrote migrations/versions/" in done.stdout
        assert "_rename_by_convention.py\n" in done.stdout
        assert await tables(db) == {"user", "alembic_version"}
        assert await check_database(db) == []

    async def test_a_database_that_is_behind(self, sqlite: Database, tmp_path: Path) -> None:
        """Names that a pending revision will change are not read."""
        make_project(tmp_path, models=LEGACY)
        await Migrations(sqlite, MetaData(), tmp_path / "migrations").new("first", autogenerate=False)

        done = await lint_database(tmp_path, "--fix-migration", url=url_of(sqlite))

        assert done.returncode == 2
        assert "1 revision(s) are not applied" in done.stderr

    async def test_refused(self, sqlite: Database, tmp_path: Path) -> None:
        """What cannot be renamed is named with the reason, and is exit code 1."""
        make_project(tmp_path)
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE post (a TEXT COLLATE NOCASE CONSTRAINT odd PRIMARY KEY)"))

        done = await lint_database(tmp_path, "--fix-migration", "--database-url", url_of(sqlite))

        assert done.returncode == 1
        assert "not renamed: post odd → post_pkey: a copy of the table would lose COLLATE" in done.stdout
        assert done.stdout.endswith("Nothing to rename.\n")
        assert not (tmp_path / "migrations").exists()

    async def test_nothing_to_do(self, sqlite: Database, tmp_path: Path) -> None:
        """Where all names are right, no file is written."""
        make_project(tmp_path)
        async with sqlite.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE note (a int)"))

        done = await lint_database(tmp_path, "--fix-migration", url=url_of(sqlite))

        assert (done.returncode, done.stdout) == (0, "Nothing to rename.\n")
        assert not (tmp_path / "migrations").exists()
