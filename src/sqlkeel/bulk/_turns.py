"""Merge rows with the same key and different fields in turns, with the same result as one upsert after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    Select,
    Subquery,
    TableClause,
    cast,
    false,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)

from ._binder import PLACE, BoundRows
from ._columns import raw
from ._target import Unique
from ._work import Work
from ._writer import Merge

__all__ = ["Stage", "in_turns", "placed"]

_TURN: Final[Column[Any]] = Column("sqlkeel_turn", BigInteger())


@dataclass(frozen=True)
class Stage:
    """A temporary table of rows with the same fields: its rows, and the rules for merging them."""

    table: TableClause
    rows: BoundRows
    merge: Merge


async def placed(work: Work, stage: Stage, rows: BoundRows, opened: AsyncExitStack) -> Stage:
    """Return a new stage that also stores positions, with the rows of *stage*, which get the first positions."""
    unique, connection = stage.merge.unique, work.connection
    await work.writer.keep_last(connection, stage.table, unique)
    table = await opened.enter_async_context(work.writer.stage(connection, work.target, rows, unique))
    own = [stage.table.c[name] for name in stage.rows.names]
    place: Any = literal_column("0") - func.row_number().over(
        order_by=[stage.table.c[one.name] for one in unique.columns]
    )
    await connection.execute(insert(table).from_select([*rows.names], select(*own, place)))
    return replace(stage, table=table, rows=rows)


async def in_turns(work: Work, stages: Mapping[frozenset[str], Stage], opened: AsyncExitStack) -> list[Stage]:
    """Lock the existing rows, and return the stages in an order that is the same for all callers.

    If a key occurs in two rows, return parts of the stages instead. Each part has at most one row per key, in the order
    in which they came: the first, which creates the row, and the last of each set of fields.
    """
    ordered = [stages[fields] for fields in sorted(stages, key=sorted)]
    if not ordered:
        return []
    unique = ordered[0].merge.unique
    keys = [select(*(stage.table.c[one.name] for one in unique.columns)).distinct() for stage in ordered]
    await work.writer.lock(work.connection, ordered[0].merge, keys)
    if len(ordered) == 1:
        return ordered
    every = _every(ordered, unique)
    twice = select(literal(1)).select_from(every).group_by(*_key(every, unique)).having(func.count() > 1).limit(1)
    if (await work.connection.execute(twice)).first() is None:
        return ordered
    return await _parts(work, ordered, _turns(every, unique, len(ordered)), opened)


def _every(stages: Sequence[Stage], unique: Unique) -> Subquery:
    """Return the keys of all stages, their positions, and the numbers of their stages.

    The table's own key columns must not come first, because SQLite would take the collation of texts from there.
    """
    zero: Any = literal_column("0")
    own = [raw(column).label(f"key_{number}") for number, column in enumerate(unique.columns)]
    none: Any = select(*own, cast(zero, BigInteger).label("place"), zero.label("stage")).where(false())
    staged = [
        select(*(stage.table.c[one.name] for one in unique.columns), stage.table.c[PLACE.name], literal_column(str(n)))
        for n, stage in enumerate(stages)
    ]
    return union_all(none, *staged).subquery()


def _key(rows: Subquery, unique: Unique) -> list[Any]:
    return [rows.c[f"key_{number}"] for number in range(len(unique.columns))]


def _turns(every: Subquery, unique: Unique, stages: int) -> Select[Any]:
    """Return position and turn of each row to merge; a turn modulo *stages* is the number of its stage."""
    key = _key(every, unique)
    first = func.row_number().over(partition_by=key, order_by=every.c.place)
    last = func.row_number().over(partition_by=[*key, every.c.stage], order_by=every.c.place.desc())
    ranked = select(*every.c, first.label("first"), last.label("last")).subquery()
    following = func.lead(ranked.c.stage).over(partition_by=_key(ranked, unique), order_by=ranked.c.place)
    kept = (
        select(*ranked.c, following.label("following")).where(or_(ranked.c.first == 1, ranked.c.last == 1)).subquery()
    )
    number = func.row_number().over(partition_by=_key(kept, unique), order_by=kept.c.place)
    turn = (number - 1) * stages + kept.c.stage
    rows: Any = select(kept.c.place, turn)
    turns: Select[Any] = rows.where(kept.c.following.is_distinct_from(kept.c.stage))
    return turns


async def _parts(work: Work, stages: Sequence[Stage], turns: Select[Any], opened: AsyncExitStack) -> list[Stage]:
    shape = stages[0].rows.shape
    rows = BoundRows((PLACE, _TURN), (PLACE.name, _TURN.name), (), shape)
    opening = work.writer.stage(work.connection, work.target, rows, Unique(None, (PLACE,)))
    table = await opened.enter_async_context(opening)
    await work.connection.execute(insert(table).from_select([*rows.names], turns))
    column = table.c[_TURN.name]
    found = (await work.connection.scalars(select(column).distinct().order_by(column))).all()
    return [await _part(work, stages[turn % len(stages)], table, turn, opened) for turn in found]


async def _part(work: Work, stage: Stage, turns: TableClause, turn: int, opened: AsyncExitStack) -> Stage:
    rows = stage.rows.without_places()
    opening = work.writer.stage(work.connection, work.target, rows, stage.merge.unique)
    table = await opened.enter_async_context(opening)
    own = select(*(stage.table.c[name] for name in rows.names))
    same = stage.table.c[PLACE.name] == turns.c[PLACE.name]
    chosen = own.join_from(stage.table, turns, same).where(turns.c[_TURN.name] == turn)
    chosen = chosen.order_by(stage.table.c[PLACE.name])
    await work.connection.execute(insert(table).from_select([*rows.names], chosen))
    return Stage(table, rows, stage.merge)
