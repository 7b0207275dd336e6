"""Update many rows by key, each with its own values, in one statement per chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, TypeVar, cast

from sqlalchemy import Column, ColumnElement, FromClause, Update, select, type_coerce, update

from ..errors import InvalidKey, NotFound, NotSupported, VersionConflict
from ..models._key_columns import plain_key
from ..sessions._holding import AnyAsyncSession
from ..versions._conflict import conflict_of
from ._binder import Binder
from ._columns import raw
from ._families import companions
from ._rows import Batch, Record, Rows, batches, in_order, index_of, unhashable
from ._target import Target
from ._work import Work

__all__ = ["update_many"]

M = TypeVar("M")


async def update_many(session: AnyAsyncSession, model: type[M], rows: Rows) -> int:
    """Update rows by primary key and return their number; any number, from any iterable.

    A row is a mapping with the whole primary key and the fields to change. ``onupdate`` columns and the version change
    too; a row that contains the version is written only if the database still has that version. If two rows have the
    same key, the last counts. Objects that the session holds are refreshed, with everything that depends on them. Rows
    are written in the order of their keys, so that callers wait for each other: a list is sorted as a whole, another
    source by 10,000 rows. Rows that a trigger keeps unchanged do not count.

    Raises:
        NotFound: When a key has no row, or its row is deleted; nothing is updated.
        VersionConflict: When rows have another version than was given; it lists all of them, and nothing is updated.
        InvalidKey: When a row omits a part of the key, or two keys match the same row in the database. Also when a row
            contains the version and an earlier row with the same key and other fields has incremented it.
        InvalidValue: For a SQL expression as a value.
        NotSupported: When a trigger keeps a row whose version was given, which looks like a conflict.
        UnknownField: For a field that the model does not have.
        ReadOnlySession: When the session was opened for reading.
    """
    written = 0
    async with Work(session, model) as work:
        target, changes = work.target, _Changes(work)
        whole = _in_order(rows, target)
        source = work.read(rows if whole is None else whole, "update_many")
        async for batch in batches(source, target, key=target.key):
            await changes.begin()
            first = _key_first(batch if whole is None else _of(rows, whole, batch), target, sort=whole is None)
            written += await changes.write(first)
        await changes.renew()
    return written


class _Changes:
    """The batches of one `update_many`, and the objects that the session holds for their rows."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.touched: dict[int, Any] = {}
        self.columns: set[Column[Any]] = set()

    async def begin(self) -> None:
        """Begin with the first batch; a second call does nothing."""
        await self.work.begin()
        if not hasattr(self, "binder"):
            self.binder = self.work.binder(assigned=lambda fields: _assigned(self.work.target, fields))
            self.held = self.work.held()
            self.joined = self.held.joined()

    async def write(self, batch: Batch) -> int:
        """Update the rows of a batch, and record the session's objects for them."""
        written = await _update(self.work, self.binder, batch)
        target, width = self.work.target, len(self.work.target.key)
        rows = (dict(zip(batch.fields, record, strict=True)) for record in batch.records)
        self.joined.note(rows, assigned=batch.fields[width:], key=target.key)
        if self.held.objects:
            keys = [tuple(record[:width]) for record in batch.records]
            self.touched |= {id(obj): obj for obj in self.held.among(keys)}
            if not self.work.writer.shows_locked:
                self.held.note_locked(keys)
            self.columns |= {*target.columns(batch.fields[width:]), *target.touched(batch.fields)}
            self.columns |= self.binder.touched(batch.fields).keys()
        return written

    async def renew(self) -> None:
        """Refresh the session's objects from their rows."""
        if hasattr(self, "binder") and (self.touched or self.joined):
            await self.held.renew(self.touched.values(), self.columns, self.joined)


