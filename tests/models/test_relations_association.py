"""Associations: many to many by a table of its own."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Index, Integer, PrimaryKeyConstraint, Table, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.models import association
from tests.models.relation_models import Base, refusal, user_role

pytestmark = [pytest.mark.tables(Base.metadata), pytest.mark.usefixtures("forgotten")]


def linked(*constraints: Any, ondelete: str | None = None) -> Any:
    """Return a base with books, tags, and a table between them with the given constraints."""

    class Base(sqlkeel.Base):
        pass

    between = Table(
        "book_tag",
        Base.metadata,
        Column("book_id", ForeignKey("book.id", ondelete=ondelete)),
        Column("tag_id", ForeignKey("tag.id")),
        Column("place", Integer),
        *constraints,
    )

    class Book(Base):
        __tablename__ = "book"
        id: Mapped[int] = mapped_column(primary_key=True)
        tags: Mapped[list["Tag"]] = association(between)  # noqa: UP037

    class Tag(Base):
        __tablename__ = "tag"
        id: Mapped[int] = mapped_column(primary_key=True)

    return Base


class TestAssociation:
    @pytest.mark.parametrize(
        "constraint",
        [
            PrimaryKeyConstraint("tag_id", "book_id"),
            UniqueConstraint("book_id", "tag_id"),
            Index(None, "book_id", "tag_id", unique=True),
        ],
    )
    def test_a_pair_stands_once(self, constraint: Any) -> None:
        """A primary key, unique constraint or unique index over the pair is enough."""
        base = linked(constraint)

        base.registry.configure()

        assert {key.ondelete for key in base.metadata.tables["book_tag"].foreign_keys} == {"CASCADE"}

    @pytest.mark.parametrize(
        "constraints",
        [
            (),
            (UniqueConstraint("book_id", "tag_id", "place"),),
            (Index(None, "book_id", "tag_id"),),
            (Index(None, "book_id", "tag_id", unique=True, postgresql_where=Column("place") > 0),),
        ],
    )
    def test_a_pair_could_stand_twice(self, constraints: tuple[Any, ...]) -> None:
        """Anything weaker is refused with the constraint to write."""
        error = refusal(linked(*constraints))

        assert "PrimaryKeyConstraint('book_id', 'tag_id')" in error.hint

    def test_explicit_on_delete_differs(self) -> None:
        """A foreign key of the table between that does not cascade is refused."""
        error = refusal(linked(PrimaryKeyConstraint("book_id", "tag_id"), ondelete="RESTRICT"))

        assert "book_tag(book_id) is ON DELETE RESTRICT" in error.message

    def test_mapped_class_between(self) -> None:
        """The table between may be given as a mapped class."""
        assert association(user_role).info == association(type("Link", (), {"__table__": user_role})).info
