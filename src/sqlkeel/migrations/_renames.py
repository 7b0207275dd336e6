"""Mark a drop that may be half of a rename: the revision says so, and shows how to write the rename."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import MigrateOperation, ops

from .. import _sqlalchemy_tables as private

__all__ = ["mark_renames"]


class _Doubtful(MigrateOperation):
    """A drop that is written with a comment on how to write a rename instead."""

    def __init__(self, drop: ops.DropColumnOp | ops.DropTableOp, line: str) -> None:
        self.drop = drop
        self.line = line

    def reverse(self) -> MigrateOperation:
        """Return the operation that reverts the drop."""
        return self.drop.reverse()

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the drop as one of Alembic's tuples."""
        found: tuple[Any, ...] = self.drop.to_diff_tuple()
        return found


@renderers.dispatch_for(_Doubtful)
def _render(context: AutogenContext, doubtful: _Doubtful) -> list[str]:
    written: str = renderers.dispatch(type(doubtful.drop))(context, doubtful.drop)
    return [f"# {doubtful.line}", written]


def mark_renames(directives: list[ops.MigrationScript]) -> None:
    """Write each drop of a column or table that may have been renamed with a comment on the rename."""
    for script in directives:
        upgrade: Any = script.upgrade_ops
        for change in upgrade.ops if upgrade is not None else ():
            if isinstance(change, ops.ModifyTableOps):
                change.ops = list(_columns(change))
        if upgrade is not None:
            upgrade.ops = list(_tables(upgrade.ops))


def _columns(change: ops.ModifyTableOps) -> Iterator[MigrateOperation]:
    added = [one.column for one in change.ops if isinstance(one, ops.AddColumnOp)]
    for one in change.ops:
        like = []
        if isinstance(one, ops.DropColumnOp):
            kind = private.affinity_of(one.to_column().type)
            like = [column.name for column in added if private.affinity_of(column.type) is kind]
        yield _doubtful_column(one, like[0]) if isinstance(one, ops.DropColumnOp) and like else one


def _doubtful_column(drop: ops.DropColumnOp, new: str) -> _Doubtful:
    call = f"alter_column({drop.column_name!r}, new_column_name={new!r})"
    return _Doubtful(drop, _line(drop.column_name, new, call))


def _tables(operations: list[MigrateOperation]) -> Iterator[MigrateOperation]:
    made = {one.table_name: set(one.to_table().c.keys()) for one in operations if isinstance(one, ops.CreateTableOp)}
    for one in operations:
        like = []
        if isinstance(one, ops.DropTableOp):
            columns = set(one.to_table().c.keys())
            # More than half of the columns, because every table has an id.
            like = [name for name, others in made.items() if 2 * len(columns & others) > len(columns)]
        yield _doubtful_table(one, like[0]) if isinstance(one, ops.DropTableOp) and like else one


def _doubtful_table(drop: ops.DropTableOp, new: str) -> _Doubtful:
    return _Doubtful(drop, _line(drop.table_name, new, f"op.rename_table({drop.table_name!r}, {new!r})"))


def _line(old: str, new: str, call: str) -> str:
    return f"This loses the values of {old}. If it was renamed to {new}, write instead of both: {call}"
