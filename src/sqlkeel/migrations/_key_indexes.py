"""The index that MariaDB creates for a foreign key: it is dropped with the key, and used if the key has no other."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from typing import Any, cast

from alembic.autogenerate import renderers
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.util import PriorityDispatchResult, to_list
from sqlalchemy import Table, UniqueConstraint

from ..models._naming import fitting_name
from . import _alembic as unpromised
from ._databases import Migrator, migrator_for

__all__ = ["HoldKeyIndex", "YieldKeyIndex", "index_keys"]


class HoldKeyIndex(ops.CreateIndexOp):
    """An index for a key, created before the last other index that the key could use is dropped."""

    def reverse(self) -> YieldKeyIndex:
        """Return the operation that reverts this one."""
        return YieldKeyIndex(self.index_name, self.table_name, self.columns, schema=self.schema)


class YieldKeyIndex(ops.DropIndexOp):
    """The index of a key, dropped after its replacement exists; the server drops one that it created itself."""

    def __init__(self, name: Any, table_name: str, columns: Any, *, schema: str | None = None) -> None:
        super().__init__(name, table_name, schema=schema, if_exists=True)
        self.columns = columns

    def reverse(self) -> HoldKeyIndex:
        """Return the operation that reverts this one."""
        return HoldKeyIndex(self.index_name, str(self.table_name), self.columns, schema=self.schema)

    def to_diff_tuple(self) -> tuple[Any, ...]:
        """Return the drop as one of Alembic's tuples."""
        return "remove_index", self.to_index()


class _CreateIndexedKey(ops.CreateForeignKeyOp):
    """A foreign key that gets its own index, possibly with the name of a later key on the same columns."""

    index: Any = None

    @property
    def index_name(self) -> str | None:
        """Return the name of the index, once the keys have names."""
        if isinstance(self.index, ops.CreateForeignKeyOp):
            return str(self.index.constraint_name)
        return cast("str | None", self.index)

    def reverse(self) -> _DropIndexedKey:
        return _drop_indexed(super().reverse(), self.index_name)


class _DropIndexedKey(ops.DropConstraintOp):
    """A foreign key that is dropped with its index."""

    index_name: str | None = None

    def reverse(self) -> _CreateIndexedKey:
        return _create_indexed(cast("ops.CreateForeignKeyOp", super().reverse()), self.index_name)


def index_keys(
    context: AutogenContext,
    modify: ops.ModifyTableOps,
    schema: Any,
    name: Any,
    found: Table | None,
    wanted: Table | None,
) -> PriorityDispatchResult:
    """Let each added or dropped key include the index that the server creates for it."""
    backend = migrator_for(context.migration_context.dialect.name)
    if found is not None and wanted is not None and backend.indexes_keys:
        modify.ops.sort(key=_position)
        modify.ops[:] = list(_with_indexes(modify.ops, found, wanted, backend))
        held, yielded = _stand_ins(modify.ops, found, wanted, backend)
        modify.ops[:] = [*held, *modify.ops, *yielded]
    return PriorityDispatchResult.CONTINUE


def _position(change: Any) -> tuple[int, int]:
    """Return the sort key: drop a key before another key whose index it uses, and add it after that key."""
    if isinstance(change, ops.CreateForeignKeyOp):
        return 1, -len(_columns(change))
    if isinstance(change, ops.DropConstraintOp) and change.constraint_type == "foreignkey":
        return -1, len(_columns(change))
    return 0, 0


def _stand_ins(
    changes: list[ops.MigrateOperation], found: Table, wanted: Table, backend: Migrator
) -> tuple[list[HoldKeyIndex], list[YieldKeyIndex]]:
    """Return the indexes of remaining keys that must be created first, and those that other indexes replace."""
    held: dict[tuple[str, ...], HoldKeyIndex] = {}
    yielded: dict[tuple[str, ...], YieldKeyIndex] = {}
    dropped = {_dropped_index(one) for one in changes}
    for key in sorted(found.foreign_key_constraints, key=lambda one: str(one.name)):
        columns = tuple(_names(key))
        if list(columns) not in _keys(wanted) or _starts([_names(found.primary_key)], columns):
            continue
        usable = [one for one in found.indexes if _starts([_names(one)], columns)]
        # Compared by name, because SQLAlchemy and Alembic each reflect the table.
        left = [*{one.name: one for one in usable if one.name not in dropped}.values()]
        name, schema = _free_name(key, found, wanted), found.schema
        if not left and usable:
            held[columns] = HoldKeyIndex(name, found.name, list(columns), schema=schema)
        own = name if not left else left[0].name if _is_own(left, columns, wanted, backend) else None
        if own is not None and _is_covered(columns, wanted):
            yielded[columns] = YieldKeyIndex(own, found.name, list(columns), schema=schema)
    return [*held.values()], [*yielded.values()]


def _is_own(left: list[Any], columns: tuple[str, ...], wanted: Table, backend: Migrator) -> bool:
    uniques: list[Any] = [one for one in wanted.constraints if isinstance(one, UniqueConstraint)]
    kept = {one.name for one in (*wanted.indexes, *uniques)}
    (first, *others) = left
    own = not others and first.name not in kept and _names(first) == list(columns)
    return own and backend.is_generated("index", first)


