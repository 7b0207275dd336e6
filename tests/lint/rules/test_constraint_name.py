"""Tests of constraint-name: names by the convention."""

from __future__ import annotations

from sqlalchemy import CheckConstraint, Column, Enum, Integer, MetaData, Table

from sqlkeel.lint import check
from tests.lint.examples import found, table


class TestConstraintName:
    def test_plain_metadata(self) -> None:
        """Without a convention every constraint is without a name."""
        metadata = MetaData()
        table(Column("a", Integer, unique=True), CheckConstraint("a > 0"), metadata=metadata)

        findings = [one for one in check(metadata) if one.code == "constraint-name"]

        assert [one.message for one in findings] == [
            "A CheckConstraint has no name.",
            "A PrimaryKeyConstraint has no name.",
            "A UniqueConstraint has no name.",
        ]

    def test_other_convention(self) -> None:
        """Names of another convention are found, with the ones to use."""
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
        table(metadata=metadata)

        (finding,) = check(metadata)

        assert finding.fix == 'Drop name=, or call it "thing_pkey".'

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
