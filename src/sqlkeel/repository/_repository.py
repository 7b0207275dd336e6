"""The repository: the everyday questions to one table and the everyday changes, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .. import bulk, soft_delete  # loaded when a verb of theirs is first called
from ..errors import NotSupported
from ..models._fields import assign, changes_row, refuse_fields, values_of_row
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
Rows: TypeAlias = Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]]


class Repository(Reader[M]):
    """Reads and writes the rows of one model; it never commits, and never opens a transaction of its own.

    ``class UserRepository(Repository[User])`` gives the questions of your domain a home; ``Repository(session, User)``
    does without a class. Lists have an order that does not change between calls: what you ask for, then the key.
    Deleted rows do not exist here unless ``include_deleted=True`` is said. It works with any mapped class and any
    `AsyncSession`; for what it does not have, write the ``select()``.

    What one row is given is a mapping, or keywords, or both, of which the keywords win: ``create(payload,
    author_id=user.id)``. A field with the name of an option, such as ``on``, comes in the mapping. Many rows are an
    iterable of mappings, also an asynchronous one. A reader with ``one`` in its name raises `NotFound`, another one
    returns ``None``. A verb for one row that exists takes its object; one for many rows takes keys.

    Raises:
        NotSupported: Without a model; for a soft-deletable model in a session that is not made over `SyncSession`.
    """

    async def create(self, values: Mapping[str, Any] | None = None, /, **fields: Any) -> M:
        """Insert a row and return it with what the database has filled in.

        Raises:
            UnknownField: When the model has no such field.
            InvalidValue: When *values* is no mapping.
            ConstraintViolation: When the database refuses the row.
        """
        values = values_of_row(self.model, values, fields)
        refuse_fields(self.model, values)
        obj = self.model(**values)
        row = NewRow(obj)
        self.session.add(obj)
        await self.session.flush()
        row.complete()
        return obj

    async def update(
        self,
        obj: M,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        expected_version: Versions | None = None,
        **fields: Any,
    ) -> M:
        """Change *obj*, which this session holds, and write it.

        A session holds what it has loaded or been given with ``add()``; load an object of another one here first.
        Across requests, *expected_version* is the version that the client saw: without it, a second editor overwrites
        what the first one wrote between the two requests. A set accepts several versions. If the values change nothing,
        one more statement asks for the row's version. A list or mapping that was changed in place and is passed again
        is written.

        Raises:
            VersionConflict: When the row is not at that version any more.
            UnknownField: When the model has no such field, or computes it.
            InvalidValue: For a version among the values, and when *values* is no mapping.
            UsageError: When nothing would be written: this session does not hold the object, or has deleted it.
            ConstraintViolation: When the database refuses the values.
        """
        values = values_of_row(self.model, values, fields)
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
        """Count a change of *obj* that is not in its own columns, and write the pending changes.

        For the root of an aggregate: of two editors of different children, the second gets a conflict. Timestamps of
        changes move in the same UPDATE.

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

        A detached object is attached to this session. An error ends the transaction, as any failed flush does; if a
        missing row is acceptable, call it in a savepoint, ``session.begin_nested()``.

        Raises:
            NotFound: When it is already deleted, by this or another session.
            UsageError: When it was never written, is held by another session, or another object of the row by this one.
            VersionConflict: When another session changed it since it was read.
            ForeignKeyViolation: When rows that must not be orphaned point to it.
        """
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="delete()")
        if expected_version is not None:
            await at_version(self.session, refuse_other_version, obj, expected_version)
        await self.session.delete(obj)
        await self.session.run_sync(flush_removal, obj)

    async def restore(self, obj: M) -> M:
        """Restore a deleted row and exactly the rows that were deleted with it.

        Raises:
            RestoreConflict: When a live row has taken a unique value in between; nothing is restored then.
            NotFound: When the row is not deleted.
            NotSupported: When the model has no `SoftDeleteMixin`.
            UsageError: When it was never written, is held by another session, or another object of the row by this one.
        """
        if not is_soft(self._mapper):
            raise NotSupported(f"{self._name} has no soft delete.", hint="Give the model the SoftDeleteMixin.")
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="restore()")
        await self.session.run_sync(soft_delete.restore, obj)
        return obj

    async def purge(self, *, older_than: timedelta, batch: int = 1_000) -> list[Purged]:
        """Permanently remove the rows that were deleted longer ago than *older_than*, and such rows below them.

        A row that is still referenced stays, and is counted. It all happens in the caller's transaction, *batch* rows
        at a time; for more than some thousands, `sqlkeel.soft_delete.purge` commits after each batch.

        Raises:
            InvalidValue: When *older_than* is not positive, or *batch* less than one.
            NotSupported: When the model has no `SoftDeleteMixin`.
        """
        return await soft_delete.purge_in(self.session, self.model, older_than=older_than, batch=batch)

    async def get_or_create(
        self, key: Mapping[str, Any] | None = None, /, defaults: Mapping[str, Any] | None = None, **fields: Any
    ) -> tuple[M, bool]:
        """Return the row with the unique values *key*, made with *defaults* if there is none, and whether it was made.

        Of any number of concurrent callers, one makes the row and all get it: ``get_or_create(email="a",
        defaults={"name": "Ann"})``.

        Raises:
            NotSupported: When the fields of *key* are not unique.
            InvalidValue: When a value of *key* is ``None``, any is an expression of SQL, or either is no mapping.
            UnknownField: When the model has no such field.
            ConstraintViolation: When the new row breaks another constraint.
        """
        key = values_of_row(self.model, key, fields)
        return await bulk.get_or_create(self.session, self.model, key, values_of_row(self.model, defaults, {}))

    async def upsert(
        self,
        values: Mapping[str, Any] | None = None,
        /,
        *,
        on: Sequence[QueryableAttribute[Any]],
        update: Sequence[QueryableAttribute[Any]] | None = None,
        revive: bool = False,
        **fields: Any,
    ) -> Upserted[M]:
        """Insert the row or, where the unique columns *on* exist, update it: one statement; tells which it was.

        Only the values given are written (of those, only *update* where it is given); ``updated_at`` and ``version``
        move. With *revive*, the row that was deleted last comes back where no live one has the values.

        Raises:
            NotSupported: When *on* is not unique; for *revive*, when the model keeps no deleted rows.
            InvalidValue: When a value of *on* is missing or ``None``, or *values* is no mapping.
            UnknownField: When the model has no such field, and for what is no attribute of it in *on* or *update*.
            UniqueViolation: When the row breaks another unique constraint, or the one that is there is deleted.
            UsageError: When the row above the one to revive is deleted.
        """
        values = values_of_row(self.model, values, fields)
        return await bulk.upsert(self.session, self.model, values, on=on, update=update, revive=revive)

    async def insert_many(self, rows: Rows) -> int:
        """Insert *rows* at the speed of the database's bulk path; returns how many. All or nothing.

        Raises:
            UnknownField: For a field that the model does not have.
            InvalidValue: For an expression of SQL as a value, and for a row that is no mapping.
            ConstraintViolation: When the database refuses a row.
        """
        return await bulk.insert_many(self.session, self.model, rows)

    async def insert_many_returning(self, rows: Rows) -> list[M]:
        """Insert *rows* and return their objects, in the order of the rows; several times slower than `insert_many`.

        Raises:
            UnknownField, InvalidValue, ConstraintViolation: As `insert_many` does.
            NotSupported: When objects are read from several tables, or an expression tells their class.
        """
        return await bulk.insert_many_returning(self.session, self.model, rows)

    async def update_many(self, rows: Rows) -> int:
        """Update rows by the key that each mapping holds, and return how many; a version in it is checked.

        Raises:
            NotFound: When there is no row of a key, or it is deleted; nothing is updated.
            VersionConflict: When rows have another version than was given; nothing is updated.
            InvalidKey: When a row leaves out a part of the key.
            InvalidValue: For an expression of SQL as a value, and for a row that is no mapping.
            UnknownField: For a field that the model does not have.
        """
        return await bulk.update_many(self.session, self.model, rows)

    async def upsert_many(
        self,
        rows: Rows,
        *,
        on: Sequence[QueryableAttribute[Any]],
        update: Sequence[QueryableAttribute[Any]] | None = None,
        revive: bool = False,
    ) -> UpsertResult:
        """Insert or update *rows*; rows that would not change are not written. Returns what was done, counted.

        Raises:
            NotSupported: When *on* is not unique; for *revive*, when the model keeps no deleted rows.
            InvalidValue: When a value of *on* is missing or ``None``, and for a row that is no mapping.
            UnknownField: As `upsert` does.
            ConstraintViolation: When the database refuses a row; nothing is written.
        """
        return await bulk.upsert_many(self.session, self.model, rows, on=on, update=update, revive=revive)

    async def delete_many(self, keys: Iterable[Any] | AsyncIterable[Any]) -> int:
        """Delete rows by key, and return how many there were; a composite key is a tuple or a mapping.

        Rows of a soft-deletable model are marked with what belongs to them, as one deletion: `restore` of one of them
        brings back all that this call deleted.

        Raises:
            InvalidKey: For a key of another shape than the model's, or with a value of the wrong type.
            ForeignKeyViolation: When other rows still point to one of them; nothing is deleted.
        """
        return await bulk.delete_many(self.session, self.model, keys)
