"""The async session: SQLAlchemy's, with savepoints that restore objects, commit hooks, and safe defaults."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Self, TypeVar

from sqlalchemy import orm
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction

from ..engines._blocks import note_failed_rollback
from ..engines._tasks import apart, current_task, finish, is_closing, take_back_cancellation
from ..errors import CommitUnknown, SessionShared, TransientFault, UsageError, shown
from . import _by_key, _joined, _locks, _wrapped  # noqa: F401 - the listeners are those of every session
from ._blocks import EnteredByAsyncWith, block
from ._hooks import Hook
from ._links import keys_held, relink
from ._refresh import reload_expired, update_with
from ._rewinding import drop_gone
from ._routes import READ_ONLY
from ._sync_session import SyncSession

__all__ = [
    "Session",
    "SyncSession",
    "keys_held",
    "note_failed_rollback",
    "relink",
    "reload_expired",
    "update_with",
]

logger = logging.getLogger("sqlkeel.session")
_M = TypeVar("_M")


class _Transaction(EnteredByAsyncWith, AsyncSessionTransaction):
    """The block that ``session.begin()`` returns: after its commit it runs the hooks, as `Session.commit` does."""

    _how = "async with session.begin()"
    session: Session  # pyright: ignore[reportIncompatibleVariableOverride]  # ours: `Session.begin` created it

    async def commit(self) -> None:
        await finish(self.session._then_hooks(super().commit()))

    async def rollback(self) -> None:
        await finish(self.session._then_hooks(super().rollback()))

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            await finish(self.session._then_hooks(super().__aexit__(kind, error, trace)))
        except Exception as failure:
            if error is None or failure is error:
                raise
            note_failed_rollback(error, failure)


class Session(EnteredByAsyncWith, AsyncSession):
    """An `AsyncSession` with defaults that suit a request.

    Objects stay readable after commit (``expire_on_commit=False``), a closed session stays closed
    (``close_resets_only=False``), a savepoint's rollback also restores the objects, and `on_commit` runs functions once
    the data is committed. Everything else is SQLAlchemy's. Usually `Database` creates it.
    """

    _how = "async with db.session() as session"
    sync_session_class: type[orm.Session] = SyncSession
    sync_session: SyncSession  # pyright: ignore[reportIncompatibleVariableOverride]  # ours, by the line above

    def __init__(self, bind: Any = None, *, read_only: bool = False, **options: Any) -> None:
        options = {"expire_on_commit": False, "close_resets_only": False, **options}
        super().__init__(bind, **options)
        if read_only:
            self.info[READ_ONLY] = True

    @property
    def read_only(self) -> bool:
        """Whether this session refuses to write."""
        return self.sync_session.read_only

    def on_commit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(*args, **kwargs)`` after the outermost commit; sync or async, in order, once.

        Use it for effects that cannot be rolled back: a mail, a message, a cache. A hook that was added inside a
        savepoint is dropped when the savepoint is rolled back. A hook runs after COMMIT, so its error is logged on
        ``sqlkeel.session``, and the other hooks still run. If a message must not be lost, write it to a table instead.

        Raises:
            UsageError: When *function* is not callable, usually because the caller called it: pass ``f``, not ``f()``.
        """
        _refuse_called(function, "on_commit")
        self.sync_session.add_hook(Hook(function, args, kwargs, after_commit=True))

    def on_rollback(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call ``function(*args, **kwargs)`` after the transaction, or the savepoint around the call, was rolled back.

        Use it to undo earlier effects outside the database: delete a file, release a lock of another system. The
        function may be sync or async. Hooks run in order, once; an error is logged, and the other hooks still run.

        Raises:
            UsageError: As for `on_commit`.
        """
        _refuse_called(function, "on_rollback")
        self.sync_session.add_hook(Hook(function, args, kwargs, after_commit=False))

    async def run_due_hooks(self) -> None:
        """Run the hooks of ended transactions; `commit`, `rollback` and the blocks call this themselves."""
        hooks = self.sync_session.hooks_at_end.take_due()
        try:
            while hooks:
                await self._run(hooks.pop(0))
        except BaseException:
            # The process is about to exit (KeyboardInterrupt, SystemExit). The outcome of the transaction is known, so
            # log the remaining hooks; nothing else will show that they did not run.
            if hooks:
                logger.exception("The process exits before these hooks have run: %r", [hook.function for hook in hooks])
            raise

    async def hooks_apart(self) -> None:
        """Run the due hooks, if there are any, in a separate task, as the end of a transaction does."""
        if self.sync_session.hooks_at_end.are_due:
            await apart(self.run_due_hooks())

    async def _run(self, hook: Hook) -> None:
        try:
            result = hook.function(*hook.args, **hook.kwargs)
            if inspect.isawaitable(result):
                await result
        except (Exception, asyncio.CancelledError) as error:
            # The caller's cancellation does not reach a task of `apart`, so this one came from inside the hook.
            if isinstance(error, asyncio.CancelledError) and not take_back_cancellation():
                raise
            when = "commit" if hook.after_commit else "rollback"
            logger.exception("An on_%s hook failed after the %s: %r", when, when, hook.function)

    async def commit(self) -> None:
        """Commit, then run the hooks; a cancellation takes effect only after both.

        Raises:
            DatabaseFault: When COMMIT fails; nothing is written then.
            CommitUnknown: When the connection broke during COMMIT.
        """
        await finish(self._then_hooks(super().commit()))

    async def rollback(self) -> None:
        """Roll back, then run the `on_rollback` hooks."""
        await finish(self._then_hooks(super().rollback()))

    async def __aenter__(self) -> Self:
        self.sync_session.turn.home = asyncio.get_running_loop()
        return await super().__aenter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if error is None:
                self.sync_session.refuse_unwritten()
        except BaseException as refusal:
            await self._close_after(refusal)
            raise
        await self._close_after(error)

    async def _close_after(self, error: BaseException | None) -> None:
        try:
            await self.close()
        except Exception as failure:
            if error is None:
                raise
            if not isinstance(failure, SessionShared):
                note_failed_rollback(error, failure)

    async def close(self) -> None:
        """Return the connection to the pool and end the session; uncommitted changes are rolled back.

        Raises:
            SessionShared: When another task was still using the session; its statement is interrupted.
        """
        if self.sync_session.in_transaction() or not self.sync_session.turn.is_free:
            await finish(self._then_hooks(super().close()))
        else:
            # The session has no connection, so there is nothing to await.
            self.sync_session.close()

    async def _then_hooks(self, end: Awaitable[None]) -> None:
        try:
            await end
        except CommitUnknown:
            self.sync_session.hooks_at_end.drop()
            raise
        await self.hooks_apart()

    def begin(self) -> AsyncSessionTransaction:
        """Begin the transaction as a block: ``async with session.begin(): ...``."""
        return _Transaction(self)

    async def run_sync(self, fn: Callable[..., _M], *args: Any, **kwargs: Any) -> _M:
        """Call ``fn(sync_session, *args, **kwargs)``, which may use the database; no other task may meanwhile."""
        with self.sync_session.turn.use():
            return await super().run_sync(fn, *args, **kwargs)

    @block("async with session.savepoint()")
    async def savepoint(self) -> AsyncIterator[AsyncSessionTransaction]:
        """Open a savepoint: if the block fails, it is rolled back to here, and the transaction can continue.

        Objects changed inside get their former values back, so that a handler can read them. Put it around a statement
        that may fail: otherwise PostgreSQL refuses everything until the end of the transaction.

        Raises:
            BaseException: The exception of the block, after the rollback.
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
        except GeneratorExit as error:
            if is_closing(current_task()):
                # The code that dropped the generator has continued in between, and its later changes are lost too.
                self.sync_session.leave_half_done(error)
            raise
        except Exception:
            if fault is not None:
                # The transaction, and the savepoint with it, may be gone; an error about that would hide the fault.
                raise fault  # noqa: B904 - it is the cause, not the consequence
            if self.is_active and not self.sync_session.has_lost_connection:
                await self.run_sync(reload_expired, loaded=self.sync_session.kept_values.take_loaded())
                drop_gone(self.sync_session)
            raise
        finally:
            if self.sync_session.hooks_at_end.are_due:
                await finish(self.hooks_apart())

    async def lock_rows(
        self, model: type[_M], keys: Iterable[Any], *, nowait: bool = False, skip_locked: bool = False
    ) -> list[_M]:
        """Return the current rows with these keys, and lock them against other writers until the transaction ends.

        For rows that you read in order to write them: a balance, a stock, a seat. Rows are locked and returned in the
        order of their keys, so that callers wait for each other instead of deadlocking; lock all you need in one call.
        Loaded objects are refreshed, and their relationships have to be loaded again. Keys without a row, and deleted
        rows, are omitted. A composite key is a tuple. SQLite locks the whole database when the transaction begins: it
        waits there, raises `DatabaseBusy` if it waits too long, and has no locked rows to skip.

        Args:
            model: Any mapped class; rows of subclasses are locked and loaded completely.
            keys: Values of the primary key, in any order.
            nowait: Raise at once if a row is locked, instead of after ``lock_timeout``.
            skip_locked: Omit the rows that are locked.

        Raises:
            LockTimeout: When a row was not free in time; on PostgreSQL, only a savepoint around the call lets you
                continue.
            Deadlock: When another transaction locks the rows in another order.
            ReadOnlySession: In a session for reading.
            NoTransaction: When each statement commits by itself.
            InvalidKey: For a key whose shape does not fit the model.
        """
        return await self.run_sync(_locks.lock_rows, model, keys, nowait=nowait, skip_locked=skip_locked)

    async def advisory_lock(self, name: str, *, nowait: bool = False) -> None:
        """Lock *name* in this database against other transactions until this one ends.

        For something that no row represents: one import at a time, one settlement a day. Acquire it before you read: a
        transaction that already has its snapshot (MariaDB's default, ``repeatable read``) keeps seeing the old state.
        Acquiring it twice has no further effect. When a savepoint is rolled back, PostgreSQL releases it, but MariaDB
        does not. On SQLite every other writer waits from the beginning of the transaction, whatever the name.

        Raises:
            LockTimeout: When it was not free within ``lock_timeout``, or at once with *nowait*.
            Deadlock: When two transactions each hold what the other waits for.
            ReadOnlySession: In a session for reading.
            NoTransaction: When each statement commits by itself.
            UsageError: When *name* is not a string.
        """
        await self.run_sync(_locks.advisory_lock, name, nowait=nowait)


def _refuse_called(function: object, call: str) -> None:
    if not callable(function):
        if inspect.iscoroutine(function):
            function.close()  # otherwise Python warns that it was never awaited
        raise UsageError(
            f"{call}() is given {shown(function)}, and not a function.",
            hint=f"session.{call}(send_mail, user.email), and not send_mail(user.email).",
        )
