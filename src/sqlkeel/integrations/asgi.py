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
_NOT_HERE: Final = "There is no unit of work here: none is installed, or a middleware asks, which is outside of it."
_INSTALL: Final = "install(app, db), with Litestar plugins=[SQLKeelPlugin(db)]; in a middleware db.transaction()."


class _RollBack(Exception):
    pass


class Checked(Protocol):
    """What can be checked before an application starts, such as `Migrations`."""

    async def check(self) -> None:
        """Raise where the application must not start."""


async def check_at_start(database: Database, check: bool | Checked) -> None:
    """Ask *database* for a value unless *check* is false, and *check* itself where it can be asked.

    Raises:
        DatabaseFault: When the database cannot answer.
        MigrationError: When *check* is `Migrations`, and these are not applied or the models differ.
    """
    if check is False:
        return
    if check is not True:
        await check.check()  # First: a connection would make the file of SQLite, and migrations miss it.
    await database.check()


class UnitOfWork:
    """The sessions of one request: made when first asked for, ended when the response starts.

    Nothing is sent to the database before the first statement, and nothing at all where nobody asks for a session. A
    handler may end it by hand, with `commit` or `roll_back`: before it calls a slow service, or to answer a failed
    COMMIT itself. The response then decides nothing any more.
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
        """Whether it gives no session any more."""
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
            # A framework may resolve its dependencies in tasks of their own, and a middleware run the handler in one.
            self.database.let_join(self._task, of=self._opener)
        self.database.let_join(current_task(), of=self._opener)
        return self._session

    async def read_session(self) -> Session:
        """Return the session of the request that only reads; see `Database.read`.

        Raises:
            NoTransaction: When it has ended, or this is a WebSocket.
        """
        self._check()
        if self._read_session is None:
            self._read_session = await self._reading.enter_async_context(self.database.read())
        return self._read_session

    async def commit(self) -> None:
        """End it and keep what was written, whatever the response says; the connection is free then.

        Raises:
            DatabaseFault: When COMMIT fails; nothing is written then.
            ReadOnlySession: When the session that only reads holds changes; nothing is written then.
        """
        if self.over:
            return
        self._refusal = _OVER
        try:
            # First, while nothing is committed: after COMMIT nothing but COMMIT may decide what is answered.
            await self._reading.aclose()
        except BaseException as error:
            await _end(self._writing, error)
            raise
        await self._writing.aclose()

    async def roll_back(self, error: BaseException | None = None) -> None:
        """End it and keep nothing, whatever the response says."""
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
    """End a block that keeps nothing; what breaks meanwhile is noted or logged there, and decides nothing."""
    await block.__aexit__(type(reason), reason, reason.__traceback__)


class UnitOfWorkMiddleware:
    """Hold the start of a response back until its unit of work is committed.

    A status below 400 commits, any other status and any exception rolls back; so does one that Starlette, FastAPI or a
    mounted Litestar answers inside, whatever the status, and a cancellation that a middleware of theirs answers. When
    COMMIT fails, the response is dropped and the error raised out of the application, so put this inside whatever
    turns exceptions into responses: the client never reads a success that is not one. `Session.on_commit` hooks run
    before the response is sent; background tasks and the body of a streaming response come after it, and use a session
    of their own.
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
                # Of an application around this one, whose exception handlers run outside here.
                scope[KEY] = outer

    async def _serve_in(self, unit: UnitOfWork, scope: Scope, receive: Receive, send: Send) -> None:
        gate = _Gate(unit, send)
        try:
            await self.app(WatchedScope(scope, unit), receive, gate)
            # No response has started: nothing is promised, so nothing is kept.
            await unit.roll_back()
        except BaseException as error:
            await unit.roll_back(error)
            if isinstance(error, Exception):
                gate.check()
            raise
        gate.check()


class _Gate:
    """The `send` of a request, which lets a response out only after its unit of work has ended."""

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
        """Raise the failure of COMMIT, whatever the application has made of it meanwhile."""
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
            # Not a cancellation: a timeout ends one, and then answers; nothing is kept all the same.
            self.failure = error
            raise


def unit_of_work(scope: Scope) -> UnitOfWork:
    """Return the unit of work of the connection that *scope* describes.

    Raises:
        ConfigurationError: When the application has no `UnitOfWorkMiddleware`, or who asks is outside it.
    """
    unit = scope.get(KEY)
    if not isinstance(unit, UnitOfWork):
        raise ConfigurationError(_NOT_HERE, hint=_INSTALL)
    return unit
