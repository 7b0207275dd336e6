"""The tables of the integration tests, and how a bystander looks at them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, Session

__all__ = ["Answer", "Base", "Deferred", "Item", "Note", "Owner", "stored", "write", "write_orphan"]


class Base(sqlkeel.Base):
    """What every database can hold."""


class Note(Base):
    """A row with a unique value."""

    __tablename__ = "note"
    __table_args__ = (CheckConstraint("weight >= 0", name="weight_positive"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str] = mapped_column(String(50), unique=True)
    weight: Mapped[int] = mapped_column(default=0)


class Answer(IntKeyMixin, Base):
    """What was answered to a request that may be sent again."""

    __tablename__ = "answer"
    key: Mapped[str] = mapped_column(String(80), unique=True)
    request: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any] | None]


class Deferred(sqlkeel.Base):
    """What only PostgreSQL and SQLite can hold: a constraint that is looked at by COMMIT."""


class Owner(Deferred):
    """What an item belongs to."""

    __tablename__ = "owner"
    id: Mapped[int] = mapped_column(primary_key=True)


class Item(Deferred):
    """A row whose owner may be missing until COMMIT."""

    __tablename__ = "item"
    id: Mapped[int] = mapped_column(primary_key=True)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id", deferrable=True, initially="DEFERRED"), index=True)


async def stored(db: Database) -> list[str]:
    """Return the notes that somebody else can see, over a connection of its own that takes no lock."""
    async with db.read() as session:
        return list(await session.scalars(select(Note.text).order_by(Note.text)))


async def write(session: Session, note: str = "kept") -> None:
    """Write a note."""
    session.add(Note(text=note))
    await session.flush()


async def write_orphan(session: Session) -> None:
    """Write what COMMIT will refuse."""
    session.add(Item(owner_id=404))
    await session.flush()
