"""Tests of orphan-of-soft-delete: rows that are marked are not removed."""

from __future__ import annotations

import pytest

from sqlkeel.lint import Finding
from tests.lint.examples import found_in

_MODELS = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = {relation}

class Post({mixin}Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
    {column}
"""
_ORPHANS = 'relationship(cascade="all, delete-orphan", passive_deletes=True)'


def posts(relation: str, *, mixin: str = "", column: str = "") -> list[Finding]:
    """Return the findings on users with such posts."""
    return found_in("orphan-of-soft-delete", _MODELS.format(relation=relation, mixin=mixin, column=column))


class TestOrphanOfSoftDelete:
    @pytest.mark.parametrize(
        ("mixin", "column"), [("SoftDeleteMixin, ", ""), ("", "deleted_at: Mapped[datetime | None]")]
    )
    def test_refused(self, mixin: str, column: str) -> None:
        """A child with our mixin or a mark of its own would be gone for good."""
        (finding,) = posts(_ORPHANS, mixin=mixin, column=column)

        assert finding.message == "User.posts removes rows of Post that should be marked as deleted."

    @pytest.mark.parametrize(
        "relation", ['children(on_delete="cascade")', 'relationship(cascade="all", passive_deletes=True)']
    )
    def test_without_orphans(self, relation: str) -> None:
        """A cascade alone follows the soft delete."""
        assert posts(relation, mixin="SoftDeleteMixin, ") == []

    @pytest.mark.parametrize("column", ["", "deleted_at: Mapped[datetime]"])
    def test_without_soft_delete(self, column: str) -> None:
        """Orphans of a plain table are removed, and of one whose rows are all deleted."""
        assert posts(_ORPHANS, column=column) == []

    def test_mark_of_the_base_table(self) -> None:
        """The mark of a joined subclass stands in the table of its base."""
        source = """
class Item(SoftDeleteMixin, Base):
    __tablename__ = "item"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "item"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)

class Post(Item):
    __tablename__ = "post"
    __mapper_args__ = {"polymorphic_identity": "post"}
    id: Mapped[int] = mapped_column(ForeignKey("item.id", ondelete="CASCADE"), primary_key=True)

class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list[Post]] = relationship(cascade="all, delete-orphan", passive_deletes=True)
"""

        assert len(found_in("orphan-of-soft-delete", source)) == 1
