"""Differences in words."""

from __future__ import annotations

from sqlalchemy import Column, ForeignKeyConstraint, Index, Integer, MetaData, Table, UniqueConstraint

from sqlkeel.migrations._differences import describe

TABLE = Table("a", MetaData(), Column("id", Integer), Column("n", Integer))


class TestDescribe:
    def test_a_table(self) -> None:
        """A table that is missing and one that nobody knows."""
        lines = describe([("add_table", TABLE), ("remove_table", TABLE)])

        assert lines == ["has no table a", "has the extra table a"]

    def test_a_column(self) -> None:
        """A column is named with its table."""
        assert describe([("add_column", None, "a", TABLE.c.n)]) == ["has no column a.n"]

    def test_what_hangs_on_a_table(self) -> None:
        """An index, a unique constraint and a foreign key name their table."""
        index, unique = Index("a_n_idx", TABLE.c.n), UniqueConstraint(TABLE.c.n, name="a_n_key")
        key = ForeignKeyConstraint([TABLE.c.n], [TABLE.c.id], name="a_n_fkey")
        TABLE.append_constraint(key)

        lines = describe([("add_index", index), ("remove_constraint", unique), ("add_fk", key)])

        assert lines == [
            "has no index a_n_idx on a",
            "has the extra constraint a_n_key on a",
            "has no foreign key a_n_fkey on a",
        ]

    def test_the_changes_of_a_column(self) -> None:
        """What a column is, and what it should be."""
        changes = [
            [("modify_nullable", None, "a", "n", {}, True, False), ("modify_default", None, "a", "n", {}, None, "1")]
        ]

        assert describe(changes) == ["a.n: nullable is True, not False", "a.n: default is missing, not 1"]
