"""COPY through asyncpg and psycopg, inside the transaction of the session."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from operator import itemgetter, length_hint
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import (
    BigInteger,
    Dialect,
    Enum,
    Integer,
    ScalarSelect,
    Select,
    SmallInteger,
    String,
    Table,
    TableClause,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from ..engines._faults import translate
from ..engines._texts import WORDS
from ..errors import ConstraintViolation, ValueRefused
from ..observe import record
from ..types._stored import engine_type
from ._binder import BoundRows
from ._columns import qualified, quoted, schema_of
from ._rows import Batch, Record

__all__ = ["copies", "copy", "kind_of"]

_Into = Table | TableClause
_AS_NUMBER: Final[Mapping[bool, Any]] = {False: 0, True: 1}
_known: WeakKeyDictionary[Dialect, dict[tuple[str, ...], bool]] = WeakKeyDictionary()


def kind_of(connection: AsyncConnection, table: Table) -> ScalarSelect[str]:
    """Return the query for the kind of a relation in PostgreSQL: ``r`` for a table, ``p`` for a partitioned one.

    The models do not know how a migration created the table.
    """
    name = qualified(connection, table).replace("%%", "%")
    kind: Select[str] = select(literal_column("relkind::text")).select_from(text("pg_class"))
    return kind.where(literal_column("oid") == func.to_regclass(name)).scalar_subquery()


async def copies(connection: AsyncConnection, into: _Into, rows: BoundRows) -> bool:
    """Return whether COPY accepts such rows: tried once per process, with no rows.

    asyncpg sends COPY in binary, and some types (citext, hstore, ltree) have no binary form there. PostgreSQL refuses
    COPY into a view, and into a table with row-level security. The type in the model is not enough to decide, because a
    domain, a composite type or an array depends on its parts.
    """
    if rows.in_sql:
        return False
    known, key = _known.setdefault(connection.dialect, {}), (qualified(connection, into), *rows.names)
    if key not in known:
        savepoint = await connection.begin_nested()
        try:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            await _send(connection, driver, into, rows.names, ())
        except Exception as error:  # noqa: BLE001 - the statement that is sent instead reports what is wrong
            await savepoint.rollback()
            if type(error).__name__ != "InternalClientError":
                return False
            known[key] = False
        except BaseException:
            await connection.invalidate()
            raise
        else:
            await savepoint.commit()
            known[key] = True
    return known[key]


async def copy(connection: AsyncConnection, into: _Into, rows: BoundRows, *, errors_of: Table) -> int:
    """COPY the rows inside the transaction of *connection*, which a savepoint has begun; return their number."""
    record(connection.engine.sync_engine, _statement(connection, into, rows.names))
    driver: Any = (await connection.get_raw_connection()).driver_connection
    sending = _Sending(into.name, rows, _words_of_bools(rows, connection.dialect))
    try:
        return await _send(connection, driver, into, rows.names, chain.from_iterable(sending.blocks()))
    except Exception as error:
        if error is sending.raised:
            raise  # The caller's rows raised it, not the driver.
        # COPY may have become impossible: a policy was added, or the role was changed.
        _known.get(connection.dialect, {}).pop((qualified(connection, into), *rows.names), None)
        statement = _statement(connection, into, rows.names)
        fault = await connection.run_sync(translate, error, statement=statement, table=errors_of)
        if isinstance(fault, ConstraintViolation):
            fault.locate(sending.place(error)[0])
        raise (sending.placed(fault, error, errors_of) if isinstance(fault, ValueRefused) else fault) from error
    except BaseException:
        # Cancelled in the middle, so the state of the protocol is unknown.
        await connection.invalidate()
        raise


def _statement(connection: AsyncConnection, into: _Into, names: Iterable[str]) -> str:
    return f"COPY {qualified(connection, into)} ({quoted(connection.dialect, names)}) FROM STDIN"


class _Sending:
    """The rows of a COPY while they are sent: the error in producing them, and how many the driver has read."""

    def __init__(self, into: str, rows: BoundRows, words: Mapping[int, Mapping[bool, Any]]) -> None:
        self.raised: Exception | None = None
        self._into = into
        self._places: list[Sequence[int]] = []
        self._rows = replace(rows, batches=self._noted(rows.batches))
        self._words = words
        self._taken = 0
        self._block: Iterator[Record] = iter(())

    def blocks(self) -> Iterator[Iterator[Record]]:
        """Yield the blocks; the driver may raise any error, such as TypeError for a value that it cannot encode."""
        try:
            for bound in self._rows.blocks:
                block = _in_words(bound, self._words) if self._words else bound
                self._block = iter(block)
                self._taken += len(block)
                yield self._block
                # Forget them now: keeping the rows would prevent reuse of their memory, which is slower.
                self._rows.forget()
        except Exception as error:
            self.raised = error
            raise

    def _noted(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Record the positions of the rows in the whole call: one range, unless other fields come in between."""
        for batch in batches:
            last = self._places[-1] if self._places else range(0)
            if isinstance(batch.places, range) and isinstance(last, range) and last.stop == batch.places.start:
                self._places[-1:] = [range(last.start, batch.places.stop)]
            else:
                self._places.append(batch.places)
            yield batch

    def place(self, error: Exception) -> tuple[int | None, str | None]:
        """Return the number of the refused row among all rows, and the column, if they are known.

        The server reports both. If the driver refuses a value, it stops at that row.
        """
        line, column = _place(_context(error), self._into, self._rows.names)
        if line is None and getattr(error, "sqlstate", None) is None:
            line = self._taken - length_hint(self._block)
        if line is None:
            return None, column
        return next(islice(chain.from_iterable(self._places), line - 1, None), line - 1) + 1, column

    def placed(self, fault: ValueRefused, error: Exception, table: Table) -> ValueRefused:
        """Return the error with the refused row, and with the column if the server reported it."""
        row, column = self.place(error)
        placed = ValueRefused("", orig=error, statement=fault.statement)
        placed.locate(table.name, column, row)
        return placed


