"""Constraints among live rows: unique values, and parents that are not deleted."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Computed,
    Connection,
    Dialect,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    SmallInteger,
    Table,
    UniqueConstraint,
    column,
    event,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex, DropIndex, SchemaItem
from sqlalchemy.sql.compiler import DDLCompiler, IdentifierPreparer

from .. import _sqlalchemy as private
from ..errors import ConfigurationError, NotSupported
from ._naming import fitting_name

__all__ = [
    "is_live_key",
    "is_live_marker",
    "live_index",
    "live_parent",
    "marker_name",
    "marker_of",
    "register_live_option",
    "understand_live_indexes",
    "unique_live",
]

_DELETED: Final = "deleted_at"
_LIVE: Final = "is_live"
_LIVE_KEYS: Final = "sqlkeel.live_keys"
"""The key in the ``info`` of a column ``is_live`` of `live_parent`."""

_WITHOUT_PARTIAL_INDEXES: Final = ("mariadb", "mysql")

_MARKER: Final = re.compile(r"\(?case when `?(\w+)`? is null then 1 end\)?", re.IGNORECASE)


@cache
def register_live_option() -> None:
    """Let an `Index` accept ``mariadb_live=``; `unique_live` calls this, and so must a migration before it runs.

    MariaDB has no partial indexes. There the index has an extra column, generated and invisible, that is 1 in live rows
    and NULL in deleted rows, and NULLs are not equal. Alembic's files contain the option by name.
    """
    # Not at import, because it loads the dialect, which would take a third of the time of `import sqlkeel`.
    Index.argument_for("mariadb", "live", None)


def unique_live(*columns: str | ColumnElement[Any], deleted: str = "deleted_at") -> Index:
    """Make *columns* unique among the rows that are not deleted; for ``__table_args__``.

    A deleted user then does not keep an email address taken, and any number of deleted rows may share it. A plain
    ``unique=True`` refuses that, and ``UniqueConstraint("email", "deleted_at")`` allows two equal live rows, because
    NULLs are not equal. SQLite and PostgreSQL get a partial index. MariaDB gets an index with a generated invisible
    column that is created and dropped with it; there the index cannot cover an expression.

    Args:
        columns: Names of columns; on SQLite and PostgreSQL also expressions.
        deleted: The column that is NULL in live rows.

    Raises:
        ConfigurationError: Without a column, and when the table is declared without the column *deleted*.
        NotSupported: When the table is created on MariaDB and the index has an expression.
    """
    if not columns:
        raise ConfigurationError("unique_live() needs a column.", hint='unique_live("email")')
    register_live_option()
    live = column(deleted).is_(None)
    index = Index(None, *columns, unique=True, postgresql_where=live, sqlite_where=live, mariadb_live=deleted)
    event.listen(index, "after_parent_attach", lambda _, table: _refuse_without_mark(columns, table, deleted))
    event.listen(index, "after_parent_attach", _follow)
    return index


def understand_live_indexes(dialect: Dialect) -> None:
    """Teach one engine to render the indexes of `unique_live` for MariaDB, which has no partial indexes.

    A `Database` does this, and so does any engine that creates or drops the table. Call it for a dialect that you only
    use to print SQL.
    """
    usual = dialect.ddl_compiler
    if dialect.name in _WITHOUT_PARTIAL_INDEXES and not issubclass(usual, _LiveIndexes):
        dialect.ddl_compiler = type(usual.__name__, (_LiveIndexes, usual), {})


def _follow(index: Index, table: Any) -> None:
    """Teach each engine that creates the index or its table to render it; copies of the table keep the listeners."""
    event.listen(index, "before_create", _understand)
    event.listen(index, "before_drop", _understand)
    event.listen(table, "before_create", _understand, propagate=True)


def _understand(_: object, connection: Connection, **options: Any) -> None:
    understand_live_indexes(connection.dialect)


def _refuse_without_mark(columns: Sequence[Any], table: Any, deleted: str) -> None:
    if isinstance(table, Table) and deleted not in {one.name for one in table.columns}:
        named = ", ".join(repr(one) if isinstance(one, str) else str(one) for one in columns)
        raise ConfigurationError(
            f"unique_live({named}) on {table.name}: the table has no {deleted}, which is NULL in live rows.",
            hint=f'Give the model the SoftDeleteMixin, or name its column: unique_live({named}, deleted="removed_on").',
        )


def marker_name(index_name: str) -> str:
    """Return the name of the generated column that belongs to an index on MariaDB."""
    return fitting_name(index_name, "live")


def marker_of(index: Index, preparer: IdentifierPreparer) -> str:
    """Return the name of the generated column that belongs to an index of `unique_live`, not quoted."""
    # The quoting for some drivers also doubles each percent sign in a name.
    percent, name = (
        preparer.unformat_identifiers(quoted)[-1]
        for quoted in (preparer.quote_identifier("%"), preparer.format_index(index))
    )
    return marker_name(name.replace(percent, "%"))


def is_live_marker(reflected: Column[Any]) -> bool:
    """Return whether a reflected column is the generated column of `unique_live`, which no model has."""
    return _deleted_column(reflected) is not None


def live_index(reflected: Index) -> Index | None:
    """Return what `unique_live` would have created for an index reflected from MariaDB; ``None`` for any other index.

    The result belongs to no table. Compare and render it in place of the reflected index, so that a migration creates
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


