"""What every database file says about running migrations."""

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
"""How the name of a CHECK begins that a revision on SQLite makes for one without a name."""


class Migrator(ABC):
    """One run of migrations on one connection: prepare, wait for the turn, work, verify, restore."""

    batch: bool
    """Whether ALTER TABLE is written as a copy of the table."""

    has_identity: bool
    """Whether the database tells an identity column from a column that counts up."""

    merges_unique: bool = False
    """Whether a UNIQUE on the columns of the primary key, or of another UNIQUE, is left out or cannot be seen."""

    indexes_keys: bool = False
    """Whether a foreign key gets an index where no other begins with its columns."""

    has_character_sets: bool = False
    """Whether a column may get its collation from a character set, or a flag like BINARY, that its type names."""

    keeps_lengths: bool = True
    """Whether a length or a precision means anything."""

    usual_collation: str | None = None
    """What a changed column has to name where it is to have the usual collation again."""

    after_failure: str
    """What a failed revision leaves behind, in a sentence that starts after the revision's name."""

    @abstractmethod
    def implementation(self) -> type[DefaultImpl]:
        """Return what goes before Alembic's implementation for the database in a run; it registers itself nowhere."""

    @abstractmethod
    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Set the session: no limit on statements, a short one on waiting for locks."""

    @abstractmethod
    def try_lock(self, connection: Connection) -> bool:
        """Become the only migrator of this database, or say at once that another one is at work."""

    @abstractmethod
    def verify(self, connection: Connection) -> None:
        """Look at the result before it is committed."""

    @abstractmethod
    def restore(self, connection: Connection) -> None:
        """Give the lock back, and the connection as it was, whatever has happened."""

    @contextmanager
    def borrow(self, connection: Connection) -> Iterator[None]:
        """Work on a connection of the caller's: its settings, its transaction and its turn are left to the caller."""
        yield

    @abstractmethod
    def is_same_default(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Return whether the server default of the models is the one that was read; either may be missing."""

    @abstractmethod
    def is_same_computed(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Return whether a generated column of the models is the one that was read; either may be a plain one."""

    def is_same_type(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool | None:
        """Return whether a type that looks different is what the server makes of the one in the models.

        ``None`` where it makes nothing of it.
        """
        return None

    def collation(self, connection: Connection, found: Column[Any]) -> str | None:
        """Return the collation of a column that was read, where it is not the usual one."""
        collation: str | None = getattr(found.type, "collation", None)
        return collation

    def names_check(self, table: Table, name: str) -> bool:
        """Return whether a CHECK that has no name gets one like this from the server."""
        return False

    def is_missing(self, url: URL) -> bool:
        """Return whether connecting would make the database."""
        return False

    def reading_options(self) -> dict[str, Any]:
        """Return the options of a transaction that compares: it is rolled back, so what it tries is not kept."""
        return {}

    @abstractmethod
    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Return whether the database made this object by itself, so that the models need not have it."""

    @abstractmethod
    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return schema and name of the tables that go with another one, or with an extension."""


def default_sql(dialect: Dialect, column: Column[Any]) -> str | None:
    """Return the server default of a column of the models as it is written in CREATE TABLE."""
    compiler = _compiler(dialect, column)
    sql: str | None = compiler.get_column_default_string(column)
    return sql


def computed_sql(dialect: Dialect, column: Column[Any]) -> str | None:
    """Return the expression of a generated column as it is written in CREATE TABLE."""
    if column.computed is None:
        return None
    compiler = _compiler(dialect, column)
    return str(compiler.sql_compiler.process(column.computed.sqltext, include_table=False, literal_binds=True))


def read_default(column: Column[Any]) -> str | None:
    """Return the server default of a column as it was read."""
    default = column.server_default
    return str(default.arg) if isinstance(default, DefaultClause) else None


def _compiler(dialect: Dialect, column: Column[Any]) -> Any:
    create: Any = CreateColumn(column)
    return dialect.ddl_compiler(dialect, create)


def migrator_for(dialect: str) -> Migrator:
    """Return what one run on a database needs, by SQLAlchemy's name of its dialect."""
    kind: type[Migrator] = class_for("migrations", dialect)
    return kind()
