"""Models with a version, of each kind, and what overtakes a change of theirs."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ForeignKey, Integer, String
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.models import IntKeyMixin, children
from sqlkeel.sessions import Database
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class Doc(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "doc"
    title: Mapped[str] = mapped_column(String(50))
    lines: Mapped[list[Line]] = children()


class Line(IntKeyMixin, Base):
    __tablename__ = "line"
    doc_id: Mapped[int | None] = mapped_column(ForeignKey("doc.id"), index=True)
    text: Mapped[str | None] = mapped_column(String(50))


class Stamped(IntKeyMixin, TimestampMixin, VersionMixin, Base):
    """The trap: times that are read back with the UPDATE must not switch the check of the version off."""

    __tablename__ = "stamped"
    title: Mapped[str] = mapped_column(String(50))


class Configured(IntKeyMixin, VersionMixin, Base):
    """The other trap: mapper arguments of the model's own."""

    __tablename__ = "configured"
    __mapper_args__ = {"confirm_deleted_rows": True}
    title: Mapped[str] = mapped_column(String(50))


class Cell(VersionMixin, Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(50))


class Renamed(IntKeyMixin, Base):
    """A version of the model's own making, under another name."""

    __tablename__ = "renamed"
    title: Mapped[str] = mapped_column(String(50))
    edition: Mapped[int] = mapped_column("edition_no")
    __mapper_args__ = {"version_id_col": edition}


class Animal(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    tricks: Mapped[int] = mapped_column(Integer(), default=0)


class Plant(IntKeyMixin, TimestampMixin, VersionMixin, Base):
    __tablename__ = "plant"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}


class Branch(Plant):
    __tablename__ = "branch"
    __mapper_args__ = {"polymorphic_identity": "branch"}
    id: Mapped[int] = mapped_column(ForeignKey("plant.id", ondelete="CASCADE"), primary_key=True)
    leaves: Mapped[int] = mapped_column(Integer(), default=0)


MODELS = [Doc, Stamped, Configured, Cell, Renamed, Dog]
KEYS: dict[Any, dict[str, Any]] = {Cell: {"row": 1, "column": 2}}


async def add(db: Database, model: Any = Doc, **values: Any) -> Any:
    """Commit a row and return its key."""
    async with db.transaction() as session:
        row = model(**{"title": "old", **KEYS.get(model, {}), **values})
        session.add(row)
        await session.flush()
        return model.__mapper__.primary_key_from_instance(row)


async def overtake(db: Database, key: Any, model: Any = Doc, title: str = "theirs") -> None:
    """Change the row in another transaction, and commit."""
    async with db.session() as session, session.begin():
        (await session.get_one(model, key)).title = title


async def read(db: Database, key: Any, model: Any = Doc) -> Any:
    """Read a row in a session of its own."""
    async with db.session() as session:
        return await session.get_one(model, key)


def version_of(row: Any) -> int:
    """Return the version of an object, however its model calls it."""
    mapper = type(row).__mapper__
    found: int = getattr(row, mapper.get_property_by_column(mapper.version_id_col).key)
    return found


class Sheet(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "sheet"
    title: Mapped[str] = mapped_column(String(50))


class Poster(Sheet):
    """A table of its own below another one, which has a version, too."""

    __tablename__ = "poster"
    __mapper_args__ = {"concrete": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    version: Mapped[int] = mapped_column("poster_version", server_default="1")


class Print(IntKeyMixin, VersionMixin, AbstractConcreteBase, Base):
    """A base without a table."""

    strict_attrs = True


class Woodcut(Print):
    __tablename__ = "woodcut"
    __mapper_args__ = {"polymorphic_identity": "woodcut", "concrete": True}
    title: Mapped[str] = mapped_column(String(50))
