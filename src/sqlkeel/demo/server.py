"""The service on a socket of this machine, in this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI

from sqlkeel.errors import ConfigurationError

__all__ = ["listen", "serving"]

HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """Listen on a port; 0 means any free port.

    Raises:
        ConfigurationError: When another program listens on the port.
    """
    opened = socket.socket()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind((HOST, port))
    except OSError as error:
        opened.close()
        raise ConfigurationError(
            f"Port {port} of {HOST} cannot be used: {error.strerror}.", hint="Stop what listens there, and try again."
        ) from error
    return opened


@asynccontextmanager
async def serving(app: FastAPI, opened: socket.socket) -> AsyncIterator[str]:
    """Serve *app* on the socket while the block runs; yield the service's address."""
    server = _Server(uvicorn.Config(app, log_level="error", access_log=False, ws="none"))
    task = asyncio.create_task(server.serve(sockets=[opened]))
    try:
        await server.ready.wait()
        if not server.started:
            raise ConfigurationError("The service did not start; its log says why.")
        yield f"http://{HOST}:{opened.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, and set `ready` when it has started or failed to start."""
        try:
            await super().startup(sockets)
        except SystemExit:
            self.should_exit = True  # The caller reports the failure; the server must not end the whole process.
        finally:
            self.ready.set()

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave Ctrl-C to the code that runs the event loop."""
        yield
