"""Models with a column of each kind that a value may not fit."""

from __future__ import annotations

import enum
import uuid
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Numeric, String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel


class Base(sqlkeel.Base):
    pass


class Colour(enum.StrEnum):
    RED = "red"


class Sample(sqlkeel.IntKeyMixin, Base):
    __tablename__ = "fitting_sample"
    code: Mapped[str | None] = mapped_column(String(5))
    number: Mapped[int | None]
    weight: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    owner: Mapped[uuid.UUID | None]
    facts: Mapped[dict[str, Any] | None]
    taken_at: Mapped[datetime | None]
    taken_date: Mapped[date | None]
    colour: Mapped[Colour | None]


class Required(sqlkeel.IntKeyMixin, Base):
    __tablename__ = "fitting_required"
    name: Mapped[str] = mapped_column(String(5))


class Parcel(Base):
    __tablename__ = "fitting_parcel"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    weight: Mapped[Decimal] = mapped_column(Numeric(5, 2), unique=True)
    owner: Mapped[uuid.UUID | None]
