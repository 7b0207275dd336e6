"""The database: engine, pool, limits, and the blocks that open sessions on it."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any, Concatenate, Final, Literal, Never, ParamSpec, Self, TypeVar, overload

from sqlalchemy import URL, event, exc, text
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine

from ..engines import _faults as faults
from ..engines import _traces as traces
from ..engines._backend import ISOLATION_LEVELS, LIMITS, Backend, IsolationLevel, Limits, backend_for, parse_url
from ..engines._blocks import EngineOfBlocks
from ..engines._forks import renew_after_fork
from ..engines._loops import bind_to_loop
from ..engines._options import numbers_in, refuse_options
from ..engines._pool import Pool
from ..engines._stock import note_translated
from ..engines._tasks import TaskRef, current_task, ref_to
from ..errors import InvalidURL, InvalidValue, NestedTransaction, SessionShared, UsageError
from ..models._constraints import understand_live_indexes
from ..types._operands import check_operands
from ._blocks import EnteredByAsyncWith, block, current_entry
from ._retry import Tries, is_transient, retry
from ._session import Session
from ._unit_of_work import UnitOfWork

__all__ = ["Database"]

logger = logging.getLogger("sqlkeel.session")
P = ParamSpec("P")
T = TypeVar("T")

_NOT_INSIDE: Final = "A transaction inside another one joins it, and cannot commit or have its own options."
_OUTSIDE: Final = "Call it outside the other transaction, or give the options to that one."

IDLE_BEFORE_CHECK = 5.0
"""Seconds after which an idle pooled connection is checked before it is used."""


class Database(EnteredByAsyncWith):
    """One database: an engine with safe defaults, and the blocks that open sessions on it.

    Create one per process and URL, and dispose of it at the end, or use it as ``async with Database(url) as db``.
    Foreign keys are enforced, SQLite writers queue, idle connections are checked before use, logs and errors do not
    contain parameters, and errors are those of `sqlkeel.errors`.

    Args:
        url: ``sqlite+aiosqlite:///app.db``, ``postgresql+asyncpg://user@host/name``, ``mariadb+asyncmy://…``; a URL
            without a driver uses the preferred one.
        statement_timeout: Seconds a statement may run on the server; ``None`` for the server's own limit.
        lock_timeout: Seconds to wait for a lock.
        idle_timeout: Seconds a transaction may stay open without a statement; SQLite has no such limit.
        pooler: ``"pgbouncer"`` if one runs in front of PostgreSQL in transaction mode.
        engine_options: Options of `sqlalchemy.ext.asyncio.create_async_engine`: ``pool_size``, ``echo``, …; except your
            own ``creator`` or ``pool``, ``AUTOCOMMIT``, and ``StaticPool``.

    Raises:
        InvalidURL: When the URL cannot be used.
        DriverMissing: When its driver is not installed; the hint names the extra to install.
        NotSupported: When an option cannot work with this database or through the pooler; the hint has an alternative.
    """

    _how = "async with Database(url) as db"

    def __init__(
        self,
        url: str | URL,
        *,
        statement_timeout: float | None = 30,
        lock_timeout: float | None = 5,
        idle_timeout: float | None = 60,
        pooler: Literal["pgbouncer"] | None = None,
        **engine_options: Any,
    ) -> None:
        self.url = parse_url(url)
        self.limits = Limits(statement_timeout, lock_timeout, idle_timeout)
        self._backend: Backend = backend_for(self.url) if pooler is None else _behind(pooler, self.url, engine_options)
        refuse_options(engine_options, url=self.url, in_memory=self._backend.in_memory(self.url))
        given = {**numbers_in(self.url), **(engine_options.get("connect_args") or {})}
        self._options = {**engine_options, "connect_args": given}
        self.engine = self._make_engine(self._backend.engine_options(self.url, self.limits))
        self._reader: AsyncEngine | None = None
        self._reads_in_autocommit = False
        self._open: dict[TaskRef, UnitOfWork] = {}

    @classmethod
    def from_env(cls, variable: str = "DATABASE_URL", **options: Any) -> Self:
        """Create the database from the URL in an environment variable.

        Raises:
            InvalidURL: When the variable is not set or not usable.
        """
        url = os.environ.get(variable)
        if not url:
            raise InvalidURL(f"The environment variable {variable} is not set.")
        return cls(url, **options)

    def __repr__(self) -> str:
        return f"<Database {self.url.render_as_string(hide_password=True)}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.dispose()

    @property
    def engines(self) -> tuple[AsyncEngine, ...]:
        """The engine for writing and the engine for reading; the same engine for a database in memory."""
        reader = self._reading_engine()
        return (self.engine,) if reader is self.engine else (self.engine, reader)

    @property
    def dialect(self) -> str:
        """``sqlite``, ``postgresql`` or ``mariadb``."""
        return self._backend.name

    def session(self, **options: Any) -> Session:
        """Return a plain session, ``async with db.session() as session``; the caller commits."""
        return Session(self.engine, **options)

    @block("async with db.transaction() as session")
    async def transaction(
        self,
        *,
        isolation: IsolationLevel | None = None,
        read_only: bool = False,
        statement_timeout: float | None = None,
        lock_timeout: float | None = None,
        savepoint: bool = False,
        durable: bool = False,
    ) -> AsyncIterator[Session]:
        """Open one unit of work: it commits at the end, or rolls back and re-raises the exception of the block.

        After a failure, objects keep their values, so that a handler can read them, but they are detached. A
        cancellation cannot interrupt COMMIT and the `Session.on_commit` hooks: the block ends first, and the
        cancellation is delivered at the next ``await``. Inside another transaction of the same task, the block joins
        that transaction. Only the outermost block commits, and it cannot commit after a joined block has failed. In
        another task, the block opens its own transaction.

        Args:
            isolation: ``"serializable"``, ``"repeatable read"``, …; for this transaction only. SQLite's transactions
                are always serializable.
            read_only: Let the server refuse writes; reads see one snapshot if the isolation level has one.
            statement_timeout: Seconds that a statement of this transaction may run, 0 for no limit.
            lock_timeout: Seconds to wait for a lock in this transaction, 0 for no limit. MariaDB counts whole seconds.
            savepoint: Inside another transaction, open a savepoint, so that the outer block can continue if this fails.
            durable: Guarantee that the block's changes are committed when it ends; refused inside another transaction.

        Raises:
            NestedTransaction: Inside another transaction, if *durable* or another option is given.
            DatabaseFault: When COMMIT fails; then nothing is written.
            CommitUnknown: When the connection broke during COMMIT: the only case in which changes may be written.
            TransactionAborted: When the application swallowed an error that had aborted the transaction.
            InvalidValue: When *isolation* is not an isolation level.
        """
        is_limited = statement_timeout is not None or lock_timeout is not None
        limits = Limits(statement_timeout, lock_timeout) if is_limited else None
        is_plain = isolation is None and not read_only and limits is None
        task = ref_to(current_task())
        if (outer := await self._outer()) is not None:
            if durable or not is_plain:
                raise NestedTransaction(_NOT_INSIDE, hint=_OUTSIDE)
            async with outer.join(savepoint=savepoint) as session:
                yield session
            return
        session = Session(self.engine, read_only=read_only)
        self._open[task] = unit = UnitOfWork(session, self._backend, task, current_entry())
        try:
            async with unit:
                if not is_plain:
                    await self._begin(unit.session, isolation, read_only, limits)
                yield unit.session
        finally:
            for one in unit.tasks:
                if self._open.get(one) is unit:  # if this block was dropped, the task may have opened the next one
                    del self._open[one]

    @block("async with db.read() as session")
    async def read(self) -> AsyncIterator[Session]:
        """Open a session that only reads, without the round trips of BEGIN and ROLLBACK.

        Each statement sees the rows that are committed when it starts; use ``transaction(read_only=True)`` if several
        statements must see the same state. The session refuses a flush or a writing statement before it is sent, and
        the server would refuse it as well. The connections have their own pool of the same size. Behind a pooler, the
        block is a read-only transaction with its round trips.

        Raises:
            ReadOnlySession: When the session is asked to write, or holds changes when the block ends.
            SessionShared: When another task still uses the session when the block ends.
        """
        session = Session(self._reading_engine(), read_only=True)
        session.sync_session.turn.home = asyncio.get_running_loop()
        try:
            if self._reader is None:
                await session.connection(execution_options=self._backend.begin_options(read_only=True))
            yield session
            session.sync_session.refuse_unwritten()
        except BaseException:
            with suppress(SessionShared):
                await self._give_back(session)
            raise
        await self._give_back(session)

    # Four overloads, because a ParamSpec cannot be combined with keyword parameters of ours.
    @overload
    async def run_transaction(
        self,
        function: Callable[Concatenate[Session, ...], Awaitable[T]],
        *args: Any,
        attempts: int,
        isolation: IsolationLevel | None = None,
        deadline: float | None = None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run_transaction(
        self,
        function: Callable[Concatenate[Session, ...], Awaitable[T]],
        *args: Any,
        isolation: IsolationLevel,
        deadline: float | None = None,
        **kwargs: Any,
    ) -> T: ...

    @overload
    async def run_transaction(
        self, function: Callable[Concatenate[Session, ...], Awaitable[T]], *args: Any, deadline: float, **kwargs: Any
    ) -> T: ...

    @overload
    async def run_transaction(
        self, function: Callable[Concatenate[Session, P], Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def run_transaction(  # type: ignore[misc]  # *function* cannot have parameters with these names
        self,
        function: Callable[Concatenate[Session, ...], Awaitable[T]],
        *args: Any,
        attempts: int = 5,
        isolation: IsolationLevel | None = None,
        deadline: float | None = None,
        **kwargs: Any,
    ) -> T:
        """Run ``function(session, *args)`` as one unit of work, and retry all of it after a transient fault.

        It retries after serialization failures, deadlocks, lock timeouts, a busy SQLite file and a connection lost
        before COMMIT, with a random pause that grows (conflicts of versions: `retry_on_conflict`). The function may run
        several times, so call what must happen only once by `Session.on_commit`. A function that calls
        ``session.commit()`` itself is not retried after that, because it would write twice. The keyword arguments of
        this method are not passed to the function.

        Args:
            function: An async function whose first parameter is the session.
            args: Its other positional arguments.
            attempts: The maximum number of runs.
            isolation: As in `transaction`.
            deadline: Seconds after which no further attempt begins.
            kwargs: Its keyword arguments.

        Raises:
            TransientFault: The last one, when no attempt is left.
            NestedTransaction: Inside another transaction, which would have to be retried as a whole.
        """
        if await self._outer() is not None:
            raise NestedTransaction("A transaction inside another one cannot be retried alone.", hint=_OUTSIDE)

        tries = Tries(is_transient)

        async def attempt() -> T:
            async with self.transaction(isolation=isolation) as session:
                with tries.watch(session):
                    return await _begun(function, session, *args, **kwargs)

        return await retry(attempt, attempts=attempts, deadline=deadline, mends=tries.mends)

    def transactional(
        self, *given: Never, attempts: int = 5, isolation: IsolationLevel | None = None, deadline: float | None = None
    ) -> Callable[[Callable[Concatenate[Session, P], Awaitable[T]]], Callable[P, Coroutine[Any, Any, T]]]:
        """Decorate a function whose first parameter is a session, so that calling it runs `run_transaction`.

        Callers omit the session; each attempt passes a new one.

        Raises:
            UsageError: When the decorator is used without its parentheses.
        """
        if given:
            raise UsageError("db.transactional is used without its parentheses.", hint="@db.transactional()")

        def decorate(function: Callable[Concatenate[Session, P], Awaitable[T]]) -> Callable[P, Coroutine[Any, Any, T]]:
            @functools.wraps(function)
            async def run(*args: P.args, **kwargs: P.kwargs) -> T:
                return await self.run_transaction(
                    functools.partial(function, **kwargs),
                    *args,
                    attempts=attempts,
                    isolation=isolation,
                    deadline=deadline,
                )

            return run

        return decorate

    async def check(self) -> None:
        """Run ``SELECT 1``: the health check of a service.

        Raises:
            DatabaseFault: When the database does not answer.
        """
        async with self.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def dispose(self) -> None:
        """Close all connections; a later use opens new ones."""
        for engine in self.engines:
            await engine.dispose()

    def let_join(self, task: asyncio.Task[Any] | None, *, of: asyncio.Task[Any] | None) -> None:
        """Let blocks in *task* also join the transaction that task *of* has open.

        For a framework that runs one request in several tasks, one after the other.
        """
        unit, key = self._open.get(ref_to(of)), ref_to(task)
        if unit is not None and key not in self._open:
            self._open[key] = unit
            unit.tasks.append(key)

    async def _give_back(self, session: Session) -> None:
        """Close a session that has only read; if that fails, what it has read is still valid."""
        try:
            if self._reads_in_autocommit and not session.sync_session.hooks_at_end:
                # A connection that commits by itself has nothing to end, so that a cancellation can cut nothing short.
                await AsyncSession.close(session)
            else:
                await session.close()
        except SessionShared:
            raise
        except Exception:
            logger.exception("A connection for reading broke when it was returned to the pool; it is closed.")

    async def _outer(self) -> UnitOfWork | None:
        """Return the current task's open unit of work on this database, if it can be joined."""
        unit = self._open.get(ref_to(current_task()))
        return None if unit is None or await unit.is_over() else unit

    async def _begin(
        self, session: Session, isolation: IsolationLevel | None, read_only: bool, limits: Limits | None
    ) -> None:
        level = isolation.upper().replace("_", " ") if isinstance(isolation, str) else isolation
        if level is not None and level not in ISOLATION_LEVELS:
            raise InvalidValue(
                f"{isolation!r} is not an isolation level.", hint=f"One of {', '.join(ISOLATION_LEVELS)}."
            )
        options = self._backend.begin_options(read_only=read_only, isolation=level)
        if limits is not None:
            options[LIMITS] = limits
        if options:
            await session.run_sync(self._backend.begin, options)

    def _reading_engine(self) -> AsyncEngine:
        if self._reader is None:
            options = self._backend.reader_options(self.url, self.limits)
            if options is None:
                return self.engine
            self._reader = self._make_engine(options)
            self._reads_in_autocommit = options.get("isolation_level") == "AUTOCOMMIT"
        return self._reader

    def _make_engine(self, options: Mapping[str, Any]) -> AsyncEngine:
        ours, given = options.get("connect_args", {}), self._options.get("connect_args", {})
        theirs = {**self._options, "connect_args": self._backend.beside(ours, given)}
        nested = {name: _merged(options, theirs, name) for name in ("connect_args", "execution_options")}
        plain = create_async_engine(
            self.url, **{"hide_parameters": True, "poolclass": Pool, **self._options, **options, **nested}
        )
        engine = EngineOfBlocks(plain.sync_engine)
        check_operands(engine.dialect)
        understand_live_indexes(engine.dialect)
        faults.install(engine.sync_engine, self._backend)
        note_translated(engine.sync_engine)
        self._backend.install(engine.sync_engine, self.limits)
        if self.url.get_driver_name() in self._backend.bound_to_loop:
            bind_to_loop(engine.sync_engine)
        _check_idle_connections(engine)
        renew_after_fork(engine.sync_engine)
        if (leaves_traces := self._backend.traces(self.url)) is not None:
            traces.install(engine.sync_engine, leaves_traces)
        return engine


