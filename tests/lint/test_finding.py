"""Tests of sqlkeel.lint.finding: findings sort and compare."""

from __future__ import annotations

from sqlkeel.lint import Finding


class TestFinding:
    def test_order(self) -> None:
        """Findings sort by place, then by code."""
        first, second, third = Finding("a", "y", "", ""), Finding("b", "x", "", ""), Finding("b", "y", "", "")

        assert sorted([third, second, first]) == [first, second, third]

    def test_value(self) -> None:
        """Two findings that say the same are the same."""
        assert len({Finding("a", "y", "m", "f"), Finding("a", "y", "m", "f")}) == 1
