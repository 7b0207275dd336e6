"""A version number that makes a lost update an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from sqlalchemy import BindParameter, Column, Connection, Integer, event, orm, select
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState, validates
from sqlalchemy.orm.exc import StaleDataError

from .. import _sqlalchemy as private
from ..engines._backend import begin_for_savepoint
from ..errors import ConfigurationError, InvalidValue, NotSupported, TransientFault, UsageError, VersionConflict, shown
from ..models._conditions import conditions_of
from ..models._key_columns import key_in
from ..models._mixed_columns import mixed_column, with_columns
from ..sessions._behaviour import Behaviour, register
from ..sessions._refresh import rows_below, update_with, update_with_all
from ..sessions._routes import as_flushing, is_writing, shard_of, writing_connection
from ..sessions._session import SyncSession
from ._conflict import conflict_of

__all__ = ["VersionMixin", "find_conflict", "refuse_stale", "refuse_version", "touch"]


_FLUSH: Final = "sqlkeel.versions_of_flush"


class _Counted(int):
    """A version that `touch` sets; other code may not set one."""


@with_columns
class VersionMixin:
    """``version`` counts the changes of a row, and a change based on an old version is refused.

    Each UPDATE and DELETE of the unit of work contains the version that was read. If another session changed the row,
    the statement matches no row and raises `VersionConflict`, with both versions and the current row. ``update()``
    statements, upserts and bulk updates increment the version too. Across requests, pass the version that the client
    saw to ``Repository.update(..., expected_version=…)``; `touch` counts the change of a child. Writes of other
    applications count only with a trigger: `TriggerVersionMixin`.
    """

    version: Mapped[int] = mixed_column(Integer(), server_default="1", sort_order=902, use_existing_column=True)

    @validates("version")
    def _refuse_version(self, key: str, value: int) -> int:
        state = orm.attributes.instance_state(self)
        if isinstance(value, _Counted):
            return int(value)
        if state.has_identity and value != state.dict.get(key, value):
            raise UsageError(
                f"The version of {self!r} counts by itself and cannot be set to {shown(value)}.",
                hint="To check what a client saw: Repository.update(obj, values, expected_version=...).",
            )
        return value


@event.listens_for(VersionMixin, "after_mapper_constructed", propagate=True)
def _check_version(mapper: Mapper[Any], cls: type) -> None:
    # Set here and not in __mapper_args__: a model's own __mapper_args__ would silently switch the check off.
    above = mapper.inherits if mapper.concrete else None
    # A subclass with its own table inherits the setting as well.
    if mapper.version_id_col is None or (above is not None and mapper.version_id_col is above.version_id_col):
        if "version" not in mapper.columns:
            raise ConfigurationError(
                f"{cls.__name__} has its own table, and no version in it.",
                hint="Repeat the column: version: Mapped[int] = mapped_column(server_default='1')",
            )
        private.check_version_by(mapper, mapper.columns["version"])


@event.listens_for(VersionMixin, "mapper_configured", propagate=True)
def _check_before_flush(mapper: Mapper[Any], cls: type) -> None:
    # Not earlier: SQLAlchemy puts an AbstractConcreteBase above its subclasses once they are all mapped.
    if _is_missed_by_flush(mapper):
        event.listen(mapper, "before_update", _check_before_update)
        event.listen(mapper, "before_delete", _check_before_delete)


def _is_missed_by_flush(mapper: Mapper[Any]) -> bool:
    """Return whether SQLAlchemy's flush ignores the version of this class.

    The flush uses the version of the first class of the hierarchy that has the table, and that class may have none.
    """
    version: Any = mapper.version_id_col
    hierarchy = mapper.base_mapper.self_and_descendants
    # If the class is read from a union of tables, no class of the hierarchy has the union among its tables.
    asked = next((one for one in hierarchy if version.table in one.tables), mapper)
    return asked.version_id_col is not version


def _check_before_update(mapper: Mapper[Any], connection: Connection, obj: object) -> None:
    session = orm.object_session(obj)
    if session is None or session.is_modified(obj, include_collections=False):
        _check_before_delete(mapper, connection, obj)


def _check_before_delete(mapper: Mapper[Any], connection: Connection, obj: object) -> None:
    """Lock the row and compare its version, as the statement of the flush does for any other class."""
    [row] = _versions([orm.attributes.instance_state(obj)])
    if row.version is None:
        return  # it was never read
    version = _version_of(mapper)
    match = [key == value for key, value in zip(key_in(mapper, version.table), row.identity, strict=True)]
    current = connection.execute(select(version).where(*match).with_for_update()).scalar_one_or_none()
    if current != row.version:
        conflict = find_conflict(connection, row.mapper, row.identity, row.version)
        if conflict is not None:
            raise conflict


def refuse_version(obj: object, values: Mapping[str, Any]) -> None:
    """Refuse another version than that of *obj* among *values*, which a client may have sent.

    Raises:
        InvalidValue: When there is one; a version that is set by the program is a `UsageError`.
    """
    if not isinstance(obj, VersionMixin) or "version" not in values:
        return
    given = values["version"]
    if given != vars(obj).get("version", given):
        hint = "Take it out of the values, and give it as expected_version=... if it is what the client saw."
        refusal = InvalidValue(f"The version counts by itself and cannot be set to {shown(given)}.", hint=hint)
        column: Any = orm.object_mapper(obj).version_id_col
        refusal.locate(column.table.name, column.name)
        raise refusal


def touch(obj: object) -> None:
    """Make the next flush increment the version of *obj*, even if it writes nothing else of it.

    For the root of an aggregate: editing an order line changes the order, and two editors of different lines of one
    order should notice each other. The flush sends the UPDATE of the root, with its version check, before those of its
    children. Several calls before one flush count once, and a new object needs no call. In a listener of a flush that
    is already writing, it applies to the next flush.

    Raises:
        NotSupported: When the model has no version that the client counts.
        UsageError: When the object has left its session, so that no flush would count anything.
        UnmappedInstanceError: From SQLAlchemy, for something that is not an object of a mapped class.
    """
    try:
        state = orm.attributes.instance_state(obj)
    except orm.exc.NO_STATE:
        raise orm.exc.UnmappedInstanceError(obj) from None
    if state.detached:
        raise UsageError(
            f"touch() would count nothing: {obj!r} is in no session.",
            hint="Load it in the session that writes, and touch that.",
        )
    column, following = state.mapper.version_id_col, state.mapper.version_id_generator
    if column is None or not callable(following):
        name = state.mapper.class_.__name__
        raise NotSupported(f"{name} has no version to count.", hint="Give the model the VersionMixin.")
    session = state.session
    if isinstance(session, SyncSession) and is_writing(session):
        session.run_after_flush(lambda: _count(state, column, following))
    else:
        _count(state, column, following)


def _count(state: orm.InstanceState[Any], column: Any, following: Any) -> None:
    obj: Any = state.obj()
    key = state.mapper.get_property_by_column(column).key
    if obj is not None and state.session is not None and key not in state.committed_state:
        counted = following(getattr(obj, key))
        setattr(obj, key, _Counted(counted) if isinstance(counted, int) else counted)


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _raise_version(state: ORMExecuteState) -> Any:
    """Count an ``update()`` statement as a change of each row it touches."""
    if state.statement.is_select:  # as in `joined`
        return None
    mapper = state.bind_mapper if state.is_update and not state.execution_options.get("sqlkeel_part") else None
    if mapper is None:
        return None
    if mapper.version_id_col is None:
        # The rows of a base class may be those of a class with versions.
        return update_with_all(state, dict(_following(one) for one in rows_below(mapper) if _is_counted(one)))
    if not _is_counted(mapper):
        return None
    column, following = _following(mapper)
    counts = isinstance(column.type, Integer)
    if not state.is_executemany:
        if counts:
            _refuse_given(state, mapper, following)
        return update_with(state, column, following)
    if state.execution_options.get("dml_strategy") == "core_only":
        statement: Any = state.statement
        return state.invoke_statement(statement=statement.values({column: following}))
    return _update_by_key(state, mapper)


def _is_counted(mapper: Mapper[Any]) -> bool:
    return mapper.version_id_col is not None and callable(mapper.version_id_generator)


def _following(mapper: Mapper[Any]) -> tuple[Any, Any]:
    """Return the version with what follows it in an UPDATE."""
    column: Any = mapper.version_id_col
    generate: Any = mapper.version_id_generator
    return column, column + 1 if isinstance(column.type, Integer) else generate(None)


def _refuse_given(state: ORMExecuteState, mapper: Mapper[Any], following: Any) -> None:
    """Refuse a version that the statement sets by itself, to anything but the next one."""
    column: Any = mapper.version_id_col
    names = {column.key, mapper.get_property_by_column(column).key}
    statement: Any = state.statement
    parameters: Any = state.parameters or {}
    for key, value in (*private.values_of(statement).items(), *parameters.items()):
        name = getattr(key, "key", key)
        # A parameter with the name of the attribute sets nothing if the column has another name.
        is_set = name == column.key or key not in parameters
        if name in names and not (is_set and _is_next(statement, column, value, following)):
            raise UsageError(
                f"The version of {mapper.class_.__name__} counts by itself and cannot be set by an update().",
                hint="Leave it out. To check it: .where(Model.version == expected).",
            )


def _is_next(statement: Any, column: Column[Any], value: Any, following: Any) -> bool:
    """Return whether *value* is the next version: the row's version plus 1, or 1 more than the version in the WHERE."""
    given: Any = value.value if isinstance(value, BindParameter) else value
    if not isinstance(given, int):
        return hasattr(given, "compare") and bool(given.compare(following))
    checked = column == given - 1
    return any(part.compare(checked) for part in conditions_of(statement))


