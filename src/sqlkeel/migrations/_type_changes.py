"""PostgreSQL columns that change to or from a native ENUM, or from text: written with a cast."""

from __future__ import annotations

import copy
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult, to_list
from sqlalchemy import JSON, Boolean, Date, DateTime, DefaultClause, Dialect, Integer, Numeric, String, Uuid
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import ARRAY

from ..errors import MigrationError
from ._named_types import as_postgresql, named_type, types_changed_by

__all__ = ["CastsValues", "ChangeType", "is_array", "write_casts"]

_STOP: Final = (
    "{column} changes between one value and an array: write the conversion into postgresql_using= below, "
    "and delete this line"
)


# The first four parse a text completely or fail; for the others, `KeepsValues` checks that nothing is lost.
_READ_FROM_TEXT: Final = (Boolean, Integer, JSON, Uuid, Numeric, Date, DateTime)
_MISMATCH: Final = "42804"


class ChangeType(MigrateOperation):
    """Change the type of a column whose values and default PostgreSQL does not convert implicitly."""

    def __init__(self, change: ops.AlterColumnOp, *, found: Any, wanted: Any) -> None:
        self.change = change
        self.found = found
        self.wanted = wanted

    def reverse(self) -> ChangeType:
        """Return the operation that reverts this one."""
        return ChangeType(self.change.reverse(), found=self.wanted, wanted=self.found)

    def to_diff_tuple(self) -> Any:
        """Return the difference as one of Alembic's tuples."""
        return self.change.to_diff_tuple()


class CastsValues:
    """The part of Alembic's PostgreSQL implementation that adds casts to revisions written on another database."""

    dialect: Dialect

    def alter_column(self, table_name: str, column_name: str, **options: Any) -> None:
        """Change a column; cast to or from a named type, and drop its default before the change."""
        theirs: Any = super()
        if _casts_by_itself(options):
            default = options.get("existing_server_default", False)
            if default is not None and default is not False:
                theirs.alter_column(table_name, column_name, schema=options.get("schema"), server_default=None)
                if options.get("server_default", False) is False:
                    options["server_default"] = default
            options["postgresql_using"] = _cast(self.dialect, column_name, options["type_"])
        try:
            theirs.alter_column(table_name, column_name, **options)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _MISMATCH and options.get("type_") is not None:
                raise self._uncast(table_name, column_name, options) from error
            raise

    def is_told(self, column_name: str, options: dict[str, Any]) -> bool:
        """Return whether the revision converts the values by another expression than `write_casts` writes."""
        using = options.get("postgresql_using")
        return using is not None and using != _cast(self.dialect, column_name, options["type_"])

    def _uncast(self, table_name: str, column_name: str, options: dict[str, Any]) -> MigrationError:
        using = _cast(self.dialect, column_name, options["type_"])
        return MigrationError(
            f"PostgreSQL does not convert the values or the default of {table_name}.{column_name} implicitly.",
            hint=f"Write alter_column({column_name!r}, …, postgresql_using={using!r}) if that is right for the values; "
            "drop a default by another alter_column before it, with server_default=None.",
        )


def _casts_by_itself(options: dict[str, Any]) -> bool:
    new = options.get("type_")
    types = [new, options.get("existing_type")] if new is not None and "postgresql_using" not in options else []
    return any(named_type(one) is not None for one in types if one is not None)


def write_casts(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Write each type change that PostgreSQL does not do implicitly with a cast, such as to a named type.

    The default has the old type, so it is dropped before the change and set again after it.
    """
    if context.migration_context.dialect.name == "postgresql":
        for modify in upgrade.ops:
            if isinstance(modify, ops.ModifyTableOps):
                modify.ops = [_changed(context, one) if _needs_cast(one) else one for one in modify.ops]
    return PriorityDispatchResult.CONTINUE


def is_array(kind: Any) -> bool:
    """Return whether PostgreSQL has an array for a type; the type may come from another dialect."""
    return isinstance(as_postgresql(kind), ARRAY)


def _needs_cast(operation: Any) -> bool:
    types = [as_postgresql(one) for one in types_changed_by(operation)]
    if any(named_type(one) is not None for one in types) or len({is_array(one) for one in types}) > 1:
        return True
    return any(isinstance(one, String) for one in types) and any(_is_read_from_text(one) for one in types)


def _is_read_from_text(kind: Any) -> bool:
    # A timestamptz would read a text without a zone in the time zone of the migrating session.
    return isinstance(kind, _READ_FROM_TEXT) and not getattr(kind, "timezone", False)


def _changed(context: AutogenContext, change: Any) -> ChangeType:
    key = f"{change.schema}.{change.table_name}" if change.schema else change.table_name
    default: Any = context.table_key_to_table[key].columns[change.column_name].server_default
    # The model's default; the reflected one contains the old type.
    kept = default if change.existing_server_default else None
    wanted = kept if change.modify_server_default is False else change.modify_server_default
    return ChangeType(change, found=change.existing_server_default, wanted=wanted)


@renderers.dispatch_for(ChangeType)
def _render(context: AutogenContext, operation: ChangeType) -> list[str]:
    change, lines = copy.copy(operation.change), []
    change.existing_server_default = change.modify_server_default = False
    old, new = change.existing_type, change.modify_type
    if is_array(old) != is_array(new):
        lines.append(f"raise NotImplementedError({_STOP.format(column=f'{change.table_name}.{change.column_name}')!r})")
    if isinstance(operation.found, DefaultClause):
        lines += _default(context, change, old, None)
    using = _cast(context.migration_context.dialect, change.column_name, new)
    lines += [f"{line[:-1]}, postgresql_using={using!r})" for line in _written(context, change)]
    if isinstance(operation.wanted, DefaultClause):
        lines += _default(context, change, new, operation.wanted)
    return lines


def _default(context: AutogenContext, change: ops.AlterColumnOp, kind: Any, default: Any) -> list[str]:
    names = (change.table_name, change.column_name)
    step = ops.AlterColumnOp(*names, schema=change.schema, existing_type=kind, modify_server_default=default)
    return _written(context, step)


def _written(context: AutogenContext, operation: MigrateOperation) -> list[str]:
    return list(to_list(renderers.dispatch(operation)(context, operation)))


def _cast(dialect: Dialect, name: str, kind: Any) -> str:
    """Return the cast of the value to the new type; a text that is too long is refused, not truncated."""
    column = dialect.identifier_preparer.quote(name)
    new = as_postgresql(kind)
    item = new.item_type if isinstance(new, ARRAY) else new
    value = f"{column}::text[]" if isinstance(new, ARRAY) else f"{column}::text"
    if isinstance(as_postgresql(item), String) and named_type(item) is None:
        return value
    return f"{value}::{dialect.type_compiler_instance.process(kind)}"
