"""A small library, some of it deleted, for the tests of soft delete."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, String, Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, WriteOnlyMapped, attribute_keyed_dict, column_property, mapped_column, relationship

import sqlkeel
from sqlkeel.models import IntKeyMixin, association, child, children, parent, unique_live
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin, restore
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin

__all__ = [
    "DEAD",
    "SHOWN",
    "Animal",
    "Author",
    "Base",
    "Bone",
    "Book",
    "Cat",
    "Cell",
    "Chapter",
    "Creature",
    "Dog",
    "Draft",
    "Keeper",
    "Loan",
    "Mark",
    "Mouse",
    "Node",
    "Profile",
    "Tag",
    "add",
    "author",
    "bring_back",
    "count",
    "delete",
    "everything",
    "fill",
]

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
EARLIER = uuid.UUID(int=1)
SHOWN = {"include_deleted": True}
DEAD = {"deleted_at": LONG_AGO, "deletion_id": EARLIER}


class Base(sqlkeel.Base):
    pass


class Author(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "author"
    __table_args__ = (unique_live("name"),)
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = children(back_populates="author", order_by="Book.id")
    loans: Mapped[list[Loan]] = children(back_populates="author", on_delete="restrict")
    profile: Mapped[Profile | None] = child(back_populates="author")
    shelf: WriteOnlyMapped[Book] = relationship(viewonly=True)


class Profile(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "profile"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), unique=True)
    author: Mapped[Author] = parent(back_populates="profile")


class Loan(IntKeyMixin, SoftDeleteMixin, Base):
    """A loan keeps its author from being deleted."""

    __tablename__ = "loan"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="loans")


book_tag = Table(
    "book_tag",
    Base.metadata,
    Column("book_id", ForeignKey("book.id"), primary_key=True),
    Column("tag_id", ForeignKey("tag.id"), primary_key=True),
)


class Book(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "book"
    title: Mapped[str] = mapped_column(String(50))
    price: Mapped[int] = mapped_column(Integer(), default=0)
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="books")
    chapters: Mapped[list[Chapter]] = children(back_populates="book")
    named: Mapped[dict[str, Chapter]] = relationship(viewonly=True, collection_class=attribute_keyed_dict("title"))
    tags: Mapped[set[Tag]] = association(book_tag, back_populates="books")


class Chapter(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "chapter"
    __table_args__ = (unique_live("book_id", "title"),)
    title: Mapped[str] = mapped_column(String(50))
    book_id: Mapped[int] = mapped_column(ForeignKey("book.id"), index=True)
    book: Mapped[Book] = parent(back_populates="chapters")


class Tag(IntKeyMixin, Base):
    """A model without soft delete, that refers to models with it."""

    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(50))
    books: Mapped[list[Book]] = association(book_tag, back_populates="tags")


class Node(IntKeyMixin, SoftDeleteMixin, Base):
    """A tree in one table."""

    __tablename__ = "node"
    name: Mapped[str] = mapped_column(String(50))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"), index=True)
    below: Mapped[list[Node]] = children(back_populates="above")
    above: Mapped[Node | None] = parent(back_populates="below", remote_side="Node.id")


class Cell(SoftDeleteMixin, VersionMixin, Base):
    """A key of two columns, under attributes of other names."""

    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)
    marks: Mapped[list[Mark]] = children(back_populates="cell")


class Mark(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "mark"
    __table_args__ = (ForeignKeyConstraint(["row_no", "column_no"], ["cell.row_no", "cell.column_no"]),)
    row: Mapped[int] = mapped_column("row_no")
    column: Mapped[int] = mapped_column("column_no")
    cell: Mapped[Cell] = parent(back_populates="marks")


class Animal(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id", ondelete="SET NULL"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column("animal_id", ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    tricks: Mapped[int] = mapped_column(Integer(), default=0)
    bones: Mapped[list[Bone]] = children(back_populates="dog")


class Bone(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "bone"
    dog_id: Mapped[int] = mapped_column(ForeignKey("dog.animal_id"), index=True)
    dog: Mapped[Dog] = parent(back_populates="bones")


class Keeper(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "keeper"
    animals: Mapped[list[Creature]] = children()


class Draft(IntKeyMixin, SoftDeleteMixin, Base):
    """Its version is no number, but another text with each change."""

    __tablename__ = "draft"
    revision: Mapped[str] = mapped_column(String(32))
    __mapper_args__ = {"version_id_col": revision, "version_id_generator": lambda before: uuid.uuid4().hex}


class Creature(IntKeyMixin, SoftDeleteMixin, Base):
    """One table for all kinds; some have children of their own."""

    __tablename__ = "creature"
    kind: Mapped[str] = mapped_column(String(10))
    keeper_id: Mapped[int] = mapped_column(ForeignKey("keeper.id"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "creature"}


class Cat(Creature):
    __mapper_args__ = {"polymorphic_identity": "cat"}
    mice: Mapped[list[Mouse]] = children()


class Mouse(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "mouse"
    cat_id: Mapped[int] = mapped_column(ForeignKey("creature.id"), index=True)


Author.book_count = column_property(  # type: ignore[attr-defined]  # added when Book is known
    select(func.count(Book.id)).where(Book.author_id == Author.id).correlate_except(Book).scalar_subquery(),
    deferred=True,
)


async def fill(db: Database) -> None:
    """Commit two living authors and a deleted one, with living and deleted books.

    Ann wrote "live 1" and "live 2", and "dead", which is deleted. All that Bob wrote is deleted. Cid is deleted, but
    "stray", which he wrote, is not.
    """
    async with db.transaction() as session:
        await _fill(session)


async def _fill(session: AsyncSession) -> None:
    rows: dict[Any, list[dict[str, Any]]] = {
        Author: [{"id": 1, "name": "Ann"}, {"id": 2, "name": "Bob"}, {"id": 3, "name": "Cid", **DEAD}],
        Book: [
            {"id": 1, "title": "live 1", "author_id": 1},
            {"id": 2, "title": "live 2", "author_id": 1},
            {"id": 3, "title": "dead", "author_id": 1, **DEAD},
            {"id": 4, "title": "gone", "author_id": 2, **DEAD},
            {"id": 5, "title": "stray", "author_id": 3},
        ],
        Tag: [{"id": 100, "name": "new"}],
        book_tag: [{"book_id": 1, "tag_id": 100}, {"book_id": 3, "tag_id": 100}],
        Animal.__table__: [
            {"id": 1, "kind": "dog", "name": "Rex"},
            {"id": 2, "kind": "dog", "name": "Old", **DEAD},
            {"id": 3, "kind": "animal", "name": "Tom"},
        ],
        Dog.__table__: [{"animal_id": 1, "tricks": 1}, {"animal_id": 2, "tricks": 2}],
    }
    for target, values in rows.items():
        table = getattr(target, "__table__", target)
        for value in values:
            await session.execute(insert(table).values(**value))


def author(name: str = "Ann", *, books: int = 2, chapters: int = 2) -> Author:
    """Make an author with books, each with chapters."""
    return Author(
        name=name,
        books=[
            Book(title=f"{name} {b}", chapters=[Chapter(title=f"{name} {b}.{c}") for c in range(chapters)])
            for b in range(books)
        ],
    )


async def add(db: Database, *rows: Any) -> Any:
    """Commit rows, and return the key of the first."""
    async with db.transaction() as session:
        session.add_all(rows)
        await session.flush()
        key = type(rows[0]).__mapper__.primary_key_from_instance(rows[0])
        return key[0] if len(key) == 1 else tuple(key)


async def delete(db: Database, model: Any, key: Any) -> Any:
    """Delete a row in a transaction of its own, and return the object."""
    async with db.transaction() as session:
        row = await session.get_one(model, key)
        await session.delete(row)
        return row


async def bring_back(db: Database, model: Any, key: Any) -> Any:
    """Restore a deleted row in a transaction of its own, and return the object."""
    async with db.transaction() as session:
        row = await session.get_one(model, key, execution_options=SHOWN)
        await session.run_sync(restore, row)
        return row


async def count(db: Database, model: Any, **options: Any) -> int:
    """Count the rows of a model."""
    async with db.session() as session:
        return int(await session.scalar(select(func.count()).select_from(model), execution_options=options) or 0)


async def everything(db: Database, model: Any) -> list[Any]:
    """Load the rows of a model in the order of their keys, the deleted ones with them."""
    async with db.session() as session:
        order = model.__mapper__.primary_key
        return list(await session.scalars(select(model).order_by(*order), execution_options=SHOWN))
