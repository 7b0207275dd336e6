"""What is on the wire of a real server, and when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse, StreamingResponse

from sqlkeel import Database
from sqlkeel.integrations.fastapi import SessionDep, install
from tests.integrations.tables import Base, Note, stored
from tests.integrations.wire import serving, traffic

pytestmark = pytest.mark.tables(Base.metadata)

POST = b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n"
FAILING = POST.replace(b"/ ", b"/failing ")


class Paused:
    """A service whose handler writes a row and waits, or whose body does, until the test goes on."""

    def __init__(self, db: Database, *, stream: bool) -> None:
        self.written = asyncio.Event()
        self.go_on = asyncio.Event()
        self.ended = asyncio.Event()
        self.app = FastAPI()
        install(self.app, db)
        self.app.post("/")(self._stream if stream else self._answer)

    async def _answer(self, session: SessionDep) -> dict[str, bool]:
        session.add(Note(text="kept"))
        await session.flush()
        self.written.set()
        await self.go_on.wait()
        return {"saved": True}

    async def _stream(self, session: SessionDep) -> StreamingResponse:
        session.add(Note(text="kept"))
        return StreamingResponse(self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        try:
            yield b"first"
            self.written.set()
            await self.go_on.wait()
            yield b"last"
        finally:
            self.ended.set()


async def connect(port: int, request: bytes = POST) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the request, byte for byte, and return the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await writer.drain()
    return reader, writer


class TestOrder:
    async def test_no_byte_before_the_commit(self, db: Database) -> None:
        """When the status line arrives, another connection sees the row; before, there is neither."""
        service = Paused(db, stream=False)

        async with serving(service.app) as port:
            reader, writer = await connect(port)
            await service.written.wait()
            before = await stored(db)
            service.go_on.set()
            line = await reader.readline()
            after = await stored(db)
            writer.close()

        assert (before, line.split()[1], after) == ([], b"200", ["kept"])

    async def test_a_stream_has_committed_when_it_starts(self, db: Database) -> None:
        """The row is there while the body is still being made."""
        service = Paused(db, stream=True)

        async with serving(service.app) as port:
            reader, writer = await connect(port)
            line = await reader.readline()
            meanwhile = await stored(db)
            service.go_on.set()
            await reader.readuntil(b"last")
            writer.close()

        assert (line.split()[1], meanwhile) == (b"200", ["kept"])


class TestDisconnect:
    async def test_a_client_that_left_does_not_stop_a_handler(self, db: Database) -> None:
        """The handler is not cancelled: the row is written although nobody reads the answer."""
        service = Paused(db, stream=False)

        async with serving(service.app) as port:
            _, writer = await connect(port)
            await service.written.wait()
            writer.transport.abort()
            service.go_on.set()

        assert await stored(db) == ["kept"]

    async def test_a_client_that_left_ends_a_stream(self, db: Database) -> None:
        """The stream is ended, what the request wrote stays, no connection is missing."""
        service = Paused(db, stream=True)

        async with serving(service.app) as port:
            _, writer = await connect(port)
            await service.written.wait()
            writer.transport.abort()
            service.go_on.set()
            await asyncio.wait_for(service.ended.wait(), 5)

        assert await stored(db) == ["kept"]


class TestHandledFailure:
    async def test_a_redirection_after_a_failure_keeps_nothing(self, every_driver: Database) -> None:
        """The client of a real server reads the redirection of a handler, and no row is there."""
        app = FastAPI(exception_handlers={ZeroDivisionError: _back})
        install(app, every_driver)

        @app.post("/")
        async def endpoint(session: SessionDep) -> None:
            session.add(Note(text="half"))
            await session.flush()
            raise ZeroDivisionError

        async with serving(app) as port, httpx.AsyncClient() as http:
            response = await http.post(f"http://127.0.0.1:{port}/")

        assert (response.status_code, response.headers["Location"]) == (303, "/form")
        assert await stored(every_driver) == []

    async def test_so_does_one_that_nobody_reads(self, db: Database) -> None:
        """A client that leaves before the handler fails changes nothing of that."""
        service = Paused(db, stream=False)
        service.app.add_exception_handler(ZeroDivisionError, _back)

        @service.app.post("/failing")
        async def endpoint(session: SessionDep) -> None:
            await service._answer(session)
            raise ZeroDivisionError

        async with serving(service.app) as port:
            _, writer = await connect(port, FAILING)
            await service.written.wait()
            writer.transport.abort()
            service.go_on.set()

        assert await stored(db) == []


async def _back(request: Request, error: Exception) -> Response:
    return RedirectResponse("/form", 303)


class TestHead:
    async def test_a_request_that_needs_no_database_does_not_touch_it(self, db: Database) -> None:
        """OPTIONS of a route that writes costs no connection."""
        service = Paused(db, stream=False)

        async with serving(service.app) as port, httpx.AsyncClient() as http:
            with traffic(db) as seen:
                response = await http.options(f"http://127.0.0.1:{port}/")

        assert response.status_code == 405
        assert seen == []
