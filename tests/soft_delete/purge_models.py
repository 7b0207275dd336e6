"""Models of each kind that a purge has to treat in its own way, and helpers to fill them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, MetaData, String, Table, insert, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, SoftDeleteMixin, UUIDKeyMixin, children, parent

__all__ = [
    "MONTH",
    "OLD",
    "Animal",
    "Badge",
    "Base",
    "Bone",
    "Box",
    "Cell",
    "Comment",
    "Dog",
    "Invoice",
    "Left",
    "Mark",
    "Node",
    "Org",
    "Post",
    "Right",
    "Shelf",
    "Strange",
    "Token",
    "User",
    "dead",
    "fill",
    "keys",
]

MONTH = timedelta(days=30)
OLD = datetime(2000, 1, 1, tzinfo=UTC)


class Base(sqlkeel.Base):
    pass


class Org(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_org"
    users: Mapped[list[User]] = children(back_populates="org")


class User(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_user"
    org_id: Mapped[int | None] = mapped_column(ForeignKey("purge_org.id"), index=True)
    org: Mapped[Org | None] = parent(back_populates="users")
    posts: Mapped[list[Post]] = children(back_populates="user")
    comments: Mapped[list[Comment]] = children(on_delete="set null")
    badges: Mapped[list[Badge]] = children()
    invoices: Mapped[list[Invoice]] = children(back_populates="user", on_delete="restrict")
    shelves: Mapped[list[Shelf]] = children()


class Post(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_post"
    user_id: Mapped[int] = mapped_column(ForeignKey("purge_user.id"), index=True)
    user: Mapped[User] = parent(back_populates="posts")


class Comment(IntKeyMixin, SoftDeleteMixin, Base):
    """Stays when its user goes."""

    __tablename__ = "purge_comment"
    user_id: Mapped[int | None] = mapped_column(ForeignKey("purge_user.id"), index=True)


class Badge(IntKeyMixin, Base):
    """Goes with its user, and knows no soft delete."""

    __tablename__ = "purge_badge"
    user_id: Mapped[int] = mapped_column(ForeignKey("purge_user.id"), index=True)


class Invoice(IntKeyMixin, Base):
    """Keeps its user, and knows no soft delete."""

    __tablename__ = "purge_invoice"
    user_id: Mapped[int] = mapped_column(ForeignKey("purge_user.id"), index=True)
    user: Mapped[User] = parent(back_populates="invoices")


class Shelf(IntKeyMixin, Base):
    """Goes with its user, or with the shelf that it is on, but not while a box is on it."""

    __tablename__ = "purge_shelf"
    user_id: Mapped[int | None] = mapped_column(ForeignKey("purge_user.id"), index=True)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("purge_shelf.id"), index=True)
    shelves: Mapped[list[Shelf]] = children()
    boxes: Mapped[list[Box]] = children(on_delete="cascade")


class Box(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_box"
    shelf_id: Mapped[int] = mapped_column(ForeignKey("purge_shelf.id"), index=True)


class Node(IntKeyMixin, SoftDeleteMixin, Base):
    """A tree in one table."""

    __tablename__ = "purge_node"
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("purge_node.id"), index=True)
    below: Mapped[list[Node]] = children(back_populates="above")
    above: Mapped[Node | None] = parent(back_populates="below", remote_side="Node.id")


class Animal(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_animal"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}
    kind: Mapped[str] = mapped_column(String(10))


class Dog(Animal):
    """The rest of the row is in a table of its own, without ON DELETE."""

    __tablename__ = "purge_dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column(ForeignKey("purge_animal.id"), primary_key=True)
    tricks: Mapped[int] = mapped_column(Integer(), default=0)


class Bone(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_bone"
    dog_id: Mapped[int] = mapped_column(ForeignKey("purge_dog.id", ondelete="CASCADE"), index=True)


class Cell(SoftDeleteMixin, Base):
    """A key of two columns, under attributes of other names."""

    __tablename__ = "purge_cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[str] = mapped_column("column_no", String(5), primary_key=True)
    marks: Mapped[list[Mark]] = children()


class Mark(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_mark"
    __table_args__ = (ForeignKeyConstraint(["row_no", "column_no"], ["purge_cell.row_no", "purge_cell.column_no"]),)
    row: Mapped[int] = mapped_column("row_no")
    column: Mapped[str] = mapped_column("column_no", String(5))


class Left(IntKeyMixin, SoftDeleteMixin, Base):
    """Points to `Right`, which points back."""

    __tablename__ = "purge_left"
    right_id: Mapped[int | None] = mapped_column(ForeignKey("purge_right.id", ondelete="RESTRICT", use_alter=True))


class Right(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_right"
    left_id: Mapped[int | None] = mapped_column(ForeignKey("purge_left.id", ondelete="RESTRICT"), index=True)


class Token(UUIDKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "purge_token"


Strange = Table(
    "purge_strange",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("user_id", ForeignKey(User.__table__.c.id, ondelete="RESTRICT"), nullable=False),
)
"""A table of somebody else, that the models do not know."""


def dead(at: datetime = OLD, **values: Any) -> dict[str, Any]:
    """Return the values of a row that was deleted long ago."""
    return {**values, "deleted_at": at, "deletion_id": uuid.UUID(int=1)}


async def fill(db: Database, rows: dict[Any, Iterable[dict[str, Any]]]) -> None:
    """Commit rows, table by table."""
    async with db.transaction() as session:
        connection = await session.connection()
        for target, values in rows.items():
            for value in values:
                await connection.execute(insert(getattr(target, "__table__", target)).values(**value))


async def keys(db: Database, model: Any) -> list[Any]:
    """Return the keys of all rows of a table, in order."""
    table = getattr(model, "__table__", model)
    columns = list(table.primary_key)
    async with db.engine.connect() as connection:
        rows = await connection.execute(select(*columns).order_by(*columns))
        return [row[0] if len(columns) == 1 else tuple(row) for row in rows]
