"""Many rows on MariaDB: multi-row INSERT, temporary tables, and ON DUPLICATE KEY UPDATE with a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from sqlalchemy import (
    Boolean,
    Column,
    ColumnClause,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Dialect,
    Float,
    FromClause,
    Function,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    Select,
    Table,
    TableClause,
    Time,
    Uuid,
    and_,
    bindparam,
    cast,
    column,
    delete,
    exists,
    func,
    insert,
    literal_column,
    null,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects.mysql import insert as insert_on_duplicate
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from ... import _sqlalchemy_tables as private
from ...engines._backend import backend_for
from ...engines._traces import RESTORED
from ...errors import NoTransaction, shown
from ...models._constraints import marker_of
from ...types._stored import engine_type
from .._binder import BoundRows
from .._columns import quoted, raw
from .._on_conflict import write_one
from .._target import Target, Unique
from .._writer import Merge, Writer, copied, named_stage, write_by_driver, write_by_statement

__all__ = ["MariaDBWriter"]

_ALL: Final = 2**63 - 1
_PREPARER: Final = mysql.dialect().identifier_preparer
_INSERTED, _FOUND, _OTHER = 0, 1, 2
_LONGEST: Final = 1_024_000
"""A sixteenth of the server's limit, and the length at which asyncmy splits the statements of executemany."""
_SINGLE: Final = 24
"""The precision in bits of a single-precision FLOAT."""
_MET: Final = "@sqlkeel_met"
_SAME_BY_VALUE = (Integer, Numeric, Boolean, Date, DateTime, Time, LargeBinary, Uuid)


