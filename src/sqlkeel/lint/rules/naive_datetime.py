"""A moment is stored with its time zone.

A naive ``datetime`` is a wall clock without a town: the driver or the server guesses the zone, each its own, and the
hour that summer time repeats is two hours.

Instead: ``sqlkeel.UTCDateTime``, which ``Mapped[datetime]`` is on ``sqlkeel.Base``; ``DateTime(timezone=True)``
elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from sqlalchemy import DateTime, Table

from ..finding import Problem, Schema

__all__ = ["BAD", "GOOD", "UNSEEN_ON", "check"]

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
    "sqlite": "It has no type for a moment, with a zone or without.",
    "mariadb": "DATETIME keeps no zone, whether it holds UTC or a wall clock.",
}


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield columns that keep a datetime without a zone."""
    for column in table.columns:
        if isinstance(column.type, DateTime) and not column.type.timezone:
            where = f"{table.name}.{column.name}"
            yield Problem(where, f"{where} keeps no time zone.", "Use UTCDateTime(), or DateTime(timezone=True).")
