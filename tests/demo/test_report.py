"""The tour on a terminal."""

from __future__ import annotations

import io

from rich.console import Console

from sqlkeel.demo.report import Report
from sqlkeel.demo.tour.step import Row


def printed(*rows: Row) -> str:
    """Return what a report of these rows prints."""
    out = io.StringIO()
    report = Report(Console(file=out, width=100), steps=len(rows))
    with report.walk():
        for row in rows:
            report.add(row)
    report.end()
    return out.getvalue()


class TestReport:
    def test_it_adds_up(self) -> None:
        """Steps, statements and checks; what has failed is named."""
        text = printed(Row("Good", "a", 1000, 3, "fine", passed=True), Row("Bad", "b", 234, 4, "wrong", passed=False))

        assert "2 steps, 1,234 statements, 7 checks, " in text
        assert text.endswith("s: failed: Bad\n")

    def test_what_a_step_says_is_text(self) -> None:
        """Brackets are no markup."""
        text = printed(Row("[red]", "[bold]x", 1, 1, "[/]", passed=True))

        assert all(one in text for one in ("[red]", "[bold]x", "[/]"))
