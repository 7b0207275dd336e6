"""One bulk call on a session: it writes all rows or none, and refreshes the session's objects."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from sqlalchemy import Column, ColumnElement, CursorResult, Dialect, Executable, event
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncTransaction
from sqlalchemy.orm import Session, SessionTransaction

from ..engines._plain import is_plain
from ..errors import (
    DatabaseFault,
    InvalidValue,
    KeelError,
    NotNullViolation,
    SessionClosed,
    TransientFault,
    UsageError,
    ValueRefused,
)
from ..sessions._holding import AnyAsyncSession, session_in
from ..sessions._new_rows import forget_empty
from ..sessions._routes import refuse_detour, refuse_reading, writing_bind
from ..sessions._sync_session import SyncSession
from ._binder import Binder
from ._columns import raw
from ._defaults import raised_by_default
from ._held import Held
from ._registry import writer_for
from ._rows import close, reading
from ._target import Target
from ._writer import Writer

__all__ = ["Undo", "Work"]

_LATER: Final = (
    "Commit, roll back or close after the call has returned; the code that produces the rows can use its own session."
)

Undo = Callable[[], Awaitable[None]]
T = TypeVar("T")


class Work:
    """A bulk call: ``async with Work(session, model) as work``.

    The first statement is in `begin`, which flushes the session and opens a savepoint. If a later chunk of rows fails,
    the rollback to the savepoint removes the rows of earlier chunks, on any database.

    Raises:
        ReadOnlySession: When the session was opened for reading.
        NotSupported: For a model with several tables, an unsupported database, or a session that reads from another
            database than it writes to.
    """

    connection: AsyncConnection

    def __init__(self, session: AnyAsyncSession, model: type[Any]) -> None:
        session = session_in(session)
        refuse_reading(session, f"write {model.__name__}")
        self.session = session
        self.target = Target(model)
        refuse_detour(session.sync_session, self.target.mapper, "A bulk call")
        self.dialect: Dialect = session.get_bind(mapper=self.target.mapper).dialect
        self.writer: Writer = writer_for(self.dialect)
        self._savepoint: AsyncTransaction | None = None
        self._transaction: SessionTransaction | None = None
        self._begun = False
        self._was_closed = self._is_closed()
        self._binder: Binder | None = None
        self._source: Iterable[Any] | AsyncIterable[Any] = ()

    def read(
        self, source: Iterable[T] | AsyncIterable[T], verb: str, one: str = "row"
    ) -> Iterator[T] | AsyncIterator[T]:
        """Begin to read the argument of *verb*; a generator is closed if the call raises.

        Raises:
            InvalidValue: For something that is not iterable, for a string, and for a single row or key.
        """
        name = self.target.name
        hint = f"Give a list of {one}s: {verb}(session, {name}, [{one}])."
        self._source = found = reading(source, f"{one.capitalize()}s of {name}", hint=hint)
        return found

    def binder(
        self, *, new: bool = False, assigned: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None
    ) -> Binder:
        """Return the binder for the rows of this call."""
        makers = self.writer.makers(self.dialect)
        self._binder = Binder(self.target, self.dialect, new=new, assigned=assigned, makers=makers)
        return self._binder

    async def begin(self, *, savepoint: bool = True) -> Self:
        """Flush, connect, and open the savepoint; a second call does nothing."""
        if self._begun:
            self._refuse_ended()
            return self
        self._begun = True
        if self.session.sync_session.autoflush:
            await self.session.flush()
        forget_empty(self.session.sync_session, self.target.mapper)
        bind = writing_bind(self.session.sync_session, self.target.mapper)
        self.connection = await self.session.connection(bind_arguments={"bind": bind})
        if savepoint:
            await self.writer.refuse_autocommit(self.connection)
            self._savepoint = await self.connection.begin_nested()
            sync = self.session.sync_session
            self._transaction = sync.get_nested_transaction() or sync.get_transaction()
            event.listen(sync, "before_commit", self._refuse_commit)
        return self

    def same(self, column: Column[Any], value: Any) -> ColumnElement[bool]:
        """Match rows whose *column* stores *value*, in the precision that an assignment would store."""
        return raw(column) == self.writer.rounded(value, column, self.dialect)

    def _refuse_commit(self, session: Session) -> None:
        """Refuse a commit by the generator of the rows, which would commit the first half of the call."""
        if (session.get_nested_transaction() or session.get_transaction()) is self._transaction:
            raise UsageError(f"commit() was called while rows of {self.target.name} were written.", hint=_LATER)

    def _is_closed(self) -> bool:
        sync = self.session.sync_session
        return isinstance(sync, SyncSession) and sync.turn.is_closed

    def _is_newly_closed(self) -> bool:
        return self._is_closed() and not self._was_closed

    def _refuse_closed(self, error: BaseException) -> None:
        """Raise our error if the generator of the rows has closed the session; SQLAlchemy's error would hide that."""
        own = isinstance(error, KeelError) and not isinstance(error, SessionClosed)
        if isinstance(error, InvalidRequestError) and not own and self._is_newly_closed():
            message = f"The session was closed while rows of {self.target.name} were written; nothing is written."
            raise UsageError(message, hint=_LATER) from error

    def _refuse_ended(self) -> None:
        if self._savepoint is not None and not self._savepoint.is_active and not self.connection.invalidated:
            message = f"The transaction was ended while rows of {self.target.name} were written; nothing is written."
            raise UsageError(message, hint=_LATER)

    async def attempt(self, statement: Executable) -> CursorResult[Any]:
        """Run a statement that may fail without affecting the rest of the transaction.

        Raises:
            KeelError: The error of the database; the transaction continues, unless the server ended it.
        """
        savepoint = await self.connection.begin_nested()
        try:
            result = await self.connection.execute(statement)
        except Exception as error:
            await self._roll_back(savepoint, error)
            raise
        await savepoint.commit()
        return result

    @asynccontextmanager
    async def undoable(self, *, first: bool) -> AsyncIterator[Undo]:
        """Yield a function that undoes what was written in the block; for the *first* block, the whole call."""
        if first:
            yield self.undo
            return
        async with self.connection.begin_nested() as savepoint:
            yield savepoint.rollback

    async def undo(self) -> None:
        """Undo what this call has written, so that the rows can be read as they were."""
        assert self._savepoint is not None, "begin() opens it"
        await self._savepoint.rollback()
        self._savepoint = await self.connection.begin_nested()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self._end(None)
            return
        try:
            await self._end(error)
        finally:
            # After everything is undone, because the generator may use the session.
            await close(self._source)
        self._refuse_closed(error)
        if (own := raised_by_default(error)) is not None:
            raise own from own.__cause__

    async def _end(self, error: BaseException | None) -> None:
        if self._savepoint is None:
            return
        event.remove(self.session.sync_session, "before_commit", self._refuse_commit)
        if error is None:
            self._refuse_ended()
            await self._savepoint.commit()
            return
        if isinstance(error, SQLAlchemyError) and not isinstance(error, KeelError):
            try:
                self._refuse_ended()
            except UsageError as refused:
                raise refused from error
        await self._roll_back(self._savepoint, error)
        if self._binder is not None and isinstance(error, Exception):
            try:
                self._binder.refuse_expressions()
            except InvalidValue as refused:
                raise refused from error
            self._locate(self._binder, error)

    def _locate(self, binder: Binder, error: Exception) -> None:
        """Add the refused value to *error*; if the error names no value, raise an error about one that does not fit."""
        if isinstance(error, InvalidValue | ValueRefused) and None in (error.row, error.column):
            binder.locate(error)
        if isinstance(error, NotNullViolation) and error.row is None:
            binder.locate_empty(error)
        if isinstance(error, DatabaseFault) and is_plain(error) and (refused := binder.refusal(error)) is not None:
            raise refused from error

    async def _roll_back(self, savepoint: AsyncTransaction, error: BaseException) -> None:
        if not isinstance(error, TransientFault) and not self.connection.invalidated and savepoint.is_active:
            # Otherwise the transaction or the connection is gone, and the savepoint with it.
            await savepoint.rollback()

    def held(self) -> Held:
        """Return the objects of the model that the session holds."""
        return Held(self.session, self.target.model)
