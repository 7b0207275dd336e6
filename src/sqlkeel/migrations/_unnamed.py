"""CHECKs that the models leave unnamed are kept: the database has named them, and they cannot be matched."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import CheckConstraint, Table

from ._databases import migrator_for

__all__ = ["keep_unnamed_checks"]


def keep_unnamed_checks(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Do not drop a CHECK with a server-generated name if the model of its table has an unnamed CHECK."""
    if wanted is not None and any(_is_unnamed(one) for one in wanted.constraints):
        backend = migrator_for(context.migration_context.dialect.name)
        modify.ops[:] = [one for one in modify.ops if not backend.names_check(wanted, _dropped_check(one))]
    return PriorityDispatchResult.CONTINUE


def _is_unnamed(constraint: Any) -> bool:
    return isinstance(constraint, CheckConstraint) and not isinstance(constraint.name, str)


def _dropped_check(operation: Any) -> str:
    """Return the name of the CHECK that is dropped; empty for any other operation."""
    drops = isinstance(operation, ops.DropConstraintOp) and operation.constraint_type == "check"
    return str(operation.constraint_name) if drops else ""
