"""One unit of work per HTTP request, for any ASGI application: committed before the first byte is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Final, Protocol

from ..engines._tasks import current_task
from ..errors import ConfigurationError, NoTransaction
from ..sessions._database import Database
from ..sessions._session import Session
from ._failures import WatchedScope, answered

__all__ = ["Checked", "UnitOfWork", "UnitOfWorkMiddleware", "check_at_start", "unit_of_work"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

KEY: Final = "sqlkeel.unit_of_work"
REFUSED_FROM: Final = 400
_NO_REQUEST: Final = "A WebSocket has no unit of work: it may stay open for days."
_OVER: Final = "The unit of work of this request ended when its response started, or by hand before that."
_FAILED: Final = "The unit of work of this request was rolled back: {} was raised."
_NOT_HERE: Final = "There is no unit of work here: none is installed, or the caller is a middleware outside it."
_INSTALL: Final = (
    "Call install(app, db), with Litestar plugins=[SQLKeelPlugin(db)]; in a middleware use db.transaction()."
)


class _RollBack(Exception):
    pass


class Checked(Protocol):
    """An object to check before an application starts, such as `Migrations`."""

    async def check(self) -> None:
        """Raise an error if the application must not start."""


async def check_at_start(database: Database, check: bool | Checked) -> None:
    """Query *database* unless *check* is false; if *check* is an object, call its ``check()`` first.

    Raises:
        DatabaseFault: When the database does not answer.
        MigrationError: When *check* is `Migrations`, and revisions are missing or the models differ.
    """
    if check is False:
        return
    if check is not True:
        await check.check()  # First, because a connection would create a missing SQLite file.
    await database.check()


class UnitOfWork:
    """The sessions of one request: created on first use, ended when the response starts.

    Nothing is sent to the database before the first statement, and nothing at all if the request does not use a
    session. A handler may end it earlier with `commit` or `roll_back`, before it calls a slow service, or to handle a
    failed COMMIT itself. Then the response does not decide any more.
    """

    def __init__(self, database: Database, *, refusal: str | None = None) -> None:
        self.database = database
        self._refusal = refusal
        self._task = current_task()
        self._writing = AsyncExitStack()
        self._reading = AsyncExitStack()
        self._session: Session | None = None
        self._opener = self._task
        self._read_session: Session | None = None

    @property
    def over(self) -> bool:
        """Whether it has ended, so that it returns no session any more."""
        return self._refusal is not None

    async def session(self) -> Session:
        """Return the session of the request, the same one for every caller.

        Raises:
            NoTransaction: When it has ended, or this is a WebSocket.
        """
        self._check()
        if self._session is None:
            self._session = await self._writing.enter_async_context(self.database.transaction())
            self._opener = current_task()
            # A framework may resolve dependencies in separate tasks, and a middleware may run the handler in one.
            self.database.let_join(self._task, of=self._opener)
        self.database.let_join(current_task(), of=self._opener)
        return self._session

    async def read_session(self) -> Session:
        """Return the read-only session of the request; see `Database.read`.

        Raises:
            NoTransaction: When the unit of work has ended, or the connection is a WebSocket.
        """
        self._check()
        if self._read_session is None:
            self._read_session = await self._reading.enter_async_context(self.database.read())
        return self._read_session

    async def commit(self) -> None:
        """Commit the unit of work now, whatever the status of the response will be; this releases the connection.

        Raises:
            DatabaseFault: When COMMIT fails; nothing is written then.
            ReadOnlySession: When the read-only session holds changes; nothing is written then.
        """
        if self.over:
            return
        self._refusal = _OVER
        try:
            # First, because after a successful COMMIT no other error may change the response.
            await self._reading.aclose()
        except BaseException as error:
            await _end(self._writing, error)
            raise
        await self._writing.aclose()

    async def roll_back(self, error: BaseException | None = None) -> None:
        """End the unit of work and discard its changes, whatever the status of the response is."""
        if self.over:
            return
        self._refusal = _OVER if error is None else _FAILED.format(type(error).__name__)
        reason = error or _RollBack()
        try:
            await _end(self._reading, reason)
        finally:
            await _end(self._writing, reason)

    def _check(self) -> None:
        if self._refusal is not None:
            raise NoTransaction(self._refusal)


async def _end(block: AsyncExitStack, reason: BaseException) -> None:
    """End a block and discard its changes; an error during the rollback is only noted or logged."""
    await block.__aexit__(type(reason), reason, reason.__traceback__)


class UnitOfWorkMiddleware:
    """Hold the start of a response back until its unit of work is committed.

    A status below 400 commits. Any other status and any exception rolls back, even if Starlette, FastAPI or a mounted
    Litestar answers the exception with a status below 400. So does a cancellation that one of their middlewares
    answers. When COMMIT fails, the response is dropped and the error leaves the application. Put this middleware inside
    the one that turns exceptions into responses; then the client never sees a success that was not committed.
    `Session.on_commit` hooks run before the response is sent. Background tasks and the body of a streaming response run
    after it, and need their own session.
    """

    def __init__(self, app: Application, database: Database) -> None:
        self.app = app
        self.database = database

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
            return
        if scope["type"] == "websocket":
            scope[KEY] = UnitOfWork(self.database, refusal=_NO_REQUEST)
        await self.app(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        outer = scope.get(KEY)
        scope[KEY] = unit = UnitOfWork(self.database)
        try:
            await self._serve_in(unit, scope, receive, send)
        finally:
            if outer is not None:
                # The scope belongs to an outer application, and its exception handlers run outside this middleware.
                scope[KEY] = outer

    async def _serve_in(self, unit: UnitOfWork, scope: Scope, receive: Receive, send: Send) -> None:
        gate = _Gate(unit, send)
        try:
            await self.app(WatchedScope(scope, unit), receive, gate)
            # No response has started, so nothing was promised and nothing is kept.
            await unit.roll_back()
        except BaseException as error:
            await unit.roll_back(error)
            if isinstance(error, Exception):
                gate.check()
            raise
        gate.check()


class _Gate:
    """The `send` of a request, which lets a response start only after its unit of work has ended."""

    def __init__(self, unit: UnitOfWork, send: Send) -> None:
        self.unit = unit
        self.send = send
        self.failure: Exception | None = None

    async def __call__(self, message: Message) -> None:
        self.check()
        if message["type"] == "http.response.start":
            await self._end(message["status"])
        await self.send(message)

    def check(self) -> None:
        """Raise the failure of COMMIT, even if the application has handled it."""
        if self.failure is not None:
            raise self.failure

    async def _end(self, status: int) -> None:
        failure = answered()
        try:
            if status < REFUSED_FROM and failure is None:
                await self.unit.commit()
            else:
                await self.unit.roll_back(failure)
        except Exception as error:
            # Not stored for a cancellation, because a timeout may catch it and answer; nothing is committed anyway.
            self.failure = error
            raise


def unit_of_work(scope: Scope) -> UnitOfWork:
    """Return the unit of work of the connection that *scope* describes.

    Raises:
        ConfigurationError: When the application has no `UnitOfWorkMiddleware`, or the caller is outside it.
    """
    unit = scope.get(KEY)
    if not isinstance(unit, UnitOfWork):
        raise ConfigurationError(_NOT_HERE, hint=_INSTALL)
    return unit
