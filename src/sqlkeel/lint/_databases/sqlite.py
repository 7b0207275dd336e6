"""Names on SQLite: tables and columns are renamed in place, a constraint by a copy of its table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    URL,
    CheckConstraint,
    Connection,
    ForeignKeyConstraint,
    Index,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.sql.compiler import IdentifierPreparer
from sqlalchemy.types import NullType

from ..._sql_text import SQLITE
from ...errors import ConfigurationError
from .renamer import ConstraintRename, Renamer, Step, StoredCode, as_text, execute

__all__ = ["SQLiteRenamer"]

# What reflection does not read, or Alembic does not write again.
_LOST: Final = {"AUTOINCREMENT", "COLLATE", "CONFLICT", "GENERATED", "STRICT", "WITHOUT"}
_LOST_OF_INDEX: Final = {"COLLATE", "DESC"}
_OF_TABLE: Final = text("SELECT type, name, sql FROM sqlite_master WHERE tbl_name = :name AND sql IS NOT NULL")
_INDEXES: Final = text("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
_KEYS: Final = text('SELECT "from", on_delete, on_update FROM pragma_foreign_key_list(:name)')
_TEXT: Final = "sqlkeel.text"
_SHADOWS: Final = text("SELECT name FROM pragma_table_list WHERE type = 'shadow'")
_TAKEN: Final = text("SELECT name FROM sqlite_master")
_OF_TABLE_ITSELF: Final = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = :name")
_VIEWS: Final = text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
_KINDS: Final = {PrimaryKeyConstraint: "pk", UniqueConstraint: "uq", ForeignKeyConstraint: "fk"}
_NAMES: Final = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
}
"""The names that the copy gives to unnamed constraints, so that operations can refer to them."""


class SQLiteRenamer(Renamer):
    """SQLite keeps a constraint's name only in the SQL text of its table, so changing it copies the table."""

    name = "sqlite"
    names_keys = True

    def adapt(self, metadata: MetaData, connection: Connection) -> None:
        """Keep the SQL text of each index, because SQLAlchemy does not reflect DESC and COLLATE."""
        texts = {row.name: row.sql for row in connection.execute(_INDEXES)}
        for index in (index for table in metadata.tables.values() for index in table.indexes):
            index.info[_TEXT] = texts[index.name]

    def require(self, url: URL) -> None:
        """Refuse a file that does not exist: a mistyped path would be an empty database without findings."""
        path = url.database
        if path and path != ":memory:" and not path.startswith("file:") and not Path(path).exists():
            raise ConfigurationError(
                f"There is no database file {path}.", hint="Check the path; a relative one starts in this folder."
            )

    def parts(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the tables in which virtual tables keep their rows."""
        return set(connection.scalars(_SHADOWS))

    def taken(self, connection: Connection, schema: str | None) -> set[str]:
        """Return the names of tables, views, indexes and triggers."""
        return set(connection.scalars(_TAKEN))

    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield nothing: SQLite updates views and triggers."""
        return iter(())

    def rename_obstacle(self, connection: Connection, table: Table) -> str | None:
        """Return what a copy of the table would lose or break."""
        rows = connection.execute(_OF_TABLE, {"name": table.name}).all()
        known = {index.name for index in table.indexes}
        for kind, name, sql in rows:
            if kind == "trigger":
                return f"a copy of the table would lose the trigger {name}"
            if kind == "index" and name not in known:
                return f"a copy of the table would lose the index {name}, which is over an expression"
            if kind == "index" and (word := _first(sql, _LOST_OF_INDEX)):
                return f"a copy of the table would lose {word} of the index {name}"
            if kind == "table" and (word := _first(sql, _LOST)):
                return f"a copy of the table would lose {word}"
        if untyped := [column.name for column in table.columns if isinstance(column.type, NullType)]:
            return f"a copy of the table needs a type for {', '.join(untyped)}"
        if any(isinstance(one, CheckConstraint) and one.name is None for one in table.constraints):
            return "a copy of the table would lose a CHECK without a name"
        return _rule_of_a_key(connection, table) or _view_in_the_way(connection, table)

    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield one copy of the table for all its constraints; an index is recreated without a copy."""
        constraints = []
        for rename in renames:
            if isinstance(rename.item, Index):
                yield _remake(rename.item, rename.new, preparer)
            else:
                constraints.append(rename)
        if constraints:
            pairs = [(one.item, _present_name(one.item), one.new) for one in constraints]
            back = [(item, new, old) for item, old, new in pairs]
            yield Step(_copy(table, pairs), _copy(table, back))

    def rename_table(self, table: Table, new: str, preparer: IdentifierPreparer) -> Iterator[Step]:
        """Yield one statement, or two if only the case changes: SQLite considers such names equal."""
        between = f"{new}_renamed" if table.name.lower() == new.lower() else None
        stops = [table.name, *([between] if between else []), new]
        for old, name in pairwise(stops):
            yield Step(f"op.rename_table({old!r}, {name!r})", f"op.rename_table({name!r}, {old!r})")


def _first(sql: str, words: set[str]) -> str | None:
    return next((token.key for token in SQLITE.tokens(sql) if token.key in words), None)


def _present_name(item: Any) -> str:
    if item.name is not None:
        return str(item.name)
    names = {"table_name": item.table.name, "column_0_N_name": "_".join(column.name for column in item.columns)}
    return _NAMES[_KINDS[type(item)]] % names


def _copy(table: Table, renames: list[tuple[Any, str, str]]) -> str:
    kinds = sorted({_KINDS[type(item)] for item, _, _ in renames if item.name is None})
    names = f", naming_convention={ {kind: _NAMES[kind] for kind in kinds}!r}" if kinds else ""
    lines = [f"with op.batch_alter_table({table.name!r}{names}) as batch:"]
    for item, old, new in renames:
        lines += _drop_and_create(item, old, new)
    return "\n    ".join(lines)


def _drop_and_create(item: Any, old: str, new: str) -> Iterator[str]:
    columns = [column.name for column in item.columns]
    match item:
        case PrimaryKeyConstraint():
            yield f'batch.drop_constraint({old!r}, type_="primary")'
            yield f"batch.create_primary_key({new!r}, {columns!r})"
        case UniqueConstraint():
            yield f'batch.drop_constraint({old!r}, type_="unique")'
            yield f"batch.create_unique_constraint({new!r}, {columns!r})"
        case ForeignKeyConstraint():
            target = item.elements[0].target_fullname.rpartition(".")[0]
            referred = [element.target_fullname.rpartition(".")[2] for element in item.elements]
            options = {name: getattr(item, name) for name in ("ondelete", "onupdate", "deferrable", "initially")}
            given = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
            yield f'batch.drop_constraint({old!r}, type_="foreignkey")'
            yield f"batch.create_foreign_key({new!r}, {target!r}, {columns!r}, {referred!r}{given})"
        case _:
            yield f'batch.drop_constraint({old!r}, type_="check")'
            yield f"batch.create_check_constraint({new!r}, sa.text({as_text(str(item.sqltext))!r}))"


def _remake(index: Any, new: str, preparer: IdentifierPreparer) -> Step:
    old = str(index.name)

    def make(dropped: str, made: str) -> str:
        sql: str = index.info[_TEXT]
        name = next(other for one, other in pairwise(SQLITE.tokens(sql)) if one.key == "INDEX")
        statement = f"{sql[: name.start]}{preparer.quote(made)}{sql[name.end :]}"
        return f"{execute(f'DROP INDEX {preparer.quote(dropped)}')}\n{execute(statement)}"

    return Step(make(old, new), make(new, old))


def _rule_of_a_key(connection: Connection, table: Table) -> str | None:
    """Return what a foreign key in a column definition says; SQLAlchemy reads only that of FOREIGN KEY (...)."""
    read = {column.name: key for key in table.foreign_key_constraints for column in key.columns}
    for column, on_delete, on_update in connection.execute(_KEYS, {"name": table.name}):
        key = read[column]
        for event, rule, known in (("DELETE", on_delete, key.ondelete), ("UPDATE", on_update, key.onupdate)):
            if rule != (known or "NO ACTION").upper():
                return f"a copy of the table would lose ON {event} {rule} of {column}"
    sql = connection.scalar(_OF_TABLE_ITSELF, {"name": table.name})
    words = [token.key for token in SQLITE.tokens(str(sql))]
    deferrable = sum(word == "DEFERRABLE" and before != "NOT" for before, word in pairwise(words))
    if deferrable > sum(bool(one.deferrable) for one in table.foreign_key_constraints):
        return "a copy of the table would lose DEFERRABLE"
    return None


def _view_in_the_way(connection: Connection, table: Table) -> str | None:
    for name, sql in connection.execute(_VIEWS):
        if table.name.lower() in {(token.name or "").lower() for token in SQLITE.tokens(sql)}:
            return f"the view {name} stands in the way of a copy of the table"
    return None
