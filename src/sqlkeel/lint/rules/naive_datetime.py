"""A point in time is stored with its time zone.

A naive ``datetime`` is a wall clock without a place. The driver and the server each guess the zone, perhaps
differently, and the hour that repeats when summer time ends is ambiguous.

A project in which no datetime column has a zone gets one finding.

Instead: ``sqlkeel.UTCDateTime``, which ``Mapped[datetime]`` means on ``sqlkeel.Base``; ``DateTime(timezone=True)``
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import Column, DateTime, Table

from .._finding import Problem, Schema
from .._plain_type import plain_type
from .time_suffix import python_type_of

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check", "is_naive"]

BAD = """
class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(DateTime)
"""

GOOD = """
class Visit(Base):
    __tablename__ = "visit"
    id: Mapped[int] = mapped_column(primary_key=True)
    seen_at: Mapped[datetime]
    left_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
"""

UNSEEN_ON: Final = {
    "sqlite": "It has no datetime type.",
    "mariadb": "DATETIME has no zone, whether it holds UTC or local time.",
}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield columns that store a datetime without a zone."""
    cause = "no zones" if _has_no_zones(schema) else None
    for column in filter(is_naive, table.columns):
        where = f"{table.name}.{column.name}"
        fix = "Use UTCDateTime(), or DateTime(timezone=True)."
        yield Problem(where, f"{where} stores no time zone.", fix, cause=cause)


def is_naive(column: Column[Any]) -> bool:
    """Return whether a column stores a datetime without a zone; a type that converts values is trusted."""
    kind = plain_type(column.type)
    return isinstance(kind, DateTime) and not kind.timezone


@lru_cache(maxsize=4)
def _has_no_zones(schema: Schema) -> bool:
    columns = (column for table in schema.metadata.tables.values() for column in table.columns)
    return all(is_naive(column) for column in columns if python_type_of(column) is datetime)
