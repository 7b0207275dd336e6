"""The interface that each database implements for writing many rows, and what the implementations share."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Dialect,
    FromClause,
    Index,
    Select,
    Table,
    TableClause,
    cast,
    column,
    literal_column,
    table,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import UserDefinedType

from ..engines._faults import WRITTEN
from ..errors import NotSupported
from ._binder import PLACE, BoundRows
from ._columns import qualified, quoted, schema_of
from ._target import Target, Unique

__all__ = ["Bound", "Merge", "Writer", "copied", "named_stage", "write_by_driver", "write_by_statement"]

_STAGES: Final = "sqlkeel_stages"


class Bound(UserDefinedType[Any]):
    """The type of a parameter that is already converted."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Refuse to be the type of a column."""
        raise NotSupported("Bound is the type of a parameter, never of a column.")


@dataclass(frozen=True)
class Merge:
    """How staged rows are merged into their table: found by *unique*; *assigned* are copied, *touched* computed.

    *by_row* names the columns of the stage that only an update writes.
    """

    target: Target
    unique: Unique
    assigned: tuple[Column[Any], ...]
    touched: dict[Column[Any], Any]
    by_row: dict[Column[Any], str] = field(default_factory=dict)

    @property
    def key(self) -> list[str]:
        """The attributes by which rows are found."""
        return [*map(self.target.field, self.unique.columns)]

    @property
    def fields(self) -> list[str]:
        """The attributes that are copied to existing rows."""
        return [*map(self.target.field, self.assigned)]

    def inserted(self, stage: TableClause) -> list[ColumnElement[Any]]:
        """Return the columns of a stage that a new row gets."""
        others = {*self.by_row.values(), PLACE.name}
        return [one for one in stage.c if one.name not in others]


class Writer(ABC):
    """One database: the fastest exact way for each kind of write."""

    shows_locked: bool
    """Whether a plain read returns the current state of a row that the transaction has locked, not a snapshot."""

    @abstractmethod
    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Raise `NoTransaction` if each statement would commit by itself."""

    @abstractmethod
    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the condition of a partial unique index."""

    @abstractmethod
    def rounded(self, value: Any, of: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
        """Return *value* in the precision of the model's column *of*."""

    def makers(self, dialect: Dialect) -> Mapping[Callable[..., Any], Callable[[], Any]]:
        """Return faster functions for defaults, if the driver accepts their values."""
        return {}

    async def insert(self, connection: AsyncConnection, table: Table, rows: BoundRows) -> int:
        """Insert rows, by default through the driver's executemany; return their number."""
        return await write_by_driver(connection, "INSERT", table, rows, errors_of=table)

    async def insert_returning(self, session: AsyncSession, target: Target, rows: BoundRows) -> list[Any] | None:
        """Insert rows and return their objects in order; ``None``, without inserting, if the ORM is as fast."""
        return None

    def parts(self, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
        """Yield *rows* in lists that fit into one ORM statement.

        By default all at once: the number of parameters is the only limit, and SQLAlchemy respects it.
        """
        yield rows

    @abstractmethod
    def source(
        self, connection: AsyncConnection, target: Target, rows: BoundRows
    ) -> AbstractAsyncContextManager[FromClause]:
        """Provide the rows to a statement as something to select from."""

    @abstractmethod
    def stage(
        self, connection: AsyncConnection, target: Target, rows: BoundRows, unique: Unique
    ) -> AbstractAsyncContextManager[TableClause]:
        """Create a temporary table for such *rows*; if they are placed, rows with equal keys are all kept."""

    @abstractmethod
    async def fill(self, connection: AsyncConnection, stage: TableClause, rows: BoundRows, *, errors_of: Table) -> int:
        """Write rows to a stage, and return their number; errors name *errors_of* as the table."""

    @abstractmethod
    async def lock(self, connection: AsyncConnection, merge: Merge, keys: Sequence[Select[Any]]) -> None:
        """Lock the rows of these *keys*, of one or several stages, in an order that all callers share."""

    @abstractmethod
    async def merge(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> tuple[int, int]:
        """Merge the stage into its table; return the numbers of inserted and updated rows."""

    @abstractmethod
    async def keep_last(self, connection: AsyncConnection, stage: TableClause, unique: Unique) -> None:
        """Remove the rows of a stage that a later one with the same key replaces, if filling it did not."""

    @abstractmethod
    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Lock the first of *rows*, which select their *key*, and return its current state."""

    @abstractmethod
    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Insert one row or update the existing one; ``None`` if the row is left unchanged and not returned.

        The object is ``None`` if a trigger kept the existing row.
        """

    @abstractmethod
    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete the rows of these keys; return their number."""


@contextmanager
def named_stage(connection: AsyncConnection, of: Table, rows: BoundRows) -> Iterator[TableClause]:
    """Describe a temporary table for such *rows*, under a name that the connection does not use.

    The name depends on the content, because drivers cache the types of a statement by its text. It is not a `Table`,
    because SQLAlchemy would compile a new statement for each and apply a schema.
    """
    text = repr((schema_of(connection, of), of.name, [one.name for one in rows.columns], rows.names))
    first = f"sqlkeel_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    taken: set[str] = connection.info.setdefault(_STAGES, set())
    name = next(name for name in (f"{first}_{n}" if n else first for n in count()) if name not in taken)
    taken.add(name)
    try:
        yield table(name, *map(column, rows.names))
    finally:
        taken.discard(name)


def copied(connection: AsyncConnection, of: Table, rows: BoundRows) -> str:
    """Return a SELECT for such *rows* of a table, from which a stage takes its column types."""
    dialect = connection.dialect
    number = str(cast(literal_column("0"), BigInteger).compile(dialect=dialect))
    own = [quoted(dialect, [one.name]) if one.table is not None else number for one in rows.columns]
    names = [quoted(dialect, [name]) for name in rows.names]
    columns = ", ".join(one if one == name else f"{one} AS {name}" for one, name in zip(own, names, strict=True))
    return f"SELECT {columns} FROM {qualified(connection, of)}"  # noqa: S608 - names of the model, quoted


async def write_by_driver(
    connection: AsyncConnection, verb: str, into: Table | TableClause, rows: BoundRows, *, errors_of: Table
) -> int:
    """Send rows through the driver's ``executemany``, in order; return their number."""
    dialect = connection.dialect
    mark = {"qmark": "?", "format": "%s"}[dialect.paramstyle]
    marks = ", ".join(mark for _ in rows.columns)
    name = qualified(connection, into)
    statement = f"{verb} INTO {name} ({quoted(dialect, rows.names)}) VALUES ({marks})"
    written = 0
    for records in rows.chunks():
        await connection.exec_driver_sql(statement, records, execution_options={WRITTEN: errors_of})
        written += len(records)
    return written


async def write_by_statement(
    connection: AsyncConnection, insert: Any, into: Table | TableClause, rows: BoundRows, *, errors_of: Table
) -> int:
    """Send rows through the dialect's *insert* in SQLAlchemy, which converts the values itself.

    For values that the driver cannot send by itself: SQL functions, and types that need a cast from text.
    """
    if into is errors_of:
        statement, keys = insert(into), [one.key for one in rows.columns]
    else:
        typed = [column(name, one.type) for name, one in zip(rows.names, rows.columns, strict=True)]
        statement, keys = insert(table(into.name, *typed)), [*rows.names]
    written = 0
    for parameters in rows.parameters(keys):
        await connection.execute(statement, parameters, execution_options={WRITTEN: errors_of})
        written += len(parameters)
    return written
