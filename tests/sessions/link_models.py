"""Models that refer to one another, each in another way."""

from __future__ import annotations

from sqlalchemy import ForeignKey, ForeignKeyConstraint, String
from sqlalchemy.orm import Mapped, MappedAsDataclass, mapped_column, relationship

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, children, parent


class Base(sqlkeel.Base):
    pass


class Author(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "author"
    name: Mapped[str] = mapped_column(String(20), default="")
    books: Mapped[list[Book]] = children(back_populates="author", order_by="Book.id")
    essays: Mapped[list[Essay]] = children(on_delete="set null", order_by="Essay.id")


class Book(IntKeyMixin, SoftDeleteMixin, Base):
    """The column of the foreign key has another name than its attribute."""

    __tablename__ = "book"
    title: Mapped[str] = mapped_column(String(20), default="")
    author_id: Mapped[int] = mapped_column("written_by", ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="books")


class Essay(IntKeyMixin, Base):
    """Its author has the collection, and it has no way back."""

    __tablename__ = "essay"
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"), index=True)


class Cell(Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    marks: Mapped[list[Mark]] = children(back_populates="cell")


class Mark(IntKeyMixin, Base):
    __tablename__ = "mark"
    __table_args__ = (ForeignKeyConstraint(["row", "column"], ["cell.row", "cell.column"]),)
    row: Mapped[int | None]
    column: Mapped[int | None]
    cell: Mapped[Cell | None] = parent(back_populates="marks")


class Thing(IntKeyMixin, Base):
    __tablename__ = "thing"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}


class Lease(Thing):
    """A subclass in a table of its own, which holds the foreign key."""

    __tablename__ = "lease"
    id: Mapped[int] = mapped_column(ForeignKey("thing.id", ondelete="CASCADE"), primary_key=True)
    cell_row: Mapped[int | None]
    author_id: Mapped[int | None] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author | None] = parent(on_delete="set null")
    __mapper_args__ = {"polymorphic_identity": "lease"}


class Country(IntKeyMixin, Base):
    """Rows refer to it by a column that is not its key."""

    __tablename__ = "country"
    code: Mapped[str] = mapped_column("iso", String(2), unique=True)
    cities: Mapped[list[City]] = children(back_populates="country")


class City(IntKeyMixin, Base):
    __tablename__ = "city"
    code: Mapped[str | None] = mapped_column("country_iso", ForeignKey("country.iso"), index=True)
    country: Mapped[Country | None] = parent(back_populates="cities")


class Data(MappedAsDataclass, Base, kw_only=True):
    __abstract__ = True


class Folder(Data, kw_only=True):
    __tablename__ = "links_folder"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    above_id: Mapped[int | None] = mapped_column(ForeignKey("links_folder.id", ondelete="SET NULL"), default=None)
    above: Mapped[Folder | None] = relationship(remote_side="Folder.id", default=None, init=False)