class MariaDBWriter(Writer):
    """MariaDB through asyncmy."""

    shows_locked = False

    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Refuse: rolling back a savepoint would undo nothing."""
        if await connection.run_sync(backend_for(connection.engine.url).commits_by_itself):
            raise NoTransaction("The connection is in autocommit mode; a bulk write needs a transaction.")

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the condition of a `unique_live` index; MariaDB has no other partial indexes."""
        if index.dialect_kwargs.get("mariadb_live") is None or index.table is None:
            return None
        # Via the index's own column, because the optimizer does not match the original condition to the index.
        return private.column_beside(index.table, marker_of(index, _PREPARER), Integer()) == 1

    def rounded(self, value: Any, of: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
        """Round as an assignment would; a cast to DECIMAL would also clip values that are out of range."""
        given, kind = _bound(of, value), engine_type(of.type, dialect)
        if isinstance(kind, Float):
            return cast(given, Float()) if _is_single(kind) else given
        if isinstance(kind, Numeric):
            return func.round(given, literal_column(str(kind.scale or 0)), type_=kind)
        return cast(given, of.type) if isinstance(kind, DateTime | Time) else given

    def parts(self, rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
        """Yield lists of rows within the length of a statement: exceeding ``max_allowed_packet`` ends the connection.

        The driver's executemany splits at that length, but it cannot run a statement that returns rows.
        """
        part: list[dict[str, Any]] = []
        length = 0
        for row in rows:
            more = sum(map(_length, row.values()))
            if part and length + more > _LONGEST:
                yield part
                part, length = [], 0
            part.append(row)
            length += more
        yield part

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
        """Create a temporary table in which a row replaces an earlier one with the same key.

        MariaDB does not roll it back, so a table left by an earlier error is replaced.
        """
        key = f"KEY ({quoted(connection.dialect, [one.name for one in unique.columns])})" if unique else ""
        key = key and f" ({key})" if rows.placed else key and f" (UNIQUE {key})"
        with named_stage(connection, target.table, rows) as stage:
            await connection.exec_driver_sql(
                f"CREATE OR REPLACE TEMPORARY TABLE {stage.name}{key}"
                f" AS {copied(connection, target.table, rows)} LIMIT 0",
                execution_options=RESTORED,
            )
            yield stage
            await connection.exec_driver_sql(f"DROP TEMPORARY TABLE {stage.name}")

    async def fill(self, connection: AsyncConnection, stage: TableClause, rows: BoundRows, *, errors_of: Table) -> int:
        """Write rows to a stage."""
        if rows.in_sql:
            return await write_by_statement(connection, _replace, stage, rows, errors_of=errors_of)
        return await write_by_driver(connection, "REPLACE", stage, rows, errors_of=errors_of)

    async def lock(self, connection: AsyncConnection, merge: Merge, keys: Sequence[Select[Any]]) -> None:
        """Lock the rows exclusively: INSERT … SELECT takes shared locks on what it reads, and callers would deadlock.

        The keys are read first and in order, because a table scan would lock the rows of other callers.
        """
        every = union(*keys) if len(keys) > 1 else keys[0]
        # With a LIMIT, because MariaDB ignores the ORDER BY of a derived table without one.
        given = every.order_by(*every.selected_columns).limit(_ALL).subquery()
        same = [raw(column) == given.c[column.name] for column in merge.unique.columns]
        if merge.unique.where is not None:
            # This helps the optimizer too: with all columns of the unique index, it does not choose a similar one.
            same.append(merge.unique.where)
        rows = select(func.count()).select_from(given.join(merge.target.table, and_(*same)))
        await connection.execute(rows.prefix_with("STRAIGHT_JOIN").with_for_update())

    async def merge(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> tuple[int, int]:
        """Insert missing rows, then update different ones; both read and lock the latest committed rows.

        ON DUPLICATE KEY UPDATE does not return how many rows it inserted, and reacts to a conflict on any unique key.
        """
        table, unique = merge.target.table, merge.unique
        same = [raw(column) == stage.c[column.name] for column in unique.columns]
        if unique.where is not None:
            same.append(unique.where)
        rows = select(*merge.inserted(stage))
        missing = rows.where(~exists(select(literal_column("1")).select_from(table).where(*same)))
        key_of = {column.name: column.key for column in table.columns}
        names = [key_of[column.name] for column in merge.inserted(stage)]
        new = await connection.execute(insert(table).from_select(names, missing, include_defaults=False))
        if not merge.assigned:
            return new.rowcount, 0
        changed = or_(*(_differs(column, stage.c[column.name], connection.dialect) for column in merge.assigned))
        values = {**{column: stage.c[column.name] for column in merge.assigned}, **merge.touched}
        values |= {column: stage.c[name] for column, name in merge.by_row.items()}
        updated = await connection.execute(update(table).where(*same, changed, *merge.target.guards).values(values))
        return new.rowcount, updated.rowcount

    async def keep_last(self, connection: AsyncConnection, stage: TableClause, unique: Unique) -> None:
        """Do nothing: each row has already replaced the earlier one."""

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Find the row, then lock it by its key: a locking search would lock gaps, on which callers deadlock."""
        found = (await connection.execute(rows.limit(1))).first()
        if found is None:
            return None
        match = [column == value for column, value in zip(key, found, strict=False)]
        same = select(*rows.selected_columns).where(*match)
        return (await connection.execute(same.with_for_update())).first()

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Record in a user variable whether the statement found no row, the row itself, or another row.

        ON DUPLICATE KEY UPDATE reacts to a conflict on any unique key. A row with a conflict on another key is left
        unchanged here, and a plain INSERT then raises the proper error.
        """
        model = merge.target.model
        connection = await session.connection(bind_arguments={"mapper": merge.target.mapper})
        await connection.run_sync(_declare)
        statement = _on_duplicate(values, merge)
        try:
            obj, met = await write_one(session, statement.returning(model, literal_column(_MET)))
        except InvalidRequestError:
            if merge.target.mapper.inherits is None:
                raise
            # The existing row is of another class of the hierarchy, so it cannot become an object of this class.
            obj, met = None, _OTHER
        if int(met) != _OTHER:
            return obj, int(met) == _INSERTED
        plain = insert(model).values({getattr(model, field): value for field, value in values.items()})
        row = await write_one(session, plain.returning(model))
        return row[0], True

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete by a join with a temporary table of the keys."""
        async with self.source(connection, target, rows) as source:
            same = [raw(column) == source.c[column.name] for column in rows.columns]
            result = await connection.execute(delete(target.table).where(*same, *target.guards))
        return result.rowcount


def _is_single(kind: Float[Any]) -> bool:
    return kind.__visit_name__.upper() == "FLOAT" and (kind.precision or 0) <= _SINGLE


def _length(value: Any) -> int:
    """Return the approximate length of a value in a statement; a character may take four bytes, or two if escaped."""
    return len(value) if isinstance(value, str | bytes | bytearray | memoryview) else len(shown(value))


def _declare(connection: Connection) -> None:
    """Set the variable once per connection, because a variable that does not exist when a statement starts is NULL."""
    info: Any = connection.connection.info
    if _MET not in info:
        connection.exec_driver_sql(f"SET {_MET} = {_INSERTED}", execution_options=RESTORED)
        info[_MET] = True


def _on_duplicate(values: Mapping[str, Any], merge: Merge) -> Any:
    target, unique = merge.target, merge.unique
    first = target.field(unique.columns[0])
    # The assignment to NULL is false, so it resets the variable within the same statement, while the row is built.
    reset = func.if_(literal_column(f"({_MET} := {_INSERTED})"), null(), _typed(unique.columns[0], values[first]))
    given = {getattr(target.model, field): value for field, value in {**values, first: reset}.items()}
    statement = insert_on_duplicate(target.model).values(given)
    same = [raw(column).op("<=>")(_new(column)) for column in unique.columns]
    guards = [*target.guards] if unique.where is None else [*target.guards, unique.where]
    meant = func.if_(and_(*same, *guards), _FOUND, _OTHER)
    note = literal_column(_MET).op(":=")(meant)
    key = target.mapper.primary_key[0]
    assignments: list[tuple[Any, Any]] = [(key.key, func.if_(note == _FOUND, key, key))]
    found = literal_column(_MET) == _FOUND
    values_of = {**{column: _new(column) for column in merge.assigned}, **merge.touched}
    assignments += [(column.key, func.if_(found, _typed(column, value), column)) for column, value in values_of.items()]
    return statement.on_duplicate_key_update(assignments)


def _typed(column: Column[Any], value: Any) -> Any:
    return value if isinstance(value, ColumnElement) else _bound(column, value)


def _bound(column: Column[Any], value: Any) -> ColumnElement[Any]:
    """Bind a value under the name of its column, so that an error of the server can be matched to it."""
    return bindparam(column.key, value, type_=column.type, unique=True)


def _replace(stage: TableClause) -> Any:
    return insert_on_duplicate(stage).on_duplicate_key_update({one.name: _new(one) for one in stage.c})


def _new(of: ColumnClause[Any]) -> ColumnElement[Any]:
    """Return the value of the row that could not be inserted."""
    # Not ``inserted`` of the statement: SQLAlchemy doubles a percent sign in the column's name once too often.
    return Function("VALUES", column(of.name), type_=of.type)


def _differs(old: Column[Any], new: ColumnElement[Any], dialect: Dialect) -> ColumnElement[bool]:
    if isinstance(engine_type(old.type, dialect), _SAME_BY_VALUE):
        return raw(old).is_distinct_from(new)
    # Byte by byte, because the default collations treat "a" and "A" as equal.
    return cast(raw(old), LargeBinary).is_distinct_from(cast(new, LargeBinary))