def _update_by_key(state: ORMExecuteState, mapper: Mapper[Any]) -> Any:
    """Run ``update(Model)`` with a list of rows by key; SQLAlchemy checks the version of each."""
    version = mapper.get_property_by_column(_version_of(mapper)).key
    rows: Any = state.parameters
    if any(version not in row for row in rows):
        raise UsageError(
            f"A row to update {mapper.class_.__name__} has no {version}, so it cannot be checked.",
            hint="Repository.update_many(rows) also accepts rows without a version.",
        )
    if state.session.autoflush:
        state.session.flush()
    # SQLAlchemy finds the database of these rows by the base class only, whatever bind_arguments the statement has.
    connection = state.session.connection(bind_arguments={"mapper": mapper.base_mapper})
    # The savepoint undoes the rows that were written before the failed row, so that they do not count as changed.
    begin_for_savepoint(connection)
    savepoint = connection.begin_nested()
    try:
        result = state.invoke_statement()
    except Exception as error:
        if not isinstance(error, TransientFault) and not connection.invalidated:
            # Otherwise the transaction or the connection is gone, and with it the savepoint.
            savepoint.rollback()
        if isinstance(error, StaleDataError) and (conflict := _conflict(_given(mapper, rows), lambda _: connection)):
            raise conflict from error
        raise
    savepoint.commit()
    return result


