"""Tests of sqlkeel.lint._rulebook: rules are found, explained, and written down."""

from __future__ import annotations

from pathlib import Path

import pytest

import sqlkeel.lint.rules
from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import explain, load_rules, render_rules

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

    def test_page_begins_with_a_table_of_the_rules(self) -> None:
        """Each rule has a line before the first heading: its code as a link to the section, and its summary."""
        contents = render_rules().partition("\n## ")[0]

        rows = [line for line in contents.splitlines() if line.startswith("| [")]

        assert rows == [f"| [{rule.code}](#{rule.code}) | {rule.summary} |" for rule in load_rules()]

    def test_summary(self) -> None:
        """The first sentence of a rule is its summary, on one line."""
        assert all(rule.summary and "\n" not in rule.summary for rule in load_rules())

    def test_databases(self) -> None:
        """A rule that a database cannot be asked about names that by the name that reflection gives it."""
        named = {name for rule in load_rules() for name in rule.unseen_on}

        assert named <= {"sqlite", "postgresql", "mariadb"}


class TestExplain:
    def test_text(self) -> None:
        """A rule is explained with why, what instead, and both examples."""
        shown = explain("naive-datetime")

        assert shown.startswith("naive-datetime\n\nA point in time is stored with its time zone.\n")
        assert "\nInstead: " in shown
        assert "\nNot judged in a live database of sqlite: " in shown
        assert "\nRefused:\n\n    class Visit(Base):\n        __tablename__" in shown
        assert "\nAccepted:\n\n    class Visit(Base):\n        __tablename__" in shown

    def test_unknown(self) -> None:
        """A code that does not exist is refused with all that do."""
        with pytest.raises(ConfigurationError, match="There is no rule naive") as caught:
            explain("naive")

        assert caught.value.hint == "The rules are " + ", ".join(rule.code for rule in load_rules()) + "."
