"""Generated columns whose expression changed: dropped and added again, because no database can change one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult, to_list
from sqlalchemy import Column, Computed, Index, Table, UniqueConstraint

from ._databases import migrator_for
from ._written import without_parameters

__all__ = ["RemakeColumn", "compare_computed"]


class RemakeColumn(MigrateOperation):
    """Drop a column and add it in its new form; its values are recomputed and its indexes are recreated."""

    def __init__(
        self, found: Column[Any], wanted: Column[Any], texts: tuple[str | None, str | None], parts: Sequence[Any]
    ) -> None:
        self.found = found
        self.wanted = wanted
        self.texts = texts
        self.parts = parts

    def reverse(self) -> RemakeColumn:
        """Return the operation that reverts this one."""
        return RemakeColumn(self.wanted, self.found, (self.texts[1], self.texts[0]), self.parts)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference as one of Alembic's tuples."""
        table = self.wanted.table
        return "modify_computed", table.schema, table.name, self.wanted.name, {}, *self.texts


def compare_computed(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Compare the expressions of generated columns; Alembic only warns that it cannot change them."""
    if found is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    assert context.connection is not None, "comparing needs a database"
    dialect = context.migration_context.dialect
    backend = migrator_for(dialect.name)
    for column in wanted.columns:
        other = found.columns.get(column.name)
        if other is None or (column.computed is None and other.computed is None):
            continue
        if not context.run_object_filters(column, column.name, "column", False, other):
            continue
        if not backend.is_same_computed(context.connection, dialect, other, without_parameters(column)):
            modify.ops[:] = [one for one in modify.ops if getattr(one, "column_name", None) != column.name]
            # On SQLite, the copy of the table keeps its indexes.
            parts = [] if backend.batch else _parts(found, wanted, column.name)
            modify.ops.append(RemakeColumn(other, column, (_text(other.computed), _text(column.computed)), parts))
    return PriorityDispatchResult.CONTINUE


def _parts(found: Table, wanted: Table, column: str) -> list[Any]:
    """Return the remaining indexes and UNIQUEs on a column: the server drops them, or their column, with it."""
    there: dict[Any, Any] = {_key(one): one for one in _keyed(found)}
    kept = [one for one in _keyed(wanted) if column in one.columns and _key(one) in there]
    return [one if isinstance(one.name, str) else there[_key(one)] for one in kept]


def _keyed(table: Table) -> list[Any]:
    return [*table.indexes, *(one for one in table.constraints if isinstance(one, UniqueConstraint))]


def _key(item: Any) -> tuple[type, Any]:
    # By columns, not by name: the models may leave a UNIQUE unnamed.
    is_index = isinstance(item, Index)
    return type(item), item.name if is_index else tuple(sorted(one.name for one in item.columns))


def _text(computed: Computed | None) -> str | None:
    return None if computed is None else str(computed.sqltext)


@renderers.dispatch_for(RemakeColumn)
def _render(context: AutogenContext, change: RemakeColumn) -> list[str]:
    table = change.wanted.table if change.wanted.table is not None else change.found.table
    drop = ops.DropColumnOp.from_column_and_tablename(table.schema, table.name, change.found)
    add = ops.AddColumnOp.from_column_and_tablename(table.schema, table.name, change.wanted)
    changes = [*map(_drop, change.parts), drop, add, *map(_create, change.parts)]
    return [line for one in changes for line in to_list(renderers.dispatch(type(one))(context, one))]


def _drop(part: Any) -> MigrateOperation:
    if isinstance(part, Index):
        return ops.DropIndexOp.from_index(part)
    return ops.DropConstraintOp.from_constraint(part)


def _create(part: Any) -> MigrateOperation:
    if isinstance(part, Index):
        return ops.CreateIndexOp.from_index(part)
    return ops.CreateUniqueConstraintOp.from_constraint(part)
