"""The CHECKs of enumerations in migrations: written with the members of that day, and found when these change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Integer,
    Table,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.exc import DBAPIError

from ..choice import Choice, choice_of

__all__ = ["ChangeChoices", "compare_choices", "render_check", "render_type"]

Members = tuple[Any, ...] | str
"""What a CHECK lets pass; its text where it is about something else."""

_KIND: Final = ("check_constraint", False, None)
# MariaDB writes a quote as \\', the others take a backslash as it is.
_TEXTS: Final = (re.compile(r"'((?:[^']|'')*)'"), re.compile(r"'((?:[^'\\]|''|\\.)*)'"))
_NUMBER: Final = re.compile(r"-?\d+")


class ChangeChoices(MigrateOperation):
    """Put another CHECK in the place of one, or make or drop it where the members on one side are ``None``."""

    def __init__(self, constraint: CheckConstraint, *, found: Members | None, wanted: Members | None) -> None:
        self.constraint = constraint
        self.found = found
        self.wanted = wanted

    def reverse(self) -> ChangeChoices:
        """Return what takes it back."""
        return ChangeChoices(self.constraint, found=self.wanted, wanted=self.found)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return what differs in the words of Alembic."""
        if self.found is None:
            return "add_constraint", self.constraint
        table = self.constraint.table
        column = _column(self.constraint).name
        return "modify_check", table.schema, table.name, column, {}, _listed(self.found), _listed(self.wanted or ())


def compare_choices(
    context: AutogenContext, modify: ops.ModifyTableOps, schema: Any, name: Any, found: Any, wanted: Table | None
) -> PriorityDispatchResult:
    """Compare the members that a CHECK lets pass with those of the model; Alembic compares its name only."""
    if found is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    modify.ops[:] = [_by_members(op) for op in modify.ops]
    checks = [check for check in _checks(wanted) if context.run_object_filters(check, check.name, *_KIND)]
    reflected = context.inspector.get_check_constraints(wanted.name, schema=schema) if checks else []
    texts = {check["name"]: str(check["sqltext"]) for check in reflected}
    for check in checks:
        if check.name in texts:
            members, passing = _members(check), _passing(context, check, texts[check.name])
            if set(passing) != set(members):
                modify.ops.append(ChangeChoices(check, found=passing or texts[check.name], wanted=members))
    return PriorityDispatchResult.CONTINUE


def render_type(kind: Choice) -> str:
    """Write the column without the class, which will have other members when the revision runs again."""
    if isinstance(kind.impl, Integer):
        return "sa.Integer()"
    exact = f"sa.String(length={kind.length}, collation={kind.collation!r})"
    return f"sa.String(length={kind.length}).with_variant({exact}, 'mariadb')"


def render_check(constraint: Any, context: AutogenContext) -> str | None:
    """Write the CHECK of a new table; ``None`` for any other CHECK."""
    column = choice_of(constraint)
    if column is None:
        return None
    # Alembic describes a new table by a copy outside of the models, where nothing is named.
    model = context.table_key_to_table[constraint.table.key]
    name = next(check.name for check in _checks(model) if _column(check).name == column.name)
    return f"sa.CheckConstraint({_condition(constraint, _members(constraint))}, name=op.f({str(name)!r}))"


@renderers.dispatch_for(ChangeChoices)
def _render(context: AutogenContext, change: ChangeChoices) -> list[str]:
    table, name = change.constraint.table, f"op.f({str(change.constraint.name)!r})"
    batch = bool(context.opts.get("render_as_batch"))
    prefix, where = ("batch_op.", "") if batch else ("op.", f", {table.name!r}")
    schema = f", schema={table.schema!r}" if table.schema and not batch else ""
    lines = []
    if change.found is not None:
        lines.append(f"{prefix}drop_constraint({name}{where}, type_='check'{schema})")
    if change.wanted is not None:
        condition = _condition(change.constraint, change.wanted)
        lines.append(f"{prefix}create_check_constraint({name}{where}, {condition}{schema})")
    return lines


def _by_members(op: Any) -> Any:
    """Replace a CHECK that is to be made: as text it would fit one database, and no member with a ``:``."""
    if isinstance(op, ops.CreateCheckConstraintOp):
        column = getattr(op.condition, "left", None)
        table = column.table if isinstance(column, Column) else None
        for check in _checks(table) if table is not None else ():
            if check.name == op.constraint_name:
                return ChangeChoices(check, found=None, wanted=_members(check))
    return op


def _checks(table: Table) -> Iterator[Any]:
    return (constraint for constraint in table.constraints if choice_of(constraint) is not None)


def _column(check: Any) -> Column[Any]:
    column = choice_of(check)
    assert column is not None
    return column


def _members(check: Any) -> tuple[Any, ...]:
    return tuple(cast("Choice", _column(check).type).stored.values())


def _condition(constraint: CheckConstraint, members: Members) -> str:
    if isinstance(members, str):
        return repr(members.replace(":", "\\:"))  # no parameters in it
    return f"sa.column({_column(constraint).name!r}).in_({list(members)!r})"


def _listed(members: Members) -> str:
    return members if isinstance(members, str) else ", ".join(map(str, members))


def _passing(context: AutogenContext, check: Any, text: str) -> tuple[Any, ...]:
    """Return what a CHECK lets pass, of the members and of all that its text may name; the database is asked."""
    connection, column, members = context.connection, _column(check), _members(check)
    assert connection is not None
    given = [*dict.fromkeys((*_named(text, type(members[0])), *members))]
    kind: Any = column.type.dialect_impl(connection.dialect)
    rows = union_all(*(select(_exactly(one, kind.impl_instance).label(column.name)) for one in given)).subquery()
    try:
        with connection.begin_nested():
            found = set(connection.scalars(select(rows.c[column.name]).where(literal_column(text))))
    except DBAPIError:  # It is about other columns, too: not the CHECK of an enumeration.
        return ()
    return tuple(one for one in given if one in found)


def _exactly(value: Any, kind: Any) -> ColumnElement[Any]:
    # A cast keeps the length and not the collation, by which MariaDB would take one member for another.
    collation = getattr(kind, "collation", None)
    plain = sql_cast(literal(value), kind)
    return plain.collate(collation) if collation else plain


def _named(check: str, kind: type) -> Iterator[Any]:
    """Yield what might be a member in the text of a CHECK; too much does no harm."""
    if issubclass(kind, int):
        yield from map(int, _NUMBER.findall(check))
        return
    for pattern in _TEXTS:
        for text in pattern.findall(check):
            yield from (text.replace("''", "'"), re.sub(r"\\(.)", r"\1", text))
