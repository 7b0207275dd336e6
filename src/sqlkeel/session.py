"""The session: SQLAlchemy's, with savepoints that restore, hooks after commit, and safe defaults."""

from __future__ import annotations

import inspect
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

from sqlalchemy import Connection, event, orm, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction, async_session
from sqlalchemy.orm import Mapper, ORMExecuteState, SessionTransaction
from sqlalchemy.orm.exc import StaleDataError
from sqlalchemy.util.concurrency import in_greenlet

from . import locks
from .errors import CommitUnknown, ReadOnlySession, TransactionAborted, TransientFault, UnloadedAttribute, UsageError
from .tasks import finish, one_task_at_a_time

__all__ = ["Session", "SyncSession", "reload_expired", "update_with"]

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("sqlkeel.session")
_M = TypeVar("_M")
_ISOLATION: Final = 'async with db.transaction(isolation="serializable") as session: ...'


class _Hook(NamedTuple):
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    after_commit: bool


class SyncSession(orm.Session):
    """The session that all listeners of sqlkeel are registered on.

    Use it to bring soft delete, versions and read-only checks to a session that is not ours:
    ``async_sessionmaker(engine, sync_session_class=SyncSession)``, or a plain ``sessionmaker(class_=SyncSession)`` in a
    synchronous worker.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waiting: dict[SessionTransaction, list[_Hook]] = defaultdict(list)
        self._committed: set[SessionTransaction] = set()
        self._due: list[_Hook] = []
        self._half_done: dict[SessionTransaction, BaseException] = {}
        self._kept: list[tuple[object, dict[str, Any]]] = []
        self._owner: asyncio.Task[Any] | None = None

    keeps_values: bool = False
    """Whether a rollback of the whole transaction keeps the objects' values, for `let_go`."""

    _around_flush: ClassVar[list[Callable[[orm.Session], AbstractContextManager[None]]]] = []

    @classmethod
    def around_flush(cls, function: Callable[[orm.Session], Iterator[None]]) -> Callable[[orm.Session], Iterator[None]]:
        """Let *function*, a generator with one ``yield``, surround every flush; for a mixin that reads its error."""
        cls._around_flush.append(contextmanager(function))
        return function

    execute = one_task_at_a_time(orm.Session.execute)
    scalar = one_task_at_a_time(orm.Session.scalar)  # type: ignore[assignment,arg-type]  # its overloads overlap
    scalars = one_task_at_a_time(orm.Session.scalars)

    @one_task_at_a_time
    def commit(self) -> None:
        """Commit, unless a part of the work was left half done."""
        self.refuse_half_done()
        super().commit()

    @one_task_at_a_time
    def flush(self, objects: Sequence[Any] | None = None) -> None:
        """Write the changes; what surrounds the flush may turn its error into a clearer one."""
        with ExitStack() as stack:
            if self.has_changes:
                for surround in self._around_flush:
                    stack.enter_context(surround(self))
            super().flush(objects)

    def connection(self, *args: Any, **options: Any) -> Connection:
        """Return the transaction's connection.

        Raises:
            UsageError: For an isolation level after the first statement, which SQLAlchemy would only warn about.
        """
        current = self.get_transaction()
        begun = current is not None and current.connections
        if begun and "isolation_level" in (options.get("execution_options") or {}):
            raise UsageError("The isolation level is fixed by the first statement.", hint=_ISOLATION)
        return super().connection(*args, **options)

    def delete(self, instance: object) -> None:
        """Delete *instance*, in the way it wants to be deleted where its class has one of its own."""
        own_way = getattr(instance, "__delete_from__", None)
        if own_way is None:
            super().delete(instance)
        else:
            own_way(self)

    def merge(self, instance: Any, **options: Any) -> Any:
        """Copy the state of *instance* into the session; a class may turn the error into a clearer one."""
        try:
            return super().merge(instance, **options)
        except StaleDataError as error:
            explain = getattr(instance, "__merge_conflict__", None)
            conflict = explain(self) if explain is not None else None
            if conflict is None:
                raise
            raise conflict from error

    def get(self, entity: Any, ident: Any, **options: Any) -> Any:
        """Return the row with this key or ``None``; a deleted row that happens to be loaded does not count."""
        found = super().get(entity, ident, **options)
        shown = {**self.execution_options, **(options.get("execution_options") or {})}.get("include_deleted", False)
        hidden = not shown and getattr(found, "__soft_delete__", False) and getattr(found, "is_deleted", False)
        return None if hidden else found

    @property
    def read_only(self) -> bool:
        """Whether this session refuses to write."""
        return bool(self.info.get("sqlkeel_read_only"))

    @property
    def has_changes(self) -> bool:
        """Whether a flush may have something to write."""
        return bool(self.new or self.deleted or self.identity_map.check_modified())

    def add_hook(self, hook: _Hook) -> None:
        """Keep *hook* until the innermost open transaction ends."""
        current = self.get_nested_transaction() or self.get_transaction() or self.begin()
        self._waiting[current].append(hook)

    def leave_half_done(self, error: BaseException) -> None:
        """Remember what ended a part of the work; only a rollback, of a savepoint around it at least, mends that."""
        current = self.get_nested_transaction() or self.get_transaction() or self.begin()
        self._half_done.setdefault(current, error)

    def refuse_half_done(self) -> None:
        """Raise `TransactionAborted` where a part of the work was left half done."""
        root = self.get_transaction()
        if root is not None and (cause := self._half_done.get(root)):
            raise TransactionAborted("A block that had joined the transaction failed; nothing is written.") from cause

    def count_as_committed(self) -> None:
        """Treat the transaction as committed when it ends: the server says so, though its answer to COMMIT was lost."""
        if (root := self.get_transaction()) is not None:
            self._committed.add(root)

    def take_due_hooks(self) -> list[_Hook]:
        """Return the hooks whose transaction has ended in the way they wait for, once."""
        due, self._due = self._due, []
        return due

    def drop_hooks(self) -> None:
        """Forget the hooks of a transaction whose end nobody knows: neither kind may be called."""
        self._waiting.clear()
        self._due.clear()

    def let_go(self) -> None:
        """Detach every object, with the values that it had before a rollback expired them."""
        self.expunge_all()
        kept, self._kept = self._kept, []
        for instance, values in kept:
            for key in values.keys() - vars(instance).keys():
                orm.attributes.set_committed_value(instance, key, values[key])


