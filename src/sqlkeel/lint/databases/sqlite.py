"""Names on SQLite: tables and columns are renamed in place, a constraint with a copy of its table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import (
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
from sqlalchemy.schema import CreateIndex
from sqlalchemy.sql.compiler import IdentifierPreparer

from .backend import ConstraintRename, Step, StoredCode, as_text, execute

__all__ = ["SQLiteBackend"]

# What reflection does not read, or Alembic does not write again.
_LOST: Final = re.compile(r"\b(COLLATE|AUTOINCREMENT|STRICT|WITHOUT|CONFLICT|GENERATED)\b", re.IGNORECASE)
_TEXTS: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|`[^`]*`|\[[^]]*\]|--[^\n]*|/\*.*?\*/", re.DOTALL)
_OF_TABLE: Final = text("SELECT type, name, sql FROM sqlite_master WHERE tbl_name = :name AND sql IS NOT NULL")
_VIEWS: Final = text("SELECT name, sql FROM sqlite_master WHERE type = 'view'")
_KINDS: Final = {PrimaryKeyConstraint: "pk", UniqueConstraint: "uq", ForeignKeyConstraint: "fk"}
_NAMES: Final = {
    "pk": "%(table_name)s_pkey",
    "uq": "%(table_name)s_%(column_0_N_name)s_key",
    "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
}
"""What the copy calls constraints that have no name, so that they can be spoken of."""


class SQLiteBackend:
    """The name of a constraint is a word in the text of its table; the table is copied to change it."""

    name = "sqlite"
    names_keys = True

    def adapt(self, metadata: MetaData) -> None:
        """Change nothing: the text of the tables has what there is."""

    def stored_code(self, connection: Connection) -> Iterator[StoredCode]:
        """Yield nothing: SQLite rewrites views and triggers."""
        return iter(())

    def why_not(self, connection: Connection, table: Table) -> str | None:
        """Return what a copy of the table would lose or break."""
        rows = connection.execute(_OF_TABLE, {"name": table.name}).all()
        known = {index.name for index in table.indexes}
        for kind, name, sql in rows:
            if kind == "trigger":
                return f"a copy of the table would lose the trigger {name}"
            if kind == "index" and name not in known:
                return f"a copy of the table would lose the index {name}, which is over an expression"
            if kind == "table" and (word := _LOST.search(_TEXTS.sub("''", sql))):
                return f"a copy of the table would lose {word[0].upper()}"
        if any(isinstance(one, CheckConstraint) and one.name is None for one in table.constraints):
            return "a copy of the table would lose a CHECK without a name"
        return _view_in_the_way(connection, table)

    def rename_constraints(
        self, table: Table, renames: Iterable[ConstraintRename], preparer: IdentifierPreparer
    ) -> Iterator[Step]:
        """Yield one copy for all constraints of the table; an index is made anew, which needs none."""
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
        """Yield one statement, or two where only capitals differ, which SQLite takes for the same name."""
        between = f"{new}_renamed" if table.name.lower() == new.lower() else None
        stops = [table.name, *([between] if between else []), new]
        for old, name in pairwise(stops):
            yield Step(f"op.rename_table({old!r}, {name!r})", f"op.rename_table({name!r}, {old!r})")


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
        index.name = made
        statement = str(CreateIndex(index).compile(dialect=preparer.dialect))
        index.name = old
        return f"{execute(f'DROP INDEX {preparer.quote(dropped)}')}\n{execute(statement)}"

    return Step(make(old, new), make(new, old))


def _view_in_the_way(connection: Connection, table: Table) -> str | None:
    for name, sql in connection.execute(_VIEWS):
        if re.search(rf"\b{re.escape(table.name)}\b", sql):
            return f"the view {name} stands in the way of a copy of the table"
    return None
