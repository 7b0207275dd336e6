"""Many rows on PostgreSQL: COPY, unnest, and a temporary table merged by ON CONFLICT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import chain
from typing import Any

from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Enum,
    FromClause,
    Index,
    Integer,
    Select,
    String,
    Table,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    delete,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, distinct_on, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.types import TypeEngine

from ..engines.faults import WRITTEN, translate
from ..errors import NoTransaction
from ..keys import uuid7
from ..observe import record
from .on_conflict import lock_first, merging_insert, upserting_insert, write_one
from .rows import BoundRows, Record
from .target import Target, Unique
from .writer import Bound, Merge, names_of, stage_of

try:
    import uuid_utils
except ImportError:  # Python 3.14 has UUIDv7 itself.
    uuid_utils = None  # type: ignore[assignment]

__all__ = ["PostgreSQL"]


class PostgreSQL:
    """PostgreSQL through asyncpg or psycopg."""

    async def refuse_autocommit(self, connection: AsyncConnection) -> None:
        """Refuse: a COPY would commit by itself, and a temporary table be gone before it is filled."""
        if await connection.run_sync(_commits_by_itself):
            raise NoTransaction("The connection commits each statement by itself; many rows need a transaction.")

    def predicate(self, index: Index) -> ColumnElement[bool] | None:
        """Return the WHERE of a partial index."""
        where: ColumnElement[bool] | None = index.dialect_options["postgresql"]["where"]
        return where

    def makers(self, dialect: Dialect) -> Mapping[Callable[..., Any], Callable[[], Any]]:
        """Return, for asyncpg, a maker of keys that takes a tenth of the time: it asks a key for its bytes only."""
        quick = uuid_utils.uuid7 if uuid_utils is not None and dialect.driver == "asyncpg" else None
        return {} if quick is None else {uuid7: quick}

    async def insert(self, connection: AsyncConnection, table: Table, rows: BoundRows) -> int:
        """COPY the rows."""
        return await _copy(connection, table, rows, errors_of=table)

    async def insert_returning(self, session: AsyncSession, target: Target, rows: BoundRows) -> list[Any] | None:
        """Insert from arrays, which is twice as fast; where a key tells afterwards which row an object was."""
        dialect = session.get_bind(mapper=target.mapper).dialect
        place = _place_of(target, rows)
        if place is None or _has_array(rows, dialect):
            return None
        source = _unnest(rows, dialect, with_ordinality="sqlkeel_place")
        ordered = select(*(source.c[one.name] for one in rows.columns)).order_by(source.c.sqlkeel_place)
        statement = insert(target.model).from_select(rows.columns, ordered, include_defaults=False)
        found = await session.scalars(statement.returning(target.model), execution_options={"include_deleted": True})
        return sorted(found, key=place)

    @asynccontextmanager
    async def source(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> AsyncIterator[FromClause]:
        """Pass one array for each column; arrays of arrays would be flattened, so that those are staged."""
        dialect = connection.dialect
        if _has_array(rows, dialect):
            async with self.stage(connection, target, rows.columns) as stage:
                await self.fill(connection, stage, rows, errors_of=target.table)
                yield stage
            return
        yield _unnest(rows, dialect)

    @asynccontextmanager
    async def stage(
        self,
        connection: AsyncConnection,
        target: Target,
        columns: Sequence[Column[Any]],
        unique: Unique | None = None,
    ) -> AsyncIterator[Table]:
        """Make a table that has the types of the columns and none of their constraints."""
        stage = stage_of(target.table, columns)
        names = names_of(connection.dialect, columns)
        table = connection.dialect.identifier_preparer.format_table(target.table)
        await connection.exec_driver_sql(
            f"CREATE TEMPORARY TABLE {stage.name} ON COMMIT DROP AS SELECT {names} FROM {table} WITH NO DATA"  # noqa: S608
        )
        yield stage
        await connection.exec_driver_sql(f"DROP TABLE {stage.name}")

    async def fill(self, connection: AsyncConnection, stage: Table, rows: BoundRows, *, errors_of: Table) -> int:
        """COPY the rows to the stage."""
        return await _copy(connection, stage, rows, errors_of=errors_of)

    async def merge(self, connection: AsyncConnection, stage: Table, merge: Merge) -> tuple[int, int]:
        """Insert the last row of each key in one statement; a new row has no xmax."""
        key = [stage.c[column.name] for column in merge.unique.columns]
        rows = select(*stage.c)
        twice: Select[Any] = (
            select(literal_column("1")).select_from(stage).group_by(*key).having(func.count() > 1).limit(1)
        )
        if (await connection.execute(twice)).first() is not None:
            # Rows lie in a new table in the order in which they came. Not done without need: it sorts them all.
            rows = rows.ext(distinct_on(*key)).order_by(*key, literal_column("ctid").desc())
        statement = merging_insert(insert, stage, rows, merge, _differs)
        written = statement.returning(literal_column("(xmax = 0)").label("inserted")).cte("written")
        new = func.count().filter(written.c.inserted)
        result = await connection.execute(
            select(new, func.count() - new).select_from(written),
            execution_options={WRITTEN: merge.target.table},
        )
        inserted, updated = result.one()
        return inserted, updated

    async def keep_last(self, connection: AsyncConnection, stage: Table, unique: Unique) -> None:
        """Remove the earlier of two rows with one key: rows lie in a new table in the order in which they came."""
        key = [stage.c[column.name] for column in unique.columns]
        place = func.row_number().over(partition_by=key, order_by=literal_column("ctid").desc())
        rows = select(literal_column("ctid").label("at"), place.label("place")).select_from(stage).subquery()
        replaced = select(rows.c.at).where(rows.c.place > 1)
        await connection.execute(delete(stage).where(literal_column("ctid").in_(replaced)))

    async def lock_first(self, connection: AsyncConnection, rows: Select[Any], key: Sequence[Column[Any]]) -> Any:
        """Return it as whoever held it has left it."""
        return await lock_first(connection, rows)

    async def upsert(self, session: AsyncSession, values: Mapping[str, Any], merge: Merge) -> tuple[Any, bool] | None:
        """Ask for xmax with the row: it is zero in a row that was never updated or locked."""
        statement = upserting_insert(insert, values, merge)
        row = await write_one(session, statement.returning(merge.target.model, literal_column("(xmax = 0)")))
        return None if row is None else (row[0], row[1])

    async def delete(self, connection: AsyncConnection, target: Target, rows: BoundRows) -> int:
        """Delete with the keys in arrays: any number of them is one parameter for each column."""
        dialect, columns = connection.dialect, rows.columns
        matches: ColumnElement[bool]
        if len(columns) == 1:
            keys = [key for (key,) in rows.all()]
            matches = columns[0] == any_(_array(keys, columns[0].type, dialect))
        else:
            matches = tuple_(*columns).in_(select(*_unnest(rows, dialect).c))
        result = await connection.execute(delete(target.table).where(matches, *target.guards))
        return result.rowcount


def _commits_by_itself(connection: Connection) -> bool:
    return connection.dialect.detect_autocommit_setting(connection.connection.dbapi_connection)  # type: ignore[arg-type]


async def _copy(connection: AsyncConnection, table: Table, rows: BoundRows, *, errors_of: Table) -> int:
    """COPY inside the transaction of *connection*, which a savepoint has really begun; return how many rows."""
    name = connection.dialect.identifier_preparer.format_table(table)
    statement = f"COPY {name} ({names_of(connection.dialect, rows.columns)}) FROM STDIN"
    record(connection.engine.sync_engine, statement)
    driver: Any = (await connection.get_raw_connection()).driver_connection
    send = _copy_by_asyncpg if connection.dialect.driver == "asyncpg" else _copy_by_psycopg
    raised: list[Exception] = []
    try:
        return await send(driver, table, BoundRows(rows.columns, _noting(rows.blocks, raised)), statement)
    except Exception as error:
        if error in raised:
            raise  # The caller's own, not the driver's.
        fault = await connection.run_sync(translate, error, statement=statement, table=errors_of)
        raise fault from error
    except BaseException:
        # Cancelled: what the connection would say next is not known.
        await connection.invalidate()
        raise


def _noting(blocks: Iterable[list[Record]], raised: list[Exception]) -> Iterator[list[Record]]:
    """Note what making the rows raises: the driver raises anything, a TypeError for a value that it cannot encode."""
    try:
        yield from blocks
    except Exception as error:
        raised.append(error)
        raise


async def _copy_by_asyncpg(driver: Any, table: Table, rows: BoundRows, statement: str) -> int:
    status = await driver.copy_records_to_table(
        table.name,
        schema_name=table.schema,
        columns=[column.name for column in rows.columns],
        records=chain.from_iterable(rows.blocks),
    )
    return int(status.rpartition(" ")[2])


async def _copy_by_psycopg(driver: Any, table: Table, rows: BoundRows, statement: str) -> int:
    async with driver.cursor() as cursor:
        # A name is written for a statement with parameters, where a percent sign is doubled; this one has none.
        async with cursor.copy(statement.replace("%%", "%")) as copy:
            for one in chain.from_iterable(rows.blocks):
                await copy.write_row(one)
        written: int = cursor.rowcount
        return written


def _has_array(rows: BoundRows, dialect: Dialect) -> bool:
    return any(isinstance(one.type.dialect_impl(dialect), ARRAY) for one in rows.columns)


def _place_of(target: Target, rows: BoundRows) -> Callable[[Any], Any] | None:
    """Return what tells the place of an object among the rows that it was made of; ``None`` where nothing does."""
    key = target.mapper.primary_key
    identity = target.mapper.primary_key_from_instance
    names = [column.name for column in rows.columns]
    if len(key) == 1 and key[0] is target.table.autoincrement_column and key[0].name not in names:
        return identity  # Counted in the order in which the rows were inserted.
    if any(column.name not in names or not isinstance(column.type, Integer | Uuid) for column in key):
        return None
    places = [names.index(column.name) for column in key]
    place = {tuple(record[n] for n in places): number for number, record in enumerate(rows.all())}
    return lambda obj: place[tuple(identity(obj))]


def _unnest(rows: BoundRows, dialect: Dialect, **options: Any) -> FromClause:
    values = zip(*rows.all(), strict=True)
    arrays = [_array(list(those), one.type, dialect) for those, one in zip(values, rows.columns, strict=True)]
    columns = [column(one.name, one.type) for one in rows.columns]
    return func.unnest(*arrays).table_valued(*columns, name="given", **options).render_derived()


def _array(values: list[Any], of: TypeEngine[Any], dialect: Dialect) -> ColumnElement[Any]:
    return cast(bindparam(None, values, type_=Bound()), ARRAY(_without_length(of.dialect_impl(dialect))))


def _without_length(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    # A cast to varchar(3) cuts what is too long, where an assignment refuses it.
    return Text() if isinstance(kind, String) and not isinstance(kind, Enum) else kind


def _differs(old: ColumnElement[Any], new: ColumnElement[Any]) -> ColumnElement[bool]:
    kind = old.type
    if isinstance(kind, JSON):
        # Plain json has no equality.
        return cast(old, JSONB).is_distinct_from(cast(new, JSONB))
    if isinstance(kind, String) and not isinstance(kind, Enum):
        # Byte by byte: a collation may call different texts equal.
        return cast(old, Text).collate("C").is_distinct_from(cast(new, Text).collate("C"))
    return old.is_distinct_from(new)
