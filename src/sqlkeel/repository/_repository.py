"""The repository: the usual queries and changes for one table, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from .. import bulk, soft_delete  # their modules are loaded at the first call of one of their functions
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

    Write the queries of your domain as methods of ``class UserRepository(Repository[User])``, or use
    ``Repository(session, User)`` without a class. Lists have the same order in each call: the order that you ask for,
    then the key. Deleted rows are left out unless you pass ``include_deleted=True``. A repository works with any mapped
    class and any `AsyncSession`; for other queries, write the ``select()``.

    Pass the values of one row as a mapping, as keywords, or as both; keywords take precedence: ``create(payload,
    author_id=user.id)``. Put a field with the name of an option, such as ``on``, into the mapping. Pass many rows as
    an iterable of mappings, also an asynchronous one. If no row is found, `one` and the ``get_one…`` methods raise
    `NotFound`; `get`, `get_by_public_id` and `one_or_none` return ``None``. To change or delete one row, pass its
    object; for many rows, pass keys.

    Raises:
        NotSupported: Without a model; for a soft-deletable model in a session that is not based on `SyncSession`.
    """

    async def create(self, values: Mapping[str, Any] | None = None, /, **fields: Any) -> M:
        """Insert a row and return its object, with the values that the database has set.

        Raises:
            UnknownField: When the model has no such field.
            InvalidValue: When *values* is not a mapping.
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
        """Assign *values* to an object of this session, and write the change.

        The session must have loaded the object, or got it with ``add()``. Across requests, pass the version that the
        client saw as *expected_version*, or a set of acceptable versions. Without it, a second editor overwrites the
        changes that the first editor made between the two requests. If the values change nothing, one more statement
        reads the row's version. A list or mapping that was changed in place is written if you pass it again.

        Raises:
            VersionConflict: When the row no longer has the expected version.
            UnknownField: When the model has no such field, or computes the field.
            InvalidValue: For a version among the values, and when *values* is not a mapping.
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
        """Count a change of a child as a change of *obj*, and write the pending changes.

        Use it for the root of an aggregate: if two editors change different children, the second gets a conflict. The
        same UPDATE sets the ``onupdate`` timestamps.

        Raises:
            VersionConflict: When the row no longer has the expected version.
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
        """Delete *obj* and the rows that belong to it; a soft-deletable row is marked, and `restore` restores it.

        A detached object is attached to this session. An error ends the transaction, as after any failed flush. If the
        row may be missing, call this method in a savepoint, ``session.begin_nested()``.

        Raises:
            NotFound: When the row is already deleted, by this or another session.
            UsageError: When *obj* was never written, when another session holds it, or when this session holds another
                object for the same row.
            VersionConflict: When another session changed the row since it was read.
            ForeignKeyViolation: When rows that the deletion must keep still reference the row.
        """
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="delete()")
        if expected_version is not None:
            await at_version(self.session, refuse_other_version, obj, expected_version)
        await self.session.delete(obj)
        await self.session.run_sync(flush_removal, obj)

    async def restore(self, obj: M) -> M:
        """Restore a deleted row and exactly the rows that were deleted with it.

        Raises:
            RestoreConflict: When a live row now has one of the unique values; nothing is restored then.
            NotFound: When the row is not deleted.
            NotSupported: When the model has no `SoftDeleteMixin`.
            UsageError: When *obj* was never written, when another session holds it, or when this session holds another
                object for the same row; also when the parent row is deleted.
        """
        if not is_soft(self._mapper):
            raise NotSupported(f"{self._name} has no soft delete.", hint="Give the model the SoftDeleteMixin.")
        refuse_foreign(self.session.sync_session, obj, model=self.model, call="restore()")
        await self.session.run_sync(soft_delete.restore, obj)
        return obj

    async def purge(self, *, older_than: timedelta, batch: int = 1_000) -> list[Purged]:
        """Permanently remove the rows that were soft-deleted longer ago than *older_than*, and such rows below them.

        A row that is still referenced stays, and is counted. All statements run in the caller's transaction, *batch*
        rows at a time. For more than some thousand rows use `sqlkeel.soft_delete.purge`, which commits each batch.

        Raises:
            InvalidValue: When *older_than* is not positive, or *batch* less than one.
            NotSupported: When the model has no `SoftDeleteMixin`.
        """
        return await soft_delete.purge_in(self.session, self.model, older_than=older_than, batch=batch)

    async def get_or_create(
        self, key: Mapping[str, Any] | None = None, /, defaults: Mapping[str, Any] | None = None, **fields: Any
    ) -> tuple[M, bool]:
        """Return the row with *key*, or create it from *key* and *defaults*; and whether it was created.

        Of any number of concurrent callers, exactly one creates the row, and all get it: ``get_or_create(email="a",
        defaults={"name": "Ann"})``.

        Raises:
            NotSupported: When the fields of *key* are not unique.
            InvalidValue: When a value of *key* is ``None``, a value is a SQL expression, or *key* or *defaults* is not
                a mapping.
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
        """Insert a row, or update the row with the same *on*; return the object and whether the row is new.

        An update writes only *values*, or the part of them that *update* names, and also sets ``updated_at`` and
        ``version``. With *revive*, if no live row has the same *on*, the most recently deleted one is restored and
        updated.

        Raises:
            NotSupported: When *on* is not unique; for *revive*, when the model has no soft delete.
            InvalidValue: When a value of *on* is missing or ``None``, or *values* is not a mapping.
            UnknownField: When the model has no such field, and for an item of *on* or *update* that is not one of its
                attributes.
            UniqueViolation: When the row breaks another unique constraint, or the existing row is deleted.
            UsageError: When the parent of the row to revive is deleted.
        """
        values = values_of_row(self.model, values, fields)
        return await bulk.upsert(self.session, self.model, values, on=on, update=update, revive=revive)

    async def insert_many(self, rows: Rows) -> int:
        """Insert all *rows* or none, by the fastest way of the database; return how many.

        Raises:
            UnknownField: For a field that the model does not have.
            InvalidValue: For a SQL expression as a value, and for a row that is not a mapping.
            ConstraintViolation: When the database refuses a row.
        """
        return await bulk.insert_many(self.session, self.model, rows)

    async def insert_many_returning(self, rows: Rows) -> list[M]:
        """Insert *rows* and return their objects, in the order of the rows; several times slower than `insert_many`.

        Raises:
            UnknownField, InvalidValue, ConstraintViolation: As for `insert_many`.
            NotSupported: When objects are read from several tables, or an expression determines their class.
        """
        return await bulk.insert_many_returning(self.session, self.model, rows)

    async def update_many(self, rows: Rows) -> int:
        """Update rows by the key in each mapping, and return how many; a version in a mapping is checked.

        Raises:
            NotFound: When no row has a key, or the row is deleted; nothing is updated.
            VersionConflict: When rows have another version than the mapping; nothing is updated.
            InvalidKey: When a mapping leaves out a part of the key.
            InvalidValue: For a SQL expression as a value, and for a row that is not a mapping.
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
        """Insert or update *rows*, and return how many of each; rows that would not change are not written.

        Raises:
            NotSupported: When *on* is not unique; for *revive*, when the model has no soft delete.
            InvalidValue: When a value of *on* is missing or ``None``, and for a row that is not a mapping.
            UnknownField: As for `upsert`.
            ConstraintViolation: When the database refuses a row; nothing is written.
        """
        return await bulk.upsert_many(self.session, self.model, rows, on=on, update=update, revive=revive)

    async def delete_many(self, keys: Iterable[Any] | AsyncIterable[Any]) -> int:
        """Delete rows by key, and return the number of deleted rows; a composite key is a tuple or a mapping.

        Rows of a soft-deletable model are marked, with the rows that belong to them, as one deletion: `restore` of one
        of them restores all rows that this call deleted.

        Raises:
            InvalidKey: For a key of another shape than the model's, or with a value of the wrong type.
            ForeignKeyViolation: When other rows still reference one of the rows; nothing is deleted.
        """
        return await bulk.delete_many(self.session, self.model, keys)
