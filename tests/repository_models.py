"""The models of the tests of a repository."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import DeclarativeBase, Mapped, WriteOnlyMapped, deferred, mapped_column, relationship

import sqlkeel
from sqlkeel.models import DualIDMixin, IntKeyMixin, UUIDKeyMixin, association, children, parent, unique_live
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class User(DualIDMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "user"
    __table_args__ = (unique_live("email"),)
    email: Mapped[str] = mapped_column(String(320))
    name: Mapped[str | None] = mapped_column(String(50))
    biography: Mapped[str | None] = deferred(mapped_column(String(50)))
    manager_id: Mapped[int | None] = mapped_column(ForeignKey("user.id"), index=True)
    articles: Mapped[list[Article]] = children(back_populates="author", order_by="Article.id")
    archive: WriteOnlyMapped[Article] = relationship(viewonly=True)
    loans: Mapped[list[Loan]] = children(back_populates="user", on_delete="restrict")
    manager: Mapped[User | None] = parent(remote_side="User.id", on_delete="set null")

    @property
    def password(self) -> str:
        """Nobody may read it."""
        raise AttributeError("write only")

    @password.setter
    def password(self, value: str) -> None:
        self.name = value[::-1]

    @hybrid_property
    def domain(self) -> str:
        """What follows the @."""
        return self.email.rpartition("@")[2]


class Article(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "article"
    title: Mapped[str] = mapped_column(String(50))
    author_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    author: Mapped[User] = parent(back_populates="articles")
    tags: Mapped[set[Tag]] = association("article_tag")


class ArticleTag(Base):
    __tablename__ = "article_tag"
    article_id: Mapped[int] = mapped_column(ForeignKey("article.id"), primary_key=True)
    tag_id: Mapped[UUID] = mapped_column(ForeignKey("tag.id"), primary_key=True)


class Loan(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loan"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), index=True)
    user: Mapped[User] = parent(back_populates="loans")


class Tag(UUIDKeyMixin, Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(50), unique=True)


class Cell(Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(String(50))


class Stock(DeclarativeBase):
    pass


class Memo(Stock):
    """A model that has nothing of ours."""

    __tablename__ = "memo"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str | None] = mapped_column(String(50))


Memo.__table__.to_metadata(Base.metadata)


async def add(db: Database, *rows: Any) -> list[Any]:
    """Commit rows, and return their keys."""
    async with db.transaction() as session:
        for row in rows:
            session.add(row)
            await session.flush()
        return [key_of(row) for row in rows]


def key_of(row: Any) -> Any:
    key = type(row).__mapper__.primary_key_from_instance(row)
    return key[0] if len(key) == 1 else tuple(key)


def users(count: int) -> list[User]:
    """Make users with an address each."""
    return [User(email=f"{n}@x.org") for n in range(count)]


class Parcel(IntKeyMixin, ConcreteBase, Base):
    __tablename__ = "parcel"
    __mapper_args__ = {"polymorphic_identity": "parcel", "concrete": True}


class Crate(Parcel):
    __tablename__ = "crate"
    __mapper_args__ = {"polymorphic_identity": "crate", "concrete": True}
    id: Mapped[int] = mapped_column(primary_key=True)
