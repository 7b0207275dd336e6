"""Version triggers in migrations: created, dropped, and found if missing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import MetaData, Table

from ..versions._triggers import VersionTrigger

__all__ = ["CreateVersionTrigger", "DropVersionTrigger", "compare_triggers"]


class _TriggerOperation(MigrateOperation):
    def __init__(self, table_name: str, *, column: str = "version", schema: str | None = None) -> None:
        self.trigger = VersionTrigger(Table(table_name, MetaData(), schema=schema), column)

    @property
    def arguments(self) -> dict[str, str]:
        """The options that differ from the defaults."""
        usual: dict[str, Any] = {"column": "version", "schema": None}
        given = {"column": self.trigger.column, "schema": self.trigger.table.schema}
        return {name: value for name, value in given.items() if value is not None and value != usual[name]}


@Operations.register_operation("create_version_trigger")
class CreateVersionTrigger(_TriggerOperation):
    """``op.create_version_trigger("article")``: let the database increment the versions of a table."""

    @classmethod
    def create_version_trigger(cls, operations: Operations, table_name: str, **options: Any) -> None:
        """Create the trigger of an existing table, replacing one that exists."""
        operations.invoke(cls(table_name, **options))

    def reverse(self) -> DropVersionTrigger:
        """Return the operation that reverts this one."""
        return DropVersionTrigger(self.trigger.table.name, **self.arguments)

    def to_diff_tuple(self) -> tuple[str, VersionTrigger]:
        """Return the difference for a trigger that is missing in the database."""
        return "add_version_trigger", self.trigger


class _KeepVersionTrigger(CreateVersionTrigger):
    """Recreate the trigger after SQLite has copied its table, because the copy has no triggers."""

    def reverse(self) -> _KeepVersionTrigger:  # type: ignore[override]  # it is its own opposite
        return self


@Operations.register_operation("drop_version_trigger")
class DropVersionTrigger(_TriggerOperation):
    """``op.drop_version_trigger("article")``: stop incrementing versions."""

    @classmethod
    def drop_version_trigger(cls, operations: Operations, table_name: str, **options: Any) -> None:
        """Drop the trigger before its table is dropped; PostgreSQL would keep its function otherwise."""
        operations.invoke(cls(table_name, **options))

    def reverse(self) -> CreateVersionTrigger:
        """Return the operation that reverts this one."""
        return CreateVersionTrigger(self.trigger.table.name, **self.arguments)

    def to_diff_tuple(self) -> tuple[str, VersionTrigger]:
        """Return what exists in the database only."""
        return "remove_version_trigger", self.trigger


@Operations.implementation_for(CreateVersionTrigger)
def _create(operations: Operations, operation: CreateVersionTrigger) -> None:
    for statement in operation.trigger.creation(operations.get_context().dialect):
        operations.execute(statement)


@Operations.implementation_for(DropVersionTrigger)
def _drop(operations: Operations, operation: DropVersionTrigger) -> None:
    for statement in operation.trigger.removal(operations.get_context().dialect):
        operations.execute(statement)


@renderers.dispatch_for(CreateVersionTrigger)
def _render_create(context: AutogenContext, operation: CreateVersionTrigger) -> str:
    return _call("create_version_trigger", operation)


@renderers.dispatch_for(DropVersionTrigger)
def _render_drop(context: AutogenContext, operation: DropVersionTrigger) -> str:
    return _call("drop_version_trigger", operation)


def _call(name: str, operation: _TriggerOperation) -> str:
    options = "".join(f", {key}={value!r}" for key, value in operation.arguments.items())
    return f"op.{name}({operation.trigger.table.name!r}{options})"


def compare_triggers(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Add missing triggers and drop extra ones, after the tables have been compared."""
    batch = bool(context.opts.get("render_as_batch"))
    for table in context.sorted_tables:
        if not context.run_object_filters(table, table.name, "table", False, None):
            continue
        wanted, found = VersionTrigger.of(table), VersionTrigger(table).exists(_connection(context))
        arguments: dict[str, Any] = {"column": wanted.column if wanted else "version", "schema": table.schema}
        if wanted is None and found:
            # First, because a later change may drop the column.
            upgrade.ops.insert(0, DropVersionTrigger(table.name, **arguments))
        elif wanted is not None and not found:
            upgrade.ops.append(CreateVersionTrigger(table.name, **arguments))
        elif wanted is not None and batch and _changes(upgrade, table):
            kept = _KeepVersionTrigger(table.name, **arguments)
            upgrade.ops[:] = [kept, *upgrade.ops, kept]
    for table in [*_dropped(upgrade)]:
        if VersionTrigger(table).exists(_connection(context)):
            upgrade.ops.insert(0, DropVersionTrigger(table.name, schema=table.schema))
    return PriorityDispatchResult.CONTINUE


def _connection(context: AutogenContext) -> Any:
    assert context.connection is not None, "comparing needs a database"
    return context.connection


def _changes(upgrade: ops.UpgradeOps, table: Table) -> bool:
    names = {(op.table_name, op.schema) for op in upgrade.ops if isinstance(op, ops.ModifyTableOps)}
    return (table.name, table.schema) in names


def _dropped(upgrade: ops.UpgradeOps) -> Iterator[Table]:
    return (op.to_table() for op in upgrade.ops if isinstance(op, ops.DropTableOp))
