"""Find the file of a database."""

from __future__ import annotations

from typing import Final

from .backend import MigrationBackend
from .mariadb import MariaDBMigration
from .postgresql import PostgreSQLMigration
from .sqlite import SQLiteMigration

__all__ = ["backend_for"]

_KINDS: Final[dict[str, type[MigrationBackend]]] = {
    "mariadb": MariaDBMigration,
    "mysql": MariaDBMigration,
    "postgresql": PostgreSQLMigration,
    "sqlite": SQLiteMigration,
}


def backend_for(dialect: str) -> MigrationBackend:
    """Return a new backend for one run on a database of SQLAlchemy's name *dialect*."""
    return _KINDS[dialect]()
