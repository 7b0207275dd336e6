"""One unit of work: a session that commits once or rolls back, and reports truthfully which of the two happened."""

from __future__ import annotations

import asyncio
import logging
import sys
from asyncio import FIRST_COMPLETED
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

from sqlalchemy import orm
from sqlalchemy.exc import InvalidRequestError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from ..engines._backend import Backend
from ..engines._tasks import TaskRef, apart, finish
from ..errors import CommitUnknown, ConnectionLost, KeelError, SessionClosed, SessionShared, UsageError
from ._blocks import Entry
from ._doors import left_behind
from ._session import Session, note_failed_rollback

__all__ = ["UnitOfWork"]

logger = logging.getLogger("sqlkeel.session")

_CLOSES_WITHIN: Final = 10.0
"""Seconds that a dropped async generator may take before its block ends."""

_ASKS_AFTER: Final = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0)
"""Pauses in seconds between queries for the outcome of a COMMIT: a crashed server takes a moment to restart."""

_ASKS_FOR: Final = 15.0
"""Seconds for all these queries together, because the server may not respond at all."""


class UnitOfWork:
    """The life of a session from its first statement to its end; `Database.transaction` creates it.

    The end is one step that a cancellation cannot interrupt: COMMIT, return of the connection, hooks. If the answer to
    COMMIT is lost, the session asks PostgreSQL for the outcome (``pg_xact_status``, manual 9.27.10); on other databases
    the outcome stays unknown.
    """

    def __init__(self, session: Session, backend: Backend, task: TaskRef, entry: Entry) -> None:
        self.session = session
        self.session.sync_session.keeps_values = True
        self._backend = backend
        self._entry = entry
        self._is_ending = False
        self._has_guests = False
        self._open_parts = 0
        self.tasks = [task]

    async def __aenter__(self) -> Self:
        self.session.sync_session.turn.home = asyncio.get_running_loop()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._is_ending = True
        try:
            if error is None:
                await self._prepare()
        except BaseException as failure:
            await finish(self._abandon(failure))
            raise
        await finish(self._complete() if error is None else self._abandon(error))
        if self._has_guests and isinstance(error, GeneratorExit):
            # Logged, not raised: raising it would replace the error for which the generator is being closed.
            logger.warning("%s", left_behind("Blocks had joined a transaction whose async generator was closed early"))

    async def is_over(self) -> bool:
        """Return whether another block can no longer join this one, which is ending or was dropped and rolled back."""
        # A generator may be dropped. In the next turn of the loop, asyncio creates a task that closes it, and starts
        # the task in the turn after. Then the inner generator is dropped. A savepoint in it takes another turn to end.
        left = turns = 3 * len(self._entry.generators)
        while left and not self._is_ending:
            if (closer := self.session.sync_session.turn.closer) is not None:
                await self._closed_by(closer)
                left = turns
            else:
                await asyncio.sleep(0)
                left -= 1
        return self._is_ending or self._entry.is_dropped

    async def _closed_by(self, closer: asyncio.Task[None]) -> None:
        """Wait for a task that closes a generator of this block, even between two statements of that task.

        Raises:
            SessionShared: When the task does not end; it may be waiting for the caller.
        """
        late = asyncio.get_running_loop().time() + _CLOSES_WITHIN
        while not (closer.done() or self._is_ending):
            rest = late - asyncio.get_running_loop().time()
            change = self.session.sync_session.turn.change()
            if rest <= 0 or not (await asyncio.wait({closer, change}, timeout=rest, return_when=FIRST_COMPLETED))[0]:
                raise SessionShared("the end of a dropped async generator", "the next transaction of its task")

    @asynccontextmanager
    async def join(self, *, savepoint: bool) -> AsyncIterator[Session]:
        """Lend the session to an inner block, which leaves COMMIT to this one.

        A block that fails without a savepoint leaves its work half done, so nothing may be committed any more, unless a
        savepoint around it is rolled back.

        Raises:
            SessionClosed: When this one has ended in the meantime, so that the inner block is not committed.
        """
        self._open_parts += 1
        try:
            if savepoint:
                async with self.session.savepoint():
                    yield self.session
            else:
                try:
                    yield self.session
                except BaseException as error:
                    self.session.sync_session.leave_half_done(error)
                    raise
        finally:
            self._open_parts -= 1
        if self._is_ending:
            raise SessionClosed
        self._has_guests = self._has_guests or not self._entry.is_around(sys._getframe())

    async def _prepare(self) -> None:
        """Do everything before COMMIT, which a cancellation may interrupt: a flush may wait for a lock."""
        session = self.session.sync_session
        if self._open_parts:
            raise left_behind(
                "A block inside the transaction has not ended, such as one in an abandoned async generator"
            )
        if session.has_changes or session.is_half_done:
            session.refuse_half_done()
            await self.session.flush()

    async def _complete(self) -> None:
        try:
            await self._commit()
        except BaseException as error:
            was_closed = self.session.sync_session.turn.is_closed
            await self._abandon(error)
            if was_closed and _is_of_closed_session(error):
                raise _closed_inside() from error
            raise
        try:
            await self._close()
        except Exception:
            logger.exception("A listener failed after COMMIT; the transaction is committed.")

    async def _abandon(self, error: BaseException) -> None:
        """End the session without a COMMIT; errors here are added to *error* as notes and do not replace it."""
        # Keep the objects' values: a rollback expires them, and reading an expired object outside a session fails.
        self.session.sync_session.let_go()
        try:
            await self._close()
        except Exception as failure:  # noqa: BLE001 - any failure becomes a note on the error that the caller gets
            note_failed_rollback(error, failure)

    async def _close(self) -> None:
        # Another task that still uses the session has prevented COMMIT and gets an error, or it came after COMMIT.
        try:  # noqa: SIM105 - `suppress` costs three calls, and every unit of work ends here
            await self.session.close()
        except SessionShared:
            pass

    async def _commit(self) -> None:
        ticket: list[str | None] = []
        try:
            await AsyncSession.run_sync(self.session, self._commit_in_one_go, ticket)
        except CommitUnknown as error:
            await self._settle(ticket[0] if ticket else None, error)
        else:
            await self.session.hooks_apart()

    def _commit_in_one_go(self, session: orm.Session, ticket: list[str | None]) -> None:
        """Get the transaction's id, by which the server can report its outcome, and commit."""
        with self.session.sync_session.turn.use(ending=True):
            if not self.session.read_only:
                ticket.append(self._backend.transaction_ticket(session))
            self.session.sync_session.is_committed = False  # the caller may have ended an earlier one by hand
            try:
                session.commit()
            except Exception:
                if not self.session.sync_session.is_committed:
                    raise
                logger.exception("A listener failed after COMMIT; the transaction is committed.")

    async def _settle(self, ticket: str | None, error: CommitUnknown) -> None:
        """Find the outcome of a COMMIT without an answer.

        Raises:
            CommitUnknown: When the outcome cannot be determined.
            ConnectionLost: When it was rolled back, or has only read; it may be retried.
        """
        if self.session.read_only:
            # Not a success either: reads of a serializable transaction are valid only once it is committed.
            raise ConnectionLost(
                "The connection broke during COMMIT; the transaction has only read.", orig=error.orig
            ) from error
        committed = await apart(_first_answer(self._engine, ticket, self._backend)) if ticket is not None else None
        if committed is None:
            self.session.sync_session.hooks_at_end.drop()
            raise error
        if not committed:
            raise ConnectionLost(
                "The connection broke during COMMIT, and the server has rolled back.", orig=error.orig
            ) from error
        self.session.sync_session.count_as_committed()

    @property
    def _engine(self) -> AsyncEngine:
        bind = self.session.bind
        assert isinstance(bind, AsyncEngine)
        return bind


def _is_of_closed_session(error: BaseException) -> bool:
    own = isinstance(error, KeelError) and not isinstance(error, SessionClosed)
    return isinstance(error, InvalidRequestError) and not own


def _closed_inside() -> UsageError:
    return UsageError(
        "The session was closed inside the block of its transaction; nothing was committed.",
        hint="Let the end of the block commit and close it; an exception rolls back.",
    )


async def _first_answer(engine: AsyncEngine, ticket: str, backend: Backend) -> bool | None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_ASKS_FOR):
            for pause in _ASKS_AFTER:
                await asyncio.sleep(pause)
                with suppress(SQLAlchemyError, OSError):
                    answer = await _ask(engine, ticket, backend)
                    if answer is not None:
                        return answer
    return None


async def _ask(engine: AsyncEngine, ticket: str, backend: Backend) -> bool | None:
    async with engine.connect() as connection:
        return await connection.run_sync(backend.was_committed, ticket)
