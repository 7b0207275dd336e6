"""Tests of identifier-length: names that fit."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, UniqueConstraint

from tests.lint.examples import found


class TestIdentifierLength:
    def test_bounds(self) -> None:
        """Sixty-three bytes are kept, sixty-four are not."""
        assert not found("identifier-length", Column("c" * 63, Integer), name="t" * 63)
        assert len(found("identifier-length", Column("c" * 64, Integer), name="t" * 64)) == 2

    def test_bytes_count(self) -> None:
        """Thirty-two letters of two bytes are too long."""
        (finding,) = found("identifier-length", Column("é" * 32, Integer))

        assert finding.fix == "Shorten it by 1."

    def test_constraints(self) -> None:
        """Names given to constraints and indexes count."""
        parts = Column("a", Integer), UniqueConstraint("a", name="u" * 64), Index("i" * 64, "a")

        assert len(found("identifier-length", *parts)) == 2
