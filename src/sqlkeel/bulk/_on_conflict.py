"""INSERT … ON CONFLICT, the part that PostgreSQL and SQLite share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, TableClause, and_, case, false, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ._writer import Merge

__all__ = ["lock_first", "merging_insert", "upserting_insert", "write_one"]

Differs = Callable[[Any, Any], ColumnElement[bool]]


def upserting_insert(insert: Any, values: Mapping[str, Any], merge: Merge, *also: ColumnElement[bool]) -> Any:
    """Return the statement for one row, with the dialect's own *insert*; it updates under the conditions *also*."""
    model = merge.target.model
    statement = insert(model).values({getattr(model, field): value for field, value in values.items()})
    conflict = {"index_elements": list(merge.unique.columns), "index_where": merge.unique.where}
    if not merge.assigned:
        return statement.on_conflict_do_nothing(**conflict)
    conditions = (*merge.target.guards, *also)
    where = and_(*conditions) if conditions else None
    return statement.on_conflict_do_update(**conflict, set_=_set(statement, merge), where=where)


def merging_insert(
    insert: Any,
    stage: TableClause,
    rows: Select[Any],
    merge: Merge,
    differs: Differs,
    *,
    note: ColumnElement[bool] | None = None,
) -> Any:
    """Return the statement for the rows of a stage; a row that would not change is not written.

    *note* is a condition that is always true, and is evaluated for each updated row.
    """
    table = merge.target.table
    statement = insert(table).from_select([table.c[_key(table, one.name)] for one in merge.inserted(stage)], rows)
    conflict = {"index_elements": list(merge.unique.columns), "index_where": merge.unique.where}
    if not merge.assigned:
        return statement.on_conflict_do_nothing(**conflict)
    changed = or_(*(differs(column, statement.excluded[column.key]) for column in merge.assigned))
    where = and_(changed, *merge.target.guards)
    values = {**_set(statement, merge), **_made_by_row(stage, merge)}
    return statement.on_conflict_do_update(
        **conflict, set_=values, where=where if note is None else case((where, note), else_=false())
    )


def _made_by_row(stage: TableClause, merge: Merge) -> dict[Any, Any]:
    """Return what an update writes in addition to the new row's values, looked up in the stage by key."""
    # By name: the column object would add its table to the subquery's FROM.
    names = [(column.name, column.name.replace('"', '""')) for column in merge.unique.columns]
    same = [stage.c[name] == literal_column(f'excluded."{escaped}"') for name, escaped in names]
    return {column: select(stage.c[name]).where(*same).scalar_subquery() for column, name in merge.by_row.items()}


async def lock_first(connection: AsyncConnection, rows: Select[Any]) -> Any:
    """Lock the first of *rows*; if another transaction holds it, return the values that it has after that."""
    return (await connection.execute(rows.limit(1).with_for_update())).first()


async def write_one(session: AsyncSession, statement: Any) -> Any:
    """Run a statement for one row and return its object and what else it returns; ``None`` if it returns nothing.

    An object that the session holds is not refreshed, because ``populate_existing`` would unload its relationships.
    """
    found = await session.execute(statement, execution_options={"include_deleted": True})
    return found.unique().one_or_none()


def _set(statement: Any, merge: Merge) -> dict[Any, Any]:
    return {**{column: statement.excluded[column.key] for column in merge.assigned}, **merge.touched}


def _key(table: Table, name: str) -> str:
    return next(column.key for column in table.columns if column.name == name)
