"""The CHECKs that a type creates, as ``Boolean(create_constraint=True)`` does: rendering the type renders them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import CheckConstraint, MetaData, Table, text
from sqlalchemy.types import TypeDecorator

from .. import _sqlalchemy_tables as private
from ..types._choice import choice_of
from ._written import literal_text

__all__ = ["comes_with_type", "given_a_type", "is_made", "name_of", "skip_checks_of_types"]


def comes_with_type(constraint: Any) -> bool:
    """Return whether the type of a column creates this constraint, so that a revision only writes the type.

    The CHECK of a `Choice` is written separately, because a revision keeps the members at that time.
    """
    return bool(private.is_bound_to_type(constraint)) and choice_of(constraint) is None


def skip_checks_of_types(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Skip CHECKs of a type that this database does not need or a column brings; drop no unnamed ones.

    A changed type creates its own CHECK. An old CHECK of that name is dropped first, and the downgrade recreates it.
    An unnamed CHECK is not created, because the downgrade could not drop it.
    """
    if wanted is not None:
        unnamed = {name for one in wanted.constraints if _is_unnamed(context, one) for name in _columns(one)}
        for change in modify.ops:
            if isinstance(change, ops.AlterColumnOp) and change.column_name in unnamed:
                change.modify_type = _without_check(change.modify_type)
        added = {name for one in modify.ops for name in given_a_type(one)}
        bound = [one for one in wanted.constraints if comes_with_type(one)]
        made = {name_of(context, one): is_made(context, one) for one in bound}
        come = {name_of(context, one) for one in bound if added.intersection(_columns(one))}
        modify.ops[:] = [one for one in modify.ops if not _is_settled(one, made, come)]
        replaced = {name for name in come if name is not None and made[name]} if found is not None else set()
        modify.ops[:0] = list(_drops(context, wanted, replaced))
    return PriorityDispatchResult.CONTINUE


def _is_unnamed(context: AutogenContext, constraint: Any) -> bool:
    return comes_with_type(constraint) and name_of(context, constraint) is None


def _without_check(kind: Any) -> Any:
    if kind is None:
        return None
    plain: Any = kind.copy()
    bound: Any = plain.impl_instance if isinstance(plain, TypeDecorator) else plain
    bound.create_constraint = False
    return plain


def _drops(context: AutogenContext, table: Table, names: set[str]) -> Iterator[ops.DropConstraintOp]:
    reflected: Any = context.inspector.get_check_constraints(table.name, schema=table.schema) if names else []
    for check in reflected:
        if check["name"] in names:
            like = Table(table.name, MetaData(), schema=table.schema)
            former = CheckConstraint(text(literal_text(check["sqltext"])), name=check["name"])
            like.append_constraint(former)
            yield ops.DropConstraintOp.from_constraint(former)


def given_a_type(operation: Any) -> list[str]:
    """Return the column that gets a new type and the CHECK of that type."""
    if isinstance(operation, ops.AddColumnOp):
        return [operation.column.name]
    changes = isinstance(operation, ops.AlterColumnOp) and operation.modify_type is not None
    return [operation.column_name] if changes else []


def _columns(constraint: Any) -> set[str]:
    return {column.name for column in constraint.columns}


def _is_settled(operation: Any, made: dict[str | None, bool], come: set[str | None]) -> bool:
    if isinstance(operation, ops.CreateCheckConstraintOp):
        name = str(operation.constraint_name)
        return name in come or not made.get(name, True)
    drops = isinstance(operation, ops.DropConstraintOp) and operation.constraint_type == "check"
    return drops and made.get(str(operation.constraint_name), False)


def name_of(context: AutogenContext, constraint: Any) -> str | None:
    """Return the name that CREATE TABLE gives the constraint, possibly from a naming convention."""
    preparer = context.migration_context.dialect.identifier_preparer
    return None if constraint.name is None else preparer.format_constraint(constraint)


def is_made(context: AutogenContext, constraint: Any) -> bool:
    """Return whether the type needs its CHECK on this database."""
    dialect = context.migration_context.dialect
    compiler: Any = dialect.ddl_compiler(dialect, None)  # type: ignore[arg-type]  # without a statement
    return private.is_made_in(constraint, compiler)
