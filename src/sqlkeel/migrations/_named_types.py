"""Named types of PostgreSQL, ENUM and DOMAIN: created before the first column that uses one, dropped after the last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import Column, Table, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.mysql import SET
from sqlalchemy.dialects.postgresql import DOMAIN, ENUM
from sqlalchemy.dialects.postgresql.named_types import CreateDomainType, CreateEnumType
from sqlalchemy.types import ARRAY, TypeDecorator

from ..errors import MigrationError

__all__ = [
    "DIALECT",
    "DropType",
    "MakesTypes",
    "PassesTypes",
    "TypeName",
    "UseType",
    "as_postgresql",
    "compare_types",
    "defaults_of",
    "lasting_types",
    "members_of",
    "named_type",
    "types_changed_by",
    "types_made_and_dropped",
]

DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's own
NamedType = ENUM | DOMAIN
TypeName = tuple[str | None, str]
"""A schema, unless it is the default one, and a name."""
_USERS: Final = """
SELECT count(*) FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
  JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
 WHERE c.relkind IN ('r', 'p', 'f') AND NOT a.attisdropped
   AND %s::regtype IN (t.oid, t.typelem)
"""


class _TypeOperation(MigrateOperation):
    def __init__(self, kind: NamedType) -> None:
        self.kind = kind


class UseType(_TypeOperation):
    """A type that is used; nothing to write, because creating its first column creates it."""

    def reverse(self) -> DropType:
        """Return the operation that reverts this one."""
        return DropType(self.kind)

    def to_diff_tuple(self) -> tuple[str, NamedType]:
        """Return the difference for a type that is missing in the database."""
        return "add_type", self.kind


class DropType(_TypeOperation):
    """Drop a type that no column uses any more; does nothing on other databases."""

    def reverse(self) -> UseType:
        """Return the operation that reverts this one."""
        return UseType(self.kind)

    def to_diff_tuple(self) -> tuple[str, NamedType]:
        """Return the difference for a type that exists in the database only."""
        return "remove_type", self.kind


@renderers.dispatch_for(UseType)
def _render_use(context: AutogenContext, operation: UseType) -> list[str]:
    return []


@renderers.dispatch_for(DropType)
def _render_drop(context: AutogenContext, operation: DropType) -> str:
    if isinstance(operation.kind, ENUM):
        schema = f", schema={operation.kind.schema!r}" if operation.kind.schema else ""
        return f"sa.Enum(name={str(operation.kind.name)!r}{schema}).drop(op.get_bind())"
    # SQLAlchemy's own drop() for a DOMAIN fails on other databases.
    name = DIALECT.identifier_preparer.format_type(operation.kind)  # type: ignore[attr-defined]  # of PostgreSQL's
    return f"if op.get_context().dialect.name == 'postgresql': op.execute({f'DROP DOMAIN {name}'!r})"


def compare_types(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Drop a type after its last column, in the upgrade and in the downgrade.

    Alembic creates the type with the table, but keeps it when the table is dropped, so that creating the table again
    fails. For a column that changes its type, Alembic does not create the new one.
    """
    made, dropped = _changed_uses(upgrade)
    lasting, models = lasting_types(context, upgrade), {*map(_key, _kinds(_uses(context)))}
    upgrade.ops[:0] = [UseType(kind) for name, kind in _named(made).items() if name not in lasting]
    gone = {name: kind for name, kind in _named(dropped).items() if name not in models}
    upgrade.ops += [DropType(kind) for name, kind in gone.items() if not _is_used(context, kind, but_for=dropped)]
    return PriorityDispatchResult.CONTINUE


def lasting_types(context: AutogenContext, upgrade: ops.UpgradeOps) -> dict[TypeName, NamedType]:
    """Return the types that have a column before the revision, and one in the models after it."""
    made, dropped = _changed_uses(upgrade)
    uses, new = _uses(context), {use[:2] for use in made}
    before = {*map(_key, _kinds([*(use for use in uses if use[:2] not in new), *dropped]))}
    return {name: kind for name, kind in _named(uses).items() if name in before}


