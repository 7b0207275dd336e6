"""Compare models with a database, as a plugin of Alembic: SQL that means the same is not a difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, Computed, Connection, DefaultClause, Dialect, Identity, Integer, String, Text
from sqlalchemy.exc import CompileError
from sqlalchemy.types import NullType, TypeDecorator

from .. import _sqlalchemy_tables as private
from ._choices import compare_choices
from ._circles import close_circles
from ._computed import compare_computed
from ._conditional import skip_conditional
from ._databases import Migrator, migrator_for
from ._drops import put_drops_last
from ._foreign_keys import order_foreign_keys
from ._given_names import drop_unnamed_uniques, name_constraints
from ._key_changes import suspend_keys
from ._key_indexes import index_keys
from ._members import compare_members
from ._named_types import compare_types
from ._ownership import Ownership
from ._rendering import finish_script, render_item
from ._repeated import skip_repeated
from ._sequences import compare_sequences
from ._triggers import compare_triggers
from ._type_changes import is_array, write_casts
from ._type_checks import skip_checks_of_types
from ._unnamed import keep_unnamed_checks
from ._written import without_parameters

__all__ = ["comparison"]

_NAME: Final = "sqlkeel.defaults"
_ours: Final = Plugin(_NAME)


def comparison(backend: Migrator, ownership: Ownership, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``context.configure`` that compare types, defaults and CHECKs, and render differences.

    The project's *options* take precedence. Alembic still calls its ``include_object`` and ``include_name``, for each
    object that the project owns.
    """
    include = options.get("include_object")
    every_schema = bool(options.get("include_schemas"))

    def include_object(item: Any, name: str | None, kind: str, reflected: bool, other: Any) -> bool:
        if reflected and other is None and backend.is_generated(kind, item):
            return False
        return include is None or include(item, name, kind, reflected, other)

    ours = {
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname", _NAME],
        "compare_server_default": True,
        "compare_type": True,
        "include_schemas": True,
        "process_revision_directives": finish_script,
        "render_as_batch": backend.batch,
        "render_item": render_item,
    }
    include_name = ownership.filter(every_schema=every_schema, also=options.get("include_name"))
    return {**ours, **options, "include_object": include_object, "include_name": include_name}


def _compare_default(
    context: AutogenContext,
    op: AlterColumnOp,
    schema: Any,
    table: Any,
    name: Any,
    found: Column[Any],
    wanted: Column[Any],
) -> PriorityDispatchResult:
    same = None if _is_told(context, "server_default") else _is_same_default(context, found, wanted)
    if same is None:
        return PriorityDispatchResult.CONTINUE
    # MariaDB redefines the whole column when any part changes, and drops the parts that are not repeated.
    op.existing_server_default = found.server_default
    if wanted.table.autoincrement_column is wanted:
        op.kw["autoincrement"] = True
    if not same:
        op.modify_server_default = wanted.server_default
    return PriorityDispatchResult.STOP


def _is_same_default(context: AutogenContext, found: Column[Any], wanted: Column[Any]) -> bool | None:
    """Return whether two defaults are equal; ``None`` to let Alembic decide."""
    dialect = context.migration_context.dialect
    backend = migrator_for(dialect.name)
    both = (wanted.server_default, found.server_default)
    if any(isinstance(one, Computed) for one in both):
        return True  # compare_computed() compares them.
    if isinstance(wanted.server_default, Identity):
        return True if found.server_default is None and not backend.has_identity else None
    if both == (None, None) or not all(one is None or isinstance(one, DefaultClause) for one in both):
        return None
    if wanted.server_default is None and wanted.table.autoincrement_column is wanted:
        return None
    return backend.is_same_default(_connection(context), dialect, found, without_parameters(wanted))


