"""Delete many rows by key."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, TypeVar

from ..errors import InvalidKey, NotSupported, shown
from ..sessions._holding import AnyAsyncSession
from ._binder import Binder
from ._families import has_soft_rows
from ._rows import Batch, Record, chunks, in_order, index_of, sorted_keys
from ._target import Target
from ._work import Work

__all__ = ["delete_many"]

M = TypeVar("M")
_KEYS_AT_ONCE = 50_000


async def delete_many(session: AnyAsyncSession, model: type[M], keys: Iterable[Any] | AsyncIterable[Any]) -> int:
    """Delete the rows of *keys* and return how many there were; any number of keys, of any type.

    A composite key is a tuple in the order of the primary key. What hangs on the rows goes by the database's own ON
    DELETE; relations of the ORM are not looked at. Objects of deleted rows leave the session.

    Raises:
        NotSupported: For a model whose rows, or those of a class below it, are marked as deleted instead.
        InvalidKey: For a key of the wrong length.
        InvalidValue: For an expression of SQL; nothing is deleted.
        ForeignKeyViolation: When other rows still point to one of them; nothing is deleted.
        ReadOnlySession: When the session was opened for reading.
    """
    deleted = 0
    async with Work(session, model) as work:
        _refuse_soft_delete(work.target)
        binder: Binder | None = None
        read = 0
        async for chunk in chunks(work.read(keys, "delete_many", "key"), _KEYS_AT_ONCE):
            batch = _batch(chunk, work.target, read)
            read += len(chunk)
            if binder is None:
                await work.begin()
                binder = work.binder()
            deleted += await work.writer.delete(work.connection, work.target, binder.bind(batch))
            await work.held().forget(batch.records)
    return deleted


def _refuse_soft_delete(target: Target) -> None:
    if has_soft_rows(target.mapper):
        some = "Rows" if target.is_soft_deletable else "Some rows"
        raise NotSupported(
            f"{some} of {target.name} are marked as deleted, and stay.",
            hint="repository.delete(obj) marks it and what belongs to it; a delete() statement removes rows for good.",
        )


def _batch(chunk: list[Any], target: Target, read: int) -> Batch:
    """Return the keys of a chunk as records, after so many that were *read* before."""
    width = len(target.key)

    def place_of(record: Record) -> int | None:
        index = index_of(record[0] if width == 1 else record, chunk)
        return None if index is None else read + index

    if width == 1:
        return Batch(target.key, list(zip(sorted_keys(chunk))), place_of=place_of)
    records = [key if isinstance(key, tuple) else (key,) for key in chunk]
    wrong = next((record for record in records if len(record) != width), None)
    if wrong is not None:
        raise InvalidKey(f"{shown(wrong)} is no key of {target.name}.", hint=f"Its key is {', '.join(target.key)}.")
    return Batch(target.key, in_order(records, width), place_of=place_of)
