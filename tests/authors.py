"""Authors with books and chapters: the models of tests of loading."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.models import IntKeyMixin, children, parent
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Country(IntKeyMixin, Base):
    __tablename__ = "country"
    name: Mapped[str] = mapped_column(String(50))


class Author(IntKeyMixin, Base):
    __tablename__ = "author"
    name: Mapped[str] = mapped_column(String(50))
    country_id: Mapped[int | None] = mapped_column(ForeignKey("country.id"), index=True)
    country: Mapped[Country | None] = parent(on_delete="set null")
    books: Mapped[list[Book]] = children(back_populates="author", order_by="Book.id")


class Book(IntKeyMixin, Base):
    __tablename__ = "book"
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="books")
    chapters: Mapped[list[Chapter]] = children()


class Chapter(IntKeyMixin, Base):
    __tablename__ = "chapter"
    title: Mapped[str] = mapped_column(String(50))
    book_id: Mapped[int] = mapped_column(ForeignKey("book.id"), index=True)


async def fill(db: Database, authors: int = 3) -> None:
    """Commit authors with two books each, each with two chapters."""
    async with db.transaction() as session:
        session.add_all(
            Author(
                name=f"author {a}",
                country=Country(name=f"country {a}"),
                books=[
                    Book(title=f"book {a}.{b}", chapters=[Chapter(title=f"{a}.{b}.{c}") for c in range(2)])
                    for b in range(2)
                ],
            )
            for a in range(authors)
        )