def _given(mapper: Mapper[Any], rows: Iterable[Mapping[str, Any]]) -> list[_Written]:
    version = mapper.get_property_by_column(_version_of(mapper)).key
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    return [_Written(mapper, tuple(row.get(key) for key in keys), row[version]) for row in rows]


def _version_of(mapper: Mapper[Any]) -> Column[Any]:
    column = mapper.version_id_col
    assert isinstance(column, Column), "only versioned mappers come here"
    return column


def find_conflict(
    connection: Connection, mapper: Mapper[Any], identity: Sequence[Any], expected: int | None
) -> VersionConflict | None:
    """Return the conflict between a row and the *expected* version; ``None`` if the row still has that version."""
    mapped: dict[str, Any] = {prop.key: next(iter(prop.columns)) for prop in mapper.column_attrs}
    columns = {key: column for key, column in mapped.items() if isinstance(column, Column)}
    version: Any = mapper.version_id_col
    match = [key == value for key, value in zip(mapper.primary_key, identity, strict=True)]
    statement = select(*columns.values()).select_from(mapper.persist_selectable).where(*match)
    # A locking read: a snapshot that is older than the conflict would show the version that was expected.
    row = connection.execute(statement.with_for_update(read=True)).one_or_none()
    values = None if row is None else dict(zip(columns, row, strict=True))
    name = mapper.get_property_by_column(version).key
    if expected == (None if values is None else values[name]):
        return None
    return conflict_of(mapper.class_.__name__, identity, values, version=name, expected=expected)


def refuse_stale(session: orm.Session, obj: object) -> None:
    """Refuse *obj* if its row has another version than the object; for changes that send no UPDATE of the row.

    The row is locked against changes by other transactions until this one ends.

    Raises:
        VersionConflict: When another session changed or removed the row.
    """
    state = orm.attributes.instance_state(obj)
    [row] = _versions([state])
    connection = writing_connection(session, row.mapper, state)
    if (conflict := find_conflict(connection, row.mapper, row.identity, row.version)) is not None:
        if isinstance(session, SyncSession):
            session.leave_half_done(conflict)  # relationships may have changed, and the next flush would write them
        raise conflict


