"""WebSockets: the database, and a transaction for each message."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from sqlkeel import Database
from tests.integrations.contract.framework import Framework, Route
from tests.integrations.tables import Base, stored, write
from tests.integrations.wire import Exchange, Message, connecting

pytestmark = pytest.mark.tables(Base.metadata)


class TestWebSocket:
    async def test_it_opens_a_transaction_for_each_message(self, framework: Framework, db: Database) -> None:
        """It gets the database, which gives it what it needs."""

        async def endpoint(socket: Any, database: Database) -> None:
            await socket.accept()
            async with database.transaction() as session:
                await write(session)
            await socket.close()

        await connecting(framework.serve(db, Route(endpoint, "WEBSOCKET"))).run()

        assert await stored(db) == ["kept"]

    async def test_a_client_that_leaves_rolls_its_message_back(
        self, framework: Framework, every_driver: Database
    ) -> None:
        """A transaction that was open when the client went away is rolled back, and its connection goes home."""
        messages: Iterator[Message] = iter(
            [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1001}]
        )
        waited: list[str] = []

        async def receive() -> Message:
            return next(messages)

        async def endpoint(socket: Any, database: Database) -> None:
            await socket.accept()
            async with database.transaction() as session:
                await write(session, "half")
                waited.append("half")
                await socket.receive_text()

        exchange = Exchange(
            framework.serve(every_driver, Route(endpoint, "WEBSOCKET")), kind="websocket", receive=receive
        )

        with contextlib.suppress(WebSocketDisconnect):  # Litestar closes the connection instead
            await exchange.run()

        assert waited == ["half"]
        assert await stored(every_driver) == []
        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
