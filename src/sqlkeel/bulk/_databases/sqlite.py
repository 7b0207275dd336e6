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
        """Begin the transaction where the driver leaves that to the first INSERT.

        A savepoint would be the outermost transaction then, and releasing it a COMMIT that no rollback takes back.
        Where each statement commits by itself, that is what is wanted.
        """
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if not driver.in_transaction and driver.isolation_level is not None:
            await connection.exec_driver_sql("BEGIN")

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the WHERE of a partial index."""
        where: ColumnElement[bool] | None = index.dialect_options["sqlite"]["where"]
        return where

    def rounded(self, value: Any, of: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
        """Return it as it is: values are stored as they come, whatever the type of the column."""
        return literal(value, of.type)

    @asynccontextmanager
    async def source(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> AsyncIterator[FromClause]:
        """Bring the rows to a temporary table."""
        async with self.stage(connection, target, rows) as stage:
            await self.fill(connection, stage, rows, errors_of=target.table)
            yield stage

    @asynccontextmanager
    async def stage(
        self, connection: AsyncConnection, target: Target, rows: BoundRows, unique: Unique | None = None
    ) -> AsyncIterator[TableClause]:
        """Make a temporary table, in which a row replaces an earlier one with the same key."""
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
        """Bring rows to a stage."""
        if rows.in_sql:
            return await write_by_statement(connection, _replace, stage, rows, errors_of=errors_of)
        return await write_by_driver(connection, "REPLACE", stage, rows, errors_of=errors_of)

    async def lock(self, connection: AsyncConnection, merge: Merge, keys: Sequence[Select[Any]]) -> None:
        """Do nothing: whoever writes has the database to itself."""

    async def merge(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> tuple[int, int]:
        """Count what is new, then write; nobody else writes meanwhile."""
        same = [raw(column) == stage.c[column.name] for column in merge.unique.columns]
        if merge.unique.where is not None:
            same.append(merge.unique.where)
        there = select(literal_column("1")).select_from(merge.target.table).where(*same).exists()
        absent = select(func.count()).select_from(stage).where(~there)
        new: int = (await connection.execute(absent)).scalar_one()
        # Without a WHERE, the parser takes ON CONFLICT for the ON of a join.
        rows = select(*merge.inserted(stage)).where(text("true")).order_by(literal_column("rowid"))
        written = (await connection.execute(merging_insert(insert, stage, rows, merge, _differs))).rowcount
        if new and await _may_leave_out(connection, merge.target.table):
            new -= (await connection.execute(absent)).scalar_one()
        return new, written - new

    async def keep_last(self, connection: AsyncConnection, stage: TableClause, unique: Unique) -> None:
        """Do nothing: a row replaced the earlier one when it came."""

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Return it; the transaction has the database to itself, or the next write fails."""
        return await lock_first(connection, rows)

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Have the statement call a function of ours where it updates: nothing that it returns tells."""
        noting = getattr(func, _CONFLICT)() == 1
        statement = upserting_insert(insert, values, merge, noting)
        connection = await session.connection(bind_arguments={"mapper": merge.target.mapper})
        conflict = await connection.run_sync(_conflict)
        row = await write_one(session, statement.returning(merge.target.model))
        if row is not None:
            return row[0], not conflict.seen
        return (None, False) if conflict.seen else None

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete by a temporary table of the keys: a list of them in the statement has a limit."""
        key = row_value([raw(one) for one in rows.columns])
        async with self.source(connection, target, rows) as source:
            among = key.in_(select(*source.c))
            result = await connection.execute(delete(target.table).where(among, *target.guards))
        return result.rowcount


async def _may_leave_out(connection: AsyncConnection, table: Table) -> bool:
    """Return whether a trigger of *table* may leave a row out without an error, by RAISE(IGNORE)."""
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
    """Whether the statement that runs has met an existing row."""

    def __init__(self) -> None:
        self.seen = False

    def note(self) -> int:
        self.seen = True
        return 1


def _conflict(connection: Connection) -> _Conflict:
    """Give the driver's connection the function, once, and forget what an earlier statement noted."""
    pooled: Any = connection.connection
    conflict: _Conflict | None = pooled.info.get(_CONFLICT)
    if conflict is None:
        conflict = pooled.info[_CONFLICT] = _Conflict()
        pooled.dbapi_connection.create_function(_CONFLICT, 0, conflict.note)
    conflict.seen = False
    return conflict


def _differs(old: Column[Any], new: Any) -> ColumnElement[bool]:
    # Byte by byte: a collation may call different texts equal. Numbers have none.
    return raw(old).collate("BINARY").is_distinct_from(raw(new).collate("BINARY"))
