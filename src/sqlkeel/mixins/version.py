"""A version number that makes a lost update an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, Integer, event, orm, select
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState, mapped_column, validates
from sqlalchemy.orm.exc import StaleDataError

from ..errors import UsageError, VersionConflict
from ..session import SyncSession, update_with

__all__ = ["VersionMixin", "find_conflict"]


class VersionMixin:
    """``version`` counts the changes of a row, and a change made on an old version is refused.

    Each UPDATE and DELETE of the unit of work carries the version that was read; when somebody else was faster it
    matches no row and `VersionConflict` is raised, with both versions and the row as it is now. ``update()``
    statements, upserts and bulk updates raise the version too. Across requests, give the version that the client saw
    to ``Repository.update(..., expected_version=…)``.
    """

    version: Mapped[int] = mapped_column(Integer(), server_default="1", sort_order=902)

    @validates("version")
    def _refuse_version(self, key: str, value: int) -> int:
        state = orm.attributes.instance_state(self)
        if state.has_identity and value != state.dict.get(key, value):
            raise UsageError(
                f"The version of {self!r} counts by itself and cannot be set to {value!r}.",
                hint="To check what a client saw: Repository.update(obj, values, expected_version=...).",
            )
        return value

    def __merge_conflict__(self, session: orm.Session) -> VersionConflict | None:
        """Return the conflict that made ``session.merge(self)`` fail, if it is one of this row."""
        mapper = orm.object_mapper(self)
        return find_conflict(session.connection(), mapper, mapper.primary_key_from_instance(self), self.version)


@event.listens_for(VersionMixin, "after_mapper_constructed", propagate=True)
def _check_version(mapper: Mapper[Any], cls: type) -> None:
    # Set here and not in __mapper_args__: a model's own __mapper_args__ would silently switch the check off.
    if mapper.version_id_col is None:
        mapper.version_id_col = mapper.columns["version"]


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _raise_version(state: ORMExecuteState) -> Any:
    """Count an ``update()`` statement as a change of each row it touches."""
    column: Any = state.bind_mapper.version_id_col if state.is_update and state.bind_mapper is not None else None
    return None if column is None else update_with(state, column, column + 1)


def find_conflict(
    connection: Connection, mapper: Mapper[Any], identity: Sequence[Any], expected: int | None
) -> VersionConflict | None:
    """Compare a row with the version that somebody read; ``None`` where it is still the same."""
    mapped: dict[str, Any] = {prop.key: next(iter(prop.columns)) for prop in mapper.column_attrs}
    columns = {key: column for key, column in mapped.items() if isinstance(column, Column)}
    version: Any = mapper.version_id_col
    match = [key == value for key, value in zip(mapper.primary_key, identity, strict=True)]
    statement = select(*columns.values()).select_from(mapper.persist_selectable).where(*match)
    # A locking read: a snapshot that is older than the conflict would show the version that was expected.
    row = connection.execute(statement.with_for_update(read=True)).one_or_none()
    values = None if row is None else dict(zip(columns, row, strict=True))
    current = None if values is None else values[mapper.get_property_by_column(version).key]
    if current == expected:
        return None
    key = identity[0] if len(identity) == 1 else tuple(identity)
    return VersionConflict(mapper.class_.__name__, key, expected=expected, current=current, row=values)


class _Written(NamedTuple):
    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    version: int | None


class _Flush:
    """The versioned rows that a flush is about to write: the failed flush itself no longer knows them."""

    def __init__(self, session: orm.Session) -> None:
        self.rows = list(_written_rows(session))
        self.nested = session.in_nested_transaction()
        mappers = dict.fromkeys(row.mapper for row in self.rows)
        self.connections = {mapper: session.connection(bind_arguments={"mapper": mapper}) for mapper in mappers}

    def conflict(self) -> VersionConflict | None:
        """Ask the database which of the rows somebody else has changed."""
        found = [conflict for row in self.rows if (conflict := self._compare(row)) is not None]
        if not self.nested:
            for connection in self.connections.values():
                connection.rollback()
        if not found:
            return None
        found[0].others = tuple(found[1:])
        return found[0]

    def _compare(self, row: _Written) -> VersionConflict | None:
        return find_conflict(self.connections[row.mapper], row.mapper, row.identity, row.version)


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
        if isinstance(error, VersionConflict) or (conflict := flush.conflict()) is None:
            raise
        raise conflict from error