def _assigned(target: Target, fields: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(field for field in fields if field not in target.key and field != target.version)


def _in_order(rows: Rows, target: Target) -> list[Any] | None:
    """Return rows that are all in memory sorted by key, the order in which every caller locks them; else ``None``.

    Rows from another source are sorted chunk by chunk.
    """
    if not isinstance(rows, list | tuple):
        return None
    try:
        return sorted(rows, key=itemgetter(*target.key))
    except (KeyError, TypeError, ArithmeticError):
        return None  # The error is raised when the rows are written.


def _of(rows: Rows, whole: list[Any], batch: Batch) -> Batch:
    """Make the places of a batch those among the original *rows*; *whole* has them in another order."""

    def place_of(record: Record) -> int | None:
        place = None if batch.place_of is None else batch.place_of(record)
        return None if place is None else index_of(whole[place], cast("Iterable[Any]", rows))

    return replace(batch, place_of=place_of)


def _key_first(batch: Batch, target: Target, *, sort: bool) -> Batch:
    """Put the key columns first, and keep only the last row of each key."""
    key = target.key
    missing = [field for field in key if field not in batch.fields]
    if missing:
        raise InvalidKey(
            f"A row to update {target.name} has no {', '.join(missing)}.", hint=f"Its key is {', '.join(key)}."
        )
    fields = (*key, *(field for field in batch.fields if field not in key))
    records = batch.records
    if fields != batch.fields and len(fields) > 1:
        records = list(map(itemgetter(*map(batch.fields.index, fields)), batch.records))
    width = len(key)
    try:
        # A dict comprehension would run Python code per row.
        last = dict(zip(map(itemgetter(*range(width)), records), records, strict=True))
    except TypeError:
        raise unhashable(key) from None
    unique = list(last.values())

    def place_of(record: Record) -> int | None:
        index = index_of(record, records)
        return None if index is None or batch.place_of is None else batch.place_of(batch.records[index])

    return Batch(fields, in_order(unique, width) if sort else unique, place_of=place_of)


async def _update(work: Work, binder: Binder, batch: Batch) -> int:
    target = work.target
    if len(batch.fields) == len(target.key):
        raise InvalidKey(f"A row to update {target.name} contains only its key.", hint="Add the new values.")
    async with work.writer.source(work.connection, target, binder.bind(batch)) as source:
        statement = _statement(target, batch.fields, source, binder.touched(batch.fields))
        written: int = (await work.connection.execute(statement)).rowcount
        if written == len(batch.records) or target.version not in batch.fields:
            if written != len(batch.records):
                (await _Matches.of(work, source, batch)).refuse()
            await _move_companions(work, source)
            return written
        has_kept = (await _Matches.of(work, source, batch)).has_kept()
    # Undo first, because a successful UPDATE has incremented the version.
    await work.undo()
    async with work.writer.source(work.connection, target, binder.bind(batch)) as source:
        matches = await _Matches.of(work, source, batch)
    matches.refuse()
    if not has_kept:
        raise InvalidKey(
            f"Two of the rows to update {target.name} have the same key, and the first has incremented the version.",
            hint="Give each key once.",
        )
    raise NotSupported(
        f"Rows of {target.name} exist at the given version, but were not updated.",
        hint="A trigger that skips rows by returning NULL cannot be distinguished from a conflict.",
    )


async def _move_companions(work: Work, given: FromClause) -> None:
    """Update versions and timestamps in the tables of subclasses."""
    key = work.target.columns(work.target.key)
    for other in companions(work.target.mapper):
        same = [raw(column) == given.c[own.name] for column, own in zip(other.key, key, strict=True)]
        await work.connection.execute(update(other.table).where(*same).values(other.values))


def _statement(target: Target, fields: tuple[str, ...], given: FromClause, by_row: Mapping[Column[Any], str]) -> Update:
    assigned = target.columns(_assigned(target, fields))
    values: dict[Any, Any] = {column: given.c[column.name] for column in assigned}
    values |= target.touched(fields)
    values |= {column: given.c[name] for column, name in by_row.items()}
    matched = [*target.columns(target.key)]
    if target.version in fields:
        matched.append(target.fields[str(target.version)])
    return update(target.table).where(*_same(matched, given), *target.guards).values(values)


def _same(columns: Iterable[Column[Any]], given: FromClause) -> list[ColumnElement[bool]]:
    return [raw(column) == given.c[column.name] for column in columns]


@dataclass(frozen=True)
class _Matches:
    """The caller's keys as the database reads them, each with its existing row."""

    target: Target
    version: str | None
    expected: dict[Record, Any]
    rows: list[tuple[Record, dict[str, Any]]]
    has_twins: bool

    @classmethod
    async def of(cls, work: Work, given: FromClause, batch: Batch) -> _Matches:
        """Query the rows; a locking read sees what was committed since the snapshot."""
        target, key = work.target, work.target.columns(work.target.key)
        version = target.version if target.version in batch.fields else None
        asked = [*key, *([target.fields[version]] if version is not None else [])]
        known = [type_coerce(given.c[column.name], column.type).label(None) for column in asked]
        width, whole = len(key), (await work.connection.execute(select(*known).select_from(given))).all()
        expected = {tuple(row[:width]): row[-1] for row in whole}
        statement = select(*known[:width], *target.fields.values()).where(*_same(key, given), *target.guards)
        found = await work.connection.execute(statement.order_by(*key).with_for_update(read=True))
        rows = [(tuple(row[:width]), dict(zip(target.fields, row[width:], strict=True))) for row in found]
        return cls(target, version, expected, rows, len(expected) < len(whole))

    def has_kept(self) -> bool:
        """Return whether a row still has the version that was given."""
        return any(row[str(self.version)] == self.expected.get(key) for key, row in self.rows)

    def refuse(self) -> None:
        """Raise the error for the first row that could not be updated, if any; a conflict includes the others.

        Raises:
            VersionConflict: For rows with another version than was given.
            NotFound: For a key without a row.
            InvalidKey: For two keys that the database considers equal.
        """
        conflicts = list(self._conflicts())
        if conflicts:
            conflicts[0].others = tuple(conflicts[1:])
            raise conflicts[0]
        matched = {key for key, _ in self.rows}
        missing = next((key for key in self.expected if key not in matched), None)
        if missing is not None:
            raise NotFound(self.target.name, plain_key(missing))
        keys = {tuple(row[field] for field in self.target.key) for _, row in self.rows}
        if self.has_twins or len(keys) != len(matched):
            name = self.target.name
            raise InvalidKey(f"Two of the rows to update {name} have the same key.", hint="Give each key once.")

    def _conflicts(self) -> Iterator[VersionConflict]:
        current = dict(self.rows)
        for key, expected in self.expected.items() if self.version is not None else ():
            row = current.get(key)
            if expected != (None if row is None else row[str(self.version)]):
                yield conflict_of(self.target.name, key, row, version=str(self.version), expected=expected)