@event.listens_for(SyncSession, "after_commit")
def _note_commit(session: SyncSession) -> None:
    # Fires for a released savepoint too; the transaction itself is still the current one.
    current = session.get_nested_transaction() or session.get_transaction()
    if current is not None:
        session._committed.add(current)


@event.listens_for(SyncSession, "after_transaction_end")
def _pass_hooks_on(session: SyncSession, ended: SessionTransaction) -> None:
    hooks = session._waiting.pop(ended, [])
    committed = ended in session._committed
    session._committed.discard(ended)
    failure = session._half_done.pop(ended, None)
    if committed and ended.nested and ended.parent is not None:
        session._waiting[ended.parent].extend(hooks)
        if failure is not None:
            session._half_done.setdefault(ended.parent, failure)
    else:
        session._due.extend(hook for hook in hooks if hook.after_commit is committed)


@event.listens_for(SyncSession, "after_rollback")
def _keep_values(session: SyncSession) -> None:
    # Fires after the ROLLBACK that a failed flush sends, and before the objects expire.
    if session.keeps_values and session.get_nested_transaction() is None:
        states = session.identity_map.all_states()
        session._kept = [(state.obj(), dict(state.dict)) for state in states if state.obj() is not None]


@event.listens_for(SyncSession, "before_flush")
def _refuse_flush(session: SyncSession, *_: Any) -> None:
    if session.read_only and (session.new or session.deleted or any(map(session.is_modified, session.dirty))):
        raise ReadOnlySession("The session was opened for reading, and holds changes.")


@event.listens_for(SyncSession, "do_orm_execute")
def _refuse_write(state: ORMExecuteState) -> None:
    if "isolation_level" in state.local_execution_options:
        raise UsageError(
            "An isolation level on a statement has no effect: it is the transaction's.",
            hint=_ISOLATION,
        )
    writes = state.is_insert or state.is_update or state.is_delete
    if writes and isinstance(state.session, SyncSession) and state.session.read_only:
        raise ReadOnlySession("The session was opened for reading; the statement writes.")


@event.listens_for(SyncSession, "do_orm_execute")
def _refuse_hidden_load(state: ORMExecuteState) -> None:
    """Refuse a lazy load that an attribute read of asynchronous code asks for, before it fails in the driver."""
    # Only a SELECT has the load options that `lazy_loaded_from` reads.
    parent = state.lazy_loaded_from if state.is_select else None
    if parent is None or not state.is_relationship_load or in_greenlet():
        return
    if async_session(state.session) is None:
        return
    path = state.loader_strategy_path
    attribute = path.prop.key if path is not None else "a relationship"  # type: ignore[attr-defined]
    raise UnloadedAttribute(parent.class_.__name__, attribute)


class _Transaction(AsyncSessionTransaction):
    """What ``session.begin()`` gives: it runs the hooks when it has committed, as `Session.commit` does."""

    session: Session  # pyright: ignore[reportIncompatibleVariableOverride]  # ours: `Session.begin` made it

    async def commit(self) -> None:
        await finish(self.session._then_hooks(super().commit()))

    async def rollback(self) -> None:
        await finish(self.session._then_hooks(super().rollback()))

    async def __aexit__(self, *exc_info: object) -> None:
        await finish(self.session._then_hooks(super().__aexit__(*exc_info)))


