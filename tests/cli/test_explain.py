"""Tests of ``sqlkeel explain``."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from sqlkeel.cli import app


class TestExplain:
    @pytest.mark.parametrize("code", ["unique-violation", "errors#unique-violation", "UniqueViolation"])
    def test_known(self, code: str) -> None:
        """An error is explained where the docs are not at hand, by whatever names it."""
        result = CliRunner().invoke(app, ["explain", code])

        assert result.output.startswith("UniqueViolation\n")
        assert "hint: " in result.output

    def test_unknown(self) -> None:
        """A code that is mistyped is answered with those that there are."""
        result = CliRunner().invoke(app, ["explain", "uniq"])

        assert result.exit_code == 1
        assert "unique-violation" in result.stderr