def _compare_type(
    context: AutogenContext,
    op: AlterColumnOp,
    schema: Any,
    table: Any,
    name: Any,
    found: Column[Any],
    wanted: Column[Any],
) -> PriorityDispatchResult:
    """Compare collations and options that only one side states, which Alembic ignores; accept mere synonyms."""
    if _is_told(context, "type"):
        return PriorityDispatchResult.CONTINUE
    if private.affinity_of(found.type) is NullType:
        op.existing_type = wanted.type  # Reflection does not know the type; a redefined column still needs one.
        return PriorityDispatchResult.STOP
    dialect = context.migration_context.dialect
    backend = migrator_for(dialect.name)
    is_other = context.migration_context.impl.compare_type(found, wanted)
    # Alembic treats INTEGER[] as INTEGER.
    if dialect.name == "postgresql" and is_array(found.type) != is_array(wanted.type):
        op.existing_type, op.modify_type = found.type, wanted.type
        return PriorityDispatchResult.STOP
    if is_other and backend.is_same_type(_connection(context), dialect, found, wanted):
        op.existing_type = found.type
        return PriorityDispatchResult.STOP
    if not is_other and _compare_collation(context, op, found, wanted):
        return PriorityDispatchResult.STOP
    if not is_other and _has_other_length(context, found, wanted):
        op.existing_type, op.modify_type = found.type, wanted.type
        return PriorityDispatchResult.STOP
    return PriorityDispatchResult.CONTINUE


def _has_other_length(context: AutogenContext, found: Column[Any], wanted: Column[Any]) -> bool:
    """Return whether the database has another length, precision or character set than the models.

    Alembic ignores a length that only one side states. The display width of an integer does not count.
    """
    dialect = context.migration_context.dialect
    backend = migrator_for(dialect.name)
    if not backend.keeps_lengths or isinstance(found.type, Integer):
        return False
    try:
        ours, theirs = (dialect.type_compiler_instance.process(one.type) for one in (wanted, found))
    except CompileError:  # a type that SQLAlchemy does not know
        return False
    return ours != theirs and backend.is_same_type(_connection(context), dialect, found, wanted) is False


def _compare_collation(context: AutogenContext, op: AlterColumnOp, found: Column[Any], wanted: Column[Any]) -> bool:
    """Record a changed collation in *op*; skip columns that are not strings or have no collation on either side."""
    connection, dialect = _connection(context), context.migration_context.dialect
    backend = migrator_for(dialect.name)
    asked = _plain(wanted.type, dialect)
    if not isinstance(asked, String):
        return False
    ours, theirs = asked.collation, backend.collation(connection, found)
    if (ours or backend.usual_collation) == (theirs or backend.usual_collation):
        return False
    same = backend.is_same_type(connection, dialect, found, wanted) if backend.has_character_sets else False
    if same or (same is None and ours is None):
        return False
    op.existing_type = _collated(found.type, theirs or backend.usual_collation)
    op.modify_type = wanted.type
    if ours is None and backend.usual_collation is not None:
        kind = Text if isinstance(asked, Text) else String
        op.modify_type = kind(asked.length, collation=backend.usual_collation)
    return True


def _collated(kind: Any, collation: str | None) -> Any:
    other = kind.copy()
    other.collation = collation
    return other


def _plain(kind: Any, dialect: Dialect) -> Any:
    # The type inside a TypeDecorator, or the variant for this database.
    found = kind.dialect_impl(dialect)
    return found.impl_instance if isinstance(found, TypeDecorator) else found


def _is_told(context: AutogenContext, what: str) -> bool:
    """Return whether the project has its own comparison function for *what*, or has turned the comparison off."""
    option: Any = context.opts.get(f"compare_{what}", True)
    return option is not True


def _connection(context: AutogenContext) -> Connection:
    assert context.connection is not None, "comparing needs a database"
    return context.connection


_ours.add_autogenerate_comparator(_compare_default, "column", "server_default", priority=DispatchPriority.FIRST)
_ours.add_autogenerate_comparator(_compare_type, "column", "types", priority=DispatchPriority.FIRST)
_ours.add_autogenerate_comparator(keep_unnamed_checks, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(skip_conditional, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(skip_checks_of_types, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(skip_repeated, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_computed, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_choices, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(drop_unnamed_uniques, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(index_keys, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_triggers, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(put_drops_last, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(name_constraints, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(order_foreign_keys, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_sequences, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(close_circles, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_types, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_members, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(write_casts, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(suspend_keys, "schema", priority=DispatchPriority.LAST)
