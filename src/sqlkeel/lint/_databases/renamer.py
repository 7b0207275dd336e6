"""The interface that each database implements for renames, and the function that finds the one for a dialect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import URL, Connection, MetaData, Table
from sqlalchemy.sql.compiler import IdentifierPreparer

from ..._databases import class_for
from .._convention import Named

__all__ = ["ConstraintRename", "Renamer", "Step", "StoredCode", "as_text", "execute", "renamer_for"]


@dataclass(frozen=True)
class Step:
    """A piece of a revision, and the piece that reverts it."""

    up: str
    down: str


class ConstraintRename(NamedTuple):
    """A constraint or index and its new name."""

    item: Named
    new: str


class StoredCode(NamedTuple):
    """Code in the database that a rename does not update: a label for it, and its text."""

    name: str
    text: str


class Renamer(ABC):
    """One database: what its reflection misses, and how to rename things in it."""

    name: str

    names_keys: bool
    """Whether a primary key has a name."""

    @abstractmethod
    def adapt(self, metadata: MetaData, connection: Connection) -> None:
        """Add properties to reflected tables that the models have and the database does not store."""

    @abstractmethod
    def require(self, url: URL) -> None:
        """Check that the database exists.

        Raises:
            ConfigurationError: When connecting would create one.
        """

    @abstractmethod
    def parts(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the tables that are part of another table and change with it."""

    @abstractmethod
    def taken(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the names that a table, a view or an index has, so that no other table can have them."""

    @abstractmethod
    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield code that names tables and columns in a text that a rename does not update."""

    @abstractmethod
    def rename_obstacle(self, connection: Connection, table: Table) -> str | None:
        """Return why constraints of this table cannot be renamed; ``None`` if they can."""

    @abstractmethod
    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield the steps that rename constraints and indexes of one table."""

    @abstractmethod
    def rename_table(self, table: Table, new: str, preparer: IdentifierPreparer) -> Iterator[Step]:
        """Yield the steps that rename a table."""


def execute(statement: str) -> str:
    """Return the line of a revision that sends a statement."""
    return f"op.execute({as_text(statement)!r})"


def as_text(sql: str) -> str:
    """Return SQL escaped for ``text()``, where a colon begins a parameter."""
    return sql.replace(":", "\\:")


def renamer_for(dialect: str) -> Renamer:
    """Return the renamer for SQLAlchemy's name of a dialect."""
    kind: type[Renamer] = class_for("lint", dialect)
    return kind()
