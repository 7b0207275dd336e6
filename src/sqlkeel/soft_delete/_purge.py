"""A purge from beginning to end: with a transaction for each batch, or inside the one of the caller."""

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
"""How many keys are looked for at a time: in the order of their deletion, which costs a sort where many share one."""


class Purged(NamedTuple):
    """How far a purge is with one table.

    ``removed`` counts the rows that are gone. ``kept`` counts those that are old enough and had to stay, because
    something points to them that must not go: a live row, one that was deleted later, a row of another kind under
    ``ON DELETE RESTRICT``.
    """

    table: str
    removed: int
    kept: int


def purge(database: Database, models: Any, *, older_than: timedelta, batch: int = 1_000) -> AsyncGenerator[Purged]:
    """Remove rows that were deleted longer ago than *older_than*, each batch in a transaction of its own.

    ``async for progress in purge(db, User, older_than=timedelta(days=30))``: the deleted rows of a model and of every
    soft-deletable model below it, or of all models of a declarative base. Children go first. A row to which something
    still points that must not go is kept, and counted; the next run looks at it again. Rows of other tables go by
    their ON DELETE.

    What a batch removed is committed before the progress is yielded, so that the loop may be left, or the process
    killed, at any time: the next run goes on with what is there. Several may run at once; each takes rows that the
    others have not locked. The age is measured by the clock of the database, when the purge begins.

    Args:
        database: A `Database`.
        models: A mapped class, or a declarative base for all of them.
        older_than: How long a deleted row is kept at least.
        batch: How many rows are locked, and removed, in one transaction.

    Raises:
        InvalidValue: When *older_than* is not positive, or *batch* less than one.
        NotSupported: For a model whose rows are not marked as deleted.
        NestedTransaction: Inside a transaction of the same task, for which there is `Repository.purge`.
    """
    _check(older_than, batch)
    groups = plan(models)

    async def read(function: Callable[..., Any], *args: Any) -> Any:
        async with database.read() as session:
            return await session.run_sync(function, *args)

    async def write(function: Callable[..., Any], *args: Any) -> Any:
        # The weaker level: MariaDB's usual one locks the gaps between rows too, and with them every new deletion.
        return await database.run_transaction(_run_sync, function, *args, isolation="read committed")

    return _Purge(read, write, batch).run(groups, older_than)


async def purge_in(
    session: AsyncSession, model: type[Any], *, older_than: timedelta, batch: int = 1_000
) -> list[Purged]:
    """Do what `purge` does inside the caller's transaction, and return what became of each table.

    Nothing is committed here, so all that is removed stays locked until the transaction ends: for some thousands of
    rows. Objects of removed rows leave the session.

    Raises:
        InvalidValue: When *older_than* is not positive, or *batch* less than one.
        NotSupported: For a model whose rows are not marked as deleted.
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
        NotSupported: For a model whose rows are not marked as deleted.
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
    """One run: what is read, and what is written in one go, is up to the caller."""

    read: Callable[..., Awaitable[Any]]
    write: Callable[..., Awaitable[Any]]
    batch: int

    async def run(self, groups: Sequence[Group], older_than: timedelta) -> AsyncGenerator[Purged]:
        """Empty group after group; in one whose tables point to each other, until nothing more can go."""
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
        """Go once through the old rows; yield how many of a batch were there to be removed, and how many were."""
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
        raise InvalidValue(f"older_than={older_than!r} is no length of time.", hint=hint)
    if older_than >= datetime.now(UTC) - datetime.min.replace(tzinfo=UTC) - timedelta(days=1):
        raise InvalidValue(f"older_than={older_than!r} reaches back before there are dates.", hint=hint)
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise InvalidValue(f"batch={batch!r} is no number of rows.", hint=hint)


async def _run_sync(session: Session, function: Callable[..., Any], *args: Any) -> Any:
    return await session.run_sync(function, *args)


def _begin(session: orm.Session, rows: DeletedRows) -> None:
    refuse_reading(session, "purge rows")
    if session.autoflush:
        session.flush()
    connection = rows.connection(session)
    if not backend_for(connection.engine.url).keeps_locks(connection):
        raise NoTransaction("A purge locks what it removes, and this connection is in no transaction that keeps locks.")


def _moment(session: orm.Session, rows: DeletedRows) -> datetime:
    moment: datetime = rows.connection(session).execute(select(utc_now())).scalar_one()
    return moment


def _find(session: orm.Session, rows: DeletedRows, before: datetime, after: Key | None) -> list[Key]:
    return rows.find(session, before, after=after, limit=_KEYS_AT_ONCE)


def _remove(session: orm.Session, rows: DeletedRows, before: datetime, keys: list[Key]) -> tuple[int, int]:
    return rows.remove(session, before, keys)
