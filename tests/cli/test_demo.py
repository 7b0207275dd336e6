"""sqlkeel demo hands over to the demo, and says what is missing."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

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

        assert calls == [{"database_url": "sqlite:///x.db", "serve": True, "keep": True}]
        assert result.exit_code == 3

    def test_it_needs_no_options(self, calls: list[dict[str, Any]]) -> None:
        """Without any, the demo chooses for itself."""
        CliRunner().invoke(app, ["demo"])

        assert calls == [{"database_url": None, "serve": False, "keep": False}]

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
