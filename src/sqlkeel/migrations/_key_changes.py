"""Type changes of foreign key columns on MariaDB: the key is dropped before the change and recreated after it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult, to_list

from ._databases import migrator_for
from ._named_types import types_changed_by

__all__ = ["SuspendKey", "suspend_keys"]

Place = tuple[str | None, str, str]
"""Schema, table and column."""


class SuspendKey(MigrateOperation):
    """Drop a key temporarily, or recreate it; neither is a difference between models and database."""

    def __init__(self, key: ops.CreateForeignKeyOp, *, ends: bool) -> None:
        self.key = key
        self.ends = ends

    def reverse(self) -> SuspendKey:
        """Return the operation that reverts this one."""
        return SuspendKey(self.key, ends=not self.ends)

    def to_diff_tuple(self) -> Any:
        """Return no difference: Alembic accepts an empty list."""
        return []


@renderers.dispatch_for(SuspendKey)
def _render(context: AutogenContext, change: SuspendKey) -> list[str]:
    one = change.key if change.ends else change.key.reverse()
    return to_list(renderers.dispatch(type(one))(context, one))


def suspend_keys(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Suspend a foreign key while both its columns change; the server refuses such a change while the key exists.

    If only one of the columns changes, the key could not be recreated. Then it is not dropped, and the server refuses.
    """
    changes = [one for modify in upgrade.ops if isinstance(modify, ops.ModifyTableOps) for one in modify.ops]
    changed = {(one.schema, one.table_name, one.column_name) for one in changes if types_changed_by(one)}  # type: ignore[attr-defined]  # an AlterColumnOp
    if changed and migrator_for(context.migration_context.dialect.name).indexes_keys:
        gone = {one.constraint_name for one in changes if isinstance(one, ops.DropConstraintOp)}
        keys = [key for key in _keys(context, changed) if key.constraint_name not in gone]
        upgrade.ops[:] = [
            *(SuspendKey(key, ends=False) for key in keys),
            *upgrade.ops,
            *(SuspendKey(key, ends=True) for key in keys),
        ]
    return PriorityDispatchResult.CONTINUE


def _keys(context: AutogenContext, changed: set[Place]) -> Iterator[ops.CreateForeignKeyOp]:
    """Yield the keys in the database whose columns all change, on both sides."""
    for table in context.sorted_tables:
        if context.inspector.has_table(table.name, schema=table.schema):
            for key in context.inspector.get_foreign_keys(table.name, schema=table.schema):
                ours = [(table.schema, table.name, one) in changed for one in key["constrained_columns"]]
                refers = (key["referred_schema"], key["referred_table"])
                theirs = [(*refers, one) in changed for one in key["referred_columns"]]
                if any(ours) and ours == theirs:
                    yield _creation(table, key)


def _creation(table: Any, key: Any) -> ops.CreateForeignKeyOp:
    schemas = {"source_schema": table.schema, "referent_schema": key["referred_schema"]}
    return ops.CreateForeignKeyOp(
        key["name"],
        table.name,
        key["referred_table"],
        key["constrained_columns"],
        key["referred_columns"],
        **{name: value for name, value in schemas.items() if value},
        **key["options"],
    )