class _Written(NamedTuple):
    mapper: Mapper[Any]
    identity: tuple[Any, ...]
    version: int | None
    state: orm.InstanceState[Any] | None = None

    @property
    def key(self) -> tuple[Mapper[Any], Any]:
        """The mapper and, with several shards, the shard: rows with the same two use the same connection."""
        return self.mapper, None if self.state is None else self.state.identity_token


class _Flush:
    """The versioned rows that a flush is about to write, listed first because a failed flush no longer has them."""

    def __init__(self, session: orm.Session) -> None:
        self.session = session
        self.transaction = session.get_transaction()
        self.rows: list[_Written] = []

    def note(self) -> None:
        """List the rows; called after the listeners of before_flush, because these may change more rows."""
        self.rows = list(_written_rows(self.session))
        self.transaction = self.session.get_transaction()

    def conflict(self) -> VersionConflict | None:
        """Ask the database which of the rows another session has changed; return the conflict."""
        with as_flushing(self.session):
            connections = {row.key: self._connection_of(row) for row in self.rows}
        # The session's transaction was rolled back. A connection that is still in a transaction is in that of a
        # savepoint around the flush, or in that of the caller who passed the connection. Such a transaction continues.
        free = {connection for connection in connections.values() if not connection.in_transaction()}
        try:
            return _conflict(self.rows, lambda row: connections[row.key])
        finally:
            for connection in free:
                connection.rollback()

    def _connection_of(self, row: _Written) -> Connection:
        # Not session.connection(), which raises after the flush has failed.
        assert self.transaction is not None, "a flush that has written has begun"
        return self.transaction.bound_connection(row.mapper.base_mapper, **shard_of(self.session, row.state))


def _conflict(rows: Iterable[_Written], connection_of: Callable[[_Written], Connection]) -> VersionConflict | None:
    compared = (find_conflict(connection_of(row), row.mapper, row.identity, row.version) for row in rows)
    found = [conflict for conflict in compared if conflict is not None]
    if not found:
        return None
    found[0].others = tuple(found[1:])
    return found[0]


def _written_rows(session: orm.Session) -> Iterator[_Written]:
    return _versions(orm.attributes.instance_state(obj) for obj in (*session.dirty, *session.deleted))


def _versions(states: Iterable[orm.InstanceState[Any]]) -> Iterator[_Written]:
    keys: dict[Mapper[Any], str] = {}
    for state in states:
        mapper, identity = state.mapper, state.identity
        if mapper.version_id_col is not None and identity is not None:
            if mapper not in keys:
                keys[mapper] = mapper.get_property_by_column(mapper.version_id_col).key
            key = keys[mapper]
            yield _Written(mapper, identity, state.committed_state.get(key, state.dict.get(key)), state)


class _Versions(Behaviour):
    """Turns SQLAlchemy's ``StaleDataError`` into the conflict, with the row and its current values."""

    def conflict(self, session: orm.Session, obj: VersionMixin) -> VersionConflict | None:
        mapper = orm.object_mapper(obj)
        arguments = {"mapper": mapper, **shard_of(session, orm.attributes.instance_state(obj))}
        connection = session.connection(bind_arguments=arguments)
        return find_conflict(connection, mapper, mapper.primary_key_from_instance(obj), obj.version)

    @contextmanager
    def around_flush(self, session: orm.Session) -> Iterator[None]:
        flush = _Flush(session)
        session.info[_FLUSH] = flush
        try:
            yield
        except StaleDataError as error:
            if isinstance(error, VersionConflict) or (conflict := flush.conflict()) is None:
                raise
            raise conflict from error
        finally:
            del session.info[_FLUSH]


register(_Versions(), of=VersionMixin)


@event.listens_for(SyncSession, "after_transaction_create")
def _list_rows(session: orm.Session, transaction: orm.SessionTransaction) -> None:
    # After its listeners, a flush with changes first opens a part of the transaction.
    flush: _Flush | None = session.info.get(_FLUSH)
    if flush is not None and transaction.parent is not None and not transaction.nested:
        flush.note()
