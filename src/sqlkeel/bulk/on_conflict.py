"""INSERT … ON CONFLICT, as PostgreSQL and SQLite have it in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, and_, or_
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from .writer import Merge

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


def merging_insert(insert: Any, stage: Table, rows: Select[Any], merge: Merge, differs: Differs) -> Any:
    """Return the statement for the rows of a stage; a row that would not change is not written."""
    table = merge.target.table
    statement = insert(table).from_select([table.c[_key(table, column.name)] for column in stage.c], rows)
    conflict = {"index_elements": list(merge.unique.columns), "index_where": merge.unique.where}
    if not merge.assigned:
        return statement.on_conflict_do_nothing(**conflict)
    changed = or_(*(differs(column, statement.excluded[column.key]) for column in merge.assigned))
    return statement.on_conflict_do_update(
        **conflict, set_=_set(statement, merge), where=and_(changed, *merge.target.guards)
    )


async def lock_first(connection: AsyncConnection, rows: Select[Any]) -> Any:
    """Lock the first of *rows*; where somebody else holds it, its values are those that it then has."""
    return (await connection.execute(rows.limit(1).with_for_update())).first()


async def write_one(session: AsyncSession, statement: Any) -> Any:
    """Run a statement for one row and return its object and what else it returns; ``None`` where it returns nothing."""
    options = {"populate_existing": True, "include_deleted": True}
    return (await session.execute(statement, execution_options=options)).one_or_none()


def _set(statement: Any, merge: Merge) -> dict[Any, Any]:
    return {**{column: statement.excluded[column.key] for column in merge.assigned}, **merge.touched}


def _key(table: Table, name: str) -> str:
    return next(column.key for column in table.columns if column.name == name)
