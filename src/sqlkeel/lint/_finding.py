"""What the rules are given, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import Mapper

__all__ = ["Finding", "Problem", "Rename", "Schema", "Source"]


class Rename(NamedTuple):
    """A new name that repairs what a rule found; ``--fix-migration`` can write it."""

    kind: Literal["table", "column", "constraint"]
    """An index is a constraint here."""

    old: str | None
    """``None`` for a constraint that has no name."""

    new: str


class Source(NamedTuple):
    """A line of a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.shown}:{self.line}"

    @property
    def shown(self) -> str:
        """The path as one would type it here: relative where it is below the working directory."""
        here = Path.cwd()
        return (self.path.relative_to(here) if self.path.is_relative_to(here) else self.path).as_posix()

    @property
    def uri(self) -> str:
        """The same as a URI reference."""
        return (
            self.path.as_uri() if self.path.is_absolute() and self.shown == self.path.as_posix() else quote(self.shown)
        )


class Problem(NamedTuple):
    """What one rule found: where, what is wrong, what to write instead, and the rename where that is all it takes."""

    where: str
    message: str
    fix: str
    rename: Rename | None = None
    source: Source | None = None
    """Where it is written, for what is no table or column; the engine finds those itself."""

    cause: str | None = None
    """What one change mends wherever the rule has found it: it is told once, at the first place."""


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule. ``where`` is ``table``, ``table.column`` or ``Response.field``, ``fix`` what to type next."""

    where: str
    code: str
    message: str
    fix: str
    rename: Rename | None = field(default=None, compare=False)
    source: Source | None = field(default=None, compare=False)
    """Where the model is written; ``None`` for a table without a class, and in a database."""

    cause: str | None = field(default=None, compare=False, repr=False)
    """What several findings have in common, of which `check` tells the first."""

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