def types_made_and_dropped(upgrade: ops.UpgradeOps) -> tuple[set[TypeName], set[TypeName]]:
    """Return the types that a column gets in the revision, and those that a column loses."""
    made, dropped = _changed_uses(upgrade)
    return {*_named(made)}, {*_named(dropped)}


def defaults_of(context: AutogenContext, upgrade: ops.UpgradeOps, name: TypeName) -> list[Any]:
    """Return the defaults of columns that have the type in the models, or lose it in the revision."""
    uses = [*_uses(context), *_changed_uses(upgrade)[1]]
    return [use.default for use in uses if name in _named([use])]


def _changed_uses(upgrade: ops.UpgradeOps) -> tuple[list[_Use], list[_Use]]:
    operations = list(_flat(upgrade.ops))
    made = [use for operation in operations for use in _made_by(operation)]
    return made, [use for operation in operations for use in _dropped_by(operation)]


def _uses(context: AutogenContext) -> list[_Use]:
    return [
        _Use(table.fullname, one.name, one.type, one.server_default)
        for table in context.sorted_tables
        for one in table.c
    ]


class _Use(NamedTuple):
    """A column that has, gets or loses a named type of the server."""

    table: str
    column: str
    kind: Any
    default: Any = None


class MakesTypes:
    """The part of Alembic's PostgreSQL implementation that creates a missing type and uses an existing one."""

    execute: Any
    as_sql: bool
    connection: Any
    dialect: Any
    memo: dict[str, Any]

    def create_table(self, table: Table, **options: Any) -> None:
        """Create the types of the columns before the table."""
        for column in table.columns:
            self.provide_type(column)
        theirs: Any = super()
        theirs.create_table(table, **options)

    def alter_column(self, table_name: str, column_name: str, **options: Any) -> None:
        """Create the new type of the column before the change."""
        if options.get("type_") is not None:
            self.provide_type(Column(column_name, options["type_"]))
        theirs: Any = super()
        theirs.alter_column(table_name, column_name, **options)

    def provide_type(self, column: Column[Any]) -> None:
        """Create the named type of a column unless it exists; in offline mode, create each type once.

        Raises:
            MigrationError: When a type of that name exists without some of the members.
        """
        kind = named_type(column.type)
        if kind is None or not kind.create_type:
            return
        made = _made(self.memo, kind)
        members = self._members(kind, made)
        if members is None:
            create = CreateEnumType(kind) if isinstance(kind, ENUM) else CreateDomainType(kind)
            self.execute(create)
        elif isinstance(kind, ENUM) and not {*kind.enums}.issubset(members):
            raise MigrationError(
                f"There is a type {kind.name} with the members {', '.join(members)}, not {', '.join(kind.enums)}.",
                hint=f"ALTER TYPE {kind.name} ADD VALUE '…' before it, or another name=.",
            )
        made.add((kind.schema, kind.name))

    def _members(self, kind: NamedType, made: Any) -> list[str] | None:
        """Return the members of an existing type, empty for a DOMAIN; ``None`` if the type does not exist."""
        if self.as_sql:
            return getattr(kind, "enums", []) if (kind.schema, kind.name) in made else None
        return members_of(self.connection, kind)


class PassesTypes:
    """The part of Alembic's implementation for other databases that creates no PostgreSQL types.

    SQLAlchemy would create the type of a variant with the table on any database.
    """

    memo: dict[str, Any]

    def create_table(self, table: Table, **options: Any) -> None:
        """Mark the types of the columns as already created."""
        for column in table.columns:
            kind = named_type(column.type)
            if kind is not None:
                _made(self.memo, kind).add((kind.schema, kind.name))
        theirs: Any = super()
        theirs.create_table(table, **options)


def _made(memo: dict[str, Any], kind: NamedType) -> set[tuple[str | None, str | None]]:
    # Private: where SQLAlchemy records what a run has created; TestEveryDatabase is the canary.
    made: set[tuple[str | None, str | None]] = memo.setdefault(f"pg_{kind.__visit_name__}", set())
    return made


