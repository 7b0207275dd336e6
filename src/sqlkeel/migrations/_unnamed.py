"""CHECKs that the models give no name are left alone: the database has named them, and nothing says which is which."""

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
    """Drop no CHECK with a name of the server's own, where the model of its table has one without a name."""
    if wanted is not None and any(_is_unnamed(one) for one in wanted.constraints):
        backend = migrator_for(context.migration_context.dialect.name)
        modify.ops[:] = [one for one in modify.ops if not backend.names_check(wanted, _dropped_check(one))]
    return PriorityDispatchResult.CONTINUE


def _is_unnamed(constraint: Any) -> bool:
    return isinstance(constraint, CheckConstraint) and not isinstance(constraint.name, str)


def _dropped_check(operation: Any) -> str:
    """Return the name of the CHECK that is dropped; nothing for another operation."""
    drops = isinstance(operation, ops.DropConstraintOp) and operation.constraint_type == "check"
    return str(operation.constraint_name) if drops else ""
