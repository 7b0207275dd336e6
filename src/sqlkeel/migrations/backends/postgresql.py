"""Migrations on PostgreSQL: a transaction for each revision, a short wait for locks, an advisory lock around all."""

from __future__ import annotations

from typing import Any, Final

from alembic.ddl.postgresql import PostgresqlImpl
from sqlalchemy import Column, Connection, text

from ..narrowing import KeepsValues
from ..written import WritesText
from .backend import MigrationBackend

__all__ = ["PostgreSQLMigration"]

_LOCK_KEY: Final = 0x73716C6B65656C
"""Advisory locks belong to a database, so one number serves all; it spells "sqlkeel"."""
_PARTS: Final = text("""
SELECT n.nspname AS schema, c.relname AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
""")


class PostgreSQLMigration(MigrationBackend):
    """DDL is transactional, but a statement that waits for its lock makes everybody behind it wait too."""

    batch = False
    has_identity = True
    after_failure = "was rolled back; the revisions before it are applied"

    def prepare(self, connection: Connection, lock_timeout: float) -> None:
        """Lift the application's limits for this session."""
        settings = {
            "statement_timeout": "0",
            "idle_in_transaction_session_timeout": "0",
            "lock_timeout": str(int(lock_timeout * 1000)),
        }
        for name, value in settings.items():
            connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
        connection.commit()

    def try_lock(self, connection: Connection) -> bool:
        """Ask for a session lock that never waits.

        The waiting form holds a snapshot, and CREATE INDEX CONCURRENTLY waits for all snapshots: two migrators would
        deadlock. For the same reason the transaction of the question ends with it.
        """
        got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}).scalar_one()
        connection.commit()
        return bool(got)

    def verify(self, connection: Connection) -> None:
        """Find nothing: the server has checked everything by then."""

    def restore(self, connection: Connection) -> None:
        """Close the connection: with it go the lock and all that a revision has set in the session."""
        connection.invalidate()

    def plain_default(self, default: str, column: Column[Any]) -> str:
        """Change nothing: Alembic asks the server whether two defaults are equal."""
        return default

    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Find nothing that the server makes by itself."""
        return False

    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return partitions, what inherits, and the tables of extensions."""
        return {(row.schema, row.name) for row in connection.execute(_PARTS)}


class _Impl(KeepsValues, WritesText, PostgresqlImpl):
    """Alembic's part for PostgreSQL, which writes a text that looks like a parameter as what it is.

    Alembic keeps one implementation for each dialect, and takes the class that was defined last.
    """

    __dialect__ = "postgresql"
