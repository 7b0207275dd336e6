"""A UNIQUE that repeats the primary key or another UNIQUE: PostgreSQL does not create it, so it is not missing."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import PrimaryKeyConstraint, Table, UniqueConstraint

from ._databases import migrator_for

__all__ = ["skip_repeated"]


def skip_repeated(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Do not add a UNIQUE on columns that have one; a UNIQUE with options, such as DEFERRABLE, counts as different."""
    if found is not None and migrator_for(context.migration_context.dialect.name).merges_unique:
        dropped = {one.constraint_name for one in modify.ops if isinstance(one, ops.DropConstraintOp)}
        there = _uniques(found, without=dropped)
        modify.ops[:] = list(_without_repeated(modify.ops, there))
    return PriorityDispatchResult.CONTINUE


def _without_repeated(
    changes: list[ops.MigrateOperation], there: set[tuple[str, ...]]
) -> Iterator[ops.MigrateOperation]:
    """Yield the changes; of several UNIQUEs on the same columns, only the first."""
    for one in changes:
        columns = _added_unique(one)
        if columns is None or columns not in there:
            yield one
        if columns is not None:
            there.add(columns)


def _added_unique(operation: Any) -> tuple[str, ...] | None:
    adds = isinstance(operation, ops.CreateUniqueConstraintOp) and not operation.kw
    return tuple(operation.columns) if adds else None


def _uniques(table: Table, *, without: Container[Any]) -> set[tuple[str, ...]]:
    kinds = (PrimaryKeyConstraint, UniqueConstraint)
    kept = [key for key in table.constraints if isinstance(key, kinds) and key.name not in without]
    return {tuple(one.name for one in key.columns) for key in kept}
