"""Tests of constraint-name: names by the convention."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    Enum,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
)

from sqlkeel.lint import check
from tests.lint.examples import found, table


class TestConstraintName:
    def test_plain_metadata(self) -> None:
        """Without a convention every constraint is without a name, which is one finding for all tables."""
        metadata = MetaData()
        table(Column("a", Integer, unique=True), CheckConstraint("a > 0"), metadata=metadata)
        table(name="other", metadata=metadata)
        table(name="third", metadata=metadata)

        (finding,) = check(metadata)

        assert finding.where == "other"
        assert finding.message == (
            "The MetaData has no naming convention, and its constraints have no names. Also in 2 more tables."
        )

    def test_other_convention(self) -> None:
        """A project keeps a convention of its own, and what it has named itself."""
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s", "ck": "ck_%(constraint_name)s"})
        table(Column("a", Integer), UniqueConstraint("a", name="unique_a"), metadata=metadata)

        assert check(metadata) == []

    @pytest.mark.parametrize(
        ("part", "fix"),
        [
            (UniqueConstraint("a"), 'Give naming_convention an entry for "uq".'),
            (ForeignKeyConstraint(["a"], ["thing.id"]), 'Give naming_convention an entry for "fk".'),
        ],
    )
    def test_other_convention_that_lacks_a_kind(self, part: Any, fix: str) -> None:
        """What it has no name for is told once for each kind."""
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
        table(Column("a", Integer), part, metadata=metadata)

        assert [one.fix for one in check(metadata) if one.code == "constraint-name"] == [fix]

    def test_names_that_were_cut(self) -> None:
        """Names that carry a hash, and the CHECK of an Enum, are the convention's own."""
        kind = Enum("x", "y", create_constraint=True, native_enum=False)
        long = Column("c" * 60, Integer, unique=True, index=True)

        assert not found("constraint-name", long, Column("state", kind), name="t" * 55)

    def test_table_without_a_key(self) -> None:
        """A table without a primary key has no name to give."""
        metadata = MetaData()
        Table("thing", metadata, Column("a", Integer))

        assert check(metadata) == []
