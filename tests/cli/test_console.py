"""What is printed, and where."""

from __future__ import annotations

import pytest

from sqlkeel.cli.console import print_error, print_line, print_table
from sqlkeel.errors import LockTimeout, MigrationError


class TestPrintError:
    def test_message_and_hint_go_to_standard_error(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A script that reads standard output does not see errors."""
        print_error(MigrationError("Two ends.", hint="Join them."))

        assert capsys.readouterr() == ("", "Two ends.\nhint: Join them.\n")

    def test_a_fault_shows_its_statement_and_notes(self, capsys: pytest.CaptureFixture[str]) -> None:
        """The statement is on one line, after what became of the revision."""
        error = LockTimeout("Locked.", hint="", statement="ALTER TABLE a\n  ADD b")
        error.add_note("x.py was rolled back.")

        print_error(error)

        assert capsys.readouterr().err == "Locked.\nx.py was rolled back.\nSQL: ALTER TABLE a ADD b\n"

    def test_brackets_are_no_markup(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A message may hold what rich would take for a colour."""
        print_error(MigrationError("[red]list[int][/red]"))

        assert capsys.readouterr().err == "[red]list[int][/red]\n"


class TestPrintLine:
    def test_a_long_line_is_not_broken(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Lines can be found with grep."""
        print_line("x" * 500)

        assert capsys.readouterr().out == "x" * 500 + "\n"


class TestPrintTable:
    def test_columns_are_aligned(self, capsys: pytest.CaptureFixture[str]) -> None:
        """A header, and a line for each row."""
        print_table(("id", "state"), [("a1", "applied"), ("b2", "pending")])

        header, first, _ = capsys.readouterr().out.splitlines()
        assert header.index("state") == first.index("applied")
