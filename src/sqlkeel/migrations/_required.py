"""Required columns on tables that have rows: the revision says how to fill them, and no database invents values."""

from __future__ import annotations

from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from sqlalchemy import Column, Computed, Connection, DefaultClause, column, exists, literal, select, table

from ..errors import MigrationError

__all__ = ["FILL", "mark_required", "refuse_made_up_values", "refuse_missing_values"]

FILL: Final = "add the column with nullable=True, fill it, then alter_column(…, nullable=False)"
"""What to do instead, in terms of a revision."""


class _AddRequiredColumn(ops.AddColumnOp):
    """A required column without a default, written with a comment on how to fill existing rows."""


def mark_required(directives: list[ops.MigrationScript]) -> None:
    """Write each required column that existing rows have no value for with a comment on how to fill it."""
    containers = [one for script in directives for one in (script.upgrade_ops, script.downgrade_ops)]
    for container in containers:
        for change in container.ops if container is not None else ():
            if isinstance(change, ops.ModifyTableOps):
                change.ops = [_marked(one) for one in change.ops]


def refuse_made_up_values(
    connection: Connection | None, column: Column[Any], *, table_name: str, schema: str | None
) -> None:
    """Check that the server would not invent values for existing rows; skipped in offline mode.

    A row inserted between this check and the statement is not seen, because MariaDB commits before it alters a table.

    Raises:
        MigrationError: When the column is required and existing rows have no value for it.
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
        MigrationError: When a row has none; without its strict mode, MariaDB would invent one.
    """
    rows = table(table_name, column(name), schema=schema)
    if connection.scalar(select(exists(select(literal(1)).select_from(rows).where(rows.c[name].is_(None))))):
        raise MigrationError(
            f"{table_name} has rows that have no value for {name}, which becomes required.",
            hint=f"First fill {table_name}.{name} by an UPDATE in the revision.",
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
