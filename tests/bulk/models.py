"""The models of the bulk tests: one of each kind that a write has to treat in its own way."""

from __future__ import annotations

import enum
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ARRAY, ForeignKey, Integer, MetaData, String, UniqueConstraint, Uuid, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, QueryableAttribute, mapped_column

import sqlkeel
from sqlkeel import (
    DualIDMixin,
    IntKeyMixin,
    Money,
    SoftDeleteMixin,
    TimestampMixin,
    UUIDKeyMixin,
    VersionMixin,
    unique_live,
)

MOMENT = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)


class Base(sqlkeel.Base):
    pass


class Color(enum.Enum):
    RED = "r"
    BLUE = "b"


class User(DualIDMixin, TimestampMixin, VersionMixin, Base):
    """Generated keys, times, a version, and two unique columns."""

    __tablename__ = "bulk_user"

    email: Mapped[str] = mapped_column(String(50), unique=True)
    nick: Mapped[str | None] = mapped_column(String(50), unique=True)
    city: Mapped[str | None] = mapped_column(String(50))


class Parcel(UUIDKeyMixin, Base):
    """Every type that is converted, and defaults of each kind."""

    __tablename__ = "bulk_parcel"

    color: Mapped[Color] = mapped_column(default=Color.RED)
    price: Mapped[Decimal] = mapped_column(Money(12, 2), default=Decimal("1.50"))
    data: Mapped[dict[str, Any] | None] = mapped_column(default=dict)
    sent_at: Mapped[datetime | None]
    weight: Mapped[float | None]
    photo: Mapped[bytes | None]
    owner: Mapped[uuid.UUID | None]
    code: Mapped[str] = mapped_column(String(5), server_default="new")
    label: Mapped[str] = mapped_column(
        String(80), default=lambda context: f"for {context.get_current_parameters().get('code')}"
    )


class Ticket(UUIDKeyMixin, Base):
    """Nothing but what an array can hold."""

    __tablename__ = "ticket"

    number: Mapped[int]


class Voucher(Base):
    """A UUID that is a text in Python."""

    __tablename__ = "voucher"

    id: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Seat(Base):
    """A composite key of two types."""

    __tablename__ = "bulk_seat"

    row: Mapped[int] = mapped_column("seat_row", primary_key=True, autoincrement=False)
    hall: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    guest: Mapped[str | None] = mapped_column(String(50))


class Member(IntKeyMixin, TimestampMixin, SoftDeleteMixin, VersionMixin, Base):
    """Deleted rows stay, and do not keep their address taken; their number they do."""

    __tablename__ = "bulk_member"
    __table_args__ = (unique_live("email"),)

    email: Mapped[str] = mapped_column(String(50))
    name: Mapped[str | None] = mapped_column(String(50))
    number: Mapped[int | None] = mapped_column(unique=True)


class Animal(IntKeyMixin, Base):
    """The head of a hierarchy in one table."""

    __tablename__ = "bulk_animal"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}

    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20), unique=True)
    tricks: Mapped[int] = mapped_column(default=0)


class Dog(Animal):
    """A class without a table of its own."""

    __mapper_args__ = {"polymorphic_identity": "dog"}


class Cabin(IntKeyMixin, Base):
    """Points to another row."""

    __tablename__ = "bulk_cabin"

    name: Mapped[str] = mapped_column(String(20), default=func.lower("NAMELESS"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("bulk_user.id"))


class Plain(DeclarativeBase):
    metadata: MetaData = Base.metadata


class Guest(Plain):
    """A model that knows nothing of sqlkeel."""

    __tablename__ = "bulk_guest"
    __table_args__ = (UniqueConstraint("first", "last"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    first: Mapped[str] = mapped_column(String(20))
    last: Mapped[str] = mapped_column(String(20))
    age: Mapped[int | None]


class ArrayBase(sqlkeel.Base):
    """For what only PostgreSQL can store."""


class Chart(ArrayBase):
    """Arrays."""

    __tablename__ = "bulk_chart"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    points: Mapped[list[int]] = mapped_column(ARRAY(Integer))
    title: Mapped[str] = mapped_column(String(5))


EMAIL = [User.email]


def people(count: int) -> list[dict[str, Any]]:
    """Return rows of so many users."""
    return [{"email": f"{number:06}@x.org", "nick": None} for number in range(count)]


async def values_of(session: AsyncSession, *columns: QueryableAttribute[Any]) -> Sequence[tuple[Any, ...]]:
    """Return these columns of every row, in order."""
    return [tuple(row) for row in await session.execute(select(*columns).order_by(*columns))]


async def count_of(session: AsyncSession, model: type[Any]) -> int:
    """Count every row of a model's table."""
    return await session.scalar(select(func.count()).select_from(model.__table__)) or 0
