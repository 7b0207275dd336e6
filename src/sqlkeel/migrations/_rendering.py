"""Render types and defaults in a revision, with the imports that they need."""

from __future__ import annotations

from typing import Any, Final, Literal

from alembic.autogenerate.api import AutogenContext
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import ops
from sqlalchemy import Column, DefaultClause, False_, Interval, True_
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import NullType, TypeDecorator

from .. import _sqlalchemy_tables as private
from ..types._choice import Choice
from ..types._exact import UTCDateTime, utc_now
from . import _alembic as unpromised
from ._choices import render_check, render_type
from ._conditional import render_conditional, write_conditions
from ._named_types import DIALECT
from ._renames import mark_renames
from ._required import mark_required
from ._sequences import render_column
from ._type_checks import comes_with_type

__all__ = ["finish_script", "render_item"]

_POSTGRESQL: Final = PostgresqlImpl(DIALECT, None, True, None, None, {})


def render_item(kind: str, item: Any, context: AutogenContext) -> str | Literal[False] | None:
    """Return code that runs on every database for custom types and defaults.

    Alembic would write ``app.types.Email()`` without the import, and a default in the SQL of the current database.
    """
    if kind == "type":
        return _type(item, context)
    if kind == "server_default" and isinstance(item, DefaultClause):
        return _default(item.arg, context)
    if kind == "column":
        return render_column(item, context) or False
    if kind == "check" and comes_with_type(item):
        return None
    if kind == "check":
        return render_conditional(item, context) or render_check(item, context) or False
    if kind in {"unique", "foreign_key"}:
        return render_conditional(item, context) or False
    return False


def _type(item: Any, context: AutogenContext) -> str | Literal[False]:
    """Return the code for a type with its variants, which Alembic's hook for types has to render itself."""
    written = _without_variants(item, context)
    for dialect, kind in sorted(private.variants_of(item).items()) if written else ():
        variant = unpromised.render_type(kind, context)
        written = f"{written}.with_variant({variant}, {dialect!r})"
    return written


def _without_variants(item: Any, context: AutogenContext) -> str | Literal[False]:
    kind = type(item)
    if isinstance(item, Choice):
        return render_type(item)
    if kind is NullType:
        return "sa.types.NullType()"  # the fallback for a type that reflection does not know
    if kind is Interval:
        return _interval(item)
    if kind.__module__.startswith(postgresql.__name__):
        # The variant also appears in revisions for other databases, whose Alembic implementations cannot render it.
        written = _POSTGRESQL.render_type(item, context)
        if written:
            context.imports.add("from sqlalchemy.dialects import postgresql")
        return written
    if not isinstance(item, TypeDecorator) or kind.__module__.startswith("sqlalchemy."):
        return False
    context.imports.add(f"from {_door(kind.__module__)} import {kind.__qualname__}")
    return f"{kind.__name__}()" if kind is UTCDateTime else repr(item)


def _interval(item: Interval) -> str:
    """Return the code with options, which SQLAlchemy's own repr() omits."""
    usual = {"native": True, "second_precision": None, "day_precision": None}
    options = {name: getattr(item, name) for name, value in usual.items() if getattr(item, name) != value}
    return f"sa.Interval({', '.join(f'{name}={value!r}' for name, value in options.items())})"


def _default(value: Any, context: AutogenContext) -> str | Literal[False]:
    if isinstance(value, utc_now):
        context.imports.add(f"from {_door(utc_now.__module__)} import {utc_now.__name__}")
        return f"{utc_now.__name__}()"
    if isinstance(value, str):
        return repr(value)  # Alembic strips a quote from either end, even one that belongs to the value.
    if isinstance(value, (True_, False_)):
        return f"sa.{str(value).lower()}()"
    return False


def _door(module: str) -> str:
    """Return the public module that exports a name of ours: private modules may move, but a revision stays."""
    return module.partition("._")[0] if module.startswith("sqlkeel.") else module


def finish_script(context: Any, revision: Any, directives: list[ops.MigrationScript]) -> None:
    """Change the operations of a revision before they are written."""
    _skip_needless_drops(directives)
    mark_required(directives)
    mark_renames(directives)
    write_conditions(context.opts["target_metadata"], directives)
    _keep_types_whole(directives)


def _keep_types_whole(directives: list[ops.MigrationScript]) -> None:
    """Restore the original types in a new table: Alembic's copy of an Enum loses variants and character set."""
    containers = [one for script in directives for one in (script.upgrade_ops, script.downgrade_ops)]
    for container in containers:
        for change in container.ops if container is not None else ():
            if isinstance(change, ops.CreateTableOp):
                change.columns = [_copied(one) if isinstance(one, Column) else one for one in change.columns]


def _copied(column: Column[Any]) -> Column[Any]:
    copied = private.copy_of_column(column)  # Alembic cannot copy a column that has no table
    copied.type = column.type
    return copied


def _skip_needless_drops(directives: list[ops.MigrationScript]) -> None:
    """Omit DROP INDEX before DROP TABLE; MariaDB refuses it if a foreign key needs the index."""
    for script in directives:
        for container in (script.upgrade_ops, script.downgrade_ops):
            if container is not None:
                dropped = {op.table_name for op in container.ops if isinstance(op, ops.DropTableOp)}
                container.ops = [op for op in container.ops if not _only_drops_indexes(op, dropped)]


def _only_drops_indexes(op: ops.MigrateOperation, dropped: set[str]) -> bool:
    inner = op.ops if isinstance(op, ops.ModifyTableOps) else [op]
    return all(isinstance(one, ops.DropIndexOp) and one.table_name in dropped for one in inner)
