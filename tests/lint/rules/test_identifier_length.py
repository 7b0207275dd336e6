"""Tests of identifier-length: names that fit."""

from __future__ import annotations

from sqlalchemy import Column, Index, Integer, MetaData, UniqueConstraint

from tests.lint.examples import found, found_in, table


class TestIdentifierLength:
    def test_bounds(self) -> None:
        """Sixty-three bytes are kept, sixty-four are not."""
        assert not found("identifier-length", Column("c" * 63, Integer), name="t" * 63)
        assert len(found("identifier-length", Column("c" * 64, Integer), name="t" * 64)) == 2

    def test_bytes_count(self) -> None:
        """Thirty-two letters of two bytes are too long."""
        (finding,) = found("identifier-length", Column("é" * 32, Integer))

        assert finding.fix == "Shorten it by 1."

    def test_made_by_a_convention(self) -> None:
        """SQLAlchemy cuts such a name with a hash."""
        metadata = MetaData(naming_convention={"uq": "%(table_name)s_of_the_thing_%(column_0_name)s"})
        table(Column("c" * 60, Integer, unique=True), metadata=metadata)

        assert not found_in("identifier-length", metadata)

    def test_constraints(self) -> None:
        """Names given to constraints and indexes count."""
        parts = Column("a", Integer), UniqueConstraint("a", name="u" * 64), Index("i" * 64, "a")

        assert len(found("identifier-length", *parts)) == 2
