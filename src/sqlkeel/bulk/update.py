"""Update many rows by key, each with values of its own, in one statement per chunk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from sqlalchemy import FromClause, Update, null, select, update
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
        VersionConflict: When a row has another version than was given; nothing is updated.
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
            current = await _current_versions(work, source)
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


async def _current_versions(work: Work, given: FromClause) -> dict[Record, int | None]:
    """Return the versions of those of the given keys that are there; a locking read sees what was committed since."""
    target = work.target
    key = target.columns(target.key)
    version = null() if target.version is None else target.fields[target.version]
    same = [column == given.c[column.name] for column in key]
    statement = select(*key, version).where(*same, *target.guards).with_for_update(read=True)
    return {tuple(row[:-1]): row[-1] for row in await work.connection.execute(statement)}


def _reason(target: Target, batch: Batch, current: dict[Record, int | None]) -> KeelError:
    """Return the error for the first row that could not be updated."""
    width = len(target.key)
    place = batch.fields.index(target.version) if target.version in batch.fields else None
    for record in batch.records:
        key, expected = record[:width], None if place is None else record[place]
        shown = key[0] if width == 1 else key
        if place is not None and current.get(key) != expected:
            return VersionConflict(target.name, shown, expected=expected, current=current.get(key))
        if key not in current:
            return NotFound(target.name, shown)
    return InvalidKey(f"Two of the rows to update {target.name} have the same key.", hint="Give each key once.")
