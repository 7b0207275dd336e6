"""Types that PostgreSQL has by name, as a native ENUM: made before the column that has one, dropped behind the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, Connection, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import ARRAY, TypeDecorator

from ..errors import MigrationError

__all__ = ["DropType", "MakesTypes", "UseType", "compare_types"]

_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
_USERS: Final = """
SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE c.relkind IN ('r', 'p', 'f') AND NOT a.attisdropped
   AND %s::regtype IN (t.oid, t.typelem)
"""


class _TypeOperation(MigrateOperation):
    def __init__(self, kind: postgresql.ENUM) -> None:
        self.kind = kind


class UseType(_TypeOperation):
    """Nothing to write: what makes the first column of a type makes the type."""

    def reverse(self) -> DropType:
        """Return what takes it back."""
        return DropType(self.kind)

    def to_diff_tuple(self) -> tuple[str, postgresql.ENUM]:
        """Return what is missing in the database."""
        return "add_type", self.kind


class DropType(_TypeOperation):
    """Drop a type that no column has any more; on the other databases, nothing."""

    def reverse(self) -> UseType:
        """Return what takes it back."""
        return UseType(self.kind)

    def to_diff_tuple(self) -> tuple[str, postgresql.ENUM]:
        """Return what the database has too much."""
        return "remove_type", self.kind


@renderers.dispatch_for(UseType)
def _render_use(context: AutogenContext, operation: UseType) -> list[str]:
    return []


@renderers.dispatch_for(DropType)
def _render_drop(context: AutogenContext, operation: DropType) -> str:
    schema = f", schema={operation.kind.schema!r}" if operation.kind.schema else ""
    return f"sa.Enum(name={str(operation.kind.name)!r}{schema}).drop(op.get_bind())"


def compare_types(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Write that a type goes with the last column that has it, here and on the way back.

    Alembic makes the type with the table, and leaves it when the table goes: made again, it is there already.
    """
    made, dropped = [], []
    for operation in _flat(upgrade.ops):
        if isinstance(operation, (ops.CreateTableOp, ops.AddColumnOp)):
            made += _columns_of(operation)
        elif isinstance(operation, (ops.DropTableOp, ops.DropColumnOp)):
            dropped += _columns_of(operation)
    models = [column for table in context.sorted_tables for column in table.columns]
    new = {(column.table.fullname, column.name) for column in made if column.table is not None}
    kept = _named([one for one in models if (one.table.fullname, one.name) not in new])
    upgrade.ops[:0] = [UseType(kind) for name, kind in _named(made).items() if name not in kept]
    gone = {name: kind for name, kind in _named(dropped).items() if name not in _named(models)}
    upgrade.ops += [DropType(kind) for name, kind in gone.items() if not _is_used(context, kind, but_for=dropped)]
    return PriorityDispatchResult.CONTINUE


class MakesTypes:
    """Part of Alembic's implementation for PostgreSQL: a type that is there is used, one that is not is made."""

    as_sql: bool
    connection: Any
    dialect: Any
    memo: dict[str, Any]

    def create_table(self, table: Table, **options: Any) -> None:
        """Have the types of the columns there before."""
        for column in table.columns:
            self.provide_type(column)
        theirs: Any = super()
        theirs.create_table(table, **options)

    def provide_type(self, column: Column[Any]) -> None:
        """Make the type of a column, if it has one by name and that is not there; SQL that is printed makes each once.

        Raises:
            MigrationError: When there is one of that name, with other members.
        """
        kind = _enum(column.type)
        if kind is None or not kind.create_type or self.as_sql:
            return
        members = _members(self.connection, kind)
        if members is None:
            kind.create(self.connection, checkfirst=False)
        elif members != kind.enums:
            raise MigrationError(
                f"There is a type {kind.name} with the members {', '.join(members)}, not {', '.join(kind.enums)}.",
                hint=f"ALTER TYPE {kind.name} ADD VALUE '…' before it, or another name=.",
            )
        # Not public: where SQLAlchemy notes what a run has made; TestEveryDatabase is the canary.
        self.memo.setdefault(f"pg_{kind.__visit_name__}", set()).add((kind.schema, kind.name))


def _members(connection: Connection, kind: postgresql.ENUM) -> list[str] | None:
    inspector: Any = inspect(connection)
    found = inspector.get_enums(schema=kind.schema or connection.dialect.default_schema_name)
    return next((list(one["labels"]) for one in found if one["name"] == kind.name), None)


def _flat(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for one in operations:
        yield from one.ops if isinstance(one, ops.ModifyTableOps) else [one]


def _columns_of(operation: Any) -> list[Column[Any]]:
    if isinstance(operation, ops.AddColumnOp):
        return [operation.column]
    if isinstance(operation, ops.DropColumnOp):
        return [operation.to_column()]
    if isinstance(operation, ops.DropTableOp):
        return list(operation.to_table().columns)
    return [one for one in operation.columns if isinstance(one, Column)]


def _named(columns: Iterable[Column[Any]]) -> dict[tuple[str | None, str], postgresql.ENUM]:
    kinds = (_enum(column.type) for column in columns)
    return {(kind.schema, str(kind.name)): kind for kind in kinds if kind is not None and kind.create_type}


def _enum(kind: Any) -> postgresql.ENUM | None:
    """Return the type that PostgreSQL has by a name, also inside of a decorator or an array."""
    found = kind.dialect_impl(_DIALECT)
    found = found.impl_instance if isinstance(found, TypeDecorator) else found
    if isinstance(found, ARRAY):
        return _enum(found.item_type)
    return found if isinstance(found, postgresql.ENUM) else None


def _is_used(context: AutogenContext, kind: postgresql.ENUM, *, but_for: Iterable[Column[Any]]) -> bool:
    """Tell whether a table that is not the project's has the type."""
    if context.migration_context.dialect.name != "postgresql":
        return True
    assert context.connection is not None
    preparer = context.migration_context.dialect.identifier_preparer
    name = preparer.format_type(kind)  # type: ignore[attr-defined]  # of PostgreSQL's
    users = context.connection.exec_driver_sql(_USERS % f"'{name}'").scalar_one()
    ours = [one for one in but_for if (kind.schema, str(kind.name)) in _named([one])]
    return bool(users > len(ours))
