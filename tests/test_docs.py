"""Every example in the README and the docs runs, in order, page by page."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import Dialect, Engine, event
from sybil import Document, Example, Region, Sybil
from sybil.document import Document as SybilDocument

import sqlkeel
from sqlkeel import Database
from sqlkeel.lint import check

ROOT = Path(__file__).parent.parent
PAGES = sorted(p.relative_to(ROOT) for p in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if p.exists())

FENCE = re.compile(r"^```(?P<info>python[^\n]*|console|toml[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)
DATABASES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
# ``Runs on: SQLite, PostgreSQL.`` under the title speaks of the page, above a block of that block.
RUNS_ON = re.compile(r"^Runs on: (?P<names>.*)\.$", re.MULTILINE)
TITLE = re.compile(r"\A# [^\n]*\n\n")
# What the reader sees is a file; on the other databases each of these is the database of the test.
SQLITE_FILE = b"SQLite format 3\0"
FILE_URL = re.compile(r"sqlite(\+aiosqlite)?:///\w+\.db")


def runs_on(text: str, start: int) -> list[str]:
    """Return the databases of the block at *start*: what a line above it says, or one under the title, or all."""
    for line in RUNS_ON.finditer(text):
        if line.end() < start and not text[line.end() : start].strip():
            return line["names"].split(", ")
    title = TITLE.match(text)
    of_page = RUNS_ON.match(text, title.end()) if title else None
    return of_page["names"].split(", ") if of_page else [*DATABASES.values()]


def parse_fences(document: SybilDocument) -> Iterator[Region]:
    """Find the blocks that are run: Python, console sessions, and files to be written (``python file=app/db.py``)."""
    for match in FENCE.finditer(document.text):
        databases = runs_on(document.text, match.start())
        yield Region(match.start(), match.end(), (match["info"], match["body"], databases), evaluate)


def evaluate(example: Example) -> None:
    info, body, databases = example.parsed
    database: Database = example.namespace["__database__"]
    if DATABASES[database.dialect] not in databases:
        return
    body = on(database, body)
    if named := re.search(r"file=(\S+)", info):
        target = Path(named[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(body)
    elif info == "console":
        run_console(body)
    elif info == "python":
        run_python(body, example)


def on(database: Database, source: str) -> str:
    """Let what names a file of SQLite name the database of the test; on SQLite it names a file in an empty folder."""
    url = database.url.render_as_string(hide_password=False)
    return source if database.dialect == "sqlite" else FILE_URL.sub(url, source)


def run_python(source: str, example: Example) -> None:
    """Run a block with top-level await in the namespace of its page."""
    padded = "\n" * example.line + source
    code = compile(padded, example.path, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:
        example.namespace["__runner__"].run(awaited(code, example.namespace))
    else:
        exec(code, example.namespace)


async def awaited(code: Any, namespace: dict[str, Any]) -> None:
    await eval(code, namespace)


def run_console(session: str) -> None:
    """Run each ``$ command`` and expect the lines shown under it in its output."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        command, _, shown = part.partition("\n")
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(
            command, shell=True, capture_output=True, text=True, env={**environment, "COLUMNS": "200"}
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, f"$ {command}\n{output}"
        for line in filter(None, map(str.strip, shown.splitlines())):
            assert line == "…" or line in output, f"$ {command}\nshows {line!r}, but printed\n{output}"


def run_page(page: Path, url: str) -> None:
    document: Document = Sybil([parse_fences], encoding="utf-8").parse(ROOT / page)
    with asyncio.Runner() as runner:
        database = Database(url)
        document.namespace.update(__runner__=runner, __name__="page", __database__=database, db=database)
        with own_modules() as modules:
            try:
                with connected() as dialects:
                    for example in document.examples():
                        example.evaluate()
                refuse_strangers(page, database, dialects)
                if database.dialect == "sqlite":
                    refuse_findings(page, document.namespace)
            finally:
                opened = {one for module in modules() for one in vars(module).values() if isinstance(one, Database)}
                for one in (database, *opened):
                    runner.run(one.dispose())


@contextmanager
def connected() -> Iterator[set[str]]:
    """Note the dialect of each engine of this process that connects."""
    dialects: set[str] = set()

    def connect(dialect: Dialect, *_: Any) -> None:
        dialects.add(dialect.name)

    event.listen(Engine, "do_connect", connect)
    try:
        yield dialects
    finally:
        event.remove(Engine, "do_connect", connect)


def refuse_strangers(page: Path, database: Database, dialects: set[str]) -> None:
    """Hold a page to the database of the test: one that uses SQLite everywhere shows nothing of the others."""
    files = [one.name for one in Path.cwd().rglob("*") if one.is_file() and one.read_bytes()[:16] == SQLITE_FILE]
    strangers = dialects - {database.dialect}
    if database.dialect != "sqlite":
        strangers |= {f"the file {name} of SQLite" for name in files}
    assert not strangers, f"{page} runs on {database.dialect}, and uses {sorted(strangers)}"


FAULTS = {
    # What these pages show to be a fault: by hand, before it is mended.
    "docs/patterns/lint.md": {"singular-table", "snake-case", "unused-ignore"},
    "docs/patterns/naming.md": {"singular-table"},
    "docs/patterns/timestamps.md": {"server-default"},
}


def refuse_findings(page: Path, namespace: dict[str, Any]) -> None:
    """Hold the models of a page to our own rules: who copies them is told the same."""
    bases = [one for one in namespace.values() if isinstance(one, type) and sqlkeel.Base in one.__bases__]
    models = [base for base in bases if base.metadata.tables and all(map(is_configured, base.registry.mappers))]  # type: ignore[attr-defined]
    findings = [finding for base in models for finding in check(base)]
    unexpected = [one.message for one in findings if one.code not in FAULTS.get(str(page), set())]
    assert not unexpected, f"{page} has models that our lint refuses: {unexpected}"


def is_configured(mapper: Any) -> bool:
    """Tell whether a model works: some are there to be refused."""
    return bool(mapper.configured)


@contextmanager
def own_modules() -> Iterator[Callable[[], list[ModuleType]]]:
    """Let the page import what it has written, and forget it: the same page runs on the next database."""
    folder = os.getcwd()
    sys.path.insert(0, folder)

    def written() -> list[ModuleType]:
        return [one for one in [*sys.modules.values()] if place_of(one).startswith(folder)]

    try:
        yield written
    finally:
        for module in written():
            del sys.modules[module.__name__]
        sys.path.remove(folder)


def place_of(module: ModuleType) -> str:
    """Return the file of a module, or the folder of a package without an ``__init__.py``."""
    return getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")


class TestExamples:
    # advanced-alchemy imports a decorator that SQLAlchemy no longer needs.
    @pytest.mark.filterwarnings("ignore:The declarative_mixin decorator:sqlalchemy.exc.SADeprecationWarning")
    @pytest.mark.parametrize("page", PAGES, ids=str)
    def test_the_examples_of_the_page_run(
        self, page: Path, db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each block runs after the one before it, in an empty folder, on an empty database of each kind."""
        monkeypatch.chdir(tmp_path)
        url = on(db, "sqlite+aiosqlite:///page.db")
        failures = failures_of(page, url)

        assert not failures, failures[0]


class TestFences:
    def test_what_is_not_run_is_known(self) -> None:
        """``py`` is for lines of a revision and for the examples of the rules, which tests/lint/rules runs."""
        shown = {
            str(page)
            for page in PAGES
            for _ in re.finditer(r"^ *[`~]{3,} ?(?!python)py", (ROOT / page).read_text(), re.MULTILINE)
        }

        assert shown == {"docs/patterns/migrations.md", "docs/rules.md"}

    def test_each_block_of_python_is_run(self) -> None:
        """None is indented or fenced in a way that the tests do not see."""
        text = "\n".join((ROOT / page).read_text() for page in PAGES)

        assert len(re.findall(r"^ *[`~]{3,} ?(?:python|console)", text, re.MULTILINE)) == len(
            re.findall(r"^```(?:python|console)[^\n]*\n.*?^```$", text, re.DOTALL | re.MULTILINE)
        )


class TestStrangers:
    @pytest.mark.parametrize(
        ("block", "stranger"),
        [
            ('async with Database("sqlite+aiosqlite://") as other: await other.check()', "'sqlite'"),
            ('sqlite3.connect("other.db").execute("CREATE TABLE item (id INTEGER)")', "the file other.db of SQLite"),
        ],
        ids=["connection", "file"],
    )
    def test_a_page_that_uses_sqlite_on_a_server_fails(
        self, block: str, stranger: str, postgres: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A reader with PostgreSQL would find out that the page speaks of SQLite."""
        monkeypatch.chdir(tmp_path)
        page = tmp_path / "page.md"
        page.write_text(f"# Page\n\n```python\nimport sqlite3\nfrom sqlkeel import Database\n\n{block}\n```\n")

        (failure,) = failures_of(page, on(postgres, "sqlite+aiosqlite:///page.db"))

        assert f"{page} runs on postgresql, and uses" in failure
        assert stranger in failure


LINES = [
    pytest.param(path, match, id=f"{path}:{match['names']}")
    for path in PAGES
    for match in re.finditer(r"^.*Runs on:(?P<names>.*)$", (ROOT / path).read_text(), re.MULTILINE)
]


class TestRunsOn:
    @pytest.mark.parametrize(("page", "line"), LINES)
    def test_a_line_names_some_databases_and_not_all(self, page: Path, line: re.Match[str]) -> None:
        """``Runs on: SQLite, PostgreSQL.`` is the whole line, in one order; a block without it runs on all."""
        names = line["names"].strip().removesuffix(".").split(", ")

        assert line[0] == f"Runs on: {', '.join(names)}."
        assert [one for one in DATABASES.values() if one in names] == names
        assert len(names) < len(DATABASES)

    @pytest.mark.parametrize(("page", "line"), LINES)
    def test_a_line_speaks_of_something(self, page: Path, line: re.Match[str]) -> None:
        """It stands above a block that is run, or under the title of the page."""
        text = (ROOT / page).read_text()
        block = FENCE.search(text, line.end())
        title = TITLE.match(text)

        above_a_block = block is not None and not text[line.end() : block.start()].strip()
        assert above_a_block or (title is not None and title.end() == line.start())

    def test_there_are_few(self) -> None:
        """One more is a decision: raise the number with it."""
        assert len(LINES) <= 2

    @pytest.mark.parametrize(
        ("text", "names"),
        [
            ("# A\n\nRuns on: SQLite.\n\n## B\n\ntext\n\n", ["SQLite"]),
            ("# A\n\ntext\n\nRuns on: SQLite, MariaDB.\n\n", ["SQLite", "MariaDB"]),
            ("# A\n\nRuns on: SQLite.\n\nRuns on: MariaDB.\n\n", ["MariaDB"]),
            ("# A\n\ntext\n\nRuns on: SQLite.\n\ntext\n\n", ["SQLite", "PostgreSQL", "MariaDB"]),
            ("# A\n\n", ["SQLite", "PostgreSQL", "MariaDB"]),
        ],
        ids=["page", "block", "block before page", "neither", "none"],
    )
    def test_the_nearest_line_holds(self, text: str, names: list[str]) -> None:
        """The line of a block goes before that of its page."""
        assert runs_on(f"{text}```python\npass\n```\n", len(text)) == names

    def test_a_file_in_the_text_is_the_database_of_the_test(self, db: Database) -> None:
        """The reader sees a file of SQLite; on a server each of them is the one empty database."""
        found = on(db, 'Database("sqlite+aiosqlite:///app.db"); DATABASE_URL=sqlite:///shop.db')

        assert ("sqlite" in found) == (db.dialect == "sqlite")


NAMED = sorted(set(re.findall(r"`(tests/\S+?\.py)::(\w+)::(\w+)`", (ROOT / "docs/reliability.md").read_text())))


def named_tests(module: str) -> set[tuple[str, str, str]]:
    """Return each test of a file with its class; none where there is no such file."""
    source = (ROOT / module).read_text() if (ROOT / module).exists() else ""
    classes = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    return {(module, found.name, getattr(node, "name", "")) for found in classes for node in found.body}


class TestReliability:
    def test_every_test_that_it_names_is_there(self) -> None:
        """What the page says to be held by a test is held by one of that name."""
        there = {test for module in {module for module, _, _ in NAMED} for test in named_tests(module)}

        assert set(NAMED) - there == set()

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(NAMED) > 100


def failures_of(page: Path, url: str) -> list[str]:
    """Run a page in a thread, and so in a loop, of its own."""
    failures: list[str] = []
    thread = threading.Thread(target=lambda: failures.extend(caught(page, url)))
    thread.start()
    thread.join()
    return failures


def caught(page: Path, url: str) -> list[str]:
    try:
        run_page(page, url)
    except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
        return ["".join(traceback.format_exception(error))]
    return []