class Session(AsyncSession):
    """An `AsyncSession` whose defaults suit a request.

    Objects stay readable after commit (``expire_on_commit=False``), a closed session stays closed
    (``close_resets_only=False``), savepoints restore the objects too, and `on_commit` runs what must happen only when
    the data is there. Everything else is SQLAlchemy's. Usually `Database` makes it.
    """

    sync_session_class: type[orm.Session] = SyncSession
    sync_session: SyncSession  # pyright: ignore[reportIncompatibleVariableOverride]  # ours, by the line above

    def __init__(self, bind: Any = None, *, read_only: bool = False, **options: Any) -> None:
        options = {"expire_on_commit": False, "close_resets_only": False, **options}
        super().__init__(bind, **options)
        if read_only:
            self.info["sqlkeel_read_only"] = True

    @property
    def read_only(self) -> bool:
        """Whether this session refuses to write."""
        return self.sync_session.read_only

    def on_commit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(*args, **kwargs)`` after the outermost commit; sync or async, in order, once.

        For what cannot be rolled back: a mail, a message, a cache. A hook made inside a savepoint is dropped when that
        rolls back. The data is committed by then, so a hook that fails is logged on ``sqlkeel.session`` and does not
        stop the others; what must not be lost belongs into a table instead.
        """
        self.sync_session.add_hook(_Hook(function, args, kwargs, after_commit=True))

    def on_rollback(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(*args, **kwargs)`` after the transaction, or the savepoint around the call, was rolled back.

        For what was done outside of the database already: a file that was written, a lock that was taken elsewhere.
        Sync or async, in order, once; a hook that fails is logged and does not stop the others.
        """
        self.sync_session.add_hook(_Hook(function, args, kwargs, after_commit=False))

    async def run_due_hooks(self) -> None:
        """Run the hooks of what has ended; `commit`, `rollback` and the blocks do so by themselves."""
        for hook in self.sync_session.take_due_hooks():
            try:
                result = hook.function(*hook.args, **hook.kwargs)
                if inspect.isawaitable(result):
                    await result
            except Exception:
                when = "commit" if hook.after_commit else "rollback"
                logger.exception("An on_%s hook failed after the %s: %r", when, when, hook.function)

    async def commit(self) -> None:
        """Commit, then run the hooks; a cancellation cannot separate the two, and takes effect after them.

        Raises:
            DatabaseFault: When COMMIT fails; nothing is written then.
            CommitUnknown: When the connection broke during COMMIT.
        """
        await finish(self._then_hooks(super().commit()))

    async def rollback(self) -> None:
        """Roll back, then run the `on_rollback` hooks."""
        await finish(self._then_hooks(super().rollback()))

    async def close(self) -> None:
        """Give the connection back and end the session; what is not committed is rolled back."""
        if self.sync_session.in_transaction():
            await finish(self._then_hooks(super().close()))
        else:
            await super().close()

    async def _then_hooks(self, end: Awaitable[None]) -> None:
        try:
            await end
        except CommitUnknown:
            self.sync_session.drop_hooks()
            raise
        await self.run_due_hooks()

    def begin(self) -> AsyncSessionTransaction:
        """Begin the transaction as a block: ``async with session.begin(): ...``."""
        return _Transaction(self)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[AsyncSessionTransaction]:
        """Open a savepoint: what fails inside is rolled back to here, and the transaction goes on.

        Objects changed inside have their former values afterwards, so that a handler can read them. Put it around a
        statement that may fail: without it, PostgreSQL refuses everything until the end of the transaction.

        Raises:
            BaseException: Whatever the block raised, after the rollback.
        """
        nested = self.begin_nested()
        fault: TransientFault | None = None
        try:
            async with nested:
                try:
                    yield nested
                except TransientFault as error:
                    fault = error
                    raise
        except Exception:
            if fault is not None:
                # The transaction may be gone and the savepoint with it; an error about that would hide the fault.
                raise fault  # noqa: B904 - it is the cause, not the consequence
            if self.is_active:
                await self.run_sync(reload_expired)
            raise
        finally:
            await self.run_due_hooks()

    async def lock_rows(
        self, model: type[_M], keys: Iterable[Any], *, nowait: bool = False, skip_locked: bool = False
    ) -> list[_M]:
        """Return the rows with these keys as they are now, and let nobody else write them until the transaction ends.

        For what is read in order to be written: a balance, a stock, a seat. Rows are locked, and returned, in the order
        of their keys, so that callers wait for each other instead of deadlocking; lock all you need in one call. What
        is loaded already gets the new values, and its relationships are to be loaded again. Keys without a row, and
        deleted rows, are left out. A composite key is a tuple. SQLite locks the database when the transaction begins:
        there it waits, raises `DatabaseBusy` when it waits too long, and has nothing left to skip.

        Args:
            model: Any mapped class; rows of subclasses are locked and loaded as a whole.
            keys: Values of the primary key, in any order.
            nowait: Raise at once where a row is locked, instead of after ``lock_timeout``.
            skip_locked: Leave out the rows that are locked.

        Raises:
            LockTimeout: When a row was not free in time; PostgreSQL can go on only from a savepoint around the call.
            Deadlock: When the rows are locked in another order elsewhere.
            ReadOnlySession: In a session for reading.
            NoTransaction: Where each statement commits by itself.
            InvalidKey: For a key of another shape than the model's.
        """
        return await self.run_sync(locks.lock_rows, model, keys, nowait=nowait, skip_locked=skip_locked)

    async def advisory_lock(self, name: str, *, nowait: bool = False) -> None:
        """Let nobody else lock *name* in this database until the transaction ends, however it ends.

        For what no row stands for: one import at a time, one settlement a day. Take it before you read: a transaction
        that has its snapshot already (MariaDB's usual way, ``repeatable read``) goes on seeing what was there before.
        Taking it twice is taking it once; in a savepoint that is rolled back, PostgreSQL releases it and MariaDB does
        not. On SQLite every other writer waits from the beginning of the transaction, whatever the name.

        Raises:
            LockTimeout: When it was not free within ``lock_timeout``, or at once with *nowait*.
            Deadlock: When two transactions hold what the other one waits for.
            ReadOnlySession: In a session for reading.
            NoTransaction: Where each statement commits by itself.
        """
        await self.run_sync(locks.advisory_lock, name, nowait=nowait)


