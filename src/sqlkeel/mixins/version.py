"""A version number that makes a lost update an error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from sqlalchemy import Integer, event, orm, select
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState, mapped_column
from sqlalchemy.orm.exc import StaleDataError

from ..errors import VersionConflict
from ..session import SyncSession, reload_expired

__all__ = ["VersionMixin"]


class VersionMixin:
    """``version`` counts the changes of a row, and a change made on an old version is refused.

    Each UPDATE and DELETE of the unit of work carries the version that was read; when somebody else was faster it
    matches no row and `VersionConflict` is raised, with both versions and the row as it is now. ``update()``
    statements, upserts and bulk updates raise the version too. Across requests, give the version that the client saw
    to ``Repository.update(..., expected_version=…)``.
    """

    version: Mapped[int] = mapped_column(Integer(), server_default="1", sort_order=902)


@event.listens_for(VersionMixin, "after_mapper_constructed", propagate=True)
def _check_version(mapper: Mapper[Any], cls: type) -> None:
    # Set here and not in __mapper_args__: a model's own __mapper_args__ would silently switch the check off.
    if mapper.version_id_col is None:
        mapper.version_id_col = mapper.columns["version"]


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _raise_version(state: ORMExecuteState) -> Any:
    """Count an ``update()`` statement as a change of each row it touches."""
    mapper = state.bind_mapper
    if not state.is_update or state.is_executemany or mapper is None or mapper.version_id_col is None:
        return None
    column = mapper.version_id_col
    statement: Any = state.statement
    given = {getattr(key, "key", key) for key in (statement._values or {})}
    if column.key not in given:
        statement = statement.values({column: column + 1})
    result = state.invoke_statement(statement=statement)
    # What the server counted is not known here; an expired attribute could not be read without waiting.
    reload_expired(state.session, mapper)
    return result


class _Written(NamedTuple):
    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    version: int | None


class _Flush:
    """The versioned rows that a flush is about to write: the failed flush itself no longer knows them."""

    def __init__(self, session: orm.Session) -> None:
        self.connection: Any = None
        self.rows = list(_written_rows(session))
        if self.rows:
            self.connection = session.connection(bind_arguments={"mapper": self.rows[0].mapper})
            self.nested = session.in_nested_transaction()

    def conflict(self, error: StaleDataError) -> VersionConflict | None:
        """Ask the database which of the rows somebody else has changed."""
        found = [conflict for row in self.rows if (conflict := self._compare(row)) is not None]
        if self.connection is not None and not self.nested:
            self.connection.rollback()
        if not found:
            return None
        found[0].others = tuple(found[1:])
        return found[0]

    def _compare(self, row: _Written) -> VersionConflict | None:
        mapper, column = row.mapper, row.mapper.version_id_col
        table = mapper.local_table
        match = [key == value for key, value in zip(mapper.primary_key, row.identity, strict=True)]
        # A locking read: a snapshot that is older than the conflict would show the version that was expected.
        statement = select(*mapper.columns).select_from(mapper.selectable).where(*match)
        if mapper.selectable is table:
            statement = statement.with_for_update(read=True)
        current = self.connection.execute(statement).mappings().one_or_none()
        version = None if current is None else current[column]
        if version == row.version:
            return None
        key = row.identity[0] if len(row.identity) == 1 else row.identity
        values = None if current is None else {mapper.get_property_by_column(c).key: current[c] for c in mapper.columns}
        return VersionConflict(mapper.class_.__name__, key, expected=row.version, current=version, row=values)


def _written_rows(session: orm.Session) -> Iterator[_Written]:
    for obj in (*session.dirty, *session.deleted):
        state = orm.attributes.instance_state(obj)
        mapper = state.mapper
        if mapper.version_id_col is not None and state.identity is not None:
            key = mapper.get_property_by_column(mapper.version_id_col).key
            yield _Written(mapper, state.identity, state.committed_state.get(key, state.dict.get(key)))


@SyncSession.around_flush
def _name_conflicts(session: orm.Session) -> Iterator[None]:
    flush = _Flush(session)
    try:
        yield
    except StaleDataError as error:
        if isinstance(error, VersionConflict) or (conflict := flush.conflict(error)) is None:
            raise
        raise conflict from error
