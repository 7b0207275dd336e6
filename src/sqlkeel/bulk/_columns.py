"""Columns and tables as the database sees them, regardless of what a model's types and keys do in Python."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import Any

from sqlalchemy import ClauseElement, Column, ColumnElement, Dialect, Table, TableClause, bindparam, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType, TypeEngine

__all__ = [
    "is_expression",
    "makes_expression",
    "names_beside",
    "qualified",
    "quoted",
    "raw",
    "replaces_null",
    "schema_of",
]


def raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return *column* for a comparison in the database; the type's own operators may mean something else."""
    return type_coerce(column, NullType())


def makes_expression(kind: TypeEngine[Any]) -> bool:
    """Return whether the type wraps its values in a SQL function, which only a statement can contain."""
    # Checked first, because most types have no such function and creating a bind parameter is slow.
    own = type(kind).bind_expression is not TypeEngine.bind_expression
    return own and kind.bind_expression(bindparam("value")) is not None


def replaces_null(column: Column[Any], dialect: Dialect) -> bool:
    """Return whether a flush stores the type's value for ``None`` if an object omits *column*."""
    kind = column.type
    if column.primary_key or column.default is not None or column.server_default is not None:
        return False
    if kind.should_evaluate_none:
        return False  # Such as JSON: its ``None`` is a value, and an omitted column is NULL.
    convert = kind.dialect_impl(dialect).bind_processor(dialect)
    try:
        return makes_expression(kind) or (convert is not None and convert(None) is not None)
    except Exception:  # noqa: BLE001 - the type raises the same when it binds the row
        return True


def is_expression(value: Any) -> bool:
    """Return whether *value* is a SQL expression, a column or an attribute of a model."""
    return isinstance(value, ClauseElement) or hasattr(type(value), "__clause_element__")


def schema_of(connection: AsyncConnection, table: Table | TableClause) -> str | None:
    """Return the schema of *table* on this connection, after ``schema_translate_map``."""
    any_table: Any = table
    return connection.sync_connection.schema_for_object(any_table) if connection.sync_connection else table.schema


def qualified(connection: AsyncConnection, table: Table | TableClause) -> str:
    """Return the quoted name of *table* with its schema on this connection."""
    preparer, schema = connection.dialect.identifier_preparer, schema_of(connection, table)
    name = preparer.quote(table.name)
    return name if schema is None else f"{preparer.quote_schema(schema)}.{name}"


def names_beside(table: Table) -> Iterator[str]:
    """Yield names that no column of *table* has, for additional columns of a statement."""
    taken = {column.name.lower() for column in table.columns}
    return (name for number in count() if (name := f"sqlkeel_{number}") not in taken)


def quoted(dialect: Dialect, names: Iterable[str]) -> str:
    """Return the quoted column *names* as one comma-separated string."""
    return ", ".join(map(dialect.identifier_preparer.quote, names))
