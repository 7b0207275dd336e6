"""The synchronous session inside every session, on which all listeners of sqlkeel are registered."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, event, inspect, orm
from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm import Mapper, ORMExecuteState, SessionTransaction, SessionTransactionOrigin
from sqlalchemy.orm.exc import StaleDataError

from .. import _sqlalchemy as private
from ..engines._tasks import current_task
from ..errors import AlreadyFlushing, SessionShared, TransactionAborted
from ._behaviour import REGISTERED
from ._doors import Block, aborted, door, door_by_key, last_door, only_whole, past_flush, remembered, take_over, watched
from ._hooks import Hook, Hooks
from ._kept import Values
from ._overriding import stand_before
from ._refusals import are_in_force, refuse_hidden_load, refuse_on_statement
from ._routes import is_for_reading, refuse_reading, unwritten
from ._sharing import Turn, at_once

__all__ = ["SyncSession"]

_M = TypeVar("_M")
_BY_ITSELF: Final = SessionTransactionOrigin.AUTOBEGIN, SessionTransactionOrigin.SUBTRANSACTION


class SyncSession(orm.Session):
    """The session that all listeners of sqlkeel are registered on.

    Use it to bring soft delete, versions and read-only checks to a session that is not ours:
    ``async_sessionmaker(engine, sync_session_class=SyncSession)``, or a plain ``sessionmaker(class_=SyncSession)`` in a
    synchronous worker.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        stand_before(cls, SyncSession)

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.hooks_at_end = Hooks()
        self.kept_values = Values()
        self._half_done: dict[SessionTransaction, BaseException] = {}
        self.is_flushing = False
        self._postponed: list[Callable[[], None]] = []
        self._refused: set[tuple[int, str]] = set()
        self.turn = Turn()
        self._stays_closed = options.get("close_resets_only", True) is False

    keeps_values: bool = False
    """Whether a rollback of the whole transaction keeps the objects' values, for `let_go`."""

    is_committed: bool = False
    """Whether COMMIT has succeeded since this was set to ``False``, whatever a listener did after it."""

    execute = door(watched(orm.Session.execute))
    scalar = door(orm.Session.scalar)  # type: ignore[assignment,arg-type]  # its overloads overlap
    scalars = door(orm.Session.scalars)

    get_one = door(orm.Session.get_one)
    refresh = door(orm.Session.refresh)
    begin = door(orm.Session.begin)
    prepare = last_door(only_whole(orm.Session.prepare))
    commit = last_door(only_whole(orm.Session.commit))
    rollback = last_door(orm.Session.rollback)
    add = at_once(orm.Session.add)
    add_all = at_once(orm.Session.add_all)
    expunge = at_once(orm.Session.expunge)
    expunge_all = at_once(orm.Session.expunge_all)
    expire = at_once(orm.Session.expire)
    expire_all = at_once(orm.Session.expire_all)
    bulk_save_objects = door(past_flush(orm.Session.bulk_save_objects))
    bulk_insert_mappings = door(past_flush(orm.Session.bulk_insert_mappings))
    bulk_update_mappings = door(past_flush(orm.Session.bulk_update_mappings))

    @door
    @remembered
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write the pending changes; a hook around the flush may replace its error by a clearer one."""
        if self.is_flushing:
            raise AlreadyFlushing
        if not self.has_changes:
            super().flush(objects)
            return
        is_written = False
        try:
            with ExitStack() as stack:
                for surround in REGISTERED.around_flush:
                    stack.enter_context(surround(self))
                try:
                    self.is_flushing = True
                    super().flush(objects)
                    is_written = True
                except BaseException:
                    self._postponed.clear()
                    raise
                finally:
                    self.is_flushing = False
                self._run_postponed()
        except BaseException as error:
            if is_written:  # a postponed function or the end of a hook failed, after the flush had written
                self.leave_half_done(error)
            raise

    def _autoflush(self) -> None:
        """Flush before a query, if there is anything to write; the query has passed a door already."""
        if self.has_changes:
            super()._autoflush()

    def run_after_flush(self, function: Callable[[], None]) -> None:
        """Call *function* now; during a flush, call it after the flush has written its changes."""
        if self.is_flushing:
            self._postponed.append(function)
        else:
            function()

    def _run_postponed(self) -> None:
        due, self._postponed = self._postponed, []
        for function in due:
            function()

    @door
    def connection(self, *args: Any, **options: Any) -> Connection:
        """Return the transaction's connection.

        Raises:
            UsageError: For options after the first statement, an isolation level or a schema_translate_map, which
                SQLAlchemy would ignore with a warning.
        """
        asked = dict(zip(("bind_arguments", "execution_options"), args, strict=False)) | options
        if asked.get("execution_options") and are_in_force(self, **asked):
            asked["execution_options"] = None
        return super().connection(**asked)

    def close(self) -> None:
        """Return the connection to the pool, and interrupt another task that still uses it.

        Raises:
            SessionShared: When another task used the session: the task is interrupted, and the session is closed. If
                the caller cannot wait for the task, because the call is not in a greenlet, nothing is closed.
        """
        self._end(super().close, closed=self._stays_closed)

    def reset(self) -> None:
        """Close the session, like `close`; it can be used again."""
        self._end(super().reset)

    def invalidate(self) -> None:
        """Close the session, like `close`, and close its connections instead of returning them to the pool."""
        self._end(super().invalidate, closed=self._stays_closed)

    def _end(self, end: Callable[[], None], *, closed: bool = False) -> None:
        conflict = take_over(self.turn)
        user = self.turn.claimant
        root = self.get_transaction()
        try:
            end()
        except BaseException:
            # A connection that could not be rolled back or returned is closed.
            for connection in root.connections if root is not None else ():
                if not connection.closed:
                    connection.invalidate()
                    connection.close()
            raise
        finally:
            self.turn.give_back(user, closed=closed)
        if conflict is not None:
            raise conflict

    def _flush_warning(self, method: Any) -> None:
        """Refuse a change that another task makes during a flush; SQLAlchemy would warn, and may lose the change."""
        self.turn.refuse_others()
        super()._flush_warning(method)

    @at_once
    def delete(self, instance: object) -> None:
        """Delete *instance*; a behaviour of its class may do something else than a DELETE, such as a soft delete."""
        state = _state_of(instance)
        if state is None or not issubclass(state.class_, REGISTERED.deleting) or not REGISTERED.delete(self, state):
            super().delete(instance)

    def delete_all(self, instances: Iterable[object]) -> None:
        """Delete each of *instances* with `delete`; SQLAlchemy's own method would ignore the behaviours."""
        for instance in instances:
            self.delete(instance)

    @door
    def merge(self, instance: _M, **options: Any) -> _M:
        """Copy the state of *instance* into the session; a behaviour may replace its `StaleDataError`."""
        try:
            return super().merge(instance, **options)
        except StaleDataError as error:
            conflict = self._conflict_of(instance)
            if conflict is None:
                raise
            raise conflict from error

    @door
    def merge_all(self, instances: Iterable[_M], **options: Any) -> Sequence[_M]:
        """Copy the state of each of *instances* into the session with `merge`; flush only before the first one."""
        waiting = iter(instances)
        first = [self.merge(instance, **options) for instance in islice(waiting, 1)]
        with self.no_autoflush:
            return first + [self.merge(instance, **options) for instance in waiting]

    @door_by_key
    def get(self, entity: type[_M] | Mapper[_M], ident: Any, **options: Any) -> _M | None:
        """Return the object with this key, or ``None``.

        Raises:
            VersionConflict: For ``with_for_update=``, when the session holds the object at another version than the
                row has now.
        """
        try:
            return super().get(entity, ident, **options)
        except StaleDataError as error:
            conflict = self._conflict_of(self._held(inspect(entity), ident))
            if conflict is None:
                raise
            raise conflict from error

    def exec(self, statement: Any, **options: Any) -> Any:
        """Execute *statement*: the only method that SQLModel's asynchronous session calls on its synchronous session.

        For SQLModel's ``select()`` of one column or entity, return the values instead of rows, as SQLModel does.
        """
        result = self.execute(statement, **options)
        # We compare the name of the class, because we do not import SQLModel.
        return result.scalars() if "SelectOfScalar" in {one.__name__ for one in type(statement).__mro__} else result

    def _conflict_of(self, instance: object) -> Exception | None:
        state = _state_of(instance)
        return None if state is None else REGISTERED.conflict(self, state)

    def _held(self, mapper: Mapper[Any], ident: Any) -> object:
        if isinstance(ident, Mapping):
            ident = [ident[mapper.get_property_by_column(column).key] for column in mapper.primary_key]
        key = mapper.identity_key_from_primary_key(tuple(ident) if isinstance(ident, (list, tuple)) else (ident,))
        return self.identity_map.get(key)

    def _identity_lookup(self, mapper: Any, primary_key_identity: Any, *args: Any, **options: Any) -> Any:
        """Return a loaded object for its key, unless a behaviour hides the object.

        We override this method, as SQLAlchemy's own ``horizontal_shard`` does, because ``get()`` and lazy loads return
        a loaded object without a statement. A listener would not see the call.
        """
        found = super()._identity_lookup(mapper, primary_key_identity, *args, **options)
        if isinstance(found, REGISTERED.hiding) and REGISTERED.hides(self, found, options):
            return orm.LoaderCallableStatus.PASSIVE_CLASS_MISMATCH
        return found

    @property
    def read_only(self) -> bool:
        """Whether this session refuses to write."""
        return is_for_reading(self)

    @property
    def has_changes(self) -> bool:
        """Whether a flush may have something to write."""
        # We read SQLAlchemy's own sets, because `new` and `deleted` would copy them before each query.
        return bool(private.new_states(self) or private.deleted_states(self) or self.identity_map.check_modified())

    @property
    def has_deletions(self) -> bool:
        """Whether the session holds objects that the next flush will delete."""
        return bool(private.deleted_states(self))

    @property
    def has_lost_connection(self) -> bool:
        """Whether a connection of the transaction has broken, so that the database has discarded the work."""
        root = self.get_transaction()
        return root is not None and any(connection.invalidated for connection in root.connections)

    def add_hook(self, hook: Hook) -> None:
        """Keep *hook* until the innermost open transaction ends."""
        current = self.get_nested_transaction() or self.get_transaction() or self.begin()
        self.hooks_at_end.add(hook, current)

    def leave_half_done(self, error: BaseException) -> None:
        """Record *error*, which ended a part of the work; only a rollback of the transaction or savepoint clears it."""
        if not self.turn.is_closed:
            current = self.get_nested_transaction() or self.get_transaction() or self.begin()
            self._half_done.setdefault(current, error)

    def failure_in(self, transaction: SessionTransaction | None) -> BaseException | None:
        """Return the error that ended a part of *transaction*, a transaction or savepoint, and that was swallowed."""
        return None if transaction is None else self._half_done.get(transaction)

    def sharing_in(self, transaction: SessionTransaction | None) -> SessionShared | None:
        """Return the error for *transaction* if a task was refused in it; that task may have written a part before."""
        if self.turn.sharing is None or transaction is None or transaction.nested or self.read_only:
            return None
        return SessionShared(self.turn.sharing.first, self.turn.sharing.second)

    def refuse_half_done(self) -> None:
        """Raise an error if a part of the transaction has failed, or if another task was refused in the transaction."""
        if self.turn.sharing is not None and (sharing := self.sharing_in(self.get_transaction())) is not None:
            raise sharing
        if self._half_done and (cause := self.failure_in(self.get_transaction())) is not None:
            raise aborted(cause=cause) from cause
        if self.has_lost_connection:
            raise TransactionAborted(
                "The connection broke, or a statement was cancelled, and the error was swallowed; nothing is written."
            )

    @property
    def is_half_done(self) -> bool:
        """Whether a part has failed or a task was refused, perhaps in another transaction than the current one."""
        return bool(self._half_done) or self.turn.sharing is not None

    def refuse_unwritten(self, *, again: bool = False) -> None:
        """Raise `ReadOnlySession` if a read-only session holds changes that a flush would write.

        A change is refused once, and with *again* each time.
        """
        if not self.read_only or not self.has_changes:
            return
        found = set(unwritten(self))
        new = found if again else found - self._refused
        self._refused = found
        if new:
            names = sorted({name for _, name in new})
            listing = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
            refuse_reading(self, f"write {listing}")

    def count_as_committed(self) -> None:
        """Treat the transaction as committed at its end: the answer to COMMIT was lost, but the server confirms it."""
        if (root := self.get_transaction()) is not None:
            self.hooks_at_end.note_commit(root)

    def keep_values(self, state: orm.InstanceState[Any]) -> None:
        """Keep the values of an object that a rollback will return to the session."""
        if self.in_nested_transaction():
            self.kept_values.note_loaded(state)
        elif self.keeps_values:
            self.kept_values.note(state)

    def let_go(self) -> None:
        """Detach every object, with the values that the object had before a rollback expired them."""
        # Not our own `expunge_all`, which refuses the call while another task uses the session; `close` ends that task.
        orm.Session.expunge_all(self)
        self.kept_values.give_back()


