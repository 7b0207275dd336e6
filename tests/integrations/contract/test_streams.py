"""A body that is made while it is sent: after the commit, with sessions of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel import Database, Session
from tests.integrations.contract.framework import Framework
from tests.integrations.tables import Base, stored, write
from tests.integrations.wire import Exchange, client, disconnecting

pytestmark = pytest.mark.tables(Base.metadata)


class TestStream:
    async def test_the_row_is_there_before_the_first_chunk(self, framework: Framework, db: Database) -> None:
        """The body is made after the commit; the database opens what it needs."""

        async def endpoint(session: Session, database: Database) -> Any:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with database.read() as reader:
                    yield str(await reader.scalar(text("SELECT text FROM note")))

            return framework.stream(chunks())

        async with client(framework.serve(db, endpoint)) as http:
            response = await http.post("/")

        assert response.text == "kept"

    async def test_one_that_uses_the_session_fails(self, framework: Framework, db: Database) -> None:
        """The session of the request is closed then: the stream breaks off, and no connection is leaked."""
        raised: list[Exception] = []

        async def endpoint(session: Session) -> Any:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                with pytest.raises(InvalidRequestError, match="closed") as refusal:
                    await session.scalar(text("SELECT 1"))
                raised.append(refusal.value)
                raise refusal.value
                yield ""

            return framework.stream(chunks())

        exchange = Exchange(framework.serve(db, endpoint), method="POST")

        with pytest.raises(framework.broken_stream):
            await exchange.run()

        assert len(raised) == 1
        assert [message["type"] for message in exchange.messages] == ["http.response.start"]

    async def test_a_client_that_leaves_ends_it(self, framework: Framework, every_driver: Database) -> None:
        """The stream's own transaction is rolled back, and its connection goes home."""
        gone = asyncio.Event()

        async def endpoint(session: Session, database: Database) -> Any:
            await write(session)

            async def chunks() -> AsyncIterator[str]:
                async with database.transaction() as own:
                    await write(own, "half")
                    yield "first"
                    gone.set()
                    await asyncio.Event().wait()

            return framework.stream(chunks())

        app = framework.serve(every_driver, endpoint)

        await Exchange(app, method="POST", receive=disconnecting(gone)).run()

        assert await stored(every_driver) == ["kept"]
