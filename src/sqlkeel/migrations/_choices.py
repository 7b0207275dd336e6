"""The CHECKs of enumerations in migrations: written with the members at that time, and compared with the database."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import (
    CheckConstraint,
    Column,
    ColumnElement,
    Enum,
    Integer,
    String,
    Table,
    literal,
    literal_column,
    select,
    union_all,
)
from sqlalchemy import cast as sql_cast
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import TypeDecorator

from ..models._naming import fitting_name
from ..types._choice import Choice, choice_of
from ._databases import migrator_for
from ._databases.migrator import UNNAMED
from ._type_checks import comes_with_type, given_a_type, is_made, name_of

__all__ = ["ChangeChoices", "compare_choices", "render_check", "render_type"]

Members = tuple[Any, ...] | str
"""The members that a CHECK allows; the text of a CHECK that is not a list of members."""

_KIND: Final = ("check_constraint", False, None)
# MariaDB escapes with a backslash; on the other databases a backslash is an ordinary character.
_TEXTS: Final = (re.compile(r"'((?:[^']|'')*)'"), re.compile(r"'((?:[^'\\]|''|\\.)*)'"))
_NUMBER: Final = re.compile(r"-?\d+")


class ChangeChoices(MigrateOperation):
    """Replace a CHECK by another one; add or drop it if one side has no members (``None``).

    An *unnamed* CHECK is one on SQLite: the copy of the table omits it and adds the new one, and the downgrade adds it
    again under the name *former*.
    """

    def __init__(
        self,
        constraint: CheckConstraint,
        name: str,
        *,
        found: Members | None,
        wanted: Members | None,
        former: str | None = None,
        unnamed: bool = False,
    ) -> None:
        self.constraint = constraint
        self.name = name
        self.former = former or name
        self.found = found
        self.wanted = wanted
        self.unnamed = unnamed

    @property
    def differs(self) -> bool:
        """Whether the two sides allow different members; a text always differs from a list of members."""
        return isinstance(self.found, str) or set(self.found or ()) != set(self.wanted or ())

    def reverse(self) -> ChangeChoices:
        """Return the operation that reverts this one."""
        return ChangeChoices(self.constraint, self.former, found=self.wanted, wanted=self.found, former=self.name)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference as one of Alembic's tuples."""
        if self.found is None:
            return "add_constraint", self.constraint
        table = self.constraint.table
        column = _column(self.constraint).name
        return "modify_check", table.schema, table.name, column, {}, _listed(self.found), _listed(self.wanted or ())


def compare_choices(
    context: AutogenContext, modify: ops.ModifyTableOps, schema: Any, name: Any, found: Any, wanted: Table | None
) -> PriorityDispatchResult:
    """Compare the members that a CHECK allows with those of the model; Alembic compares only its name."""
    if found is None or wanted is None:
        return PriorityDispatchResult.CONTINUE
    modify.ops[:] = [_by_members(op) for op in modify.ops]
    retyped = {column for op in modify.ops for column in given_a_type(op)}
    enums = _checks_of_enums(context, wanted)
    kept = [one for one in enums if name_of(context, one) is None or _column(one).name not in retyped]
    checks = [one for one in (*_checks(wanted), *kept) if context.run_object_filters(one, one.name, *_KIND)]
    reflected: Any = context.inspector.get_check_constraints(wanted.name, schema=schema) if checks else []
    for check in checks:
        change = _compare(context, check, reflected)
        if change is None:
            continue
        made = [one for one in modify.ops if _makes(one, change.name)]
        if made or change.differs:
            modify.ops[:] = [*(one for one in modify.ops if one not in made), change]
    return PriorityDispatchResult.CONTINUE


def _compare(context: AutogenContext, check: Any, reflected: Sequence[Any]) -> ChangeChoices | None:
    """Return the operation that replaces the CHECK in the database; ``None`` if there is no such CHECK."""
    members, name = _members(check), name_of(context, check)
    text = next((str(one["sqltext"]) for one in reflected if name is not None and one["name"] == name), None)
    if text is not None:
        return ChangeChoices(check, str(name), found=_passing(context, check, text) or text, wanted=members)
    likely = (one for one in reflected if _may_be(context, check, one["name"]))
    lists = [(one["name"], passing) for one in likely if (passing := _passing(context, check, str(one["sqltext"])))]
    if not lists:
        return None
    found, passing = min(lists, key=lambda one: set(one[1]) != set(members))  # prefers a list with the same members
    former = found or fitting_name(f"{UNNAMED}{check.table.name}_{_column(check).name}", "check")
    return ChangeChoices(check, name or former, found=passing, wanted=members, former=former, unnamed=found is None)


def _may_be(context: AutogenContext, check: Any, found: str | None) -> bool:
    """Return whether a CHECK in the database may belong to an enumeration, judging by their names."""
    if found is None or name_of(context, check) is not None:
        return found is None
    backend = migrator_for(context.migration_context.dialect.name)
    names = {name_of(context, one) for one in check.table.constraints}
    return found not in names and backend.names_check(check.table, found)


def _makes(operation: Any, name: str) -> bool:
    return isinstance(operation, ops.CreateCheckConstraintOp) and str(operation.constraint_name) == name


