"""Restore a soft-deleted row instead of inserting another one with its unique values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Table, TableClause, and_, case, func, literal, select, update
from sqlalchemy.exc import IntegrityError

from ..engines._backend import unique_violation
from ..errors import NotSupported
from ..models._key_columns import row_value
from ..soft_delete._deletion import below_deleted, refuse_below_deleted
from ..soft_delete._edges import edges_above
from ..soft_delete._marks import Mark
from ._columns import raw
from ._on_conflict import write_one
from ._target import Target
from ._work import Work
from ._writer import Merge

__all__ = ["refuse_without_mark", "revive_many", "revive_one", "unmarked"]

_ATTEMPTS = 3


def refuse_without_mark(target: Target) -> None:
    """Refuse a model without soft delete.

    Raises:
        NotSupported: Names the mixin.
    """
    if not target.is_soft_deletable:
        raise NotSupported(
            f"{target.name} has no soft delete, so it has no rows to revive.",
            hint="Give the model the SoftDeleteMixin.",
        )


async def revive_one(work: Work, values: Mapping[str, Any], merge: Merge) -> Any:
    """Restore the most recently deleted row with the unique values of *values*, and return its object.

    ``None`` if a live row has them, or no row does, or another session was faster. In each case the caller's upsert
    continues.

    Raises:
        UsageError: When the row's parent is deleted.
        UniqueViolation: When the row breaks another unique constraint.
    """
    target, table = work.target, work.target.table
    mark, key = target.fields["deleted_at"], target.columns(target.key)
    same = [work.same(column, values[target.field(column)]) for column in merge.unique.columns]
    order = [case((mark.is_(None), 0), else_=1), mark.desc(), *(column.desc() for column in key)]
    columns = [*key, *(column for column in target.fields.values() if column not in key)]
    rows = select(*columns).where(*same, *target.kinds).order_by(*order)
    row = await work.writer.lock_first(work.connection, rows, key)
    found = {} if row is None else dict(zip(columns, row, strict=True))
    if found.get(mark) is None:
        return None
    given = {column: values[target.field(column)] for column in merge.assigned}
    await work.connection.run_sync(refuse_below_deleted, target.mapper, {**found, **given}.__getitem__)
    match = [column == found[column] for column in key]
    # Repeated in the UPDATE: on MariaDB the row was found in a snapshot, and may have other values now.
    statement = update(table).where(*match, *same, mark.is_not(None)).values({**given, **unmarked(merge)})
    try:
        revived = (await work.attempt(statement)).rowcount
    except IntegrityError as error:
        if not _is_of(error, work, merge):
            raise
        return None
    return (await write_one(work.session, select(target.model).where(*match)))[0] if revived else None


async def revive_many(work: Work, stage: TableClause, merge: Merge) -> int:
    """For each staged key without a live row, restore the most recently deleted row with the staged values.

    Return the number of restored rows.

    Raises:
        UsageError: When the parent of one of them is deleted; nothing is written.
        UniqueViolation: When a row breaks another unique constraint; nothing is written.
    """
    table, mark = work.target.table, work.target.fields["deleted_at"]
    await work.writer.keep_last(work.connection, stage, merge.unique)
    among = [*_same(table, stage, merge), mark.is_not(None), _deleted_last(work.target, stage, merge)]
    given = {column: stage.c[column.name] for column in merge.assigned}
    await _refuse_any_below_deleted(work, among, given)
    values = {**given, **{column: stage.c[name] for column, name in merge.by_row.items()}, **unmarked(merge)}
    for attempt in range(_ATTEMPTS):
        try:
            return (await work.attempt(update(table).where(*among).values(values))).rowcount
        except IntegrityError as error:
            # Another session has inserted a live row in between; the next attempt sees it.
            if not _is_of(error, work, merge) or attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError("the last attempt returns or raises")


async def _refuse_any_below_deleted(work: Work, among: list[ColumnElement[bool]], given: Mapping[Any, Any]) -> None:
    for above, edge in edges_above(work.target.mapper):
        dead: Any = edge.owner.persist_selectable
        # The parent is another row of the same table, as in a tree.
        dead = dead.alias() if isinstance(dead, Table) else dead
        columns = [dead.corresponding_column(column) for column in edge.above]
        pairs = zip(columns, edge.below, strict=True)
        same = [column == given.get(below, below) for column, below in pairs]
        mark = dead.corresponding_column(Mark(above).at)
        # Lock them whether they are marked or not, because a snapshot would show an older state.
        marks = (
            select(mark).select_from(work.target.table).where(*among, *same).with_for_update(read=True, of=mark.table)
        )
        if any(at is not None for at in (await work.connection.execute(marks)).scalars()):
            raise below_deleted(work.target.mapper, edge)


def _deleted_last(target: Target, stage: TableClause, merge: Merge) -> ColumnElement[bool]:
    """Match the most recently deleted row for each staged key that no live row has."""
    dead, live = target.table.alias(), target.table.alias()
    key, mark = [dead.c[column.key] for column in target.columns(target.key)], target.fields["deleted_at"].key
    alive = (
        select(literal(1))
        .where(*_same(live, stage, merge), live.c[mark].is_(None))
        .suffix_with("LOCK IN SHARE MODE", dialect="mariadb")
        .exists()
    )
    partition = [dead.c[column.key] for column in merge.unique.columns]
    place = func.row_number().over(
        partition_by=partition, order_by=[dead.c[mark].desc(), *(column.desc() for column in key)]
    )
    ranked = select(*key, place.label("sqlkeel_place")).where(
        *_same(dead, stage, merge), dead.c[mark].is_not(None), ~alive
    )
    rows = ranked.suffix_with("LOCK IN SHARE MODE", dialect="mariadb").subquery()
    # A derived table, because MariaDB refuses a subquery on the table that is being updated (error 1093).
    chosen = select(*(rows.c[column.key] for column in key)).where(rows.c.sqlkeel_place == 1).subquery()
    columns = target.columns(target.key)
    whole = row_value(columns)
    return and_(whole.in_(select(chosen)), *target.kinds)


def _same(table: Any, stage: TableClause, merge: Merge) -> list[ColumnElement[bool]]:
    return [raw(table.c[column.key]) == stage.c[column.name] for column in merge.unique.columns]


def unmarked(merge: Merge) -> dict[Any, Any]:
    """Return what changes in every restored row: no mark, the next version, the time."""
    target = merge.target
    moved = target.touched([])
    moved |= {column: value for column, value in merge.touched.items() if column not in merge.assigned}
    given = set(merge.assigned)
    moved = {column: value for column, value in moved.items() if column not in given}
    return {**moved, target.fields["deleted_at"]: None, target.fields["deletion_id"]: None}


def _is_of(error: IntegrityError, work: Work, merge: Merge) -> bool:
    """Return whether the error names the unique constraint of the upsert."""
    found = unique_violation(error, work.connection.engine.url)
    if found is None:
        return False
    names = {column.name for column in merge.unique.columns}
    return found.constraint == merge.unique.name if found.constraint else set(found.columns) == names
