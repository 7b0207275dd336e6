"""Names on PostgreSQL: everything is renamed in place, without rewriting a row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sqlalchemy import URL, Connection, Index, MetaData, Table, text
from sqlalchemy.sql.compiler import IdentifierPreparer

from .renamer import ConstraintRename, Renamer, Step, StoredCode, execute

__all__ = ["PostgreSQLRenamer"]

# PostgreSQL stores views and rules by object id, so they follow a rename, but it stores a function as text. A function
# with a BEGIN ATOMIC body was parsed when it was created; it also follows a rename, and has no text.
_FUNCTIONS = """
SELECT p.proname, p.prosrc FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
 WHERE l.lanname NOT IN ('internal', 'c') AND p.prosrc <> '' AND p.pronamespace NOT IN (
       SELECT oid FROM pg_catalog.pg_namespace WHERE nspname IN ('pg_catalog', 'information_schema'))
"""

_PARTS = """
SELECT c.relname FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p', 'f') AND n.nspname = coalesce(CAST(:schema AS text), current_schema())
"""
_TAKEN = """
SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = coalesce(CAST(:schema AS text), current_schema())
"""


class PostgreSQLRenamer(Renamer):
    """Each rename changes one catalogue entry, under a lock that is held only briefly."""

    name = "postgresql"
    names_keys = True

    def adapt(self, metadata: MetaData, connection: Connection) -> None:
        """Change nothing: the catalogue keeps everything."""

    def require(self, url: URL) -> None:
        """Check nothing: connecting to a missing database fails."""

    def parts(self, connection: Connection, schema: str | None) -> set[str]:
        """Return partitions and inheriting tables: their columns are renamed only together with the parent's."""
        return set(connection.scalars(text(_PARTS), {"schema": schema}))

    def taken(self, connection: Connection, schema: str | None) -> set[str]:
        """Return all relations: indexes and sequences share one namespace with tables."""
        return set(connection.scalars(text(_TAKEN), {"schema": schema}))

    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield the functions that PostgreSQL keeps as text."""
        for name, body in connection.execute(text(_FUNCTIONS)):
            yield StoredCode(f"the function {name}()", body)

    def rename_obstacle(self, connection: Connection, table: Table) -> str | None:
        """Return nothing: every constraint can be renamed."""
        return None

    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield one statement for each; renaming a constraint also renames its index."""
        schema = f"{preparer.quote_schema(table.schema)}." if table.schema else ""
        for item, new in renames:
            old, wanted = preparer.quote(str(item.name)), preparer.quote(new)
            if isinstance(item, Index):
                up, down = (f"ALTER INDEX {schema}{a} RENAME TO {b}" for a, b in ((old, wanted), (wanted, old)))
            else:
                place = f"ALTER TABLE {preparer.format_table(table)} RENAME CONSTRAINT"
                up, down = f"{place} {old} TO {wanted}", f"{place} {wanted} TO {old}"
            yield Step(execute(up), execute(down))

    def rename_table(self, table: Table, new: str, preparer: IdentifierPreparer) -> Iterator[Step]:
        """Yield one statement."""
        schema = f", schema={table.schema!r}" if table.schema else ""
        yield Step(
            f"op.rename_table({table.name!r}, {new!r}{schema})", f"op.rename_table({new!r}, {table.name!r}{schema})"
        )
