"""What every database file has to say, and how to find the one for a dialect."""

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
    """A piece of a revision, and the piece that takes it back."""

    up: str
    down: str


class ConstraintRename(NamedTuple):
    """A constraint or index and the name that it shall have."""

    item: Named
    new: str


class StoredCode(NamedTuple):
    """A program in the database that a rename does not reach: what to call it, and its text."""

    name: str
    text: str


class Renamer(ABC):
    """One database: what its reflection hides, and how things are renamed there."""

    name: str

    names_keys: bool
    """Whether a primary key has a name."""

    @abstractmethod
    def adapt(self, metadata: MetaData, connection: Connection) -> None:
        """Give reflected tables what the models would have, where the database does not keep it."""

    @abstractmethod
    def require(self, url: URL) -> None:
        """Check that there is a database to read.

        Raises:
            ConfigurationError: When connecting would make one.
        """

    @abstractmethod
    def parts(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the tables that are part of another one, and change with it."""

    @abstractmethod
    def taken(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the names that no table can have, because a table, a view or an index has them."""

    @abstractmethod
    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield the programs that name tables and columns in a text that no rename changes."""

    @abstractmethod
    def why_not(self, connection: Connection, table: Table) -> str | None:
        """Return why constraints of this table cannot be renamed; ``None`` where they can."""

    @abstractmethod
    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield what renames constraints and indexes of one table."""

    @abstractmethod
    def rename_table(self, table: Table, new: str, preparer: IdentifierPreparer) -> Iterator[Step]:
        """Yield what renames a table."""


def execute(statement: str) -> str:
    """Return the line of a revision that sends a statement."""
    return f"op.execute({as_text(statement)!r})"


def as_text(sql: str) -> str:
    """Return SQL as ``text()`` takes it, for which a colon begins a parameter."""
    return sql.replace(":", "\\:")


def renamer_for(dialect: str) -> Renamer:
    """Return what renames on a database, by SQLAlchemy's name of its dialect."""
    kind: type[Renamer] = class_for("lint", dialect)
    return kind()
