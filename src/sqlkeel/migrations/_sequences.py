"""Sequences that the models name: created before the tables that use them, and found if missing."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterable, Iterator
from typing import Any, Final

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops
from alembic.util import PriorityDispatchResult
from sqlalchemy import ClauseElement, Column, MetaData, Sequence, Table
from sqlalchemy.sql import visitors

from .. import _sqlalchemy_tables as private
from . import _alembic as unpromised

__all__ = ["CreateSequence", "DropSequence", "compare_sequences", "render_column"]

_OPTIONS: Final = ("start", "increment", "minvalue", "maxvalue", "nominvalue", "nomaxvalue", "cycle", "cache", "order")


class _SequenceOperation(MigrateOperation):
    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence


class CreateSequence(_SequenceOperation):
    """Create a sequence; does nothing on a database without sequences."""

    def reverse(self) -> DropSequence:
        """Return the operation that reverts this one."""
        return DropSequence(self.sequence)

    def to_diff_tuple(self) -> tuple[str, Sequence]:
        """Return the difference for a sequence that is missing in the database."""
        return "add_sequence", self.sequence


class DropSequence(_SequenceOperation):
    """Drop a sequence."""

    def reverse(self) -> CreateSequence:
        """Return the operation that reverts this one."""
        return CreateSequence(self.sequence)

    def to_diff_tuple(self) -> tuple[str, Sequence]:
        """Return what exists in the database only."""
        return "remove_sequence", self.sequence


def compare_sequences(context: AutogenContext, upgrade: ops.UpgradeOps, schemas: Any) -> PriorityDispatchResult:
    """Create missing sequences before everything else.

    SQLAlchemy asks a sequence for the key of a row. Alembic writes an auto-incremented column instead, and then every
    INSERT asks for a sequence that does not exist.
    """
    metadata = context.metadata
    assert isinstance(metadata, MetaData)
    missing = _missing(context, metadata) if _has_sequences(context) else _of_new_tables(upgrade, metadata)
    upgrade.ops[:0] = [CreateSequence(one) for one in missing]
    return PriorityDispatchResult.CONTINUE


def render_column(column: Column[Any], context: AutogenContext) -> str | None:
    """Return the code for a column with its sequence; ``None`` for a column without one."""
    if not isinstance(column.default, Sequence):
        return None
    bare = copy.copy(column)
    bare.default = None
    written = unpromised.render_column(bare, context)
    call: Any = ast.parse(written, mode="eval").body
    # In bytes, because ast's offsets count bytes.
    head, tail = written.encode()[: call.args[-1].end_col_offset], written.encode()[call.args[-1].end_col_offset :]
    return f"{head.decode()}, {_written(column.default)}{tail.decode()}"


@renderers.dispatch_for(CreateSequence)
def _render_create(context: AutogenContext, operation: CreateSequence) -> str:
    return f"{_written(operation.sequence)}.create(op.get_bind())"


@renderers.dispatch_for(DropSequence)
def _render_drop(context: AutogenContext, operation: DropSequence) -> str:
    return f"{_written(operation.sequence)}.drop(op.get_bind())"


def _written(sequence: Sequence) -> str:
    named = {"schema": sequence.schema, "optional": sequence.optional or None}
    options = named | {name: getattr(sequence, name, None) for name in _OPTIONS}
    given = "".join(f", {name}={value!r}" for name, value in options.items() if value is not None)
    return f"sa.Sequence({sequence.name!r}{given})"


def _has_sequences(context: AutogenContext) -> bool:
    return bool(context.migration_context.dialect.supports_sequences)


def _missing(context: AutogenContext, metadata: MetaData) -> Iterator[Sequence]:
    optional = context.migration_context.dialect.sequences_optional
    for sequence in _unique([*_used_by(_compared(context, metadata)), *_unused(metadata)]):
        is_needed = not (optional and sequence.optional)
        if is_needed and not context.inspector.has_sequence(sequence.name, schema=sequence.schema):
            yield sequence


def _compared(context: AutogenContext, metadata: MetaData) -> Iterator[Table]:
    """Yield the tables that the project does not exclude."""
    for table in metadata.tables.values():
        if context.run_object_filters(table, table.name, "table", False, None):
            yield table


def _unused(metadata: MetaData) -> Iterator[Sequence]:
    used = {_key(one) for one in _used_by(metadata.tables.values())}
    return (one for one in private.sequences_of(metadata).values() if _key(one) not in used)


def _of_new_tables(upgrade: ops.UpgradeOps, metadata: MetaData) -> Iterable[Sequence]:
    """Return the sequences that only new tables use: a database without sequences cannot tell about the others."""
    made = {(one.schema, one.table_name) for one in upgrade.ops if isinstance(one, ops.CreateTableOp)}
    new: list[Table] = []
    old: list[Table] = []
    for table in metadata.tables.values():
        (new if (table.schema, table.name) in made else old).append(table)
    known = {_key(one) for one in _used_by(old)}
    return [one for one in _unique(_used_by(new)) if _key(one) not in known]


def _used_by(tables: Iterable[Table]) -> Iterator[Sequence]:
    for column in (column for table in tables for column in table.columns):
        if isinstance(column.default, Sequence):
            yield column.default
        expression: Any = getattr(column.server_default, "arg", None)
        if isinstance(expression, ClauseElement):
            found = (getattr(part, "sequence", None) for part in visitors.iterate(expression))
            yield from (one for one in found if isinstance(one, Sequence))


def _unique(sequences: Iterable[Sequence]) -> Iterable[Sequence]:
    return {_key(one): one for one in sequences}.values()


def _key(sequence: Sequence) -> tuple[str | None, str]:
    return sequence.schema, str(sequence.name)
