"""Many rows on PostgreSQL: COPY, unnest, and a temporary table merged by ON CONFLICT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from operator import index, itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Dialect,
    Float,
    FromClause,
    Index,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    Select,
    String,
    Table,
    TableClause,
    Text,
    Time,
    Uuid,
    bindparam,
    case,
    cast,
    column,
    delete,
    false,
    func,
    literal,
    literal_column,
    select,
    true,
    tuple_,
    union,
)
from sqlalchemy.dialects.postgresql import ARRAY, CITEXT, ENUM, JSONB, distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import TypeEngine

from ...engines._backend import backend_for
from ...engines._faults import WRITTEN
from ...errors import NoTransaction
from ...models._keys import uuid7
from ...types._stored import engine_type
from .._binder import BoundRows
from .._columns import names_beside, quoted, raw
from .._copying import copies, copy, kind_of
from .._on_conflict import lock_first, merging_insert, upserting_insert, write_one
from .._rows import Record
from .._target import Target, Unique
from .._writer import Bound, Merge, Writer, copied, named_stage, write_by_statement

try:
    import uuid_utils
except ImportError:  # Python 3.14 has its own UUIDv7.
    uuid_utils = None  # type: ignore[assignment]

__all__ = ["PostgreSQLWriter"]

_UPDATED = "sqlkeel.updated"
_numbers = count()
_SAME_BY_VALUE = (Integer, Numeric, Boolean, Date, DateTime, Time, Interval, Uuid, LargeBinary)
_ROUNDED = (Float, Numeric, DateTime, Time, Interval)
_FLAT = (*_SAME_BY_VALUE, String, JSON)
"""The types whose values can be sent as an array; arrays, ranges and composite types cannot."""


class PostgreSQLWriter(Writer):
    """PostgreSQL through asyncpg or psycopg."""

    shows_locked = True

    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Refuse: a COPY would commit immediately, and a temporary table would be gone before it is filled."""
        if await connection.run_sync(backend_for(connection.engine.url).commits_by_itself):
            raise NoTransaction("The connection is in autocommit mode; a bulk write needs a transaction.")

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the WHERE of a partial index."""
        where: ColumnElement[bool] | None = index.dialect_options["postgresql"]["where"]
        return where

    def rounded(self, value: Any, of: Column[Any], dialect: Dialect) -> ColumnElement[Any]:
        """Cast a value that an assignment would round: ``real`` 0.1 does not equal ``double precision`` 0.1."""
        given = literal(value, of.type)
        return cast(given, of.type) if isinstance(engine_type(of.type, dialect), _ROUNDED) else given

    def makers(self, dialect: Dialect) -> Mapping[Callable[..., Any], Callable[[], Any]]:
        """Return, for asyncpg, a ten times faster function for UUIDv7 keys; asyncpg only needs their bytes."""
        quick = uuid_utils.uuid7 if uuid_utils is not None and dialect.driver == "asyncpg" else None
        return {} if quick is None else {uuid7: quick}

    async def insert(self, connection: AsyncConnection, table: Table, rows: BoundRows) -> int:
        """COPY the rows, or INSERT them if COPY does not accept them."""
        if any(one.identity is not None and one.identity.always for one in rows.columns):
            # COPY would write a GENERATED ALWAYS key, which INSERT refuses.
            return await write_by_statement(connection, insert, table, rows, errors_of=table)
        return await _write(connection, table, rows, errors_of=table)

    async def insert_returning(self, session: AsyncSession, target: Target, rows: BoundRows) -> list[Any] | None:
        """Insert from arrays, which is twice as fast, if a key identifies each object's row afterwards."""
        dialect = session.get_bind(mapper=target.mapper).dialect
        if not _is_flat(rows, dialect):
            return None
        records = rows.all()
        place = _place_of(target, rows, records)
        if place is None or _is_mixed(records, dialect):
            return None
        last = next(names_beside(target.table))
        source = _unnest(rows, records, dialect, with_ordinality=last)
        ordered = select(*(source.c[name] for name in rows.names)).order_by(source.c[last])
        statement = insert(target.model).from_select(rows.columns, ordered, include_defaults=False)
        options = {"include_deleted": True}
        found = await session.scalars(statement.returning(target.model), execution_options=options)
        return sorted(found.unique(), key=place)

    @asynccontextmanager
    async def source(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> AsyncIterator[FromClause]:
        """Pass one array per column if each type allows that; otherwise stage the rows."""
        dialect = connection.dialect
        if _is_flat(rows, dialect) and not _is_mixed(records := rows.all(), dialect):
            yield _unnest(rows, records, dialect)
            return
        async with self.stage(connection, target, rows) as stage:
            await self.fill(connection, stage, rows, errors_of=target.table)
            yield stage

    @asynccontextmanager
    async def stage(
        self, connection: AsyncConnection, target: Target, rows: BoundRows, unique: Unique | None = None
    ) -> AsyncIterator[TableClause]:
        """Create a table with the types of the columns and without their constraints."""
        with named_stage(connection, target.table, rows) as stage:
            await connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE {stage.name} ON COMMIT DROP AS"
                f" {copied(connection, target.table, rows)} WITH NO DATA"
            )
            yield stage
            await connection.exec_driver_sql(f"DROP TABLE {stage.name}")

    async def fill(self, connection: AsyncConnection, stage: TableClause, rows: BoundRows, *, errors_of: Table) -> int:
        """COPY the rows to the stage."""
        return await _write(connection, stage, rows, errors_of=errors_of)

    async def lock(self, connection: AsyncConnection, merge: Merge, keys: Sequence[Select[Any]]) -> None:
        """Lock the rows of several stages in the order of their keys; the merge of a single one uses that order."""
        if len(keys) == 1:
            return
        table, columns = merge.target.table, merge.unique.columns
        among = tuple_(*map(raw, columns)).in_(select(*union(*keys).subquery().c))
        rows: Select[Any] = (
            select(literal_column("1")).select_from(table).where(among).order_by(*columns).with_for_update(of=table)
        )
        await connection.execute(select(func.count()).select_from(rows.subquery()))

    async def merge(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> tuple[int, int]:
        """Insert the last row of each key in one statement, in key order, so that callers wait for each other."""
        key = [stage.c[column.name] for column in merge.unique.columns]
        twice = select(literal_column("1")).select_from(stage).group_by(*key).having(func.count() > 1).exists()
        rows = select(*merge.inserted(stage)).order_by(*key)
        has_twins, kind = (await connection.execute(select(twice, kind_of(connection, merge.target.table)))).one()
        if has_twins:
            # A new table stores rows in insertion order. Only done if needed, because it costs an extra column.
            rows = rows.ext(distinct_on(*key)).order_by(literal_column("ctid").desc())
        if merge.by_row:
            await self._index(connection, stage, merge)
        # A partitioned table or a view does not return system columns. This is checked each time, because it needs no
        # round trip of its own, and a migration or another search_path may have changed the table.
        merging = _merge if kind in {None, "r"} else _merge_noting
        written, inserted = await merging(connection, stage, rows, merge)
        return inserted, written - inserted

    async def _index(self, connection: AsyncConnection, stage: TableClause, merge: Merge) -> None:
        """Index the stage, so that the update can look up values that the inserted row does not contain."""
        await self.keep_last(connection, stage, merge.unique)
        key = quoted(connection.dialect, [column.name for column in merge.unique.columns])
        await connection.exec_driver_sql(f"CREATE INDEX ON {stage.name} ({key})")

    async def keep_last(self, connection: AsyncConnection, stage: TableClause, unique: Unique) -> None:
        """Remove all but the last row of each key; a new table stores rows in insertion order."""
        key = [stage.c[column.name] for column in unique.columns]
        place = func.row_number().over(partition_by=key, order_by=literal_column("ctid").desc())
        rows = select(literal_column("ctid").label("at"), place.label("place")).select_from(stage).subquery()
        replaced = select(rows.c.at).where(rows.c.place > 1)
        await connection.execute(delete(stage).where(literal_column("ctid").in_(replaced)))

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Return the row as the transaction that held it left it."""
        return await lock_first(connection, rows)

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Let the statement store a marker in a setting if it updates.

        xmax does not work here, because partitioned tables and views do not return it.
        """
        number = str(next(_numbers))
        statement = upserting_insert(insert, values, merge, _note(number).is_not(None))
        noted = func.coalesce(func.current_setting(_UPDATED, true()), "")
        row = await write_one(session, statement.returning(merge.target.model, noted != number))
        if row is not None:
            return row[0], row[1]
        is_kept = bool(merge.assigned) and await session.scalar(
            select(noted == number), bind_arguments={"mapper": merge.target.mapper, "clause": statement}
        )
        return (None, False) if is_kept else None

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete by a join with arrays of the keys, of any number."""
        async with self.source(connection, target, rows) as source:
            same = [raw(column) == source.c[column.name] for column in rows.columns]
            return (await connection.execute(delete(target.table).where(*same, *target.guards))).rowcount


async def _write(connection: AsyncConnection, into: Table | TableClause, rows: BoundRows, *, errors_of: Table) -> int:
    if await copies(connection, into, rows):
        return await copy(connection, into, rows, errors_of=errors_of)
    return await write_by_statement(connection, insert, into, rows, errors_of=errors_of)


async def _merge(connection: AsyncConnection, stage: TableClause, rows: Select[Any], merge: Merge) -> tuple[int, int]:
    """Return how many rows were written, and how many of them are new, which have no xmax."""
    statement = merging_insert(insert, stage, rows, merge, _differs(connection.dialect))
    cte = statement.returning(literal_column("(xmax = 0)").label("inserted")).cte("written")
    counts = select(func.count(), func.count().filter(cte.c.inserted)).select_from(cte)
    found = (await connection.execute(counts, execution_options={WRITTEN: merge.target.table})).one()
    return found[0], found[1]


async def _merge_noting(
    connection: AsyncConnection, stage: TableClause, rows: Select[Any], merge: Merge
) -> tuple[int, int]:
    """Return the same for tables without xmax: the statement counts the rows that it updates."""
    await connection.execute(select(_note("0")))
    statement = merging_insert(insert, stage, rows, merge, _differs(connection.dialect), note=_note_one_more())
    cte = statement.returning(literal_column("1").label("one")).cte("written")
    counted = select(func.count()).select_from(cte)
    written = (await connection.execute(counted, execution_options={WRITTEN: merge.target.table})).scalar_one()
    updated = (await connection.execute(select(_noted()))).scalar_one()
    return written, written - updated


def _note(value: Any) -> ColumnElement[Any]:
    return func.set_config(_UPDATED, cast(value, Text), literal_column("true"))


def _noted() -> ColumnElement[int]:
    return cast(func.current_setting(_UPDATED), Integer)


def _note_one_more() -> ColumnElement[bool]:
    """Return a condition that is always true, and counts the rows for which it is evaluated."""
    return _note(_noted() + 1).is_not(None)


def _is_flat(rows: BoundRows, dialect: Dialect) -> bool:
    """Return whether an array of each column's values is equivalent to the values."""
    kinds = [engine_type(one.type, dialect) for one in rows.columns]
    return not rows.in_sql and all(isinstance(kind, _FLAT) and not isinstance(kind, CITEXT) for kind in kinds)


def _is_mixed(records: list[Record], dialect: Dialect) -> bool:
    """Return whether a column has values that an array cannot hold unchanged.

    These are lists, which ``unnest`` would spread over several rows, and values of several types, such as 1 and 2.5,
    which psycopg cannot put into one array.
    """
    columns = (
        set(map(type, map(itemgetter(place), records))) - {type(None)}
        for place in range(len(records[0]) if records else 0)
    )
    alike = dialect.driver == "asyncpg"
    return any((len(kinds) > 1 and not alike) or any(map(_is_list, kinds)) for kinds in columns)


def _is_list(kind: type) -> bool:
    return issubclass(kind, Collection) and not issubclass(kind, str | bytes | bytearray | memoryview | Mapping)


def _place_of(target: Target, rows: BoundRows, records: list[Record]) -> Callable[[Any], Any] | None:
    """Return a function from an object to the position of its row; ``None`` if nothing identifies the row."""
    key = target.mapper.primary_key
    identity = target.mapper.primary_key_from_instance
    if len(key) == 1 and key[0] is target.table.autoincrement_column and key[0].name not in rows.names:
        return identity  # Generated in the order in which the rows were inserted.
    if any(column.name not in rows.names or not isinstance(column.type, Integer | Uuid) for column in key):
        return None
    forms = [(rows.names.index(column.name), _bytes_of if isinstance(column.type, Uuid) else index) for column in key]
    try:
        place = {tuple([form(record[n]) for n, form in forms]): number for number, record in enumerate(records)}
    except (AttributeError, TypeError, ValueError):
        return None  # A key of another type, or None; the database decides whether it fits.
    return lambda obj: place[tuple([form(value) for value, (_, form) in zip(identity(obj), forms, strict=True)])]


def _bytes_of(key: Any) -> bytes:
    """Return the bytes of a UUID of Python, asyncpg or uuid_utils, or of its text; these do not compare equal."""
    found: bytes = UUID(key).bytes if isinstance(key, str) else key.bytes
    return found


def _unnest(rows: BoundRows, records: list[Record], dialect: Dialect, **options: Any) -> FromClause:
    # Column by column, because ``zip(*records)`` would first create an iterator per row.
    values = (list(map(itemgetter(place), records)) for place in range(len(rows.columns)))
    arrays = [_array(those, one.type, dialect) for those, one in zip(values, rows.columns, strict=True)]
    return func.unnest(*arrays).table_valued(*map(column, rows.names), name="given", **options).render_derived()


def _array(values: list[Any], of: TypeEngine[Any], dialect: Dialect) -> ColumnElement[Any]:
    return cast(bindparam(None, values, type_=Bound()), ARRAY(_without_length(engine_type(of, dialect))))


def _without_length(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    # A cast to varchar(3) truncates, while an assignment raises an error.
    return Text() if isinstance(kind, String) and not isinstance(kind, ENUM) else kind


def _differs(dialect: Dialect) -> Callable[[Column[Any], Any], ColumnElement[bool]]:
    def differs(old: Column[Any], new: Any) -> ColumnElement[bool]:
        kind = engine_type(old.type, dialect)
        if isinstance(kind, (*_SAME_BY_VALUE, JSONB)):
            return raw(old).is_distinct_from(raw(new))
        if isinstance(kind, JSON):
            return _differs_as_json(cast(raw(old), Text), cast(raw(new), Text))
        # As text, byte by byte: a collation or a type (citext) may treat different values as equal, and some types
        # (json, xml, point) have no equality.
        return cast(raw(old), Text).collate("C").is_distinct_from(cast(raw(new), Text).collate("C"))

    return differs


def _differs_as_json(old: ColumnElement[str], new: ColumnElement[str]) -> ColumnElement[bool]:
    """Compare the documents' meaning as jsonb, because json has no equality; jsonb refuses some JSON texts."""
    refused = old.concat(new).regexp_match(r"\\u(0000|[dD][89a-fA-F])")
    same = (old.is_not_distinct_from(new), false())
    return case(same, (refused, true()), else_=cast(old, JSONB).is_distinct_from(cast(new, JSONB)))
