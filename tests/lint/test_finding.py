"""Tests of sqlkeel.lint._finding: findings sort and compare, a source is shown as one would type it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sqlkeel.lint import Finding, Rename, Source


class TestFinding:
    def test_order(self) -> None:
        """Findings sort by place, then by code."""
        first, second, third = Finding("a", "y", "", ""), Finding("b", "x", "", ""), Finding("b", "y", "", "")

        assert sorted([third, second, first]) == [first, second, third]

    def test_value(self) -> None:
        """Two findings that say the same are the same, wherever the source is."""
        rename = Rename("table", "a", "b")

        assert len({Finding("a", "y", "m", "f"), Finding("a", "y", "m", "f", rename, Source(Path("a.py"), 1))}) == 1


class TestSource:
    def test_below_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A path is relative where that is shorter, so that a report fits the repository."""
        monkeypatch.chdir(tmp_path)

        source = Source(tmp_path / "app" / "my models.py", 7)

        assert str(source) == "app/my models.py:7"
        assert source.uri == "app/my%20models.py"

    def test_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Another one is complete."""
        (tmp_path / "here").mkdir()
        monkeypatch.chdir(tmp_path / "here")

        source = Source(tmp_path / "models.py", 7)

        assert str(source) == f"{tmp_path}/models.py:7"
        assert source.uri == (tmp_path / "models.py").as_uri()
