"""A relationship to a soft-deletable class does not delete orphans.

``cascade="all, delete-orphan"`` sends a DELETE for each child that is removed from the collection. The row and the
history that the soft delete should preserve are lost for good.

Instead: leave ``delete-orphan`` out, give the parent class the mixin, and call ``session.delete(child)``, which marks
the row as deleted.
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
    """Yield relationships that remove rows which should be marked as deleted."""
    for mapper in schema.mappers_of(table):
        for relation in mapper.relationships:
            if relation.cascade.delete_orphan and any(map(is_soft_deletable, relation.mapper.tables)):
                message = (
                    f"{relation} removes rows of {relation.mapper.class_.__name__} that should be marked as deleted."
                )
                source = source_of_class(mapper.class_, relation.key)
                fix = 'Write cascade="all", give the parent the SoftDeleteMixin too, and session.delete() the child.'
                yield Problem(table.name, message, fix, source=source)
