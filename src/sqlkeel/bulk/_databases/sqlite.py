"""Many rows on SQLite: executemany, and a temporary table merged by ON CONFLICT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    FromClause,
    Index,
    Select,
    Table,
    TableClause,
    delete,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ...engines._traces import RESTORED
from ...models._key_columns import row_value
from .._binder import BoundRows
from .._columns import quoted, raw, schema_of
from .._on_conflict import lock_first, merging_insert, upserting_insert, write_one
from .._target import Target, Unique
from .._writer import Merge, Writer, copied, named_stage, write_by_driver, write_by_statement

__all__ = ["SQLiteWriter"]

_CONFLICT: Final = "sqlkeel_conflict"
_LEAVES_OUT: Final = "type = 'trigger' AND tbl_name = :name COLLATE NOCASE AND sql LIKE '%ignore%'"


class SQLiteWriter(Writer):
    """SQLite through aiosqlite."""

    shows_locked = True

    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Begin the transaction if the driver would only do that at the first INSERT.

        Otherwise a savepoint would be the outermost transaction, and releasing it would commit. In autocommit mode that
        is what the caller wants.
        """
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if not driver.in_transaction and driver.isolation_level is not None:
            await connection.exec_driver_sql("BEGIN")

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the WHERE of a partial index."""
        where: ColumnElement[bool] | None = index.dialect_options["sqlite"]["where"]
        return where

    def rounded(self, value: Any, of: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
        """Return the value unchanged: SQLite does not round on assignment."""
        return literal(value, of.type)

    @asynccontextmanager
    async def source(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> AsyncIterator[FromClause]:
        """Write the rows to a temporary table."""
        async with self.stage(connection, target, rows) as stage:
            await self.fill(connection, stage, rows, errors_of=target.table)
            yield stage

    @asynccontextmanager
    async def stage(
        self, connection: AsyncConnection, target: Target, rows: BoundRows, unique: Unique | None = None
    ) -> AsyncIterator[TableClause]:
        """Create a temporary table in which a row replaces an earlier one with the same key."""
        with named_stage(connection, target.table, rows) as stage:
            await connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE {stage.name} AS {copied(connection, target.table, rows)} WHERE 0",
                execution_options=RESTORED,
            )
            if unique is not None:
                key = quoted(connection.dialect, [column.name for column in unique.columns])
                index = "INDEX" if rows.placed else "UNIQUE INDEX"
                await connection.exec_driver_sql(f"CREATE {index} temp.{stage.name}_key ON {stage.name} ({key})")
            yield stage
            await connection.exec_driver_sql(f"DROP TABLE {stage.name}")

    async def fill(self, connection: AsyncConnection, stage: TableClause, rows: BoundRows, *, errors_of: Table) -> int:
        """Write rows to a stage."""
        if rows.in_sql:
            return await write_by_statement(connection, _replace, stage, rows, errors_of=errors_of)
        return await write_by_driver(connection, "REPLACE", stage, rows, errors_of=errors_of)

    async def lock(self, connection: AsyncConnection, merge: Merge, keys: Sequence[Select[Any]]) -> None:
        """Do nothing: a writer has the whole database locked."""

    async def merge(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> tuple[int, int]:
        """Count the new rows, then write; no other connection can write in between."""
        same = [raw(column) == stage.c[column.name] for column in merge.unique.columns]
        if merge.unique.where is not None:
            same.append(merge.unique.where)
        there = select(literal_column("1")).select_from(merge.target.table).where(*same).exists()
        absent = select(func.count()).select_from(stage).where(~there)
        new: int = (await connection.execute(absent)).scalar_one()
        # Without a WHERE, SQLite's parser would read ON CONFLICT as the ON of a join.
        rows = select(*merge.inserted(stage)).where(text("true")).order_by(literal_column("rowid"))
        written = (await connection.execute(merging_insert(insert, stage, rows, merge, _differs))).rowcount
        if new and await _may_leave_out(connection, merge.target.table):
            new -= (await connection.execute(absent)).scalar_one()
        return new, written - new

    async def keep_last(self, connection: AsyncConnection, stage: TableClause, unique: Unique) -> None:
        """Do nothing: each row has already replaced the earlier one."""

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Return the row; the transaction has the database locked, or the next write fails."""
        return await lock_first(connection, rows)

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Let the statement call our function when it updates, because its result does not show an update."""
        noting = getattr(func, _CONFLICT)() == 1
        statement = upserting_insert(insert, values, merge, noting)
        connection = await session.connection(bind_arguments={"mapper": merge.target.mapper})
        conflict = await connection.run_sync(_conflict)
        row = await write_one(session, statement.returning(merge.target.model))
        if row is not None:
            return row[0], not conflict.seen
        return (None, False) if conflict.seen else None

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete by a temporary table of the keys, because a list in the statement has a size limit."""
        key = row_value([raw(one) for one in rows.columns])
        async with self.source(connection, target, rows) as source:
            among = key.in_(select(*source.c))
            result = await connection.execute(delete(target.table).where(among, *target.guards))
        return result.rowcount


async def _may_leave_out(connection: AsyncConnection, table: Table) -> bool:
    """Return whether a trigger of *table* may skip a row without an error, by RAISE(IGNORE)."""
    schema = schema_of(connection, table)
    own = "" if schema is None else f"{quoted(connection.dialect, [schema])}."
    for master in ("sqlite_temp_master", f"{own}sqlite_master"):
        triggers: Select[Any] = select(literal_column("1")).select_from(text(master)).where(text(_LEAVES_OUT))
        if (await connection.execute(triggers, {"name": table.name})).first() is not None:
            return True
    return False


def _replace(stage: TableClause) -> Any:
    return insert(stage).prefix_with("OR REPLACE")


class _Conflict:
    """Whether the current statement has met an existing row."""

    def __init__(self) -> None:
        self.seen = False

    def note(self) -> int:
        self.seen = True
        return 1


def _conflict(connection: Connection) -> _Conflict:
    """Register the function on the driver's connection once, and reset its state."""
    pooled: Any = connection.connection
    conflict: _Conflict | None = pooled.info.get(_CONFLICT)
    if conflict is None:
        conflict = pooled.info[_CONFLICT] = _Conflict()
        pooled.dbapi_connection.create_function(_CONFLICT, 0, conflict.note)
    conflict.seen = False
    return conflict


def _differs(old: Column[Any], new: Any) -> ColumnElement[bool]:
    # Byte by byte, because a collation may treat different texts as equal. Numbers have no collation.
    return raw(old).collate("BINARY").is_distinct_from(raw(new).collate("BINARY"))
