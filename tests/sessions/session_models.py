"""The models of the tests of a session, and hooks that remember their calls."""

from __future__ import annotations

import asyncio

from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)
    notes: Mapped[list[Note]] = relationship(order_by="Note.number")


class Note(Base):
    """Has a key of two columns."""

    __tablename__ = "note"
    user_id: Mapped[int] = mapped_column(ForeignKey("user.id"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    words: Mapped[str] = mapped_column(String(50))
    secret: Mapped[str | None] = mapped_column(String(50), deferred=True)


class Failure(Exception):
    """What goes wrong in a test."""


async def emails(database: Database) -> list[str]:
    """Read what is committed."""
    async with database.session() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))


class Recorder:
    """Hooks that remember their calls."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def note(self, word: str) -> None:
        """Remember a word."""
        self.calls.append(word)

    async def note_later(self, word: str) -> None:
        """Remember a word, asynchronously."""
        await asyncio.sleep(0)
        self.calls.append(word)

    def fail(self) -> None:
        """Fail as a mail server would."""
        raise Failure("the mail server is down")
