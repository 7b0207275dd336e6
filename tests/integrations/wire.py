"""Both ends of the wire: a raw ASGI exchange, a real server, and what reaches the database meanwhile."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
import uvicorn
from sqlalchemy import event

from sqlkeel import Database

__all__ = ["ANSWER", "Exchange", "client", "connecting", "disconnecting", "serving", "traffic"]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

ANSWER: list[Message] = [{"type": "http.response.start", "status": 200, "headers": []}, {"type": "http.response.body"}]


class Exchange:
    """One request to an ASGI application, and the messages that came back; *watch* sees each before it is kept."""

    def __init__(self, app: Any, *, method: str = "GET", path: str = "/", kind: str = "http", **options: Any) -> None:
        self.app = app
        self.scope: Scope = {
            "type": kind,
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": options.get("headers", []),
            "scheme": "http",
            "server": ("test", 80),
            "client": ("test", 1),
        }
        if kind == "websocket":
            del self.scope["method"]
        self.receive: Receive = options.get("receive") or disconnecting(asyncio.Event())
        self.watch: Callable[[Message], Awaitable[None]] | None = options.get("watch")
        self.messages: list[Message] = []

    @property
    def status(self) -> int:
        """The status of the response."""
        return int(self.messages[0]["status"])

    @property
    def document(self) -> Any:
        """The body of the response, which is JSON."""
        return json.loads(b"".join(message.get("body", b"") for message in self.messages[1:]))

    async def run(self) -> Exchange:
        """Have the request served."""
        await self.app(self.scope, self.receive, self._keep)
        return self

    async def _keep(self, message: Message) -> None:
        if self.watch is not None:
            await self.watch(message)
        self.messages.append(message)


def disconnecting(gone: asyncio.Event) -> Receive:
    """Return a `receive` that gives the request, and reports when the client has *gone*."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request"}
        await gone.wait()
        return {"type": "http.disconnect"}

    return receive


def connecting(app: Any) -> Exchange:
    """Return the exchange with a client that opens a WebSocket."""

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    return Exchange(app, kind="websocket", receive=receive)


def client(app: Any) -> httpx.AsyncClient:
    """Return a client of *app* that gets a 500 as a response, as over the wire."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test")


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[int]:
    """Serve *app* on a free port."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", ws="none", timeout_graceful_shutdown=2))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event to wait for
        await asyncio.sleep(0.01)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listener.close()


@contextmanager
def traffic(db: Database) -> Iterator[list[str]]:
    """List what happens on the engines that are in use: checkouts, statements, BEGIN, COMMIT and ROLLBACK."""
    seen: list[str] = []
    listeners = [
        (engine.sync_engine.pool if name == "checkout" else engine.sync_engine, name, _noting(seen, name))
        for engine in db.engines
        for name in ("checkout", "begin", "commit", "rollback", "before_cursor_execute")
    ]
    for listener in listeners:
        event.listen(*listener)
    try:
        yield seen
    finally:
        for listener in listeners:
            event.remove(*listener)


def _noting(seen: list[str], name: str) -> Callable[..., None]:
    return lambda *_: seen.append(name)
