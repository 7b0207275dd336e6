"""The proxy: what comes through, and what does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest

from tests.faults.proxy import Proxy, proxy_to

MOMENT = 0.1


class Client(NamedTuple):
    """A connection through the proxy to a server that sends everything back."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, data: bytes) -> bytes:
        """Send, and return what comes back; nothing where the connection ended."""
        self.writer.write(data)
        try:
            return await self.reader.read(100)
        except ConnectionError:
            return b""


@pytest.fixture
def seen() -> list[bytes]:
    """What reached the server."""
    return []


@pytest.fixture
async def proxy(seen: list[bytes]) -> AsyncIterator[Proxy]:
    """A proxy to the echo."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(100):
                seen.append(data)
                writer.write(data)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with proxy_to(*server.sockets[0].getsockname()) as proxy:
        yield proxy
    server.close()


@asynccontextmanager
async def connect(proxy: Proxy) -> AsyncIterator[Client]:
    """Connect to the proxy."""
    client = Client(*await asyncio.open_connection("127.0.0.1", proxy.port))
    try:
        yield client
    finally:
        client.writer.close()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    """One connection."""
    async with connect(proxy) as client:
        yield client


def is_goodbye(data: bytes) -> bool:
    """Choose a moment."""
    return data == b"bye"


class TestProxy:
    async def test_data_comes_through(self, client: Client) -> None:
        """Without a fault it is not noticed."""
        assert await client.ask(b"hello") == b"hello"

    async def test_a_reset_ends_the_connection(self, proxy: Proxy, client: Client) -> None:
        """After cut_all nothing comes back."""
        await client.ask(b"hello")

        proxy.cut_all()

        assert await client.ask(b"hello") == b""

    async def test_a_stall_loses_nothing(self, proxy: Proxy, client: Client) -> None:
        """What was sent while it stalled arrives when it goes on."""
        proxy.stall()
        answer = asyncio.create_task(client.ask(b"hello"))
        _, waiting = await asyncio.wait({answer}, timeout=MOMENT)

        proxy.resume()

        assert waiting == {answer}
        assert await answer == b"hello"

    async def test_dropped_data_is_gone(self, proxy: Proxy, client: Client, seen: list[bytes]) -> None:
        """What was sent meanwhile never arrives, and the connection is reset afterwards."""
        proxy.drop()
        answer = asyncio.create_task(client.ask(b"hello"))
        await asyncio.wait({answer}, timeout=MOMENT)

        proxy.resume()

        assert await answer == b""
        assert seen == []

    async def test_latency_is_added_in_both_directions(self, proxy: Proxy, client: Client) -> None:
        """A round trip takes twice the latency."""
        await client.ask(b"hello")
        proxy.latency = MOMENT
        began = asyncio.get_running_loop().time()

        await client.ask(b"hello")

        assert asyncio.get_running_loop().time() - began >= 2 * MOMENT

    async def test_new_connections_are_refused_and_old_ones_go_on(self, proxy: Proxy, client: Client) -> None:
        """A refusal is for those who come."""
        await client.ask(b"hello")
        proxy.refuses = True

        async with connect(proxy) as late:
            answers = await late.ask(b"hello"), await client.ask(b"hello")

        assert answers == (b"", b"hello")

    @pytest.mark.parametrize(("deliver", "arrived"), [(True, [b"hello", b"bye"]), (False, [b"hello"])])
    async def test_a_moment_is_cut(
        self, proxy: Proxy, client: Client, seen: list[bytes], deliver: bool, arrived: list[bytes]
    ) -> None:
        """The connection ends at the chosen data, which the server got or did not get."""
        proxy.cut_at(is_goodbye, deliver=deliver)

        answers = await client.ask(b"hello"), await client.ask(b"bye")

        assert answers == (b"hello", b"")
        assert seen == arrived

    async def test_a_moment_is_told(self, proxy: Proxy, client: Client) -> None:
        """call_at calls once, and lets the data through."""
        calls: list[str] = []
        proxy.call_at(is_goodbye, lambda: calls.append("now"))

        answers = await client.ask(b"hello"), await client.ask(b"bye"), await client.ask(b"bye")

        assert answers == (b"hello", b"bye", b"bye")
        assert calls == ["now"]

    async def test_a_server_that_is_down_is_a_reset(self) -> None:
        """Where nobody listens behind it, a connection ends at once."""
        async with proxy_to("127.0.0.1", 1) as proxy, connect(proxy) as client:
            answer = await client.ask(b"hello")

        assert answer == b""
