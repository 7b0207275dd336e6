"""The deleted rows of one model: find the old ones, lock them, and remove those that nothing needs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, not_, or_, orm, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapper

from ..errors import NotSupported
from ..models._key_columns import portions
from ..models._row_keys import among
from ..sessions._rewinding import expunge
from ..sessions._routes import writing_connection
from ._purge_references import References

__all__ = ["DeletedRows", "Key"]

Key = tuple[Any, ...]


class DeletedRows:
    """The soft-deleted rows of *mapper*; a row may be spread over several tables.

    Raises:
        NotSupported: When the mark is not in the base table of the row.
    """

    def __init__(self, mapper: Mapper[Any], references: References) -> None:
        self.mapper = mapper
        self.references = references
        self.mark: Any = mapper.columns["deleted_at"]
        self.table: Table = self.mark.table
        self.key = tuple(self.table.primary_key)
        self.parts = tuple(table for table in references.tables(mapper) if table is not self.table)
        if self.table is not references.base(mapper).local_table:
            raise NotSupported(
                f"The mark of {mapper.class_.__name__} is in {self.table.name}, and its rows begin in another table.",
                hint=f"Give the mixin to {references.base(mapper).class_.__name__}.",
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.table.fullname}>"

    def connection(self, session: orm.Session) -> Connection:
        """Return the session's connection for these rows."""
        return writing_connection(session, self.mapper)

    def old(self, before: datetime) -> list[ColumnElement[bool]]:
        """Match the rows of the model that were deleted before a time."""
        return [self.mark < before, *self._of_class()]

    def _of_class(self) -> Iterator[ColumnElement[bool]]:
        kind, own = self.mapper.polymorphic_on, self.mapper.local_table
        if self.mapper is self.references.base(self.mapper):
            return
        if kind is not None:
            yield kind.in_([one.polymorphic_identity for one in self.mapper.self_and_descendants])
        elif own is not self.table:
            yield exists().where(_same(self.key, tuple(own.primary_key)))

    def find(self, session: orm.Session, before: datetime, *, after: Key | None, limit: int) -> list[Key]:
        """Return deletion times and keys of old rows, sorted by these, after *after*; nothing is locked."""
        order = (self.mark, *self.key)
        statement = select(*order).where(*self.old(before)).order_by(*order).limit(limit)
        if after is not None:
            # The second condition implies the first, but only the first can use an index.
            statement = statement.where(self.mark >= after[0], _behind(order, after))
        return [tuple(row) for row in self.connection(session).execute(statement)]

    def remove(self, session: orm.Session, before: datetime, keys: Sequence[Key]) -> tuple[int, int]:
        """Remove the removable rows among these; return how many were old and lockable, and how many were removed.

        First lock the rows, then check what references them: a new reference to a row has to lock it, so the check
        cannot miss one.
        """
        connection = self.connection(session)
        found = gone = 0
        for part in portions(keys, len(self.key)):
            locked = self._lock(connection, before, part)
            removed = self._remove(connection, locked) if locked else []
            found, gone = found + len(locked), gone + len(removed)
            self._forget(session, removed)
        return found, gone

    def _lock(self, connection: Connection, before: datetime, keys: Sequence[Key]) -> list[Key]:
        statement = select(*self.key).where(among(self.key, keys), *self.old(before))
        locked = [tuple(row) for row in connection.execute(statement.with_for_update(skip_locked=True))]
        for part in self.parts if locked else ():
            if self.references.has_own(part):
                # Without SKIP LOCKED, because skipping one part would remove the row only partly.
                key = tuple(part.primary_key)
                connection.execute(select(*key).where(among(key, locked)).order_by(*key).with_for_update()).all()
        for table in (self.table, *self.parts) if locked else ():
            # A new reference to a row that is removed by cascade locks that row, not the one at the top.
            rows = select(*table.primary_key).where(among(tuple(table.primary_key), locked))
            for statement in self.references.locking(table, table, rows):
                connection.execute(statement).all()
        return locked

    def _remove(self, connection: Connection, keys: Sequence[Key]) -> list[Key]:
        try:
            with connection.begin_nested():
                return self._delete(connection, keys)
        except IntegrityError:
            # A reference that the models do not know keeps one of the rows; only the database can tell which one.
            if len(keys) == 1:
                return []
            half = len(keys) // 2
            return [*self._remove(connection, keys[:half]), *self._remove(connection, keys[half:])]

    def _delete(self, connection: Connection, keys: Sequence[Key]) -> list[Key]:
        for part in self.parts:
            key = tuple(part.primary_key)
            row = exists().where(_same(self.key, key), self._is_free)
            connection.execute(delete(part).where(among(key, keys), row))
        statement = delete(self.table).where(among(self.key, keys), self._is_free)
        return [tuple(row) for row in connection.execute(statement.returning(*self.key))]

    @cached_property
    def _is_free(self) -> ColumnElement[bool]:
        """Match rows that nothing needs; for a statement on the table with the mark."""
        return and_(True, *map(not_, self._needed()))

    def _needed(self) -> Iterator[ColumnElement[bool]]:
        yield from self.references.needing(self.table, self.table)
        for part in self.parts:
            rest = part.alias()
            needing = list(self.references.needing(part, rest))
            if needing:
                yield exists().select_from(rest).where(_same(self.key, tuple(rest.primary_key)), or_(*needing))

    def _forget(self, session: orm.Session, keys: Iterable[Key]) -> None:
        held = (session.identity_map.get(self.mapper.identity_key_from_primary_key(key)) for key in keys)
        expunge(session, [obj for obj in held if obj is not None])


def _same(columns: Sequence[Any], others: Sequence[Any]) -> ColumnElement[bool]:
    return and_(*(column == other for column, other in zip(columns, others, strict=True)))


def _behind(columns: Sequence[Any], values: Key) -> ColumnElement[bool]:
    column, value = columns[0], values[0]
    if len(columns) == 1:
        return column > value  # type: ignore[no-any-return]  # a condition
    return or_(column > value, and_(column == value, _behind(columns[1:], values[1:])))
