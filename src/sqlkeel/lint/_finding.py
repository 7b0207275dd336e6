"""The input of the rules, and their findings."""

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
    """A new name that fixes a finding; ``--fix-migration`` can write it."""

    kind: Literal["table", "column", "constraint"]
    """An index counts as a constraint here."""

    old: str | None
    """``None`` for a constraint that has no name."""

    new: str


class Source(NamedTuple):
    """A line in a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.shown}:{self.line}"

    @property
    def shown(self) -> str:
        """The path as the user would type it: relative if it is below the working directory."""
        here = Path.cwd()
        return (self.path.relative_to(here) if self.path.is_relative_to(here) else self.path).as_posix()

    @property
    def uri(self) -> str:
        """The path as a URI reference."""
        return (
            self.path.as_uri() if self.path.is_absolute() and self.shown == self.path.as_posix() else quote(self.shown)
        )


class Problem(NamedTuple):
    """What one rule found: the place, what is wrong, what to write instead, and a rename if that fixes it."""

    where: str
    message: str
    fix: str
    rename: Rename | None = None
    source: Source | None = None
    """Where something is written that is not a table or column; the engine finds those itself."""

    cause: str | None = None
    """The cause that several problems share and one change fixes; only the first of them is reported."""


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule. ``where`` is ``table``, ``table.column`` or ``Response.field``; ``fix`` is what to type next."""

    where: str
    code: str
    message: str
    fix: str
    rename: Rename | None = field(default=None, compare=False)
    source: Source | None = field(default=None, compare=False)
    """Where the model is written; ``None`` for a table without a class, and in a live database."""

    cause: str | None = field(default=None, compare=False, repr=False)
    """The cause that several findings share; `check` reports the first of them."""

    def __str__(self) -> str:
        return f"{self.code}  {self.where}: {self.message} {self.fix}"


@dataclass(frozen=True, eq=False)
class Schema:
    """What a rule may use besides the table: everything that is checked with it, and the project's settings."""

    metadata: MetaData
    mappers: Mapping[Table, tuple[Mapper[Any], ...]] = field(default_factory=dict)
    """The mapped classes of each table, base class first; empty if tables are checked without models."""

    singular: frozenset[str] = frozenset()
    """Words that look like a plural but are not."""

    database: str | None = None
    """``sqlite``, ``postgresql`` or ``mariadb`` for a live database; ``None`` for models."""

    def mappers_of(self, table: Table) -> tuple[Mapper[Any], ...]:
        """Return the mapped classes whose own table this is."""
        return self.mappers.get(table, ())
