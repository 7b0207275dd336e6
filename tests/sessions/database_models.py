"""Somebody with an address, and what goes wrong with it."""

from __future__ import annotations

from sqlalchemy import JSON, String, select
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    """The tables of these tests."""


class User(Base):
    """Somebody with an address."""

    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    email: Mapped[str] = mapped_column(String(50), unique=True)
    settings: Mapped[dict[str, str]] = mapped_column(MutableDict.as_mutable(JSON), default=dict)


class Failure(Exception):
    """What goes wrong in a test."""


async def emails(database: Database) -> list[str]:
    """Read what is committed."""
    async with database.session() as session:
        return list(await session.scalars(select(User.email).order_by(User.id)))
