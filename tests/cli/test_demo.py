"""sqlkeel demo hands over to the demo, and says what is missing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any
from unittest.mock import ANY

import pytest
from typer.testing import CliRunner

from sqlkeel.cli import app


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the demo was asked for; it ends with exit code 3."""
    asked: list[dict[str, Any]] = []

    async def run(**options: Any) -> int:
        asked.append(options)
        return 3

    module = ModuleType("sqlkeel.demo.main")
    vars(module)["run"] = run
    monkeypatch.setitem(sys.modules, "sqlkeel.demo.main", module)
    return asked


class TestDemo:
    def test_it_passes_its_options_on(self, calls: list[dict[str, Any]]) -> None:
        """The exit code is that of the demo."""
        result = CliRunner().invoke(app, ["demo", "--database-url", "sqlite:///x.db", "--serve", "--keep"])

        assert calls == [{"database_url": "sqlite:///x.db", "serve": True, "keep": True, "command": ANY}]
        assert result.exit_code == 3

    def test_it_needs_no_options(self, calls: list[dict[str, Any]]) -> None:
        """Without any, the demo chooses for itself."""
        CliRunner().invoke(app, ["demo"])

        assert calls == [{"database_url": None, "serve": False, "keep": False, "command": ANY}]

    def test_it_says_something_before_it_imports_a_framework(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """That alone may take seconds."""
        monkeypatch.delitem(sys.modules, "sqlkeel.demo.main", raising=False)
        monkeypatch.setattr(sys, "meta_path", [_Missing(), *sys.meta_path])

        result = CliRunner().invoke(app, ["demo"])

        assert result.stdout.startswith("sqlkeel demo: ")

    @pytest.mark.parametrize(
        ("argument", "shown"),
        [
            (".venv/bin/sqlkeel", ".venv/bin/sqlkeel demo"),
            ("/usr/bin/sqlkeel", "sqlkeel demo"),
            ("/opt/other/sqlkeel", "/opt/other/sqlkeel demo"),
            ("/opt/sqlkeel/__main__.py", "python -m sqlkeel demo"),
        ],
        ids=["relative", "on the path", "not on the path", "module"],
    )
    def test_the_next_command_is_one_that_works_here(
        self, calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, argument: str, shown: str
    ) -> None:
        """It begins as this one did."""
        monkeypatch.setattr(sys, "argv", [argument])
        monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

        CliRunner().invoke(app, ["demo"])

        assert calls[0]["command"] == shown

    def test_a_missing_extra_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The hint is the command that installs it."""
        monkeypatch.delitem(sys.modules, "sqlkeel.demo.main", raising=False)
        monkeypatch.setattr(sys, "meta_path", [_Missing(), *sys.meta_path])

        result = CliRunner().invoke(app, ["demo"])

        assert result.exit_code == 1
        assert "The demo needs fastapi, which is not installed." in result.stderr
        assert "pip install 'sqlkeel[demo]'" in result.stderr


class _Missing:
    """An import of the demo that finds no FastAPI."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Fail as a missing package does."""
        if name == "sqlkeel.demo.main":
            raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")
