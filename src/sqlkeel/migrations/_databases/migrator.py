"""The interface that each database implements for running migrations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import URL, Column, Connection, DefaultClause, Dialect, Table
from sqlalchemy.schema import CreateColumn

from ..._databases import class_for

__all__ = ["UNNAMED", "Migrator", "computed_sql", "default_sql", "migrator_for", "read_default"]

UNNAMED: Final = "unnamed_"
"""The prefix of the name that a revision on SQLite gives to an unnamed CHECK."""


class Migrator(ABC):
    """One run of migrations on one connection: prepare, acquire the lock, run, verify, restore."""

    batch: bool
    """Whether ALTER TABLE is executed by copying the table."""

    has_identity: bool
    """Whether the database distinguishes an identity column from other auto-incremented columns."""

    merges_unique: bool = False
    """Whether a UNIQUE that repeats the primary key or another UNIQUE is merged with it, or not reflected."""

    indexes_keys: bool = False
    """Whether the server creates an index for a foreign key that has none."""

    has_character_sets: bool = False
    """Whether a type can give its column a collation by a character set, or by a flag like BINARY."""

    keeps_lengths: bool = True
    """Whether the database respects lengths and precisions."""

    usual_collation: str | None = None
    """The collation that a changed column has to state to get the default collation again."""

    after_failure: str
    """What a failed revision leaves behind: the rest of a sentence that begins with the revision's name."""

    @abstractmethod
    def implementation(self) -> type[DefaultImpl]:
        """Return the mixin for Alembic's implementation in this run; it is not registered anywhere."""

    @abstractmethod
    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Configure the session: no limit for statements, a short one for waiting on locks."""

    @abstractmethod
    def try_lock(self, connection: Connection) -> bool:
        """Acquire the migration lock of this database without waiting; return whether that succeeded."""

    @abstractmethod
    def verify(self, connection: Connection) -> None:
        """Check the result before it is committed."""

    @abstractmethod
    def restore(self, connection: Connection) -> None:
        """Release the lock and restore the connection, even after an error."""

    @contextmanager
    def borrow(self, connection: Connection) -> Iterator[None]:
        """Work on a caller's connection; the caller is responsible for its settings, transaction and lock."""
        yield

    @abstractmethod
    def is_same_default(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Return whether the model's server default equals the reflected one; either may be missing."""

    @abstractmethod
    def is_same_computed(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Return whether the model's generated column equals the reflected one; either may be a plain column."""

    def is_same_type(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool | None:
        """Return whether a reflected type is the server's form of the model's type, although the two look different.

        ``None`` if the server cannot create the model's type.
        """
        return None

    def collation(self, connection: Connection, found: Column[Any]) -> str | None:
        """Return the collation of a reflected column; ``None`` if it is the default collation."""
        collation: str | None = getattr(found.type, "collation", None)
        return collation

    def names_check(self, table: Table, name: str) -> bool:
        """Return whether the server gives such a name to an unnamed CHECK."""
        return False

    def is_missing(self, url: URL) -> bool:
        """Return whether connecting would create the database."""
        return False

    def reading_options(self) -> dict[str, Any]:
        """Return the options of a comparing transaction; it is rolled back, so that probes leave nothing behind."""
        return {}

    @abstractmethod
    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Return whether the database created this object itself, so that the models need not have it."""

    @abstractmethod
    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return schema and name of the tables that belong to another table or to an extension."""


def default_sql(dialect: Dialect, column: Column[Any]) -> str | None:
    """Return the server default of a model's column as CREATE TABLE writes it."""
    compiler = _compiler(dialect, column)
    sql: str | None = compiler.get_column_default_string(column)
    return sql


def computed_sql(dialect: Dialect, column: Column[Any]) -> str | None:
    """Return the expression of a generated column as CREATE TABLE writes it."""
    if column.computed is None:
        return None
    compiler = _compiler(dialect, column)
    return str(compiler.sql_compiler.process(column.computed.sqltext, include_table=False, literal_binds=True))


def read_default(column: Column[Any]) -> str | None:
    """Return the server default of a reflected column."""
    default = column.server_default
    return str(default.arg) if isinstance(default, DefaultClause) else None


def _compiler(dialect: Dialect, column: Column[Any]) -> Any:
    create: Any = CreateColumn(column)
    return dialect.ddl_compiler(dialect, create)


def migrator_for(dialect: str) -> Migrator:
    """Return the migrator for SQLAlchemy's name of a dialect."""
    kind: type[Migrator] = class_for("migrations", dialect)
    return kind()