def _state_of(instance: object) -> orm.InstanceState[Any] | None:
    """Return the state of an object, also through a proxy; ``None`` if its class is not mapped."""
    try:
        return orm.attributes.instance_state(instance)
    except orm.exc.NO_STATE:
        return None


@event.listens_for(SyncSession, "after_transaction_create")
def _guard_block(session: SyncSession, transaction: SessionTransaction) -> None:
    # A caller who ends this transaction or savepoint by hand calls no method of the session, and so passes no door.
    if transaction.origin not in _BY_ITSELF:
        transaction.__class__ = Block
    if transaction.nested:
        for function in REGISTERED.at_savepoint:
            function(session, transaction)


@event.listens_for(SyncSession, "after_begin")
def _note_loop(session: SyncSession, *_: Any) -> None:
    task = session.turn.task or current_task()
    session.turn.loop = None if task is None else task.get_loop()


@event.listens_for(SyncSession, "after_commit")
def _note_commit(session: SyncSession) -> None:
    # Fires for a released savepoint too; the transaction itself is still the current one.
    current = session.get_nested_transaction() or session.get_transaction()
    if current is not None:
        session.hooks_at_end.note_commit(current)
        session.is_committed = not current.nested


@event.listens_for(SyncSession, "after_transaction_end")
def _pass_hooks_on(session: SyncSession, ended: SessionTransaction) -> None:
    committed = session.hooks_at_end.end(ended)
    failure = session._half_done.pop(ended, None)
    if ended.parent is None:
        session.turn.loop = session.turn.sharing = None
    if failure is not None and committed and ended.nested and ended.parent is not None:
        session._half_done.setdefault(ended.parent, failure)


@event.listens_for(SyncSession, "after_rollback")
def _keep_values(session: SyncSession) -> None:
    # Fires after the ROLLBACK that a failed flush sends, and before the objects expire.
    if session.get_nested_transaction() is not None:
        if async_session(session) is not None:
            session.kept_values.renew_loaded(session.identity_map.all_states())
    elif session.keeps_values:
        session.kept_values.renew(session.identity_map.all_states())


@event.listens_for(SyncSession, "before_flush")
def _refuse_flush(session: SyncSession, *_: Any) -> None:
    session.refuse_unwritten(again=True)


@event.listens_for(SyncSession, "do_orm_execute")
def _refuse(state: ORMExecuteState) -> None:
    refuse_on_statement(state)
    if state.is_select:
        refuse_hidden_load(state)
        if state.session.in_nested_transaction() and state.is_relationship_load:
            for function in REGISTERED.at_load_inside:
                function(state)
    elif state.is_insert or state.is_update or state.is_delete:
        refuse_reading(state.session, "run a statement that writes")
