"""The tables that are measured, and rows for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, DateTime, Identity, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import UUIDKeyMixin

__all__ = ["Base", "Note", "Reading", "Signal", "readings"]

START = datetime(2026, 1, 1, tzinfo=UTC)


class Base(sqlkeel.Base):
    """The tables of the benchmark."""


class Reading(Base):
    """Five columns of the usual types."""

    __tablename__ = "sqlkeel_benchmark_reading"

    id: Mapped[int] = mapped_column(BigInteger().with_variant(Integer(), "sqlite"), Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    place: Mapped[str] = mapped_column(String(50))
    value: Mapped[int]
    # A plain type: what a type of ours costs per value is not what is compared here.
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Signal(UUIDKeyMixin, Base):
    """The same with a UUIDv7 made in Python for each row."""

    __tablename__ = "sqlkeel_benchmark_signal"

    name: Mapped[str] = mapped_column(String(50))
    place: Mapped[str] = mapped_column(String(50))
    value: Mapped[int]
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Note(Base):
    """Columns that SQLite stores as they are: it has no dates, and turning them into text would be what is measured."""

    __tablename__ = "sqlkeel_benchmark_note"

    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(50), unique=True)
    place: Mapped[str] = mapped_column(String(50))
    value: Mapped[int]
    weight: Mapped[int]


def readings(count: int, *, shift: int = 0, **more: Any) -> list[dict[str, Any]]:
    """Return rows; *shift* moves the values, so that an update has something to do."""
    return [
        {
            "name": f"reading {n:08}",
            "place": f"place {n % 97}",
            "value": n + shift,
            "at": START + timedelta(seconds=n),
            **more,
        }
        for n in range(count)
    ]
