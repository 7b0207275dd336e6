"""An ASGI application that is one handler, and what its handler does with its unit of work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlkeel import Database
from sqlkeel.integrations.asgi import UnitOfWork, UnitOfWorkMiddleware, unit_of_work
from tests.integrations.tables import Item, Note
from tests.integrations.wire import ANSWER, Exchange, Receive, Scope, Send

__all__ = ["answer", "served", "write", "write_orphan"]


def served(db: Database, handler: Callable[[UnitOfWork, Send], Awaitable[None]], **options: Any) -> Exchange:
    """Return the exchange with an application that is *handler* and nothing else."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await handler(unit_of_work(scope), send)

    return Exchange(UnitOfWorkMiddleware(app, db), **options)


async def answer(send: Send, status: int = 200) -> None:
    """Send an empty response."""
    await send({**ANSWER[0], "status": status})
    await send(ANSWER[1])


async def write(unit: UnitOfWork, note: str = "kept") -> None:
    """Write a note in the session of the request."""
    session = await unit.session()
    session.add(Note(text=note))
    await session.flush()


async def write_orphan(unit: UnitOfWork) -> None:
    """Write what COMMIT will refuse."""
    session = await unit.session()
    session.add(Item(owner_id=404))
    await session.flush()
