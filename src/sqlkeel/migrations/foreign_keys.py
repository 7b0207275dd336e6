"""Foreign keys come last in a revision: what they refer to may be made by the same one."""

from __future__ import annotations

from typing import Any, TypeGuard

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult

__all__ = ["put_foreign_keys_last"]


def put_foreign_keys_last(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Move the foreign keys that are added to tables behind all else.

    Alembic goes from table to table by name, and would let a child refer to a constraint that its parent gets later.
    """
    late: list[ops.MigrateOperation] = []
    for table in upgrade.ops:
        keys = [one for one in table.ops if isinstance(one, ops.CreateForeignKeyOp)] if _changes(table) else []
        if keys and _changes(table):
            table.ops = [one for one in table.ops if one not in keys]
            late.append(ops.ModifyTableOps(table.table_name, keys, schema=table.schema))
    upgrade.ops = [one for one in upgrade.ops if not _changes(one) or one.ops] + late
    return PriorityDispatchResult.CONTINUE


def _changes(operation: ops.MigrateOperation) -> TypeGuard[ops.ModifyTableOps]:
    return isinstance(operation, ops.ModifyTableOps)
