"""A TCP proxy between a driver and its server that delays, drops, resets, and cuts at a chosen moment."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

__all__ = ["Proxy", "proxy_to"]

Chosen = Callable[[bytes], bool]
_ANSWER_SECONDS = 0.2
"""How long the server has for what was delivered, before the connection is cut."""


class Proxy:
    """Forward to a server until told otherwise; every fault can be taken back."""

    def __init__(self, host: str, port: int) -> None:
        self.target = host, port
        self.targets: list[tuple[str, int]] = []
        """Other servers, one for each of the connections that come next: a balancer's choice."""
        self.port = 0
        self.latency = 0.0
        """Seconds that every piece of data takes in each direction."""
        self.refuses = False
        """Whether a new connection is reset at once; those that are open go on."""
        self.was_cut = asyncio.Event()
        """Set when `cut_at` has found its moment."""
        self._links: set[_Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self._drops = False
        self._cut_at: Chosen | None = None
        self._deliver = False
        self._call_at: tuple[Chosen, Callable[[], object]] | None = None
        self._garbled: bytes | None = None

    @property
    def links(self) -> int:
        """How many connections of clients are open."""
        return len(self._links)

    def cut_at(self, chosen: Chosen, *, deliver: bool) -> None:
        """Cut the connection whose client sends data that *chosen* accepts, once; *deliver* lets that data through."""
        self._cut_at, self._deliver = chosen, deliver
        self.was_cut.clear()

    def call_at(self, chosen: Chosen, function: Callable[[], object]) -> None:
        """Call *function* when a client sends data that *chosen* accepts, once, before the data is passed on."""
        self._call_at = chosen, function

    def garble(self, word: bytes) -> None:
        """Spoil *word* in what a client sends next with it, so that the server does not know the statement: once."""
        self._garbled = word

    def cut_all(self) -> None:
        """Reset every connection, as a firewall or a failing switch does."""
        for link in list(self._links):
            link.abort()

    def stall(self) -> None:
        """Let nothing through, without closing anything."""
        self._open.clear()

    def drop(self) -> None:
        """Throw away everything that is sent, without closing anything."""
        self._drops = True

    def resume(self) -> None:
        """Let everything through again; a connection that has lost data is reset."""
        self._open.set()
        self.latency, self.refuses, self._drops = 0.0, False, False
        for link in list(self._links):
            if link.damaged:
                link.abort()

    def forget(self) -> None:
        """Wait for no moment any more."""
        self._cut_at = self._call_at = self._garbled = None

    def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take a connection, in a task that `close` waits for."""
        task = asyncio.ensure_future(self._forward(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Reset everything, and leave no task behind."""
        self.resume()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self.refuses:
                return
            target = self.targets.pop(0) if self.targets else self.target
            upstream = await asyncio.open_connection(*target)
            link = _Link(self, (reader, writer), upstream)
            self._links.add(link)
            try:
                await link.run()
            finally:
                self._links.discard(link)
        except OSError:
            pass  # the server is down, or gone in the middle
        finally:
            writer.transport.abort()

    async def pump(self, link: _Link, source: asyncio.StreamReader, sink: asyncio.StreamWriter, watch: bool) -> None:
        """Pass on what comes from *source*; *watch* tells that this is the client."""
        while data := await source.read(65_536):
            if self.latency:
                await asyncio.sleep(self.latency)
            await self._open.wait()
            if watch:
                self._call(data)
                data = self._spoilt(data)
            if self._drops:
                link.damaged = True
            elif watch and self._wants_cut(data):
                await self._cut(link, sink, data)
                return
            if link.damaged or (link.muted and not watch):
                continue
            sink.write(data)
            await sink.drain()

    async def _cut(self, link: _Link, sink: asyncio.StreamWriter, data: bytes) -> None:
        link.muted = True
        if self._deliver:
            sink.write(data)
            await sink.drain()
            await asyncio.sleep(_ANSWER_SECONDS)  # the server acts on it; its answer is thrown away
        self.was_cut.set()
        link.abort()

    def _wants_cut(self, data: bytes) -> bool:
        if self._cut_at is None or not self._cut_at(data):
            return False
        self._cut_at = None
        return True

    def _call(self, data: bytes) -> None:
        if self._call_at is not None and self._call_at[0](data):
            function = self._call_at[1]
            self._call_at = None
            function()

    def _spoilt(self, data: bytes) -> bytes:
        word = self._garbled
        if word is None or word not in data:
            return data
        self._garbled = None
        return data.replace(word, word[:-1] + b"X")


class _Link:
    """One client's connection and the one to the server that belongs to it."""

    def __init__(
        self,
        proxy: Proxy,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.muted = False
        """Whether the client gets no answers any more."""
        self.damaged = False
        """Whether data of it was thrown away, so that what follows would make no sense."""

    def abort(self) -> None:
        self.muted = True
        for _, writer in (self.client, self.server):
            writer.transport.abort()

    async def run(self) -> None:
        (client_reader, client_writer), (server_reader, server_writer) = self.client, self.server
        pumps = [
            asyncio.ensure_future(self.proxy.pump(self, client_reader, server_writer, True)),
            asyncio.ensure_future(self.proxy.pump(self, server_reader, client_writer, False)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*pumps, return_exceptions=True)
            self.abort()


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[Proxy]:
    """Run a proxy to the server at *host*:*port* on a free port of this machine."""
    proxy = Proxy(host, port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
