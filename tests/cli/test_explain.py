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
        """A code that is nothing like one is answered with those that there are."""
        result = CliRunner().invoke(app, ["explain", "uniq"])

        assert result.exit_code == 1
        assert "unique-violation" in result.stderr

    def test_mistyped(self) -> None:
        """One that is nearly a code is answered with that."""
        result = CliRunner().invoke(app, ["explain", "not-fond"])

        assert result.exit_code == 1
        assert "hint: Did you mean not-found?\n" in result.stderr
