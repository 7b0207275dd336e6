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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.document import Document as SybilDocument

from sqlkeel import Database

ROOT = Path(__file__).parent.parent
PAGES = sorted(p.relative_to(ROOT) for p in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md")) if p.exists())

FENCE = re.compile(r"^```(?P<info>python[^\n]*|console|toml[^\n]*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE)


def parse_fences(document: SybilDocument) -> Iterator[Region]:
    """Find the blocks that are run: Python, console sessions, and files to be written (``python file=app/db.py``)."""
    for match in FENCE.finditer(document.text):
        yield Region(match.start(), match.end(), (match["info"], match["body"]), evaluate)


def evaluate(example: Example) -> None:
    info, body = example.parsed
    if named := re.search(r"file=(\S+)", info):
        target = Path(named[1])
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(body)
    elif info == "console":
        run_console(body)
    elif info == "python":
        run_python(body, example)


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


def run_page(page: Path) -> None:
    document: Document = Sybil([parse_fences], encoding="utf-8").parse(ROOT / page)
    with asyncio.Runner() as runner:
        database = Database("sqlite+aiosqlite:///page.db")
        document.namespace.update(__runner__=runner, __name__="page", db=database)
        sys.path.insert(0, os.getcwd())
        try:
            for example in document.examples():
                example.evaluate()
        finally:
            sys.path.pop(0)
            runner.run(database.dispose())


class TestExamples:
    @pytest.mark.parametrize("page", PAGES, ids=str)
    def test_the_examples_of_the_page_run(self, page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each block runs after the one before it, in an empty folder with a fresh SQLite database."""
        monkeypatch.chdir(tmp_path)
        failures: list[BaseException] = []

        thread = threading.Thread(target=lambda: failures.extend(caught(page)))  # a loop of its own
        thread.start()
        thread.join()

        assert not failures, failures[0]


NAMED = sorted(set(re.findall(r"`(tests/\S+?\.py)::(\w+)::(\w+)`", (ROOT / "docs/reliability.md").read_text())))


class TestReliability:
    @pytest.mark.parametrize(("module", "subject", "fact"), NAMED, ids="::".join)
    def test_a_test_that_it_names_is_there(self, module: str, subject: str, fact: str) -> None:
        """What the page says to be held by a test is held by one of that name."""
        classes = [node for node in ast.parse((ROOT / module).read_text()).body if isinstance(node, ast.ClassDef)]
        facts = {getattr(node, "name", None) for found in classes if found.name == subject for node in found.body}

        assert fact in facts

    def test_it_names_some(self) -> None:
        """Nothing could be missing from an empty list."""
        assert len(NAMED) > 100


def caught(page: Path) -> list[BaseException]:
    try:
        run_page(page)
    except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
        return [error]
    return []
