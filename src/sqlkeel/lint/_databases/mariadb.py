"""Names on MariaDB: indexes are renamed in place; foreign keys and CHECKs are replaced in one statement."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from sqlalchemy import (
    URL,
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql.compiler import IdentifierPreparer

from ... import _sqlalchemy_tables as private
from ...models._constraints import is_live_marker, live_index, marker_name
from .renamer import ConstraintRename, Renamer, Step, StoredCode, execute

__all__ = ["MariaDBRenamer"]

_MADE_BY_THE_SERVER: Final = re.compile(r"CONSTRAINT_\d+")
_STORED = """
SELECT concat('the view ', table_name), view_definition FROM information_schema.views WHERE table_schema = database()
 UNION ALL
SELECT concat('the trigger ', trigger_name), action_statement FROM information_schema.triggers
 WHERE trigger_schema = database()
 UNION ALL
SELECT concat('the ', lower(routine_type), ' ', routine_name), routine_definition FROM information_schema.routines
 WHERE routine_schema = database()
"""

_TAKEN = "SELECT table_name FROM information_schema.tables WHERE table_schema = coalesce(:schema, database())"


class MariaDBRenamer(Renamer):
    """A primary key is always PRIMARY, a unique constraint is an index, and a DATETIME has no zone."""

    name = "mariadb"
    names_keys = False

    def adapt(self, metadata: MetaData, connection: Connection) -> None:
        """Name primary keys, distinguish unique constraints from indexes, and recognise `unique_live`."""
        for table in metadata.tables.values():
            table.primary_key.name = f"{table.name}_pkey"
            for index in list(table.indexes):
                _adapt_index(table, index)
            for marker in [column for column in table.columns if is_live_marker(column)]:
                private.remove_column(table, marker)
            for check in table.constraints:
                if isinstance(check, CheckConstraint) and _MADE_BY_THE_SERVER.fullmatch(str(check.name)):
                    check.name = None

    def require(self, url: URL) -> None:
        """Check nothing: connecting to a missing database fails."""

    def parts(self, connection: Connection, schema: str | None) -> set[str]:
        """Return nothing: partitions are not tables."""
        return set()

    def taken(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the names of tables and views."""
        return set(connection.scalars(text(_TAKEN), {"schema": schema}))

    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield views, triggers and routines, which MariaDB keeps as text."""
        for name, body in connection.execute(text(_STORED)):
            yield StoredCode(name, body or "")

    def rename_obstacle(self, connection: Connection, table: Table) -> str | None:
        """Return nothing: every constraint can be renamed."""
        return None

    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield one statement for each, so that the constraint is never missing in between."""
        place = f"ALTER TABLE {preparer.format_table(table)}"
        for item, new in renames:
            old = str(item.name)
            ways = (_clauses(item, old, new, preparer), _clauses(item, new, old, preparer))
            up, down = (execute(f"{place} {clauses}") for clauses in ways)
            yield Step(up, down)

    def rename_table(self, table: Table, new: str, preparer: IdentifierPreparer) -> Iterator[Step]:
        """Yield one statement; foreign keys of other tables follow the rename."""
        yield Step(f"op.rename_table({table.name!r}, {new!r})", f"op.rename_table({new!r}, {table.name!r})")


def _adapt_index(table: Table, index: Index) -> None:
    live = live_index(index)
    if live is not None:
        table.indexes.discard(index)
        table.append_constraint(live)
    elif index.unique and not str(index.name).endswith("_idx"):
        table.indexes.discard(index)
        table.append_constraint(UniqueConstraint(*(column.name for column in index.columns), name=index.name))


def _clauses(item: Any, old: str, new: str, preparer: IdentifierPreparer) -> str:
    """Return what comes after ALTER TABLE."""
    before, after = preparer.quote(old), preparer.quote(new)
    if isinstance(item, (Index, UniqueConstraint)):
        clause = f"RENAME INDEX {before} TO {after}"
        if item.dialect_kwargs.get("mariadb_live") is None:
            return clause
        markers = [preparer.quote(marker_name(name)) for name in (old, new)]
        return f"{clause}, RENAME COLUMN {markers[0]} TO {markers[1]}"
    if isinstance(item, ForeignKeyConstraint):
        return f"DROP FOREIGN KEY {before}, ADD CONSTRAINT {after} {_foreign_key(item, preparer)}"
    return f"DROP CONSTRAINT {before}, ADD CONSTRAINT {after} CHECK ({item.sqltext})"


def _foreign_key(key: ForeignKeyConstraint, preparer: IdentifierPreparer) -> str:
    """Return a foreign key in SQL, even if the table that it references was not reflected."""
    targets = [element.target_fullname.split(".") for element in key.elements]
    columns = ", ".join(preparer.quote(column.name) for column in key.columns)
    place = ".".join(preparer.quote(word) for word in targets[0][:-1])
    referred = ", ".join(preparer.quote(words[-1]) for words in targets)
    rules = {"ON DELETE": key.ondelete, "ON UPDATE": key.onupdate}
    given = "".join(f" {event} {rule}" for event, rule in rules.items() if rule)
    return f"FOREIGN KEY ({columns}) REFERENCES {place} ({referred}){given}"
