"""Drop tables at the end of a revision, children before parents, so that no foreign key prevents it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import ForeignKeyConstraint, Table

__all__ = ["put_drops_last"]


def put_drops_last(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Sort the dropped tables, and move them after the changes of the remaining tables.

    Alembic drops them in the order of a set, and before a remaining table loses its foreign key to one of them.
    """
    dropped = {id(one): one.to_table() for one in upgrade.ops if isinstance(one, ops.DropTableOp)}
    kept = [one for one in upgrade.ops if id(one) not in dropped]
    can_alter = context.migration_context.dialect.supports_alter
    upgrade.ops = [*kept, *_in_order(sorted(dropped.values(), key=str), can_alter=can_alter)]
    return PriorityDispatchResult.CONTINUE


def _in_order(tables: list[Table], *, can_alter: bool) -> Iterator[ops.MigrateOperation]:
    """Yield the drops; for a cycle, first drop its foreign keys if the database can alter tables."""
    drops: list[ops.MigrateOperation] = []
    while tables:
        free = [table for table in tables if not any(_keys(other, table) for other in tables)]
        if not free:
            free = tables[:1]
            for key in [key for other in tables for key in _keys(other, free[0])] if can_alter else []:
                yield ops.DropConstraintOp.from_constraint(key)
                key.table.constraints.discard(key)
        drops += [ops.DropTableOp.from_table(table) for table in free]
        tables = [table for table in tables if table not in free]
    yield from drops


def _keys(child: Table, parent: Table) -> list[ForeignKeyConstraint]:
    """Return the foreign keys from another table to *parent*."""
    found = [one for one in child.constraints if isinstance(one, ForeignKeyConstraint) and child is not parent]
    return [one for one in found if one.elements[0].target_fullname.rpartition(".")[0] == parent.fullname]
