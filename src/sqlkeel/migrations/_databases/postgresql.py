"""Migrations on PostgreSQL: one transaction per revision, short lock timeouts, an advisory lock around the run."""

from __future__ import annotations

import re
from typing import Any, Final

from alembic.ddl.impl import DefaultImpl
from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Date,
    DateTime,
    Dialect,
    MetaData,
    Numeric,
    String,
    Table,
    cast,
    text,
)
from sqlalchemy.dialects.postgresql import DOMAIN
from sqlalchemy.exc import CompileError

from .._identities import ChangesIdentity
from .._members import ChangesMembers
from .._named_types import MakesTypes, as_postgresql
from .._narrowing import KeepsValues
from .._required import refuse_made_up_values
from .._type_changes import CastsValues
from .._written import WritesText
from .migrator import Migrator, computed_sql, default_sql, read_default
from .postgresql_sql import ComparesIndexes, is_same

__all__ = ["PostgreSQLMigrator"]

_LOCK_KEY: Final = 0x73716C6B65656C
"""Advisory locks are local to a database, so one number is enough for all; it spells "sqlkeel"."""
_CHECK: Final = re.compile(r"_check\d*$")
_KEPT: Final = 28  # characters of a long table name that PostgreSQL keeps in a CHECK's name beside the column
_NULL: Final = "NULL"
_PARTS: Final = text("""
SELECT n.nspname AS schema, c.relname AS name
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE EXISTS (SELECT 1 FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid)
    OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d
                WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
""")

_OWN: Final = text("""
SELECT attnotnull, atthasdef FROM pg_catalog.pg_attribute
 WHERE attrelid = to_regclass(:table) AND attname = :column AND NOT attisdropped
""")
_NARROW: Final = text("""
SELECT CAST(CAST(seqrelid AS regclass) AS text) FROM pg_catalog.pg_sequence
 WHERE seqrelid = CAST(pg_get_serial_sequence(:table, :column) AS regclass) AND seqtypid <> CAST('bigint' AS regtype)
""")


