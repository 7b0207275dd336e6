"""Indexes and constraints with ``ddl_if(dialect=…)``: written with their condition, required only where it holds."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult, to_list
from sqlalchemy import ForeignKeyConstraint, Index, MetaData, Table
from sqlalchemy.schema import AddConstraint, CreateIndex

from .. import _sqlalchemy_tables as private
from ..errors import NotSupported
from . import _alembic as unpromised

__all__ = ["render_conditional", "skip_conditional", "write_conditions"]

_PLAIN: Final = "sqlkeel.plain"
Key = tuple[str | None, str, str]
"""Schema, table, and name of an index or constraint."""


class _Conditional(MigrateOperation):
    """An operation that runs only on some databases."""

    def __init__(self, operation: MigrateOperation, dialects: tuple[str, ...]) -> None:
        self.operation = operation
        self.dialects = dialects

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the wrapped operation as one of Alembic's tuples."""
        found: tuple[Any, ...] = self.operation.to_diff_tuple()
        return found


@renderers.dispatch_for(_Conditional)
def _render(context: AutogenContext, conditional: _Conditional) -> list[str]:
    lines = to_list(renderers.dispatch(conditional.operation)(context, conditional.operation))
    return [f"if op.get_context().dialect.name in {conditional.dialects!r}: {' '.join(lines)}"]


def skip_conditional(
    context: AutogenContext, modify: ops.ModifyTableOps, schema: Any, name: Any, found: Any, wanted: Table | None
) -> PriorityDispatchResult:
    """Do not report an index or constraint as missing if its condition does not hold on this database."""
    if found is not None and wanted is not None:
        idle = {str(item.name) for item in _conditional(wanted) if not _holds(context, item)}
        modify.ops[:] = [one for one in modify.ops if not (_adds(one) and _name(one) in idle)]
    return PriorityDispatchResult.CONTINUE


def write_conditions(metadata: MetaData, directives: list[ops.MigrationScript]) -> None:
    """Write each create or drop outside CREATE TABLE with the condition of its object."""
    items = {_key(item): item for table in metadata.tables.values() for item in _conditional(table)}
    for script in directives if items else ():
        for container in (script.upgrade_ops, script.downgrade_ops):
            if container is not None:
                _wrap(container, items)


def render_conditional(constraint: Any, context: AutogenContext) -> str | None:
    """Return the code for a constraint of a new table with its condition; ``None`` if it has no condition."""
    if constraint.info.get(_PLAIN):
        return None
    model = context.table_key_to_table.get(constraint.table.key)
    found = [one for one in _conditional(model) if one.name == constraint.name] if model is not None else []
    if not found:
        return None
    plain = copy.copy(constraint)
    plain.info = {_PLAIN: True}
    return f"{unpromised.render_constraint(plain, context)}.ddl_if(dialect={_dialects(found[0])!r})"


def _wrap(container: Any, items: dict[Key, Any]) -> None:
    for position, one in enumerate(container.ops):
        if isinstance(one, ops.ModifyTableOps):
            _wrap(one, items)
        elif (
            item := items.get((getattr(one, "schema", None), getattr(one, "table_name", ""), _name(one)))
        ) is not None:
            container.ops[position] = _Conditional(one, _dialects(item))


def _conditional(table: Table) -> Iterator[Any]:
    """Yield the indexes and constraints with a condition; SQLAlchemy has no public way to ask."""
    parts: list[Any] = [*table.indexes, *table.constraints]
    return (item for item in parts if private.ddl_condition_of(item) is not None)


def _dialects(item: Any) -> tuple[str, ...]:
    condition = private.ddl_condition_of(item)
    if condition.callable_ is not None or condition.dialect is None or isinstance(item, ForeignKeyConstraint):
        raise NotSupported(
            f"The ddl_if() of {item.name} on {item.table.name} cannot be written into a revision.",
            hint="Name the databases, ddl_if(dialect='postgresql'); it does not work on a foreign key.",
        )
    return (condition.dialect,) if isinstance(condition.dialect, str) else tuple(condition.dialect)


def _holds(context: AutogenContext, item: Any) -> bool:
    statement: Any = CreateIndex(item) if isinstance(item, Index) else AddConstraint(item, isolate_from_table=False)
    condition: Any = private.ddl_condition_of(item)
    return private.is_made(condition, statement, item, context.connection)


def _adds(operation: Any) -> bool:
    return isinstance(operation, (ops.CreateIndexOp, ops.AddConstraintOp))


def _name(operation: Any) -> str:
    return str(getattr(operation, "index_name", None) or getattr(operation, "constraint_name", None))


def _key(item: Any) -> Key:
    return item.table.schema, item.table.name, str(item.name)
