"""Drop foreign keys first in a revision and add them last: they depend on what it creates and drops."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeGuard

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult

from ._key_indexes import HoldKeyIndex, YieldKeyIndex

__all__ = ["order_foreign_keys"]


def order_foreign_keys(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Move dropped foreign keys to the beginning of the revision, and added ones to its end.

    Alembic goes through the tables by name. A child could then reference a constraint that its parent gets later, or
    an index could be dropped that a key still needs. SQLite copies tables, so there the order does not matter.
    """
    held = _take(upgrade, lambda one: isinstance(one, HoldKeyIndex))
    first = _take(upgrade, _is_dropped) if context.migration_context.dialect.supports_alter else []
    last = _take(upgrade, lambda one: isinstance(one, ops.CreateForeignKeyOp))
    yielded = _take(upgrade, lambda one: isinstance(one, YieldKeyIndex))
    upgrade.ops = [*held, *first, *(one for one in upgrade.ops if not _changes(one) or one.ops), *last, *yielded]
    return PriorityDispatchResult.CONTINUE


def _take(upgrade: ops.UpgradeOps, is_meant: Callable[[Any], bool]) -> list[ops.MigrateOperation]:
    """Remove the matching changes from each table and return them."""
    taken: list[ops.MigrateOperation] = []
    for table in filter(_changes, upgrade.ops):
        keys = [one for one in table.ops if is_meant(one)]
        table.ops = [one for one in table.ops if not is_meant(one)]
        if keys:
            taken.append(ops.ModifyTableOps(table.table_name, keys, schema=table.schema))
    return taken


def _is_dropped(operation: Any) -> bool:
    return isinstance(operation, ops.DropConstraintOp) and operation.constraint_type == "foreignkey"


def _changes(operation: ops.MigrateOperation) -> TypeGuard[ops.ModifyTableOps]:
    return isinstance(operation, ops.ModifyTableOps)
