"""Uniqueness among the rows that are not deleted, on databases with and without partial indexes."""

from __future__ import annotations

import hashlib
import re
from functools import cache
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, Index, column
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, DropIndex
from sqlalchemy.sql.compiler import DDLCompiler

from .errors import ConfigurationError, NotSupported

__all__ = ["is_live_marker", "live_index", "marker_name", "register_live_option", "unique_live"]

_LONGEST: Final = 64
_MARKER: Final = re.compile(r"\(?case when `?(\w+)`? is null then 1 end\)?", re.IGNORECASE)


@cache
def register_live_option() -> None:
    """Let an `Index` take ``mariadb_live=``; `unique_live` does so by itself, a migration needs it before it runs.

    MariaDB has no partial index. There the index covers one column more, generated and invisible, that is 1 in live
    rows and NULL in deleted ones, and NULL equals nothing. The option keeps its name in Alembic's files.
    """
    # Not at import: it loads the dialect, which costs a third of the time of `import sqlkeel`.
    Index.argument_for("mariadb", "live", None)


def unique_live(*columns: str | ColumnElement[Any], deleted: str = "deleted_at") -> Index:
    """Make *columns* unique among the rows that are not deleted; for ``__table_args__``.

    A deleted user then does not keep an email address taken, and any number of deleted rows may share it. A plain
    ``unique=True`` refuses that, and ``UniqueConstraint("email", "deleted_at")`` lets two live rows in: NULL equals
    nothing. SQLite and PostgreSQL get a partial index. MariaDB gets a generated invisible column beside the index, made
    and dropped with it; an expression instead of a column cannot be indexed there.

    Args:
        columns: Names of columns; on SQLite and PostgreSQL expressions too.
        deleted: The column that is NULL in live rows.

    Raises:
        ConfigurationError: Without a column.
        NotSupported: When the table is created, for an expression on MariaDB.
    """
    if not columns:
        raise ConfigurationError("unique_live() names no column.", hint='unique_live("email")')
    register_live_option()
    live = column(deleted).is_(None)
    return Index(None, *columns, unique=True, postgresql_where=live, sqlite_where=live, mariadb_live=deleted)


def marker_name(index_name: str) -> str:
    """Return the name of the generated column that belongs to an index on MariaDB."""
    name = f"{index_name}_live"
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{index_name[: _LONGEST - 14]}_{digest}_live"


def is_live_marker(reflected: Column[Any]) -> bool:
    """Tell whether a reflected column is the generated one of `unique_live`, which no model has."""
    return _deleted_column(reflected) is not None


def live_index(reflected: Index) -> Index | None:
    """Return what `unique_live` would have made for an index reflected from MariaDB; ``None`` for any other index.

    The result belongs to no table: compare and render it in place of the reflected one, so that a migration creates
    and drops the generated column together with the index.
    """
    *columns, marker = reflected.columns or (None,)
    deleted = _deleted_column(marker) if marker is not None and reflected.unique else None
    if deleted is None:
        return None
    made = unique_live(*(one.name for one in columns), deleted=deleted)
    made.name = reflected.name
    return made


def _deleted_column(reflected: Column[Any]) -> str | None:
    if reflected.computed is None or not reflected.name.endswith("_live"):
        return None
    found = _MARKER.fullmatch(str(reflected.computed.sqltext).strip())
    return found[1] if found else None


@compiles(CreateIndex, "mariadb")
@compiles(CreateIndex, "mysql")
def _create_index(create: CreateIndex, compiler: Any, **kw: Any) -> str:
    index = create.element
    deleted = index.dialect_kwargs.get("mariadb_live")
    if deleted is None:
        return str(compiler.visit_create_index(create, **kw))
    table, name, marker, quote = _names(index, compiler)
    exists = "IF NOT EXISTS " if create.if_not_exists else ""
    # Dropped first: DROP INDEX without our option, as reflection writes it, leaves the column behind.
    return (
        f"ALTER TABLE {table} DROP COLUMN IF EXISTS {marker}, "
        f"ADD COLUMN {marker} TINYINT AS (CASE WHEN {quote(deleted)} IS NULL THEN 1 END) VIRTUAL INVISIBLE, "
        f"ADD UNIQUE INDEX {exists}{name} ({', '.join(map(quote, _plain_columns(index)))}, {marker})"
    )


@compiles(DropIndex, "mariadb")
@compiles(DropIndex, "mysql")
def _drop_index(drop: DropIndex, compiler: Any, **kw: Any) -> str:
    if drop.element.dialect_kwargs.get("mariadb_live") is None:
        return str(compiler.visit_drop_index(drop, **kw))
    table, name, marker, _ = _names(drop.element, compiler)
    exists = "IF EXISTS " if drop.if_exists else ""
    return f"ALTER TABLE {table} DROP INDEX {exists}{name}, DROP COLUMN IF EXISTS {marker}"


def _names(index: Index, compiler: DDLCompiler) -> tuple[str, str, str, Any]:
    """Return the quoted table, index and marker, and the function that quotes."""
    preparer = compiler.preparer
    assert index.table is not None
    name = preparer.format_index(index)
    assert name is not None
    marker = preparer.quote(marker_name(preparer.unformat_identifiers(name)[-1]))
    return preparer.format_table(index.table), name, marker, preparer.quote


def _plain_columns(index: Index) -> list[str]:
    for part in index.expressions:
        if not isinstance(part, Column):
            raise NotSupported(
                f"{index.name} is over an expression, {part}, which MariaDB cannot index.",
                hint="Store the expression in a Computed column, and name that in unique_live().",
            )
    return [part.name for part in index.expressions if isinstance(part, Column)]