class _LiveIndexes(DDLCompiler):
    """The part of a DDL compiler that creates and drops an index together with its generated column."""

    def visit_create_index(self, create: CreateIndex, *args: Any, **options: Any) -> str:
        index = create.element
        deleted = index.dialect_kwargs.get("mariadb_live")
        if deleted is None:
            return str(super().visit_create_index(create, *args, **options))  # type: ignore[no-untyped-call]
        table, name, marker, quote = _names(index, self)
        exists = "IF NOT EXISTS " if create.if_not_exists else ""
        # Dropped first, because DROP INDEX without our option, as reflection renders it, leaves the column behind.
        return (
            f"ALTER TABLE {table} DROP COLUMN IF EXISTS {marker}, "
            f"ADD COLUMN {marker} TINYINT AS (CASE WHEN {quote(deleted)} IS NULL THEN 1 END) VIRTUAL INVISIBLE, "
            f"ADD UNIQUE INDEX {exists}{name} ({', '.join(map(quote, _plain_columns(index)))}, {marker})"
        )

    def visit_drop_index(self, drop: DropIndex, **options: Any) -> str:
        if drop.element.dialect_kwargs.get("mariadb_live") is None:
            return str(super().visit_drop_index(drop, **options))  # type: ignore[no-untyped-call]
        table, name, marker, _ = _names(drop.element, self)
        exists = "IF EXISTS " if drop.if_exists else ""
        return f"ALTER TABLE {table} DROP INDEX {exists}{name}, DROP COLUMN IF EXISTS {marker}"


def _names(index: Index, compiler: DDLCompiler) -> tuple[str, str, str, Any]:
    """Return the quoted table, index and marker, and the function that quotes a name."""
    preparer = compiler.preparer
    assert index.table is not None
    marker = preparer.quote(marker_of(index, preparer))
    return preparer.format_table(index.table), preparer.format_index(index), marker, preparer.quote


def _plain_columns(index: Index) -> list[str]:
    for part in index.expressions:
        if not isinstance(part, Column):
            raise NotSupported(
                f"{index.name} is over an expression, {part}, which MariaDB cannot index.",
                hint="Store the expression in a Computed column, and name that in unique_live().",
            )
    return [part.name for part in index.expressions if isinstance(part, Column)]


def live_parent(*columns: str) -> SchemaItem:
    """Forbid live rows that reference a deleted parent by *columns*; for ``__table_args__`` of the child.

    The foreign key over *columns* accepts a deleted parent, because its row exists. This adds a second foreign key that
    does not. Both tables get a generated column ``is_live``, 1 in live rows and NULL in deleted rows. The parent is
    unique by its key and that column, and the child references both. So the database refuses what soft delete cannot
    see: a child inserted by another transaction while its parent is being deleted, a child restored alone, a parent
    marked by SQL while it has live children. The check runs at COMMIT, so parent and children may be marked in any
    order. Relationships and joins keep using the plain foreign key, and models do not have the column.

    It costs an index on the parent and two stored columns; adding them to an existing table rewrites it. A transaction
    that inserts a child waits for a transaction that is deleting its parent.

    Args:
        columns: Names of the child's columns in one foreign key.

    Raises:
        ConfigurationError: When the tables are declared: if there is no such foreign key, or if one of the tables has
            no ``deleted_at`` or already has a column ``is_live``.
        NotSupported: When the table is created on MariaDB, which checks at once and not at COMMIT.
    """
    if not columns:
        raise ConfigurationError("live_parent() needs a column.", hint='live_parent("author_id")')
    return _LiveParent(columns)


