"""Listeners of commit and rollback: what they set is set for the caller, as with a session of SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session as Synchronous

from sqlkeel.database import Database
from sqlkeel.session import Session
from sqlkeel.sync_session import SyncSession

SEEN: ContextVar[tuple[str, ...]] = ContextVar("SEEN", default=())
EVENTS = ["before_commit", "after_commit", "after_rollback", "after_soft_rollback", "after_transaction_end"]

End = Callable[[Any], Awaitable[object]]


async def commit(session: Any) -> None:
    await session.execute(text("SELECT 1"))
    await session.commit()


async def roll_back(session: Any) -> None:
    await session.execute(text("SELECT 1"))
    await session.rollback()


async def leave_a_block(session: Any) -> None:
    async with session.begin():
        await session.execute(text("SELECT 1"))


async def leave_a_block_badly(session: Any) -> None:
    with pytest.raises(ZeroDivisionError):
        async with session.begin():
            await session.execute(text("SELECT 1"))
            raise ZeroDivisionError


async def end_by_hand(session: Any) -> None:
    transaction = await session.begin()
    await session.execute(text("SELECT 1"))
    await transaction.commit()


async def close(session: Any) -> None:
    await session.execute(text("SELECT 1"))
    await session.close()


ENDS = [commit, roll_back, leave_a_block, leave_a_block_badly, end_by_hand, close]


def note(sync: Synchronous) -> None:
    """Have each event of the end note itself in a context variable."""
    for name in EVENTS:
        event.listen(sync, name, lambda *_, name=name: SEEN.set((*SEEN.get(), name)))


async def seen(session: Any, end: End) -> tuple[str, ...]:
    """Return what the events of an end have noted, as the caller reads it."""
    SEEN.set(())
    note(session.sync_session)
    await end(session)
    return SEEN.get()


class TestContext:
    @pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
    async def test_what_they_set_reaches_the_caller(self, db: Database, end: End) -> None:
        """The same events as in a stock session, each seen by who commits."""
        stock = AsyncSession(db.engine, sync_session_class=SyncSession, expire_on_commit=False)
        expected = await seen(stock, end)
        await stock.close()
        session = Session(db.engine)

        assert await seen(session, end) == expected != ()
        await session.close()

    async def test_a_unit_of_work_is_no_other(self, db: Database) -> None:
        """Its COMMIT, and the hooks behind it."""
        SEEN.set(())
        async with db.transaction() as session:
            note(session.sync_session)
            session.on_commit(lambda: SEEN.set((*SEEN.get(), "hook")))
            await session.execute(text("SELECT 1"))

        assert SEEN.get()[0] == "before_commit"
        assert "hook" in SEEN.get()
