"""Delete many rows by key."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable
from typing import Any, TypeVar

from sqlalchemy import Table
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession

from ..errors import NotSupported
from ..models._relations import is_soft
from ..models._row_keys import keys_of
from ..sessions._holding import AnyAsyncSession, session_in
from ..sessions._routes import dialect_of, refuse_detour, refuse_reading
from ..soft_delete._deletion import DeletionOfMany
from ..soft_delete._marks import Mark
from ._binder import Binder
from ._families import has_soft_rows
from ._rows import Batch, Record, chunks, close, in_order, index_of, reading, sorted_keys
from ._target import Target
from ._work import Work

__all__ = ["delete_many"]

M = TypeVar("M")
_KEYS_AT_ONCE = 50_000


async def delete_many(session: AnyAsyncSession, model: type[M], keys: Iterable[Any] | AsyncIterable[Any]) -> int:
    """Delete the rows with these *keys*, any number of them, and return the number of deleted rows.

    A composite key is a tuple in the order of the primary key, or a mapping. Only the database's ON DELETE applies to
    rows that reference the deleted rows; the ORM's cascades do not run. Objects of deleted rows leave the session.

    Rows of a soft-deletable model are marked, and the rows that belong to them, as by ``session.delete``. This costs
    some statements for each 500 keys, and some for each level below. One call is one deletion: all its rows share the
    time and the ``deletion_id``, and `restore` of any of them restores them all. To restore rows one by one later,
    delete them one by one. Versions are not compared.

    Raises:
        NotSupported: For a model with soft-deletable rows and with other rows.
        InvalidKey: For a key of the wrong length, or with a value of the wrong type.
        InvalidValue: For a SQL expression as a key; nothing is deleted.
        ForeignKeyViolation: When other rows still reference one of the rows; nothing is deleted.
        NoTransaction: When each statement commits by itself.
        ReadOnlySession: When the session was opened for reading.
    """
    mapper, sync = sa_inspect(model), session_in(session).sync_session
    if is_soft(mapper):
        return await _mark(session_in(session), model, keys)
    deleted = 0
    async with Work(session, model) as work:
        _refuse_mixed(work.target)
        binder: Binder | None = None
        read = 0
        async for chunk in chunks(work.read(keys, "delete_many", "key"), _KEYS_AT_ONCE):
            identities = keys_of(mapper, dialect_of(sync, mapper)).identities(chunk)
            batch = _batch(chunk, identities, work.target, read)
            read += len(chunk)
            if binder is None:
                await work.begin()
                binder = work.binder()
            deleted += await work.writer.delete(work.connection, work.target, binder.bind(batch))
            await work.held().forget(batch.records)
    return deleted


async def _mark(session: AsyncSession, model: type[Any], keys: Iterable[Any] | AsyncIterable[Any]) -> int:
    """Mark the rows with these *keys* as deleted; read all keys first."""
    mapper, sync = sa_inspect(model), session.sync_session
    refuse_reading(session, f"delete rows of {model.__name__}")
    refuse_detour(sync, mapper, "A bulk call")
    if not isinstance(Mark(mapper).table, Table):
        raise NotSupported(
            f"{model.__name__} is read from several tables, and no table has the deleted_at of all its rows.",
            hint="Delete the rows of each subclass: delete_many(session, Subclass, keys).",
        )
    source = reading(keys, f"Keys of {model.__name__}", hint=f"delete_many(session, {model.__name__}, [key])")
    try:
        given = [key async for chunk in chunks(source, _KEYS_AT_ONCE) for key in chunk]
    finally:
        await close(source)
    identities = list(dict.fromkeys(keys_of(mapper, dialect_of(sync, mapper)).identities(given)))
    if not identities:
        return 0
    deletion = DeletionOfMany(sync, mapper)
    in_turn = in_order(identities, len(identities[0]))
    return await session.run_sync(lambda _: deletion.run(in_turn))


def _refuse_mixed(target: Target) -> None:
    if has_soft_rows(target.mapper):
        raise NotSupported(
            f"Some rows of {target.name} are marked as deleted, and others removed.",
            hint="Pass a subclass to delete_many(), or call repository.delete(obj) for each object.",
        )


def _batch(chunk: list[Any], identities: list[tuple[Any, ...]], target: Target, read: int) -> Batch:
    """Return the keys of a chunk as records; *read* is the number of keys in the chunks before."""
    width = len(target.key)

    def place_of(record: Record) -> int | None:
        index = index_of(record[0] if width == 1 else record, chunk)
        return None if index is None else read + index

    if width == 1:
        return Batch(target.key, list(zip(sorted_keys([key for (key,) in identities]))), place_of=place_of)
    return Batch(target.key, in_order(identities, width), place_of=place_of)
