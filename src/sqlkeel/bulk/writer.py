"""What each database does in its own way when many rows are written, and what their files have in common."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Column, ColumnElement, Dialect, FromClause, Index, MetaData, Select, Table
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import UserDefinedType

from ..engines.faults import WRITTEN
from ..errors import NotSupported
from .rows import BoundRows
from .target import Target, Unique

__all__ = ["Bound", "Merge", "Writer", "names_of", "stage_of", "write_by_driver"]


class Bound(UserDefinedType[Any]):
    """The type of a parameter that is bound already: nothing is converted again."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Refuse to be a column."""
        raise NotSupported("Bound is the type of a parameter, never of a column.")


@dataclass(frozen=True)
class Merge:
    """How staged rows go into their table: found by *unique*; *assigned* are copied, *touched* computed."""

    target: Target
    unique: Unique
    assigned: tuple[Column[Any], ...]
    touched: dict[Column[Any], Any]


class Writer(Protocol):
    """One database: the fastest exact way of each kind of write."""

    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Raise `NoTransaction` where each statement would commit by itself."""
        ...

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the condition of a partial unique index."""
        ...

    def makers(self, dialect: Dialect) -> Mapping[Callable[..., Any], Callable[[], Any]]:
        """Return faster functions for defaults, where the driver takes their values as well."""
        ...

    async def insert(self, connection: AsyncConnection, table: Table, rows: BoundRows) -> int:
        """Insert bound rows; return how many."""
        ...

    async def insert_returning(self, session: AsyncSession, target: Target, rows: BoundRows) -> list[Any] | None:
        """Insert rows and return their objects in order; ``None``, and nothing done, where the ORM does it as well."""
        ...

    def source(
        self, connection: AsyncConnection, target: Target, rows: BoundRows
    ) -> AbstractAsyncContextManager[FromClause]:
        """Give the rows to a statement, as something to select from."""
        ...

    def stage(
        self, connection: AsyncConnection, target: Target, columns: Sequence[Column[Any]], unique: Unique
    ) -> AbstractAsyncContextManager[Table]:
        """Make a temporary table for rows of *columns*."""
        ...

    async def fill(self, connection: AsyncConnection, stage: Table, rows: BoundRows, *, errors_of: Table) -> int:
        """Bring rows to a stage, and return how many; errors are told in the names of *errors_of*."""
        ...

    async def merge(self, connection: AsyncConnection, stage: Table, merge: Merge) -> tuple[int, int]:
        """Merge the stage into its table; return how many rows were inserted, and how many updated."""
        ...

    async def keep_last(self, connection: AsyncConnection, stage: Table, unique: Unique) -> None:
        """Remove the rows of a stage that a later one with the same key replaces, where filling it did not."""
        ...

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Return the first of *rows*, which select their *key*, as it is now, and let nobody else write it."""
        ...

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Insert one row or update the one that is there; ``None`` where that is left as it is and not returned."""
        ...

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete the rows of these keys; return how many there were."""
        ...


def stage_of(table: Table, columns: Sequence[Column[Any]]) -> Table:
    """Describe the temporary table for rows of *columns*.

    Its name tells what it holds: drivers remember the types of a statement by its text.
    """
    text = repr((table.fullname, [column.name for column in columns]))
    name = f"sqlkeel_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return Table(name, MetaData(), *(Column(column.name, column.type) for column in columns))


def names_of(dialect: Dialect, columns: Iterable[Column[Any]]) -> str:
    """Return the quoted names of *columns*."""
    return ", ".join(map(dialect.identifier_preparer.format_column, columns))


async def write_by_driver(
    connection: AsyncConnection, verb: str, table: Table, rows: BoundRows, *, errors_of: Table
) -> int:
    """Send rows through the driver's ``executemany``, in their order; return how many."""
    dialect = connection.dialect
    mark = {"qmark": "?", "format": "%s"}[dialect.paramstyle]
    marks = ", ".join(mark for _ in rows.columns)
    name = dialect.identifier_preparer.format_table(table)
    statement = f"{verb} INTO {name} ({names_of(dialect, rows.columns)}) VALUES ({marks})"
    written = 0
    for records in rows.chunks():
        await connection.exec_driver_sql(statement, records, execution_options={WRITTEN: errors_of})
        written += len(records)
    return written
