"""The members of a native PostgreSQL ENUM: added in place, or by recreating the type."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, Operations, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import Dialect, text
from sqlalchemy.dialects.postgresql import ENUM
from sqlalchemy.dialects.postgresql.named_types import CreateEnumType

from ..errors import NotSupported
from ..models._naming import fitting_name
from ._named_types import defaults_of, lasting_types, members_of, named_type, types_made_and_dropped
from ._written import literal_text

__all__ = ["ChangeMembers", "ChangesMembers", "compare_members"]

_COLUMNS: Final = text("""
SELECT CAST(CAST(c.oid AS regclass) AS text) AS name, quote_ident(a.attname) AS "column",
       a.atttypid <> t.oid AS is_array, pg_get_expr(d.adbin, d.adrelid) AS "default"
  FROM pg_catalog.pg_type t
  JOIN pg_catalog.pg_attribute a ON a.atttypid IN (t.oid, t.typarray)
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
 WHERE t.oid = to_regtype(:name) AND c.relkind IN ('r', 'p', 'f') AND NOT a.attisdropped AND a.attinhcount = 0
 ORDER BY c.oid, a.attnum
""")


@Operations.register_operation("change_members")
class ChangeMembers(MigrateOperation):
    """``op.change_members("color", ["red"], ["red", "blue"])``: changes the type on PostgreSQL, nothing elsewhere."""

    def __init__(
        self, name: str, found: Sequence[str], wanted: Sequence[str], *, schema: str | None = None, anew: bool = False
    ) -> None:
        self.name = name
        self.found = list(found)
        self.wanted = list(wanted)
        self.schema = schema
        self.anew = anew

    @classmethod
    def change_members(
        cls,
        operations: Operations,
        name: str,
        found: Sequence[str],
        wanted: Sequence[str],
        *,
        schema: str | None = None,
        anew: bool = False,
    ) -> None:
        """Change the members of a native PostgreSQL ENUM.

        New members are added in place. Any other change recreates the type and rewrites each column that has it; a row
        with a removed member makes the revision fail.

        Args:
            operations: Alembic's operations.
            name: The name of the type.
            found: The members before.
            wanted: The members afterwards.
            schema: The schema of the type, if not the default one.
            anew: Recreate the type even if members are only added, so that the same transaction can use them.

        Raises:
            NotSupported: When the type has to be recreated in offline mode (``--sql``): only the database knows its
                columns.
        """
        context: Any = operations.get_context()
        if context.dialect.name == "postgresql":
            kind = ENUM(*wanted, name=name, schema=schema)
            context.impl.change_members(kind, found, anew=anew or not _only_adds(found, wanted))

    def reverse(self) -> ChangeMembers:
        """Return the operation that reverts this one."""
        return ChangeMembers(self.name, self.wanted, self.found, schema=self.schema, anew=self.anew)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the difference in the form of a column change."""
        return "modify_type", self.schema, None, self.name, {}, ", ".join(self.found), ", ".join(self.wanted)


class ChangesMembers:
    """The part of Alembic's PostgreSQL implementation that changes the members of an ENUM."""

    execute: Any
    as_sql: bool
    connection: Any
    dialect: Dialect

    def change_members(self, kind: ENUM, found: Sequence[str], *, anew: bool) -> None:
        """Give a type the members of *kind*; *found* is needed only in offline mode."""
        preparer: Any = self.dialect.identifier_preparer
        name: str = preparer.format_type(kind)
        if not anew:
            for statement in _additions(name, found, kind.enums):
                self._send(statement)
            return
        if self.as_sql:
            raise NotSupported(
                f"The members of {kind.name} cannot be changed by printed SQL: only the database knows its columns.",
                hint="Run the revision on the database: sqlkeel migrate up",
            )
        columns = self.connection.execute(_COLUMNS, {"name": name}).all()
        former = ENUM(name=fitting_name(str(kind.name), "former"), schema=kind.schema)
        self._send(f"ALTER TYPE {name} RENAME TO {preparer.quote(former.name)}")
        self.execute(CreateEnumType(kind))
        for column in columns:
            self._change_column(name, column)
        self._send(f"DROP TYPE {preparer.format_type(former)}")

    def _change_column(self, kind: str, column: Any) -> None:
        alter, suffix = f"ALTER TABLE {column.name} ALTER COLUMN {column.column}", "[]" if column.is_array else ""
        if column.default is not None:
            self._send(f"{alter} DROP DEFAULT")
        self._send(f"{alter} TYPE {kind}{suffix} USING {column.column}::text{suffix}::{kind}{suffix}")
        if column.default is not None:
            self._send(f"{alter} SET DEFAULT {column.default}")

    def _send(self, statement: str) -> None:
        self.execute(text(literal_text(statement)))


