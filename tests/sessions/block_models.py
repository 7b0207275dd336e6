"""A model of numbers, and a look at what a block has left."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel.sessions import Database


class Incomparable(TypeDecorator[str]):
    """A value whose comparison fails, as that of two arrays of numpy does."""

    impl = String(20)
    cache_ok = True

    def compare_values(self, x: Any, y: Any) -> bool:
        """Fail."""
        raise ValueError("The truth value of an array is ambiguous.")


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Measure(Base):
    """A row with such a value."""

    __tablename__ = "blocks_measure"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str | None] = mapped_column(Incomparable)


def checked_out(database: Database) -> int:
    """Count the connections that are missing in the pools, now."""
    return sum(engine.pool.checkedout() for engine in database.engines)  # type: ignore[attr-defined]


async def ids(database: Database) -> list[int]:
    """Read what is committed."""
    async with database.read() as session:
        return list(await session.scalars(select(Measure.id).order_by(Measure.id)))
