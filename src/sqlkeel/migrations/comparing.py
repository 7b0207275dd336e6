"""How models are compared with a database, as a plugin of Alembic: what means the same is not a difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AlterColumnOp
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Column, DefaultClause, Identity
from sqlalchemy.schema import CreateColumn

from .backends import MigrationBackend, backend_for
from .choices import compare_choices
from .drops import put_drops_last
from .foreign_keys import put_foreign_keys_last
from .ownership import Ownership
from .rendering import finish_script, render_item
from .triggers import compare_triggers

__all__ = ["comparison"]

_NAME: Final = "sqlkeel.defaults"
_ours: Final = Plugin(_NAME)


def comparison(backend: MigrationBackend, ownership: Ownership, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of ``context.configure`` that compare types, defaults and CHECKs, and write what differs.

    The *options* of the project win. Its own ``include_object`` and ``include_name`` are asked about everything that
    is the project's.
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
        "include_schemas": ownership.spans_schemas,
        "process_revision_directives": finish_script,
        "render_as_batch": backend.batch,
        "render_item": render_item,
    }
    include_name = ownership.filter(every_schema=every_schema, also=options.get("include_name"))
    return {**ours, **options, "include_object": include_object, "include_name": include_name}


def _skip_same_default(
    context: AutogenContext,
    op: AlterColumnOp,
    schema: Any,
    table: Any,
    name: Any,
    found: Column[Any],
    wanted: Column[Any],
) -> PriorityDispatchResult:
    dialect = context.migration_context.dialect
    backend = backend_for(dialect.name)
    if not _is_same(backend, dialect, found, wanted):
        return PriorityDispatchResult.CONTINUE
    # MariaDB states a column anew when anything of it changes, and loses what is not stated.
    op.existing_server_default = found.server_default
    if wanted.table._autoincrement_column is wanted:
        op.kw["autoincrement"] = True
    return PriorityDispatchResult.STOP


_ours.add_autogenerate_comparator(_skip_same_default, "column", "server_default", priority=DispatchPriority.FIRST)
_ours.add_autogenerate_comparator(compare_choices, "table", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(compare_triggers, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(put_drops_last, "schema", priority=DispatchPriority.LAST)
_ours.add_autogenerate_comparator(put_foreign_keys_last, "schema", priority=DispatchPriority.LAST)


def _is_same(backend: MigrationBackend, dialect: Any, found: Column[Any], wanted: Column[Any]) -> bool:
    ours, theirs = wanted.server_default, found.server_default
    if isinstance(ours, Identity):
        return theirs is None and not backend.has_identity
    if not isinstance(ours, DefaultClause) or not isinstance(theirs, DefaultClause):
        return False
    compiler: Any = dialect.ddl_compiler(dialect, CreateColumn(wanted))
    wanted_text = compiler.get_column_default_string(wanted)
    return backend.plain_default(str(theirs.arg), found) == backend.plain_default(wanted_text, found)
