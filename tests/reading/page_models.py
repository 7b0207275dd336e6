"""Models that are read page by page, and what they are filled with."""

from __future__ import annotations

import enum
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Date, Double, Enum, Float, Index, Integer, LargeBinary, Select, String, Time
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel.models import IntKeyMixin, UUIDKeyMixin
from sqlkeel.reading import Page
from sqlkeel.reading._pagination import Keyset
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Colour(enum.Enum):
    red = 1
    blue = 2


class Mood(enum.Enum):
    calm = "calm"
    wild = "wild"


class Level(enum.IntEnum):
    low = 10
    high = 20


class Sample(IntKeyMixin, Base):
    """A column of every type that a page can be ordered by, each of which may be NULL."""

    __tablename__ = "sample"
    number: Mapped[int | None] = mapped_column()
    words: Mapped[str | None] = mapped_column(String(50))
    flag: Mapped[bool | None] = mapped_column()
    moment: Mapped[datetime | None] = mapped_column()
    day: Mapped[date | None] = mapped_column(Date())
    hour: Mapped[time | None] = mapped_column(Time())
    amount: Mapped[Decimal | None] = mapped_column()
    ratio: Mapped[float | None] = mapped_column(Double())
    rough: Mapped[float | None] = mapped_column(Float())
    token: Mapped[UUID | None] = mapped_column()
    raw: Mapped[bytes | None] = mapped_column(LargeBinary(50))
    colour: Mapped[Colour | None] = mapped_column(Enum(Colour, length=10))
    mood: Mapped[Mood | None] = mapped_column()
    level: Mapped[Level | None] = mapped_column()
    length: Mapped[timedelta | None] = mapped_column()
    data: Mapped[dict[str, Any] | None] = mapped_column()


class Event(IntKeyMixin, Base):
    __tablename__ = "event"
    __table_args__ = (Index(None, "happened", "id"),)
    happened: Mapped[datetime] = mapped_column()
    rank: Mapped[int] = mapped_column(Integer(), default=0)


class Token(UUIDKeyMixin, Base):
    __tablename__ = "token"


class Cell(Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column("cell_name", String(20), primary_key=True)


class Point:
    """A value without a text."""

    def __init__(self, x: int) -> None:
        self.x = x


class PointType(TypeDecorator[Point]):
    impl = Integer()
    cache_ok = True

    def process_bind_param(self, value: Point | None, dialect: Any) -> int | None:
        """Send the number."""
        return value and value.x

    def process_result_value(self, value: int | None, dialect: Any) -> Point | None:
        """Return the point."""
        return value if value is None else Point(value)


class Spot(IntKeyMixin, Base):
    __tablename__ = "spot"
    point: Mapped[Point] = mapped_column(PointType())


class Animal(IntKeyMixin, ConcreteBase, Base):
    __tablename__ = "animal"
    __mapper_args__ = {"polymorphic_identity": "animal", "concrete": True}
    name: Mapped[str] = mapped_column(String(20))


class Bird(Animal):
    __tablename__ = "bird"
    __mapper_args__ = {"polymorphic_identity": "bird", "concrete": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


class Swapped(IntKeyMixin, Base):
    __tablename__ = "swapped"
    first: Mapped[int] = mapped_column("second")
    second: Mapped[int] = mapped_column("first")


NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


async def fetch(
    session: AsyncSession, keyset: Keyset, statement: Select[Any], *, size: int, **cursor: Any
) -> Page[Any]:
    """Bring one page."""
    rows = keyset.rows(await session.execute(keyset.select(statement, size=size, **cursor)))
    return keyset.page(statement, rows, size=size, **cursor)


async def add(db: Database, count: int) -> None:
    """Commit events, one a minute."""
    async with db.transaction() as session:
        session.add_all(Event(happened=NOON + timedelta(minutes=n), rank=n % 3) for n in range(count))
