"""INSERT … ON CONFLICT, as PostgreSQL and SQLite have it in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, TableClause, and_, case, false, literal_column, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ._writer import Merge

__all__ = ["lock_first", "merging_insert", "upserting_insert", "write_one"]

Differs = Callable[[Any, Any], ColumnElement[bool]]


def upserting_insert(insert: Any, values: Mapping[str, Any], merge: Merge, *also: ColumnElement[bool]) -> Any:
    """Return the statement for one row, made of the dialect's own *insert*; it updates under the conditions *also*."""
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

    *note* is a condition that always holds, and is asked for each row that is updated.
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
    """Return what an update writes besides the values of a new row: to be found in the stage by the key."""
    # By name: as a column of its table it would bring that table into the subquery.
    names = [(column.name, column.name.replace('"', '""')) for column in merge.unique.columns]
    same = [stage.c[name] == literal_column(f'excluded."{escaped}"') for name, escaped in names]
    return {column: select(stage.c[name]).where(*same).scalar_subquery() for column, name in merge.by_row.items()}


async def lock_first(connection: AsyncConnection, rows: Select[Any]) -> Any:
    """Lock the first of *rows*; where somebody else holds it, its values are those that it then has."""
    return (await connection.execute(rows.limit(1).with_for_update())).first()


async def write_one(session: AsyncSession, statement: Any) -> Any:
    """Run a statement for one row and return its object and what else it returns; ``None`` where it returns nothing.

    An object that the session holds stays as it is: ``populate_existing`` would unload its relations.
    """
    found = await session.execute(statement, execution_options={"include_deleted": True})
    return found.unique().one_or_none()


def _set(statement: Any, merge: Merge) -> dict[Any, Any]:
    return {**{column: statement.excluded[column.key] for column in merge.assigned}, **merge.touched}


def _key(table: Table, name: str) -> str:
    return next(column.key for column in table.columns if column.name == name)
