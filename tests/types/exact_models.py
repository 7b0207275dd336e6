"""Models of moments, amounts and numbers, and a look at what is stored."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.sessions import Database
from sqlkeel.types import ExactNumeric, Money, utc_now

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Event(Base):
    """Something that happened, and what it cost."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime | None]
    price: Mapped[Decimal | None]
    quantity: Mapped[int] = mapped_column(default=1)
    noted_at: Mapped[datetime] = mapped_column(server_default=utc_now())


async def stored(database: Database, **values: Any) -> Event:
    """Write an event and read it on another session."""
    async with database.transaction() as session:
        session.add(Event(id=1, **values))
    async with database.read() as session:
        return await session.get_one(Event, 1)


class Measure(Base):
    """A number of three digits behind the point, and others."""

    __tablename__ = "measure"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    weight: Mapped[Decimal | None] = mapped_column(ExactNumeric(12, 3))
    limit: Mapped[Decimal | None] = mapped_column(ExactNumeric(10, 3))
    price: Mapped[Decimal | None] = mapped_column(Money())
    pieces: Mapped[int | None]
    share: Mapped[float | None]