def members_of(connection: Any, kind: NamedType) -> list[str] | None:
    """Return the members of a type in the database, empty for a DOMAIN; ``None`` if it does not exist."""
    inspector: Any = inspect(connection)
    read = inspector.get_enums if isinstance(kind, ENUM) else inspector.get_domains
    found = read(schema=kind.schema or connection.dialect.default_schema_name)
    return next((list(one.get("labels", ())) for one in found if one["name"] == kind.name), None)


def _flat(operations: Iterable[MigrateOperation]) -> Iterator[MigrateOperation]:
    for one in operations:
        yield from one.ops if isinstance(one, ops.ModifyTableOps) else [one]


def _made_by(operation: MigrateOperation) -> list[_Use]:
    if isinstance(operation, ops.CreateTableOp):
        return [_use(operation, one) for one in operation.columns if isinstance(one, Column)]
    if isinstance(operation, ops.AddColumnOp):
        return [_use(operation, operation.column)]
    return _changed_by(operation)[:1]


def _dropped_by(operation: MigrateOperation) -> list[_Use]:
    if isinstance(operation, ops.DropTableOp):
        return [_use(operation, one) for one in operation.to_table().columns]
    if isinstance(operation, ops.DropColumnOp):
        return [_use(operation, operation.to_column())]
    return _changed_by(operation)[1:]


def _changed_by(operation: Any) -> list[_Use]:
    """Return new and old type of a column that changes from one to another; empty if it keeps its type."""
    both = [_use(operation, Column(operation.column_name, one)) for one in types_changed_by(operation)]
    both[1:] = [use._replace(default=operation.existing_server_default) for use in both[1:]]
    return [] if _named(both[:1]).keys() == _named(both[1:]).keys() else both


def types_changed_by(operation: MigrateOperation) -> list[Any]:
    """Return new and old type of an ALTER COLUMN that changes the type."""
    if not isinstance(operation, ops.AlterColumnOp) or operation.modify_type is None or not operation.existing_type:
        return []
    return [operation.modify_type, operation.existing_type]


def _use(operation: Any, column: Column[Any]) -> _Use:
    schema = f"{operation.schema}." if operation.schema else ""
    return _Use(f"{schema}{operation.table_name}", column.name, column.type, column.server_default)


def _kinds(uses: Iterable[_Use]) -> list[NamedType]:
    kinds = (named_type(use.kind) for use in uses)
    return [kind for kind in kinds if kind is not None and kind.name is not None]


def _key(kind: NamedType) -> TypeName:
    return kind.schema, str(kind.name)


def _named(uses: Iterable[_Use]) -> dict[TypeName, NamedType]:
    return {_key(kind): kind for kind in _kinds(uses) if kind.create_type}


def as_postgresql(kind: Any) -> Any:
    """Return PostgreSQL's form of a type; a MariaDB SET, which has none, is returned as it is.

    Raises:
        TypeError: When another type cannot be adapted.
    """
    try:
        found = kind.dialect_impl(DIALECT)
    except TypeError:
        # SQLAlchemy's SET passes its own options to the class of each dialect, whose constructor may refuse them.
        found = getattr(kind, "impl_instance", kind)
        if not isinstance(found, SET):
            raise
    return found.impl_instance if isinstance(found, TypeDecorator) else found


def named_type(kind: Any) -> NamedType | None:
    """Return the named PostgreSQL type of a column, even inside a decorator or an array."""
    found = as_postgresql(kind)
    if isinstance(found, ARRAY):
        return named_type(found.item_type)
    return found if isinstance(found, (ENUM, DOMAIN)) else None


def _is_used(context: AutogenContext, kind: NamedType, *, but_for: Iterable[_Use]) -> bool:
    """Return whether a table outside the project uses the type."""
    if context.migration_context.dialect.name != "postgresql":
        return True
    assert context.connection is not None
    preparer = context.migration_context.dialect.identifier_preparer
    name = preparer.format_type(kind)  # type: ignore[attr-defined]  # of PostgreSQL's
    users = context.connection.exec_driver_sql(_USERS % f"'{name}'").scalar_one()
    ours = [one for one in but_for if _key(kind) in _named([one])]
    return bool(users > len(ours))
