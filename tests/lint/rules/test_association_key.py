"""Tests of association-key: a pair stands once."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, DateTime, ForeignKey, Index, Integer, String, Table, UniqueConstraint, text

from sqlkeel.lint import Finding
from sqlkeel.models import metadata_with_names
from tests.lint.examples import found_in, table

_LINKED = """
class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    tags: Mapped[list["Tag"]] = relationship(secondary="post_tag"{options})

class Tag(Base):
    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True)

class Person(Base):
    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True)

Table(
    "post_tag",
    Base.metadata,
    Column("id", Integer, primary_key=True),
    Column("post_id", ForeignKey("post.id")),
    Column("tag_id", ForeignKey("tag.id")),
    Column("added_by", ForeignKey("person.id")),
    Column("added_at", DateTime(timezone=True)),
    {constraint}
)
"""


def link(*parts: Any, target: str = "tag", **options: Any) -> list[Finding]:
    """Return the findings on a table with keys to two others and what is given."""
    metadata = metadata_with_names()
    for name in {"post", target}:
        table(name=name, metadata=metadata)
    ends = Column("post_id", ForeignKey("post.id"), **options), Column("tag_id", ForeignKey(f"{target}.id"), **options)
    Table("link", metadata, *ends, *parts)
    return found_in("association-key", metadata)


def number() -> Any:
    """Return a key of the row's own."""
    return Column("id", Integer, primary_key=True)


class TestOnlyKeys:
    def test_without_a_key(self) -> None:
        """Two foreign keys alone let a pair in twice."""
        (finding,) = link()

        assert (finding.where, finding.fix) == ("link", 'PrimaryKeyConstraint("post_id", "tag_id")')

    @pytest.mark.parametrize(
        "part",
        [
            UniqueConstraint("tag_id", "post_id"),
            UniqueConstraint("post_id"),
            Index(None, "post_id", "tag_id", unique=True),
            Index(None, "post_id", "tag_id", unique=True, postgresql_where=text("post_id > 0")),
        ],
    )
    def test_unique(self, part: Any) -> None:
        """Any unique constraint or index on them, or on one, is a key."""
        assert not link(part)

    def test_primary_key(self) -> None:
        """So is the primary key."""
        assert not link(primary_key=True)

    def test_index(self) -> None:
        """An index that is not unique is none."""
        assert link(Index(None, "post_id", "tag_id"))

    def test_one_key_alone(self) -> None:
        """A table with one foreign key links nothing."""
        metadata = metadata_with_names()
        table(name="post", metadata=metadata)
        Table("note", metadata, Column("post_id", ForeignKey("post.id")))

        assert not found_in("association-key", metadata)


class TestNumbered:
    def test_without_a_key(self) -> None:
        """A number beside the two keys tells equal pairs apart, and does not refuse them."""
        (finding,) = link(number(), nullable=False)

        assert finding.fix == 'UniqueConstraint("post_id", "tag_id")'

    def test_unique(self) -> None:
        """With a unique constraint it is a key."""
        assert not link(number(), UniqueConstraint("post_id", "tag_id"), nullable=False)

    @pytest.mark.parametrize("column", [Column("added_at", DateTime), Column("role", String(20))])
    def test_data_of_its_own(self, column: Any) -> None:
        """A row that says more than the pair may say it twice."""
        assert not link(number(), column, nullable=False)

    def test_log(self) -> None:
        """So may a row without any key that has something to say."""
        assert not link(Column("note", String(20), nullable=False), nullable=False)

    def test_optional(self) -> None:
        """A key that may be NULL makes it more than a link."""
        assert not link(number())

    def test_same_table_twice(self) -> None:
        """Two keys to one table are two roles."""
        assert not link(number(), target="post", nullable=False)

    def test_pointed_to(self) -> None:
        """What others point to is a thing of its own, like a cart with an owner and a shop."""
        metadata = metadata_with_names()
        keys = [Column(f"{name}_id", Integer, ForeignKey(f"{name}.id"), nullable=False) for name in ("shop", "user")]
        for name in ("shop", "user"):
            table(name=name, metadata=metadata)
        table(*keys, name="cart", metadata=metadata)
        assert found_in("association-key", metadata)

        table(Column("cart_id", ForeignKey("cart.id")), name="line", metadata=metadata)

        assert not found_in("association-key", metadata)


class TestSecondary:
    def test_without_a_key(self) -> None:
        """What a relation goes through is a link, whatever else it holds."""
        (finding,) = found_in("association-key", _LINKED.format(options="", constraint=""))

        assert finding.fix == 'UniqueConstraint("post_id", "tag_id")'

    @pytest.mark.parametrize("columns", ['"post_id", "tag_id"', '"post_id", "tag_id", "added_at"'])
    def test_unique(self, columns: str) -> None:
        """The pair is unique, or is with something that tells its rows apart."""
        source = _LINKED.format(options="", constraint=f"UniqueConstraint({columns})")

        assert not found_in("association-key", source)

    def test_other_columns(self) -> None:
        """Something else being unique does not help the pair."""
        source = _LINKED.format(options="", constraint='UniqueConstraint("post_id", "added_by")')

        assert found_in("association-key", source)

    def test_only_for_reading(self) -> None:
        """A relation that only reads makes no link of what it reads through."""
        assert not found_in("association-key", _LINKED.format(options=", viewonly=True", constraint=""))