def compare_members(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Compare the members of each ENUM that a column already has; Alembic compares only its name."""
    if context.migration_context.dialect.name != "postgresql":
        return PriorityDispatchResult.CONTINUE
    assert context.connection is not None
    for (schema, name), kind in lasting_types(context, upgrade).items():
        found = members_of(context.connection, kind) if isinstance(kind, ENUM) else None
        if isinstance(kind, ENUM) and found is not None and found != kind.enums:
            _write(context, upgrade, ChangeMembers(name, found, kind.enums, schema=schema), kind)
    return PriorityDispatchResult.CONTINUE


def _write(context: AutogenContext, upgrade: ops.UpgradeOps, change: ChangeMembers, kind: ENUM) -> None:
    """Put the change before a new column of the type is created, and after an old one is dropped.

    If the revision does both, the type has the members of both versions in between.
    """
    key = (kind.schema, str(kind.name))
    one_sided = set(change.found).symmetric_difference(change.wanted)
    is_used = any(_names(one, one_sided) for one in defaults_of(context, upgrade, key))
    before, behind = _defaults(upgrade, kind, one_sided)
    change.anew = is_used or bool(before)
    made, dropped = types_made_and_dropped(upgrade)
    first, last = _split(change, is_made=key in made, is_dropped=key in dropped)
    upgrade.ops = [*before, *first, *upgrade.ops, *last, *behind]


def _split(
    change: ChangeMembers, *, is_made: bool, is_dropped: bool
) -> tuple[list[ChangeMembers], list[ChangeMembers]]:
    """Return the changes of types at the beginning of a revision, and those at its end."""
    found, wanted = change.found, change.wanted
    if not is_dropped or (is_made and _only_adds(found, wanted)):
        return [change], []
    if not is_made or set(wanted) <= set(found):
        return [], [change]
    both = [*found, *(one for one in wanted if one not in found)]
    steps = ((found, both), (both, wanted))
    first, last = (ChangeMembers(change.name, *step, schema=change.schema, anew=change.anew) for step in steps)
    return [first], [last]


def _defaults(upgrade: ops.UpgradeOps, kind: ENUM, members: set[str]) -> tuple[list[Any], list[Any]]:
    """Split each default change that involves an added or removed member: drop before, set after the members change."""
    before, behind = [], []
    for modify in upgrade.ops:
        for change in modify.ops if isinstance(modify, ops.ModifyTableOps) else ():
            if not isinstance(change, ops.AlterColumnOp) or change.modify_server_default is False:
                continue
            found, wanted = change.existing_server_default, change.modify_server_default
            if _is(change.existing_type, kind) and (_names(found, members) or _names(wanted, members)):
                before.append(_default(change, found, None))
                behind.append(_default(change, None, wanted))
                change.modify_server_default = False
    for modify in upgrade.ops:
        if isinstance(modify, ops.ModifyTableOps):
            modify.ops = [one for one in modify.ops if not isinstance(one, ops.AlterColumnOp) or one.has_changes()]
    return before, behind


def _default(change: ops.AlterColumnOp, found: Any, wanted: Any) -> ops.AlterColumnOp:
    return ops.AlterColumnOp(
        change.table_name,
        change.column_name,
        schema=change.schema,
        existing_type=change.existing_type,
        existing_server_default=found,
        modify_server_default=wanted,
    )


def _is(one: Any, kind: ENUM) -> bool:
    found = named_type(one) if one is not None else None
    return found is not None and (found.schema, found.name) == (kind.schema, kind.name)


def _names(default: Any, members: Iterable[str]) -> bool:
    """Return whether a default may contain one of the members, alone or in an array."""
    written = str(getattr(default, "arg", ""))
    return any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", written) for one in members)


def _only_adds(found: Sequence[str], wanted: Sequence[str]) -> bool:
    return list(found) == [one for one in wanted if one in found]


def _additions(name: str, found: Sequence[str], wanted: Sequence[str]) -> Iterator[str]:
    for position, one in enumerate(wanted):
        if one not in found:
            first = f" BEFORE {_quoted(found[0])}" if found else ""
            where = f" AFTER {_quoted(wanted[position - 1])}" if position else first
            yield f"ALTER TYPE {name} ADD VALUE {_quoted(one)}{where}"


def _quoted(member: str) -> str:
    return "'" + member.replace("'", "''") + "'"


@renderers.dispatch_for(ChangeMembers)
def _render(context: AutogenContext, change: ChangeMembers) -> list[str]:
    gone = [one for one in change.found if one not in change.wanted]
    new = [one for one in change.wanted if one not in change.found]
    options = f", schema={change.schema!r}" if change.schema else ""
    options += ", anew=True" if change.anew and _only_adds(change.found, change.wanted) else ""
    call = f"op.change_members({change.name!r}, {change.found!r}, {change.wanted!r}{options})"
    return [*_doubts(context, change, gone, new), call]


def _doubts(context: AutogenContext, change: ChangeMembers, gone: list[str], new: list[str]) -> Iterator[str]:
    if gone and new:
        preparer: Any = context.migration_context.dialect.identifier_preparer
        name = preparer.format_type(ENUM(name=change.name, schema=change.schema))
        rename = f"ALTER TYPE {name} RENAME VALUE {_quoted(gone[0])} TO {_quoted(new[0])}"
        yield f"# If {gone[0]} of {change.name} was renamed to {new[0]}, write instead: op.execute({rename!r})"
    elif gone:
        yield f"# A row with {', '.join(gone)} makes this fail: first give it another {change.name} by an UPDATE."
