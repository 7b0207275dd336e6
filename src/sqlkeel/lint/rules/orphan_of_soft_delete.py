"""A child that is only marked as deleted is no orphan to be removed.

``cascade="all, delete-orphan"`` sends a DELETE for what is taken out of the collection: the row is gone for good,
with the history that the soft delete was to keep, and nothing brings it back.

Instead: leave ``delete-orphan`` out, give the row above the mixin, and ``session.delete(child)``, which marks it.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Table

from .._finding import Problem, Schema
from .._locating import source_of_class
from .soft_delete_unique import is_soft_deletable

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = relationship(cascade="all, delete-orphan", passive_deletes=True)

class Post(SoftDeleteMixin, Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
"""

GOOD = """
class User(SoftDeleteMixin, Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    posts: Mapped[list["Post"]] = relationship(cascade="all", passive_deletes=True)

class Post(SoftDeleteMixin, Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id", ondelete="CASCADE"), index=True)
"""


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield relationships that remove what is to be marked."""
    for mapper in schema.mappers_of(table):
        for relation in mapper.relationships:
            if relation.cascade.delete_orphan and any(map(is_soft_deletable, relation.mapper.tables)):
                message = f"{relation} removes rows of {relation.mapper.class_.__name__} that are to be marked."
                source = source_of_class(mapper.class_, relation.key)
                fix = 'Write cascade="all", above with the SoftDeleteMixin too, and session.delete() for the child.'
                yield Problem(table.name, message, fix, source=source)
