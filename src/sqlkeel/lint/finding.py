"""What the rules are given, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import Mapper

__all__ = ["Finding", "Problem", "Schema"]


class Problem(NamedTuple):
    """What one rule found: where, what is wrong, and what to write instead."""

    where: str
    message: str
    fix: str


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule. ``where`` is ``table`` or ``table.column``, ``fix`` what to type next."""

    where: str
    code: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code}  {self.where}: {self.message} {self.fix}"


@dataclass(frozen=True, eq=False)
class Schema:
    """What a rule may know beside the table: all that is checked together with it, and what the project says of it."""

    metadata: MetaData
    mappers: Mapping[Table, tuple[Mapper[Any], ...]] = field(default_factory=dict)
    """The mapped classes of each table, base class first; empty where tables are checked without models."""

    singular: frozenset[str] = frozenset()
    """Words that look like a plural and are none."""

    database: str | None = None
    """``sqlite``, ``postgresql`` or ``mariadb`` where a live database is checked; ``None`` for models."""

    def mappers_of(self, table: Table) -> tuple[Mapper[Any], ...]:
        """Return the mapped classes whose own table this is."""
        return self.mappers.get(table, ())
