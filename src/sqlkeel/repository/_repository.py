"""The repository: the everyday questions to one table and the everyday changes, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from .. import bulk, soft_delete  # loaded when a verb of theirs is first called
from ..errors import NotSupported
from ..models._fields import assign, changes_row, refuse_fields
from ..models._relations import is_soft
from ..sessions._holding import refuse_foreign, refuse_unheld
from ..sessions._new_rows import NewRow
from ..sessions._removal import flush_removal
from ..versions._conflict import Versions, at_version, refuse_other_version
from ..versions._version import refuse_stale, refuse_version, touch

if TYPE_CHECKING:
    from sqlalchemy.orm import QueryableAttribute

    from ..bulk import Upserted, UpsertResult
    from ..soft_delete import Purged

from ._reader import Reader

__all__ = ["Repository"]

M = TypeVar("M")


class Repository(Reader[M]):
    """Reads and writes the rows of one model; it never commits, and never opens a transaction of its own.

    ``class UserRepository(Repository[User])`` gives the questions of your domain a home; ``Repository(session, User)``
    does without a class. Lists have an order that does not change between calls: what you ask for, then the key.
    Deleted rows do not exist here unless ``include_deleted=True`` is said. It works with any mapped class and any
    `AsyncSession`; for what it does not have, write the ``select()``.

    Raises:
        NotSupported: Without a model; for a soft-deletable model in a session that is not made over `SyncSession`.
    """

    async def create(self, **values: Any) -> M:
        """Insert a row and return it with what the database has filled in.

        Raises:
            UnknownField: When the model has no such field.
            ConstraintViolation: When the database refuses the row.
        """
        refuse_fields(self.model, values)
        obj = self.model(**values)
        row = NewRow(obj)
        self.session.add(obj)
        await self.session.flush()
        row.complete()
        return obj

    async def update(self, obj: M, values: Mapping[str, Any], *, expected_version: Versions | None = None) -> M:
        """Change *obj*, which this session holds, and write it.

        A session holds what it has loaded or been given with ``add()``; load an object of another one here first.
        Across requests, *expected_version* is the version that the client saw: without it, a second editor overwrites
        what the first one wrote between the two requests. A set stands for one of several. Where the values change
        nothing, the row is asked for its version, which takes one statement more. A list or mapping that was changed
        in place and is given again is written.

        Raises:
            VersionConflict: When the row is not at that version any more.
            UnknownField: When the model has no such field, or computes it.
            InvalidValue: For a version in *values*.
            UsageError: When nothing would be written: this session does not hold the object, or has deleted it.
            ConstraintViolation: When the database refuses the values.
        """
        refuse_fields(type(obj) if isinstance(obj, self.model) else self.model, values)
        refuse_unheld(self.session.sync_session, obj, model=self.model, call="update()")
        if expected_version is not None:
            await at_version(self.session, refuse_other_version, obj, expected_version)
        refuse_version(obj, values)
        for field, value in values.items():
            assign(obj, field, value)
        if expected_version is not None and not changes_row(obj):
            await self.session.run_sync(refuse_stale, obj)
        await self.session.flush()
        return obj

    async def touch(self, obj: M, *, expected_version: Versions | None = None) -> M:
        """Count a change of *obj* that is none of its own columns, and write what waits to be written.

        For the root of an aggregate: of two who edit different children of it, the second is told. Times of change move
        with it, in the same UPDATE.

        Raises:
            VersionConflict: When the row is not at that version any more.
            NotSupported: When the model has no version.
            UsageError: When nothing would be counted: this session does not hold the object, or has deleted it.
        """
        refuse_unheld(self.session.sync_session, obj, model=self.model, call="touch()")
        if expected_version is not None:
            await at_version(self.session, refuse_other_version, obj, expected_version)
        await at_version(self.session, touch, obj)
        await self.session.flush()
        return obj

    async def delete(self, obj: M, *, expected_version: Versions | None = None) -> None:
        """Delete *obj* with what belongs to it; a soft-deletable row is marked, and `restore` brings it back.

        An object that is in no session any more is taken into this one. An error ends the transaction, as that of each
        flush that fails; where a missing row is no error, do it in a savepoint, ``session.begin_nested()``.

        Raises:
            NotFound: When it is deleted already, by whomever.
            UsageError: When it was never written, is held by another session, or another object of the row by this one.
            VersionConflict: When somebody else changed it since it was read.
            ForeignKeyViolation: When rows that must not be orphaned point to it.
        """
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="delete()")
        if expected_version is not None:
            await at_version(self.session, refuse_other_version, obj, expected_version)
        await self.session.delete(obj)
        await self.session.run_sync(flush_removal, obj)

    async def restore(self, obj: M) -> M:
        """Bring back a deleted row and exactly what was deleted with it.

        Raises:
            RestoreConflict: When a live row has taken a unique value meanwhile; nothing is restored then.
            NotFound: When the row is not deleted.
            NotSupported: When the model has no `SoftDeleteMixin`.
            UsageError: When it was never written, is held by another session, or another object of the row by this one.
        """
        if not is_soft(self._mapper):
            raise NotSupported(f"{self._name} keeps no deleted rows.", hint="Give the model the SoftDeleteMixin.")
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="restore()")
        await self.session.run_sync(soft_delete.restore, obj)
        return obj

    async def purge(self, *, older_than: timedelta, batch: int = 1_000) -> list[Purged]:
        """Remove for good the rows that were deleted longer ago than *older_than*, and such rows of what is below.

        A row to which something still points stays, and is counted. All of it is one transaction, the caller's, with
        *batch* rows at a time; `sqlkeel.soft_delete.purge` commits after each batch, for more than some thousands.

        Raises:
            InvalidValue: When *older_than* is not positive, or *batch* less than one.
            NotSupported: When the model has no `SoftDeleteMixin`.
        """
        return await soft_delete.purge_in(self.session, self.model, older_than=older_than, batch=batch)

    async def get_or_create(self, key: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> tuple[M, bool]:
        """Return the row with the unique values *key*, made with *defaults* if there is none, and whether it was made.

        Of any number of concurrent callers, one makes the row and all get it.

        Raises:
            ConstraintViolation: When the new row breaks another constraint.
        """
        return await bulk.get_or_create(self.session, self.model, key, defaults or {})

    async def upsert(
        self,
        values: Mapping[str, Any],
        *,
        on: Sequence[QueryableAttribute[Any]],
        update: Sequence[QueryableAttribute[Any]] | None = None,
        revive: bool = False,
    ) -> Upserted[M]:
        """Insert the row or, where the unique columns *on* exist, update it: one statement; tells which it was.

        Only the values given are written (of those, only *update* where it is given); ``updated_at`` and ``version``
        move. With *revive*, the row that was deleted last comes back where no live one has the values.

        Raises:
            ConstraintViolation: When the row breaks another constraint.
        """
        return await bulk.upsert(self.session, self.model, values, on=on, update=update, revive=revive)

    async def insert_many(self, rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]) -> int:
        """Insert *rows* at the speed of the database's bulk path; returns how many."""
        return await bulk.insert_many(self.session, self.model, rows)

    async def update_many(self, rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]) -> int:
        """Update rows by the key that each mapping holds; a version in it is checked."""
        return await bulk.update_many(self.session, self.model, rows)

    async def upsert_many(
        self,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        *,
        on: Sequence[QueryableAttribute[Any]],
        update: Sequence[QueryableAttribute[Any]] | None = None,
        revive: bool = False,
    ) -> UpsertResult:
        """Insert or update *rows*; rows that would not change are not written. Returns what was done, counted."""
        return await bulk.upsert_many(self.session, self.model, rows, on=on, update=update, revive=revive)

    async def delete_many(self, keys: Iterable[Any] | AsyncIterable[Any]) -> int:
        """Delete rows by key; returns how many there were."""
        return await bulk.delete_many(self.session, self.model, keys)
