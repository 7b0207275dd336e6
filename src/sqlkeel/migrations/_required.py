"""Required columns for tables that have rows: a revision says how, and no database makes up a value."""

from __future__ import annotations

from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Computed, Connection, DefaultClause, column, exists, literal, select, table

from ..errors import MigrationError

__all__ = ["FILL", "mark_required", "refuse_made_up_values", "refuse_missing_values"]

FILL: Final = "add the column with nullable=True, fill it, then alter_column(…, nullable=False)"
"""What to do instead, in the words of a revision."""


class _AddRequiredColumn(ops.AddColumnOp):
    """A column that rows need a value for, written with a line that says so."""


def mark_required(directives: list[ops.MigrationScript]) -> None:
    """Have each column that may find rows without a value written with what to do for them."""
    containers = [one for script in directives for one in (script.upgrade_ops, script.downgrade_ops)]
    for container in containers:
        for change in container.ops if container is not None else ():
            if isinstance(change, ops.ModifyTableOps):
                change.ops = [_marked(one) for one in change.ops]


def refuse_made_up_values(
    connection: Connection | None, column: Column[Any], *, table_name: str, schema: str | None
) -> None:
    """Check that no row would get a value that nobody has given it; where SQL is printed only, there is none to ask.

    A row that is inserted between this look and the statement is not seen: MariaDB commits before it changes a table.

    Raises:
        MigrationError: When the column is required and has no value for the rows that are there.
    """
    if connection is None or not _needs_value(column):
        return
    rows = select(literal(1)).select_from(table(table_name, schema=schema))
    if connection.scalar(select(exists(rows))):
        raise MigrationError(
            f"{table_name} has rows, and its new column {column.name} is required: they have no value for it.",
            hint=f"{FILL[0].upper()}{FILL[1:]}. Or give it a server_default.",
        )


def refuse_missing_values(connection: Connection, name: str, *, table_name: str, schema: str | None) -> None:
    """Check that each row has a value for a column that becomes required.

    Raises:
        MigrationError: When one has none: outside its strict mode MariaDB would make up one.
    """
    rows = table(table_name, column(name), schema=schema)
    if connection.scalar(select(exists(select(literal(1)).select_from(rows).where(rows.c[name].is_(None))))):
        raise MigrationError(
            f"{table_name} has rows that have no value for {name}, which becomes required.",
            hint=f"Fill them before, by an UPDATE in the revision: {table_name}.{name} is NULL there.",
        )


def _needs_value(column: Column[Any]) -> bool:
    counts_up = column.table is not None and column.table.autoincrement_column is column
    return not (column.nullable or counts_up or isinstance(column.server_default, (DefaultClause, Computed)))


def _marked(operation: Any) -> Any:
    if not isinstance(operation, ops.AddColumnOp) or not _needs_value(operation.column):
        return operation
    return _AddRequiredColumn(operation.table_name, operation.column, schema=operation.schema)


@renderers.dispatch_for(_AddRequiredColumn)
def _render(context: AutogenContext, operation: _AddRequiredColumn) -> list[str]:
    call: str = renderers.dispatch(ops.AddColumnOp)(context, operation)
    return [f"# Where {operation.table_name} has rows: {FILL}.", call]