def _begun(function: Callable[..., Awaitable[T]], *args: Any, **kwargs: Any) -> Awaitable[T]:
    """Call the function that `Database.run_transaction` was given.

    Raises:
        UsageError: When it is not an async function, such as a coroutine, which could not be run again.
    """
    called = function(*args, **kwargs) if callable(function) else None
    if not hasattr(type(called), "__await__"):
        name = getattr(function, "__qualname__", type(function).__name__)
        raise UsageError(
            f"run_transaction() got {name}, which is not an async function.",
            hint="async def work(session, ...): ..., and then db.run_transaction(work, ...), not work(...).",
        )
    assert called is not None
    return called


def _merged(ours: Mapping[str, Any], theirs: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return both mappings under *name*, merged recursively; the caller's values take precedence."""
    mine, given = ours.get(name, {}), theirs.get(name, {})
    inner = {key: _merged(mine, given, key) for key in mine.keys() & given.keys() if isinstance(mine[key], dict)}
    return {**mine, **given, **inner}


def _check_idle_connections(engine: AsyncEngine) -> None:
    """Ping a connection that was idle, and let the pool replace it if it is dead; skip recently used ones."""

    @event.listens_for(engine.sync_engine, "checkin")
    def note(connection: Any, record: Any) -> None:
        record.info["sqlkeel_idle_since"] = time.monotonic()

    @event.listens_for(engine.sync_engine, "checkout")
    def check(connection: Any, record: Any, proxy: Any) -> None:
        since = record.info.get("sqlkeel_idle_since")
        if since is None or time.monotonic() - since < IDLE_BEFORE_CHECK:
            return
        dialect = engine.sync_engine.dialect
        try:
            dialect.do_ping(connection)
        except dialect.loaded_dbapi.Error as error:
            raise exc.DisconnectionError("The connection broke while it was idle.") from error


def _behind(pooler: str, url: URL, options: Mapping[str, Any]) -> Backend:
    if pooler != "pgbouncer":
        raise InvalidValue(f"sqlkeel does not support the pooler {pooler!r}.", hint='pooler="pgbouncer"')
    from ..engines._databases.pgbouncer import PgBouncer  # imported here: it loads PostgreSQL's dialect

    return PgBouncer(url, options)
