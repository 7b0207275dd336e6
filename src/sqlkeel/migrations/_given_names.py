"""Names for constraints that the models leave unnamed: a revision can only drop a constraint that has a name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import Table, UniqueConstraint

from ..models._naming import fitting_name

__all__ = ["drop_unnamed_uniques", "name_constraints"]

_UNNAMED: Final = {"fk": "%(table_name)s_%(column_0_N_name)s_fkey", "uq": "%(table_name)s_%(column_0_N_name)s_key"}
"""The names that a copy of a SQLite table gives to unnamed constraints."""

_Adds = (ops.CreateUniqueConstraintOp, ops.CreateForeignKeyOp)


class _ModifyUnnamed(ops.ModifyTableOps):
    """Changes of a SQLite table, one of which drops an unnamed constraint."""


@renderers.dispatch_for(_ModifyUnnamed)
def _render(context: AutogenContext, change: _ModifyUnnamed) -> list[str]:
    first, *rest = renderers.dispatch(ops.ModifyTableOps)(context, change)
    return [first.replace(") as batch_op:", f", naming_convention={_UNNAMED!r}) as batch_op:"), *rest]


def drop_unnamed_uniques(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Drop an unnamed UNIQUE, which only SQLite has, if the models have none on its columns.

    Alembic compares only named ones. It would lose an unnamed UNIQUE together with its column, and `downgrade` would
    not restore it.
    """
    if found is not None and wanted is not None:
        kept = set(_unique_columns(wanted))
        unnamed = {_columns(one): one for one in _unnamed_uniques(found)}  # SQLAlchemy and Alembic both reflect it.
        for columns, one in sorted(unnamed.items()):
            if columns not in kept and context.run_object_filters(one, None, "unique_constraint", True, None):
                modify.ops.append(ops.DropConstraintOp.from_constraint(one))
    return PriorityDispatchResult.CONTINUE


def name_constraints(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Give each constraint that a revision adds to or drops from a table the name of sqlkeel's convention.

    Otherwise PostgreSQL and MariaDB would choose a name that `downgrade` does not know, and SQLite would refuse to copy
    the table. The models may leave it unnamed: an unnamed constraint is compared by its columns.
    """
    taken = {str(one.name) for table in context.sorted_tables for one in _parts(table)}
    for position, change in enumerate(upgrade.ops):
        if isinstance(change, ops.ModifyTableOps):
            _name_added(context, change, taken)
            upgrade.ops[position] = _with_names_of_dropped(change)
    return PriorityDispatchResult.CONTINUE


def _name_added(context: AutogenContext, change: ops.ModifyTableOps, taken: set[str]) -> None:
    added = [one for one in change.ops if isinstance(one, _Adds) and one.constraint_name is None]
    for one in added:
        one.constraint_name = _free_name(one, taken | _there(context, change))
        taken.add(one.constraint_name)


def _there(context: AutogenContext, change: ops.ModifyTableOps) -> set[str]:
    """Return the names of the constraints and indexes that the table keeps."""
    read: Any = context.inspector
    readers = (read.get_foreign_keys, read.get_unique_constraints, read.get_indexes)
    names = {str(one["name"]) for reader in readers for one in reader(change.table_name, schema=change.schema)}
    return names - {str(one.constraint_name) for one in change.ops if isinstance(one, ops.DropConstraintOp)}


def _with_names_of_dropped(change: ops.ModifyTableOps) -> ops.ModifyTableOps:
    unnamed = [one for one in change.ops if isinstance(one, ops.DropConstraintOp) and one.constraint_name is None]
    for dropped in unnamed:
        dropped.constraint_name = "_".join(_stem(dropped.reverse()))
    return _ModifyUnnamed(change.table_name, change.ops, schema=change.schema) if unnamed else change


def _free_name(added: Any, taken: set[str]) -> str:
    stem, suffix = _stem(added)
    name = fitting_name(stem, suffix)
    while name in taken:
        name = fitting_name(stem, suffix, salt=f"{name} {_target(added)}")
    return name


def _stem(added: Any) -> tuple[str, str]:
    if isinstance(added, ops.CreateForeignKeyOp):
        return "_".join((added.source_table, *added.local_cols)), "fkey"
    return "_".join((added.table_name, *added.columns)), "key"


def _target(added: Any) -> str:
    return f"{added.referent_table} {added.remote_cols}" if isinstance(added, ops.CreateForeignKeyOp) else ""


def _unnamed_uniques(table: Table) -> list[UniqueConstraint]:
    return [one for one in table.constraints if isinstance(one, UniqueConstraint) and one.name is None]


def _unique_columns(table: Table) -> Iterator[tuple[str, ...]]:
    """Yield the columns of each UNIQUE constraint and unique index of a table."""
    parts = [one for one in _parts(table) if isinstance(one, UniqueConstraint) or getattr(one, "unique", False)]
    return map(_columns, parts)


def _parts(table: Table) -> list[Any]:
    return [*table.constraints, *table.indexes]


def _columns(item: Any) -> tuple[str, ...]:
    return tuple(sorted(column.name for column in item.columns))
