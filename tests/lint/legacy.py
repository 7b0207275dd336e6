"""A schema as one finds it: plural tables, capitals, names that each database made up."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import CheckConstraint, Date, ForeignKey, Index, String, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from sqlkeel import UTCDateTime, unique_live

__all__ = ["Base", "Category", "Post", "User"]


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("age >= 0", name="positive"),
        CheckConstraint("age < 200 and city <> 'a \\:b'", name="users_young_check"),
        Index("by_age", "age", "city", postgresql_where=text("age > 1"), sqlite_where=text("age > 1")),
        unique_live("city", "age"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    age: Mapped[int]
    city: Mapped[str] = mapped_column(String(50))
    born: Mapped[date] = mapped_column(Date)
    deleted_at: Mapped[datetime | None] = mapped_column(UTCDateTime())


class Category(Base):
    __tablename__ = "Category"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50), unique=True)


class Post(Base):
    __tablename__ = "BlogPosts"
    __table_args__ = (Index("blog_idx", "title"), UniqueConstraint("urlPart", name="uq1"))

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    urlPart: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    category_id: Mapped[int | None] = mapped_column(ForeignKey("Category.id", ondelete="SET NULL"), index=True)