def reload_expired(session: orm.Session, mapper: Mapper[Any] | None = None) -> None:
    """Load again the columns that a rollback or an UPDATE has expired, one statement for each class and 500 rows.

    An attribute read cannot wait for the database, so an expired attribute is an error in asynchronous code.
    """
    expired: dict[tuple[Mapper[Any], bool], list[tuple[Any, ...]]] = defaultdict(list)
    for state in list(session.identity_map.all_states()):
        if state.identity is None or (mapper is not None and not state.mapper.isa(mapper)):
            continue
        if state.expired or any(key not in state.dict for key in state.expired_attributes):
            expired[state.mapper, locks.holds_lock(session, state)].append(state.identity)
    for (found, locked), identities in expired.items():
        key = found.primary_key[0] if len(found.primary_key) == 1 else tuple_(*found.primary_key)
        for start in range(0, len(identities), 500):
            part = identities[start : start + 500]
            values = [identity[0] if len(identity) == 1 else identity for identity in part]
            statement = select(found.class_).where(key.in_(values))
            if locked:
                # MariaDB would answer a plain read from a snapshot that may be older than the lock.
                statement = statement.with_for_update(of=[*found.tables])
            session.execute(statement, execution_options={"include_deleted": True}).unique().all()


def update_with(state: ORMExecuteState, column: Any, value: Any) -> Any:
    """Let an ``update()`` statement write *column* too, and read back what it changed in loaded objects.

    For a listener of ``do_orm_execute``, to return. A list of rows by key is left alone, and so is a column that the
    statement sets itself. Where the column stands in the table of a base class, that is updated first.
    """
    mapper: Any = state.bind_mapper
    if state.is_executemany:
        return None
    statement: Any = state.statement
    parameters: Any = state.parameters or ()
    given = {getattr(key, "key", key) for key in (*(statement._values or ()), *parameters)}
    if given.isdisjoint({column.key, mapper.get_property_by_column(column).key}):
        if column.table is mapper.local_table:
            statement = _with_value(statement, column, value)
        else:
            options = {"include_deleted": state.execution_options.get("include_deleted", False)}
            state.session.execute(_update_of_base(mapper, statement, column, value), execution_options=options)
    result = state.invoke_statement(statement=statement)
    # What the server wrote is not known here; an expired attribute could not be read without waiting.
    reload_expired(state.session, mapper)
    return result


def _with_value(statement: Any, column: Any, value: Any) -> Any:
    if not statement._maintain_values_ordering:
        return statement.values({column: value})
    # ordered_values() takes no more values; the order of those it has is kept.
    statement = statement._generate()
    statement._values = statement._values.union({column: value})
    return statement


def _update_of_base(mapper: Mapper[Any], statement: Any, column: Any, value: Any) -> Any:
    base = mapper
    while base.local_table is not column.table and base.inherits is not None:
        base = base.inherits
    # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
    keys = select(*mapper.local_table.primary_key).where(*statement._where_criteria).subquery()
    key: Any = base.primary_key
    target: Any = tuple_(*key) if len(key) > 1 else key[0]
    return update(base.class_).where(target.in_(select(keys))).values({column: value})