def is_live_key(key: ForeignKeyConstraint) -> bool:
    """Return whether a foreign key is the additional one of `live_parent`."""
    return any(_LIVE_KEYS in one.info for one in key.columns)


class _LiveParent(SchemaItem):
    """Waits until its table is complete, because the foreign key may be declared after it."""

    __visit_name__ = "live_parent"

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns

    def _set_parent(self, parent: Any, **kw: Any) -> None:
        # The event of this one table fires after everything declared below this, such as the foreign key.
        event.listen(parent, "after_parent_attach", lambda table, _: _add_live_key(table, self.columns))


class _LiveKey(ForeignKeyConstraint):
    """The additional foreign key, which MariaDB cannot check at COMMIT."""


class _Unjoined(ForeignKey):
    """A column of a key that joins ignore: with two keys between two tables, SQLAlchemy could not choose."""

    def _set_remote_table(self, table: Table) -> None:
        """Also prepare a parent whose table is declared later; a private method, test_the_tables is its canary."""
        super()._set_remote_table(table)
        if not self.target_fullname.endswith(f".{_LIVE}"):
            event.listen(table, "after_parent_attach", lambda above, _: _accept_live_key(above, self.constraint))

    def get_referent(self, table: Any) -> None:
        return None


def _add_live_key(table: Table, columns: Sequence[str]) -> None:
    """Add the additional foreign key to the child, and its target to the parent if that exists already."""
    plain = [key for key in table.foreign_key_constraints if set(key.column_keys) == set(columns)]
    if not plain:
        named = ", ".join(columns)
        raise ConfigurationError(
            f"live_parent({named}) on {table.name}: there is no foreign key over ({named}).",
            hint=f"{columns[0]}: Mapped[int] = mapped_column(ForeignKey(...), index=True)",
        )
    _add_mark(table)
    targets = [element.target_fullname for element in plain[0].elements]
    above = targets[0].rpartition(".")[0]
    live = _LiveKey(
        [*plain[0].column_keys, _LIVE], [*targets, f"{above}.{_LIVE}"], deferrable=True, initially="DEFERRED"
    )
    live.elements = [private.key_part_of(_Unjoined, element.target_fullname, live) for element in live.elements]
    schema = table.metadata.schema
    above = f"{schema}.{above}" if schema and "." not in above else above
    if above in table.metadata.tables:
        _accept_live_key(table.metadata.tables[above], live)
    table.append_constraint(live)


def _accept_live_key(table: Table, live: ForeignKeyConstraint | None) -> None:
    """Make the parent unique by the columns that live children reference."""
    assert live is not None
    _add_mark(table)
    columns = [element.target_fullname.rpartition(".")[2] for element in live.elements]
    uniques = (one for one in table.constraints if isinstance(one, UniqueConstraint))
    if not any([column.key for column in one.columns] == columns for one in uniques):
        table.append_constraint(UniqueConstraint(*columns))


def _add_mark(table: Table) -> None:
    if _DELETED not in table.c:
        raise ConfigurationError(
            f"live_parent() needs soft-deletable tables, and {table.name} has no {_DELETED}.",
            hint="Give the model the SoftDeleteMixin; with joined inheritance, reference the table that has it.",
        )
    if _LIVE not in table.c:
        # ELSE NULL is explicit because PostgreSQL writes it so, and the reflected expression is compared with this one.
        live = Computed(f"CASE WHEN {_DELETED} IS NULL THEN 1 ELSE NULL END", persisted=True)
        table.append_column(
            Column(_LIVE, SmallInteger(), live, info={_LIVE_KEYS: True}, **private.leave_out_of_statements())
        )
    elif _LIVE_KEYS not in table.c[_LIVE].info:
        raise ConfigurationError(
            f"live_parent() needs the name {_LIVE} for a column, but {table.name} already has one.",
            hint="Rename yours.",
        )


@compiles(_LiveKey, "mariadb")
@compiles(_LiveKey, "mysql")
def _refuse_deferred(key: _LiveKey, compiler: Any, **options: Any) -> str:
    raise NotSupported(
        f"The foreign key ({', '.join(key.column_keys)}) has to be checked at COMMIT, but MariaDB checks at once.",
        hint="A soft delete marks the parent before its children: leave live_parent() out on MariaDB.",
    )
