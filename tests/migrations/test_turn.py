"""One migrator at a time, on a connection that is prepared for it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from sqlkeel import errors
from sqlkeel.migrations._turn import turn
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase


class TestTurn:
    async def test_a_second_one_waits(self, db: Database) -> None:
        """Whoever comes second begins when the first has ended."""
        events: list[str] = []

        async def migrate(name: str) -> None:
            async with turn(db.engine):
                events.append(f"{name} begins")
                await asyncio.sleep(0.2)
                events.append(f"{name} ends")

        await asyncio.gather(migrate("a"), migrate("b"), migrate("c"))

        assert [event[0] for event in events[::2]] == [event[0] for event in events[1::2]]

    async def test_waiting_ends(self, db: Database, open_database: OpenDatabase) -> None:
        """Somebody who does not finish is not waited for without end."""
        second = open_database(db, lock_timeout=0.1)

        async with turn(db.engine):
            with pytest.raises(errors.MigrationError, match=r"for 0\.2 s"):
                await turn(second.engine, wait=0.2).__aenter__()

    async def test_a_failure_gives_the_turn_back(self, db: Database) -> None:
        """The next one need not wait for somebody who has failed."""
        with pytest.raises(ZeroDivisionError):
            async with turn(db.engine):
                _ = 1 / 0

        async with turn(db.engine, wait=1) as connection:
            assert await connection.scalar(text("SELECT 1")) == 1

    async def test_a_cancellation_gives_the_turn_back(self, db: Database) -> None:
        """A task that is cancelled in the middle leaves no lock behind."""

        async def migrate() -> None:
            async with turn(db.engine):
                await asyncio.sleep(60)

        task = asyncio.create_task(migrate())
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        async with turn(db.engine, wait=1) as connection:
            assert await connection.scalar(text("SELECT 1")) == 1
