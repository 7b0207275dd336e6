"""Listeners of commit and rollback: they run in the caller's task and context, as with a session of SQLAlchemy's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker
from sqlalchemy.orm import Session as Synchronous

from sqlkeel.sessions import Database, Session, SyncSession

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


ENGINE_EVENTS = ["commit", "rollback", "checkin"]


async def tasks_of(database: Database, session: Any, end: End) -> dict[str, set[object]]:
    """Return in which task each event of an end, of the session and of its engine, was called."""
    tasks: dict[str, set[object]] = {}

    def watch(target: Any, name: str) -> None:
        event.listen(target, name, lambda *_: tasks.setdefault(name, set()).add(asyncio.current_task()))

    for name in EVENTS:
        watch(session.sync_session, name)
    for name in ENGINE_EVENTS:
        watch(database.engine.sync_engine, name)
    await end(session)
    return tasks


class TestTask:
    @pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
    async def test_it_is_the_callers(self, every_driver: Database, end: End) -> None:
        """Each event of the session and of the engine, as far as the end has them."""
        session = Session(every_driver.engine)

        tasks = await tasks_of(every_driver, session, end)
        await session.close()

        assert tasks.keys() >= {"after_transaction_end", "checkin"}
        assert set().union(*tasks.values()) == {asyncio.current_task()}

    async def test_a_failing_commit_is_no_other(self, every_driver: Database) -> None:
        """What is sent to end the transaction after it, too."""
        session = Session(every_driver.engine)
        event.listen(session.sync_session, "before_commit", fail)

        async def end(session: Any) -> None:
            with pytest.raises(ZeroDivisionError):
                async with session.begin():
                    await session.execute(text("SELECT 1"))

        tasks = await tasks_of(every_driver, session, end)

        assert tasks.keys() >= {"after_rollback", "rollback"}
        assert set().union(*tasks.values()) == {asyncio.current_task()}

    @pytest.mark.parametrize("fails", [False, True])
    async def test_a_unit_of_work_is_no_other(self, every_driver: Database, fails: bool) -> None:
        """Whether it commits or rolls back."""

        async def end(_: Any) -> None:
            with suppress(ZeroDivisionError):
                async with every_driver.transaction() as session:
                    event.listen(session.sync_session, "after_transaction_end", note_task)
                    await session.execute(text("SELECT 1"))
                    _ = fails and 1 / 0

        tasks = await tasks_of(every_driver, Session(every_driver.engine), end)

        assert TASKS.get() is asyncio.current_task()
        assert tasks == {
            ("rollback" if fails else "commit"): {asyncio.current_task()},
            "checkin": {asyncio.current_task()},
        }

    async def test_a_registry_by_task_gives_them_the_callers_session(self, db: Database) -> None:
        """SQLAlchemy's way to say which session is whose."""
        registry = async_scoped_session(async_sessionmaker(db.engine, class_=Session), scopefunc=asyncio.current_task)
        session = registry()
        found: list[object] = []
        event.listen(session.sync_session, "before_commit", lambda _: found.append(registry()))

        await commit(session)
        await registry.remove()

        assert found == [session]


def fail(*_: object) -> None:
    raise ZeroDivisionError


TASKS: ContextVar[object] = ContextVar("TASKS", default=None)


def note_task(*_: object) -> None:
    TASKS.set(asyncio.current_task())