def render_type(kind: Choice) -> str:
    """Return a plain column type, because the class of the enumeration will have changed when the revision runs."""
    if isinstance(kind.impl, Integer):
        return "sa.Integer()"
    exact = f"sa.String(length={kind.length}, collation={kind.collation!r})"
    return f"sa.String(length={kind.length}).with_variant({exact}, 'mariadb')"


def render_check(constraint: Any, context: AutogenContext) -> str | None:
    """Return the code for the CHECK of a new table; ``None`` for any other CHECK."""
    column = choice_of(constraint)
    if column is None:
        return None
    # Alembic describes a new table by a copy that is not in the models' MetaData and names nothing.
    model = context.table_key_to_table[constraint.table.key]
    name = next(check.name for check in _checks(model) if _column(check).name == column.name)
    return f"sa.CheckConstraint({_condition(constraint, _members(constraint))}, name=op.f({str(name)!r}))"


@renderers.dispatch_for(ChangeChoices)
def _render(context: AutogenContext, change: ChangeChoices) -> list[str]:
    table, name, former = change.constraint.table, f"op.f({change.name!r})", f"op.f({change.former!r})"
    batch = bool(context.opts.get("render_as_batch"))
    prefix, where = ("batch_op.", "") if batch else ("op.", f", {table.name!r}")
    schema = f", schema={table.schema!r}" if table.schema and not batch else ""
    lines = []
    if change.found is not None and not change.unnamed:
        lines.append(f"{prefix}drop_constraint({former}{where}, type_='check'{schema})")
    if change.wanted is not None:
        condition = _condition(change.constraint, change.wanted)
        lines.append(f"{prefix}create_check_constraint({name}{where}, {condition}{schema})")
    return lines


def _by_members(op: Any) -> Any:
    """Replace the creation of a CHECK: its SQL text fits only one database and breaks on a member with a ``:``."""
    if isinstance(op, ops.CreateCheckConstraintOp):
        column = getattr(op.condition, "left", None)
        table = column.table if isinstance(column, Column) else None
        for check in _checks(table) if table is not None else ():
            if check.name == op.constraint_name:
                return ChangeChoices(check, str(check.name), found=None, wanted=_members(check))
    return op


def _checks(table: Table) -> Iterator[Any]:
    return (constraint for constraint in table.constraints if choice_of(constraint) is not None)


def _checks_of_enums(context: AutogenContext, table: Table) -> Iterator[Any]:
    """Yield the CHECKs that ``Enum(create_constraint=True)`` creates in this database."""
    bound = [one for one in table.constraints if comes_with_type(one) and is_made(context, one)]
    return (one for one in bound if isinstance(_plain(_column(one).type), Enum))


def _column(check: Any) -> Column[Any]:
    found = choice_of(check)
    return next(iter(check.columns)) if found is None else found


def _members(check: Any) -> tuple[Any, ...]:
    kind = _plain(_column(check).type)
    return tuple(kind.stored.values() if isinstance(kind, Choice) else kind.enums)


def _plain(kind: Any) -> Any:
    is_decorated = isinstance(kind, TypeDecorator) and not isinstance(kind, Choice)
    return kind.impl_instance if is_decorated else kind


def _condition(constraint: CheckConstraint, members: Members) -> str:
    if isinstance(members, str):
        return repr(members.replace(":", "\\:"))  # escaped: text() would see parameters
    return f"sa.column({_column(constraint).name!r}).in_({list(members)!r})"


def _listed(members: Members) -> str:
    return members if isinstance(members, str) else ", ".join(map(str, members))


def _passing(context: AutogenContext, check: Any, text: str) -> tuple[Any, ...]:
    """Ask the database which values a CHECK allows, of the members and of the literals in its text.

    Return nothing if the CHECK is not a list of values, because it uses other columns or allows other values.
    """
    connection, column, members = context.connection, _column(check), _members(check)
    assert connection is not None
    named = dict.fromkeys((*_named(text, type(members[0])), *members))
    other = next(one for one in _others(type(members[0])) if one not in named)
    given = [*named, other]
    kind: Any = column.type.dialect_impl(connection.dialect)
    plain = kind.impl_instance if isinstance(kind, TypeDecorator) else String(kind.length)
    rows = union_all(*(select(_exactly(one, plain).label(column.name)) for one in given)).subquery()
    try:
        with connection.begin_nested():
            found = set(connection.scalars(select(rows.c[column.name]).where(literal_column(text))))
    except DBAPIError:
        return ()
    return () if other in found else tuple(one for one in named if one in found)


def _others(kind: type) -> Iterator[Any]:
    """Yield short values that no enumeration has."""
    return itertools.count() if issubclass(kind, int) else map(chr, itertools.count(ord("~")))


def _exactly(value: Any, kind: Any) -> ColumnElement[Any]:
    # A cast keeps the length but not the collation, and MariaDB's default one could confuse two members.
    collation = getattr(kind, "collation", None)
    plain = sql_cast(literal(value), kind)
    return plain.collate(collation) if collation else plain


def _named(check: str, kind: type) -> Iterator[Any]:
    """Yield every literal in the text of a CHECK that could be a member; surplus values do no harm."""
    if issubclass(kind, int):
        yield from map(int, _NUMBER.findall(check))
        return
    for pattern in _TEXTS:
        for text in pattern.findall(check):
            yield from (text.replace("''", "'"), re.sub(r"\\(.)", r"\1", text))
