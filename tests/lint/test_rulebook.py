"""Tests of sqlkeel.lint.rulebook: rules are found, and written down."""

from __future__ import annotations

from pathlib import Path

import sqlkeel.lint.rules
from sqlkeel.lint import load_rules, render_rules

ROOT = Path(__file__).parents[2]


class TestRules:
    def test_every_file_is_a_rule(self) -> None:
        """The rules are the files in the folder, and nothing has to list them."""
        folder = Path(sqlkeel.lint.rules.__path__[0])
        files = sorted(path.stem.replace("_", "-") for path in folder.glob("[!_]*.py"))

        assert [rule.code for rule in load_rules()] == files

    def test_page_is_up_to_date(self) -> None:
        """docs/rules.md is what the rules say of themselves."""
        assert (ROOT / "docs" / "rules.md").read_text() == render_rules()

    def test_page_has_every_rule(self) -> None:
        """Each rule is a heading of the page."""
        headings = [line.removeprefix("## ") for line in render_rules().splitlines() if line.startswith("## ")]

        assert headings == [rule.code for rule in load_rules()]