def _place(context: str, table: str, names: Iterable[str]) -> tuple[int | None, str | None]:
    """Parse ``COPY author, line 3, column name: "x"`` in any language of the server.

    In each language, the number follows the name of the table, and the column follows the number and precedes a colon.
    """
    told = re.search(rf"^(?:COPY )?{re.escape(table)}(?![A-Za-z0-9_])\D{{1,20}}(\d+)([^:\n]*)", context, re.MULTILINE)
    if told is None:
        return None, None
    found = {name: _last(name, told[2]) for name in names}
    column = max(found, key=lambda name: (found[name], len(name)), default=None)
    return int(told[1]), column if column is not None and found[column] >= 0 else None


def _last(name: str, text: str) -> int:
    """Return the end of a word's last occurrence, or -1."""
    return max(
        (one.end() for one in re.finditer(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", text)), default=-1
    )


def _words_of_bools(rows: BoundRows, dialect: Dialect) -> dict[int, Mapping[bool, Any]]:
    """Return, by column position, what psycopg has to write for a bool in a column that is not boolean.

    psycopg would write ``t``, which is neither a number nor the text that a cast produces in a statement; asyncpg
    accepts a bool as a number, but not as text.
    """
    if dialect.driver != "psycopg":
        return {}
    found: dict[int, Mapping[bool, Any]] = {}
    for place, column in enumerate(rows.columns):
        kind = engine_type(column.type, dialect)
        if isinstance(kind, String) and not isinstance(kind, Enum) and place not in rows.shape.texts:
            found[place] = WORDS
        elif isinstance(kind, Integer) and not isinstance(kind, BigInteger | SmallInteger):
            found[place] = _AS_NUMBER  # no server can cast a bool to the other types
    return found


def _in_words(records: list[Record], words: Mapping[int, Mapping[bool, Any]]) -> list[Record]:
    # All values of these columns are checked, because any row may have a bool; the check runs no Python code per row.
    places = [place for place in words if bool in set(map(type, map(itemgetter(place), records)))]
    if not places:
        return records
    columns: list[Iterable[Any]] = [*zip(*records, strict=True)]
    for place in places:
        known = words[place]
        columns[place] = [known[value] if type(value) is bool else value for value in columns[place]]
    return list(zip(*columns, strict=True))


def _context(error: Exception) -> str:
    """Return the server's position in the COPY; asyncpg and psycopg store it differently."""
    diagnosis = getattr(error, "diag", error)
    return str(getattr(diagnosis, "context", "") or "")


async def _send(
    connection: AsyncConnection, driver: Any, into: _Into, names: Iterable[str], records: Iterable[Record]
) -> int:
    if connection.dialect.driver == "asyncpg":
        status = await driver.copy_records_to_table(
            into.name, schema_name=schema_of(connection, into), columns=[*names], records=records
        )
        return int(status.rpartition(" ")[2])
    async with driver.cursor() as cursor:
        # The quoting doubles a percent sign for statements with parameters; this statement has none.
        async with cursor.copy(_statement(connection, into, names).replace("%%", "%")) as sending:
            for one in records:
                await sending.write_row(one)
        written: int = cursor.rowcount
        return written
