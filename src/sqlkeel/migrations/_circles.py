"""Tables that reference each other: the foreign keys that close the cycle are added once all tables exist."""

from __future__ import annotations

import copy
from typing import Any, cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import Operations, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import ForeignKeyConstraint, Table

from ..models._naming import fitting_name

__all__ = ["CreateCircularKey", "DropCircularKey", "close_circles"]


@Operations.register_operation("create_circular_key")
class CreateCircularKey(ops.CreateForeignKeyOp):
    """``op.create_circular_key(…)``: ``create_foreign_key``, except on SQLite, whose CREATE TABLE has added it."""

    @classmethod
    def create_circular_key(cls, operations: Operations, *key: Any, **options: Any) -> None:
        """Add a foreign key that CREATE TABLE omitted."""
        if operations.get_context().dialect.supports_alter:
            operations.create_foreign_key(*key, **options)

    def reverse(self) -> DropCircularKey:
        """Return the operation that reverts this one."""
        return DropCircularKey(self.constraint_name, self.source_table, schema=self.kw.get("source_schema"), add=self)


@Operations.register_operation("drop_circular_key")
class DropCircularKey(ops.DropConstraintOp):
    """``op.drop_circular_key("author_id", "article")``: needed before tables are dropped, except on SQLite."""

    def __init__(self, name: Any, table_name: str, *, schema: str | None = None, add: CreateCircularKey) -> None:
        super().__init__(name, table_name, type_="foreignkey", schema=schema)
        self.add = add

    @classmethod
    def drop_circular_key(cls, operations: Operations, name: str, table_name: str, **options: Any) -> None:
        """Drop a foreign key so that the table it references can be dropped."""
        if operations.get_context().dialect.supports_alter:
            operations.drop_constraint(name, table_name, type_="foreignkey", **options)

    def reverse(self) -> CreateCircularKey:
        """Return the operation that reverts this one."""
        return self.add


@renderers.dispatch_for(CreateCircularKey)
def _render_create(context: AutogenContext, operation: CreateCircularKey) -> str:
    operation.kw.pop("use_alter", None)
    written: str = renderers.dispatch(ops.CreateForeignKeyOp)(context, operation)
    return written.replace("create_foreign_key", "create_circular_key", 1)


@renderers.dispatch_for(DropCircularKey)
def _render_drop(context: AutogenContext, operation: DropCircularKey) -> str:
    (written,) = renderers.dispatch(ops.DropConstraintOp)(context, operation)
    return str(written).replace("drop_constraint", "drop_circular_key", 1).replace(", type_='foreignkey'", "", 1)


def close_circles(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Add the foreign keys that have ``use_alter``, or whose target is created later, after the tables.

    Alembic writes them only into CREATE TABLE. There a key with ``use_alter`` is never added, and a key without it
    references a table that does not exist yet.
    """
    created = [one for one in upgrade.ops if isinstance(one, ops.CreateTableOp)]
    waiting = {(one.schema, one.table_name) for one in created}
    for table in created:
        waiting.discard((table.schema, table.table_name))
        late = {id(one): one for one in table.columns if _is_late(one, waiting)}
        table.columns = [_left_to_alter(one) if id(one) in late else one for one in table.columns]
        upgrade.ops += map(_creation, late.values())
    return PriorityDispatchResult.CONTINUE


def _is_late(key: Any, waiting: set[tuple[str | None, str]]) -> bool:
    if not isinstance(key, ForeignKeyConstraint):
        return False
    schema, _, name = key.elements[0].target_fullname.rpartition(".")[0].rpartition(".")
    return key.use_alter or (schema or None, name) in waiting


def _left_to_alter(key: Any) -> ForeignKeyConstraint:
    """Return a copy of the key that CREATE TABLE includes only on SQLite."""
    other: ForeignKeyConstraint = copy.copy(key)
    other.use_alter = True
    return other


def _creation(key: Any) -> CreateCircularKey:
    operation = CreateCircularKey.from_constraint(key)
    if operation.constraint_name is None:  # downgrade() could not drop it
        table: Table = key.table
        operation.constraint_name = fitting_name("_".join((table.name, *key.column_keys)), "fkey")
    return cast("CreateCircularKey", operation)
