"""Columns of foreign keys that change their type on MariaDB: the key is dropped before, and made again behind."""

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
    """Drop a key for the time of a change, or make it again: neither is a difference by itself."""

    def __init__(self, key: ops.CreateForeignKeyOp, *, ends: bool) -> None:
        self.key = key
        self.ends = ends

    def reverse(self) -> SuspendKey:
        """Return what takes it back."""
        return SuspendKey(self.key, ends=not self.ends)

    def to_diff_tuple(self) -> Any:
        """Return no difference in the words of Alembic, for which several are a list."""
        return []


@renderers.dispatch_for(SuspendKey)
def _render(context: AutogenContext, change: SuspendKey) -> list[str]:
    one = change.key if change.ends else change.key.reverse()
    return to_list(renderers.dispatch(type(one))(context, one))


def suspend_keys(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Have the server change both columns of a key, which it refuses while the key is there.

    Where one of them keeps its type the key could not be made again: nothing is dropped, and the server refuses it.
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
    """Yield the keys in the database that have columns which change, each with the one that it refers to."""
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
