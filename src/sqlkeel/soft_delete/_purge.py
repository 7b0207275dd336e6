"""Run a purge from beginning to end: with one transaction per batch, or inside the caller's."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import func, orm, select
from sqlalchemy.ext.asyncio import AsyncSession

from ..engines._backend import backend_for
from ..errors import InvalidValue, NoTransaction
from ..sessions._routes import refuse_reading
from ..sessions._session import Session
from ..types._exact import utc_now
from ._purge_deleted import DeletedRows, Key
from ._purge_plan import Group, plan

if TYPE_CHECKING:
    from ..sessions._database import Database

__all__ = ["Purged", "count_old", "purge", "purge_in"]

_KEYS_AT_ONCE: Final = 50_000
"""How many keys are queried at a time, in the order of their deletion; equal timestamps cost a sort."""


class Purged(NamedTuple):
    """The progress of a purge in one table.

    ``removed`` counts the rows that were removed. ``kept`` counts those that are old enough but had to stay, because a
    row that must not be removed references them: a live row, one that was deleted later, or a row of another table
    under ``ON DELETE RESTRICT``.
    """

    table: str
    removed: int
    kept: int


def purge(database: Database, models: Any, *, older_than: timedelta, batch: int = 1_000) -> AsyncGenerator[Purged]:
    """Remove rows that were deleted longer ago than *older_than*, each batch in its own transaction.

    ``async for progress in purge(db, User, older_than=timedelta(days=30))`` removes the deleted rows of a model and of
    every soft-deletable model below it, or of all models of a declarative base. Children are removed first. A row that
    is still referenced by a row which must stay is kept and counted; the next run checks it again. Rows of other tables
    are removed or changed by their ON DELETE.

    Each batch is committed before its progress is yielded. So you may leave the loop, or kill the process, at any time;
    the next run continues with the remaining rows. Several purges may run at once: each takes rows that the others have
    not locked. The age is measured by the clock of the database when the purge begins.

    Args:
        database: A `Database`.
        models: A mapped class, or a declarative base for all of its models.
        older_than: The minimum time that a deleted row is kept.
        batch: The number of rows to lock and remove in one transaction.

    Raises:
        InvalidValue: When *older_than* is not positive, or *batch* is less than one.
        NotSupported: For a model without soft delete.
        NestedTransaction: Inside a transaction of the same task; use `Repository.purge` there.
    """
    _check(older_than, batch)
    groups = plan(models)

    async def read(function: Callable[..., Any], *args: Any) -> Any:
        async with database.read() as session:
            return await session.run_sync(function, *args)

    async def write(function: Callable[..., Any], *args: Any) -> Any:
        # MariaDB's default level would also lock the gaps between rows, and so block every new deletion.
        return await database.run_transaction(_run_sync, function, *args, isolation="read committed")

    return _Purge(read, write, batch).run(groups, older_than)


async def purge_in(
    session: AsyncSession, model: type[Any], *, older_than: timedelta, batch: int = 1_000
) -> list[Purged]:
    """Do what `purge` does inside the caller's transaction, and return the result for each table.

    Nothing is committed here, so all removed rows stay locked until the transaction ends; use it for up to some
    thousands of rows. Objects of removed rows leave the session.

    Raises:
        InvalidValue: When *older_than* is not positive, or *batch* is less than one.
        NotSupported: For a model without soft delete.
        ReadOnlySession: When the session was opened for reading.
        NoTransaction: When each statement would commit by itself.
    """
    _check(older_than, batch)
    groups = plan(model)
    await session.run_sync(_begin, groups[0].members[0])
    found = _Purge(session.run_sync, session.run_sync, batch).run(groups, older_than)
    return list({progress.table: progress async for progress in found}.values())


async def count_old(database: Database, models: Any, *, older_than: timedelta) -> dict[str, int]:
    """Count, for each table, the deleted rows that are old enough for a `purge`; some of them may have to stay.

    Raises:
        InvalidValue: When *older_than* is not positive.
        NotSupported: For a model without soft delete.
    """
    _check(older_than, 1)
    groups = plan(models)
    async with database.read() as session:
        members = [one for group in groups for one in group.members]
        found = {}
        before = await session.run_sync(_moment, members[0]) - older_than if members else datetime.max
        for rows in members:
            statement = select(func.count()).select_from(rows.table).where(*rows.old(before))
            found[rows.table.fullname] = (await session.execute(statement)).scalar_one()
    return found


@dataclass(frozen=True)
class _Purge:
    """One run; the caller decides how reads are executed and which writes share a transaction."""

    read: Callable[..., Awaitable[Any]]
    write: Callable[..., Awaitable[Any]]
    batch: int

    async def run(self, groups: Sequence[Group], older_than: timedelta) -> AsyncGenerator[Purged]:
        """Purge group after group; repeat a group whose tables reference each other until no more rows can go."""
        if not groups:
            return
        before = await self.read(_moment, groups[0].members[0]) - older_than
        for group in groups:
            removed = dict.fromkeys(group.members, 0)
            again = True
            while again:
                sum_before, kept = sum(removed.values()), dict.fromkeys(group.members, 0)
                for rows in group.members:
                    async with aclosing(self._empty(rows, before)) as batches:
                        async for found, gone in batches:
                            removed[rows] += gone
                            kept[rows] += found - gone
                            yield Purged(rows.table.fullname, removed[rows], kept[rows])
                progressed = sum(removed.values()) > sum_before
                again = progressed and any(kept.values()) and group.circular

    async def _empty(self, rows: DeletedRows, before: datetime) -> AsyncGenerator[tuple[int, int]]:
        """Go through the old rows once; yield, per batch, how many rows were candidates and how many were removed."""
        yield 0, 0
        keys = await self.read(_find, rows, before, None)
        while keys:
            for start in range(0, len(keys), self.batch):
                yield await self.write(_remove, rows, before, [key[1:] for key in keys[start : start + self.batch]])
            whole = len(keys) == _KEYS_AT_ONCE
            keys = await self.read(_find, rows, before, keys[-1]) if whole else []


def _check(older_than: object, batch: object) -> None:
    hint = "older_than=timedelta(days=30), batch=1_000"
    if not isinstance(older_than, timedelta) or older_than <= timedelta(0):
        raise InvalidValue(f"older_than={older_than!r} is not a length of time.", hint=hint)
    if older_than >= datetime.now(UTC) - datetime.min.replace(tzinfo=UTC) - timedelta(days=1):
        raise InvalidValue(f"older_than={older_than!r} reaches back before the year 1.", hint=hint)
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise InvalidValue(f"batch={batch!r} is not a number of rows.", hint=hint)


async def _run_sync(session: Session, function: Callable[..., Any], *args: Any) -> Any:
    return await session.run_sync(function, *args)


def _begin(session: orm.Session, rows: DeletedRows) -> None:
    refuse_reading(session, "purge rows")
    if session.autoflush:
        session.flush()
    connection = rows.connection(session)
    if not backend_for(connection.engine.url).keeps_locks(connection):
        raise NoTransaction(
            "A purge locks what it removes, but this connection is not in a transaction that keeps locks."
        )


def _moment(session: orm.Session, rows: DeletedRows) -> datetime:
    moment: datetime = rows.connection(session).execute(select(utc_now())).scalar_one()
    return moment


def _find(session: orm.Session, rows: DeletedRows, before: datetime, after: Key | None) -> list[Key]:
    return rows.find(session, before, after=after, limit=_KEYS_AT_ONCE)


def _remove(session: orm.Session, rows: DeletedRows, before: datetime, keys: list[Key]) -> tuple[int, int]:
    return rows.remove(session, before, keys)