class PostgreSQLMigrator(Migrator):
    """DDL is transactional, but a statement that waits for a lock blocks every later statement on the table."""

    batch = False
    has_identity = True
    merges_unique = True
    after_failure = "was rolled back; the revisions before it are applied"

    def implementation(self) -> type[DefaultImpl]:
        """Return the mixin that creates native types and casts to them."""
        return _Impl

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
        """Try to acquire a session-level lock without waiting.

        The waiting form holds a snapshot, and CREATE INDEX CONCURRENTLY waits for all snapshots, so two migrators would
        deadlock. For the same reason the transaction of this statement ends immediately.
        """
        got = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK_KEY}).scalar_one()
        connection.commit()
        return bool(got)

    def verify(self, connection: Connection) -> None:
        """Check nothing: the server has already checked everything."""

    def restore(self, connection: Connection) -> None:
        """Close the connection, which releases the lock and discards the settings of the session."""
        connection.invalidate()

    def is_same_default(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Ask the server whether both are the same value of the column; a missing default is NULL."""
        ours, theirs = default_sql(dialect, wanted) or _NULL, read_default(found) or _NULL
        return is_same(connection, ours, theirs, kind=_type(dialect, found))

    def is_same_type(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool | None:
        """Ask the server whether both are the same type: a FLOAT(24) is a REAL."""
        ours, theirs = _type(dialect, wanted), _type(dialect, found)
        if ours is None or theirs is None:
            return None
        return is_same(connection, f"CAST(NULL AS {ours})", f"CAST(NULL AS {theirs})")

    def is_same_computed(
        self, connection: Connection, dialect: Dialect, found: Column[Any], wanted: Column[Any]
    ) -> bool:
        """Ask the server whether both expressions are the same."""
        ours, theirs = computed_sql(dialect, wanted), computed_sql(dialect, found)
        if ours is None or theirs is None:
            return False
        name = dialect.identifier_preparer.format_table(found.table)
        return is_same(connection, ours, theirs, table=name)

    def names_check(self, table: Table, name: str) -> bool:
        """Recognise ``a_check``, ``a_x_check`` and ``a_check1``, also when truncated."""
        return name.startswith(table.name[:_KEPT]) and _CHECK.search(name) is not None

    def is_generated(self, kind: str, reflected: Any) -> bool:
        """Return that nothing is generated by the server."""
        return False

    def parts(self, connection: Connection) -> set[tuple[str | None, str]]:
        """Return partitions, inheriting tables, and the tables of extensions."""
        return {(row.schema, row.name) for row in connection.execute(_PARTS)}


def _type(dialect: Dialect, column: Column[Any]) -> str | None:
    kind: Any = column.type
    if getattr(kind, "collation", None):
        kind = kind.copy()
        kind.collation = None
    try:
        return dialect.type_compiler_instance.process(kind)
    except CompileError:  # a type that SQLAlchemy does not know
        return None


class _Impl(
    ChangesIdentity, ChangesMembers, MakesTypes, CastsValues, KeepsValues, WritesText, ComparesIndexes, DefaultImpl
):
    """Alembic's implementation for PostgreSQL, which escapes text that looks like a parameter.

    PostgreSQL itself refuses to add a required column to a table with rows, but its message does not mention the rows.
    """

    def autogen_column_reflect(self, inspector: Any, table: Table, column_info: Any) -> None:
        """Read only the column's own default and NOT NULL; reflection adds those of its DOMAIN."""
        assert self.connection is not None
        if isinstance(column_info["type"], DOMAIN):
            place = {"table": self.dialect.identifier_preparer.format_table(table), "column": column_info["name"]}
            own = self.connection.execute(_OWN, place).one()
            column_info["nullable"] = not own.attnotnull
            column_info["default"] = column_info["default"] if own.atthasdef else None
        super().autogen_column_reflect(inspector, table, column_info)

    def alter_column(self, table_name: str, column_name: str, **options: Any) -> None:
        """Change a column and the sequence that feeds it: the sequence of a SERIAL would stop at INTEGER's maximum."""
        options.pop("autoincrement", None)  # meant for MariaDB; Alembic would warn about it here
        super().alter_column(table_name, column_name, **options)
        if self.connection is not None and isinstance(options.get("type_"), BigInteger):
            table = Table(table_name, MetaData(), schema=options.get("schema"))
            name = self.dialect.identifier_preparer.format_table(table)
            for sequence in self.connection.scalars(_NARROW, {"table": name, "column": column_name}).all():
                self.execute(f"ALTER SEQUENCE {sequence} AS BIGINT")

    def as_both(self, value: Any, old: Any, new: Any) -> tuple[Any, Any]:
        """Compare a text as a timestamp or number of any length: it may have a time, a zone or more digits."""
        if not isinstance(old, String):
            return super().as_both(value, old, new)
        if isinstance(new, (Date, DateTime)):
            moment = DateTime(timezone=True)
            return cast(cast(value, new), moment), cast(value, moment)
        widest = Numeric() if isinstance(new, Numeric) else new
        return cast(value, new), cast(value, widest)

    def add_constraint(self, const: Any, **options: Any) -> None:
        """Add a constraint; Alembic's description of the table contains only the columns of the UNIQUE itself."""
        for name in const.dialect_kwargs.get("postgresql_include") or ():
            if name not in const.table.c:
                const.table.append_column(Column(name))
        super().add_constraint(const, **options)

    def add_column(self, table_name: str, column: Column[Any], *, schema: str | None = None, **options: Any) -> None:
        # An identity, or the default of a DOMAIN, can provide a value for existing rows.
        if column.identity is None and not isinstance(as_postgresql(column.type), DOMAIN):
            refuse_made_up_values(self.connection, column, table_name=table_name, schema=schema)
        self.provide_type(column)
        super().add_column(table_name, column, schema=schema, **options)
