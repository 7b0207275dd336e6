"""Update many rows by key, each with values of its own, in one statement per chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from sqlalchemy import FromClause, Update, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import InvalidKey, KeelError, NotFound, VersionConflict
from .rows import Batch, Binder, Record, Rows, batches
from .target import Target
from .work import Work

__all__ = ["update_many"]

M = TypeVar("M")


async def update_many(session: AsyncSession, model: type[M], rows: Rows) -> int:
    """Update rows by primary key and return how many; any number, from any iterable.

    A row is a mapping with the whole primary key and the fields to change. ``onupdate`` columns and the version change
    with it; a row that carries the version is written only if it still has that one. Of two rows with one key, the last
    counts. Objects that the session holds show the new values afterwards.

    Raises:
        NotFound: When there is no row of a key, or it is deleted; nothing is updated.
        VersionConflict: When rows have another version than was given, all of them; nothing is updated.
        InvalidKey: When a row leaves out a part of the key.
        UnknownField: For a field that the model does not have.
        ReadOnlySession: When the session was opened for reading.
    """
    written = 0
    async with Work(session, model) as work:
        binder: Binder | None = None
        held: dict[Record, Any] = {}
        seen: dict[Record, Any] = {}
        changed: set[str] = set()
        async for batch in batches(rows, work.target):
            ordered = _key_first(batch, work.target)
            if binder is None:
                await work.begin()
                binder, held = work.binder(new=False), work.held()
            written += await _update(work, binder, ordered)
            if held:
                width = len(work.target.key)
                keys = (record[:width] for record in ordered.records)
                seen |= {key: held[key] for key in keys if key in held}
                changed |= {*ordered.fields[width:], *work.target.touched(ordered.fields)}
        await work.refresh(seen, changed)
    return written


def _key_first(batch: Batch, target: Target) -> Batch:
    """Put the key first, and keep the last row of each."""
    key = target.key
    missing = [field for field in key if field not in batch.fields]
    if missing:
        raise InvalidKey(
            f"A row to update {target.name} has no {', '.join(missing)}.", hint=f"Its key is {', '.join(key)}."
        )
    fields = (*key, *(field for field in batch.fields if field not in key))
    records: Iterable[Record] = batch.records
    if fields != batch.fields:
        order = [batch.fields.index(field) for field in fields]
        records = (tuple([record[place] for place in order]) for record in batch.records)
    width = len(key)
    last = {record[:width]: record for record in records}
    return Batch(fields, list(last.values()))


async def _update(work: Work, binder: Binder, batch: Batch) -> int:
    if len(batch.fields) == len(work.target.key):
        raise InvalidKey(f"A row to update {work.target.name} holds nothing but its key.", hint="Add the new values.")
    async with work.writer.source(work.connection, work.target, binder.bind(batch)) as source:
        result = await work.connection.execute(_statement(work.target, batch.fields, source))
    if result.rowcount != len(batch.records):
        await work.undo()
        async with work.writer.source(work.connection, work.target, binder.bind(batch)) as source:
            current = await _current_rows(work, source)
        raise _reason(work.target, batch, current)
    return len(batch.records)


def _statement(target: Target, fields: tuple[str, ...], given: FromClause) -> Update:
    width = len(target.key)
    assigned = [target.fields[field] for field in fields[width:] if field != target.version]
    values: dict[Any, Any] = {column: given.c[column.name] for column in assigned}
    values |= {target.fields[field]: value for field, value in target.touched(fields).items()}
    matched = [*target.columns(target.key)]
    if target.version in fields:
        matched.append(target.fields[str(target.version)])
    conditions = [column == given.c[column.name] for column in matched]
    return update(target.table).where(*conditions, *target.guards).values(values)


async def _current_rows(work: Work, given: FromClause) -> dict[Record, dict[str, Any]]:
    """Return those of the given rows that are there, by key; a locking read sees what was committed since."""
    target = work.target
    key = target.columns(target.key)
    same = [column == given.c[column.name] for column in key]
    statement = select(*key, *target.fields.values()).where(*same, *target.guards).with_for_update(read=True)
    width = len(key)
    rows = [tuple(row) for row in await work.connection.execute(statement)]
    return {row[:width]: dict(zip(target.fields, row[width:], strict=True)) for row in rows}


def _reason(target: Target, batch: Batch, current: dict[Record, dict[str, Any]]) -> KeelError:
    """Return the error for the first row that could not be updated; a conflict holds the others too."""
    conflicts = list(_conflicts(target, batch, current))
    keys = [record[: len(target.key)] for record in batch.records]
    missing = next((key for key in keys if key not in current), None)
    if conflicts:
        conflicts[0].others = tuple(conflicts[1:])
        return conflicts[0]
    if missing is not None:
        return NotFound(target.name, _shown(missing))
    return InvalidKey(f"Two of the rows to update {target.name} have the same key.", hint="Give each key once.")


def _conflicts(target: Target, batch: Batch, current: dict[Record, dict[str, Any]]) -> Iterator[VersionConflict]:
    if target.version is None or target.version not in batch.fields:
        return
    place, width = batch.fields.index(target.version), len(target.key)
    for record in batch.records:
        key, expected = record[:width], record[place]
        row = current.get(key)
        found = None if row is None else row[target.version]
        if found != expected:
            yield VersionConflict(target.name, _shown(key), expected=expected, current=found, current_row=row)


def _shown(key: Record) -> Any:
    return key[0] if len(key) == 1 else key