def _is_covered(columns: tuple[str, ...], wanted: Table) -> bool:
    longer = [one for one in _keys(wanted) if len(one) > len(columns)]
    return _starts([*_covered(wanted), *longer], columns)


def _free_name(key: Any, found: Table, wanted: Table) -> str:
    taken = {str(one.name) for one in (*found.indexes, *wanted.indexes)}
    names = (fitting_name(str(key.name), str(number)) for number in count(2))
    return next(one for one in chain([str(key.name)], names) if one not in taken)


def _dropped_index(change: Any) -> str | None:
    if isinstance(change, _DropIndexedKey):
        return str(change.index_name or change.constraint_name)
    if isinstance(change, ops.DropIndexOp):
        return str(change.index_name)
    is_unique = isinstance(change, ops.DropConstraintOp) and change.constraint_type != "foreignkey"
    return str(change.constraint_name) if is_unique else None


def _with_indexes(
    changes: list[ops.MigrateOperation], found: Table, wanted: Table, backend: Migrator
) -> Iterator[ops.MigrateOperation]:
    """Yield the changes; of several keys on the same columns, only the first created and last dropped has the index."""
    indexed = [*_keys(found), *_covered(wanted)]
    added = [one for one in changes if isinstance(one, ops.CreateForeignKeyOp)]
    dropped = [one for one in changes if isinstance(one, ops.DropConstraintOp) and one.constraint_type == "foreignkey"]
    for one in changes:
        is_last = one in dropped and _like(one, dropped)[-1] is one
        if one in added and not _starts(indexed, _columns(one)):
            indexed.append(_columns(one))
            # Each index replaces that of the previous key.
            yield _create_indexed(one, _like(one, added)[-1])
        elif isinstance(one, ops.DropConstraintOp) and is_last and not _starts(_keys(wanted), _columns(one)):
            index = _index_of(_like(one, dropped), found, wanted, backend)
            yield one if index is None else _drop_indexed(one, index)
        else:
            yield one


def _like(key: Any, others: list[Any]) -> list[Any]:
    return [one for one in others if _columns(one) == _columns(key)]


def _columns(key: Any) -> list[str]:
    return list((key if isinstance(key, ops.CreateForeignKeyOp) else key.reverse()).local_cols)


def _index_of(keys: list[Any], found: Table, wanted: Table, backend: Migrator) -> str | None:
    """Return the index that only these keys need and that comparison therefore ignores."""
    kept = {index.name for index in wanted.indexes} | {one.name for one in wanted.constraints}
    named = {key.constraint_name for key in keys}
    spare = [one for one in found.indexes if one.name not in kept and _names(one) == _columns(keys[0])]
    hidden = [one for one in spare if one.name in named or backend.is_generated("index", one)]
    return str(hidden[0].name) if hidden and not hidden[0].unique else None


def _keys(table: Table) -> list[list[str]]:
    return [_names(key) for key in table.foreign_key_constraints]


def _covered(table: Table) -> list[list[str]]:
    """Return the columns of each index in the models."""
    keyed: list[Any] = [one for one in table.constraints if not one.__visit_name__.startswith(("foreign", "check"))]
    return [_names(one) for one in (*table.indexes, *keyed) if hasattr(one, "columns")]


def _starts(indexed: list[list[str]], columns: Any) -> bool:
    return any(one[: len(columns)] == list(columns) for one in indexed)


def _names(item: Any) -> list[str]:
    return [column.name for column in item.columns]


def _create_indexed(key: Any, index: Any) -> _CreateIndexedKey:
    other = unpromised.become(key, _CreateIndexedKey)
    other.index = None if index is key else index
    return cast("_CreateIndexedKey", other)


def _drop_indexed(key: ops.DropConstraintOp, index: str | None) -> _DropIndexedKey:
    other = unpromised.become(key, _DropIndexedKey)
    other.index_name = index
    return cast("_DropIndexedKey", other)


@renderers.dispatch_for(HoldKeyIndex)
def _render_hold(context: AutogenContext, change: HoldKeyIndex) -> list[str]:
    return to_list(renderers.dispatch(ops.CreateIndexOp)(context, change))


@renderers.dispatch_for(YieldKeyIndex)
def _render_yield(context: AutogenContext, change: YieldKeyIndex) -> list[str]:
    return to_list(renderers.dispatch(ops.DropIndexOp)(context, change))


@renderers.dispatch_for(_CreateIndexedKey)
def _render_create(context: AutogenContext, key: _CreateIndexedKey) -> list[str]:
    written = to_list(renderers.dispatch(ops.CreateForeignKeyOp)(context, key))
    if key.index_name in (None, key.constraint_name):
        return written
    index = ops.CreateIndexOp(key.index_name, key.source_table, [*key.local_cols], schema=key.kw.get("source_schema"))
    return [*to_list(renderers.dispatch(ops.CreateIndexOp)(context, index)), *written]


@renderers.dispatch_for(_DropIndexedKey)
def _render_drop(context: AutogenContext, key: _DropIndexedKey) -> list[str]:
    index = ops.DropIndexOp(str(key.index_name or key.constraint_name), key.table_name, schema=key.schema)
    first = to_list(renderers.dispatch(ops.DropConstraintOp)(context, key))
    return [*first, *to_list(renderers.dispatch(ops.DropIndexOp)(context, index))]
