"""Tests of foreign-key-index: keys with an index."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import (
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)

from sqlkeel.lint import Finding, check
from tests.lint.examples import found


class TestForeignKeyIndex:
    @pytest.mark.parametrize(
        "constraint",
        [
            UniqueConstraint("a", "b"),
            UniqueConstraint("b"),
            Index(None, "a", unique=True),
            UniqueConstraint("b", "a", "other"),
            Index(None, "b", "a"),
            Index(None, "a", "b", "other"),
        ],
    )
    def test_composite_accepted(self, constraint: Any) -> None:
        """An index that begins with the columns, in any order, serves the key; so does one that finds one row."""
        assert not self.composite(constraint)

    def test_a_link_without_a_key(self) -> None:
        """The key that it lacks, which is a finding of its own, serves the first of the two."""
        keys: list[Column[int]] = [Column(f"{name}_id", ForeignKey(f"{name}.id")) for name in ("post", "tag")]
        metadata = MetaData()
        for name in ("post", "tag"):
            Table(name, metadata, Column("id", Integer, primary_key=True))
        Table("post_tag", metadata, *keys)

        findings = [one for one in check(metadata) if one.code == "foreign-key-index"]

        assert [one.where for one in findings] == ["post_tag.tag_id"]

    @pytest.mark.parametrize("condition", ["a IS NOT NULL", '"thing"."a" is not null', "(`a` IS NOT NULL)"])
    def test_without_nulls(self, condition: str) -> None:
        """An index that leaves out the NULLs of the key has all that a delete of the parent looks for."""
        key: Column[int] = Column("a", ForeignKey("team.id"))
        index = Index(None, "a", postgresql_where=text(condition))

        assert not found("foreign-key-index", key, index)

    @pytest.mark.parametrize(
        "constraint",
        [
            Index(None, "a"),
            Index(None, "a", "b", postgresql_where=text("other IS NOT NULL")),
            Index(None, "a", "b", postgresql_where=text("a IS NOT NULL AND other > 0")),
            Index(None, "other", "a", "b"),
            Index(None, "other", unique=True),
            UniqueConstraint("a", "other"),
            Index(None, "a", "other", "b"),
            Index(None, "a", "b", postgresql_where=text("a > 0")),
            Index("thing_a_idx", text("a + 0"), "b"),
        ],
    )
    def test_composite_refused(self, constraint: Any) -> None:
        """One that begins otherwise, or leaves rows out, does not."""
        (finding,) = self.composite(constraint)

        assert finding.fix == "Index(None, 'a', 'b')"

    def composite(self, constraint: Any) -> list[Finding]:
        """Return the findings on a foreign key of two columns with this constraint."""
        columns = [Column(name, Integer) for name in ("a", "b", "other")]
        key = ForeignKeyConstraint(["a", "b"], ["team.x", "team.y"])
        return found("foreign-key-index", *columns, key, constraint)
