"""Blocks of a database: how each is entered and left, forgotten, and put around a function."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import String, select, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from sqlkeel import base
from sqlkeel.database import Database
from sqlkeel.session import Session
from tests.engines.peers import soon


class Incomparable(TypeDecorator[str]):
    """A value whose comparison fails, as that of two arrays of numpy does."""

    impl = String(20)
    cache_ok = True

    def compare_values(self, x: Any, y: Any) -> bool:
        """Fail."""
        raise ValueError("The truth value of an array is ambiguous.")


class Base(base.Base):
    """The tables of these tests."""


class Measure(Base):
    """A row with such a value."""

    __tablename__ = "blocks_measure"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[str | None] = mapped_column(Incomparable)


pytestmark = pytest.mark.tables(Base.metadata)
KINDS = ["transaction", "read"]


def checked_out(database: Database) -> int:
    """Count the connections that are missing in the pools, now."""
    return sum(engine.pool.checkedout() for engine in database.engines)  # type: ignore[attr-defined]


async def ids(database: Database) -> list[int]:
    """Read what is committed."""
    async with database.read() as session:
        return list(await session.scalars(select(Measure.id).order_by(Measure.id)))


async def forget(block: Any) -> None:
    """Enter a block by hand, write where that is allowed, and drop it."""
    session = await block.__aenter__()
    await session.execute(text("select 1") if session.read_only else Measure.__table__.insert().values(id=1))


async def given_back(database: Database) -> None:
    """Give the tasks that end what was dropped their turns."""
    assert await soon(lambda: not checked_out(database))


class TestForgotten:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_one_that_was_dropped_is_rolled_back(self, every_driver: Database, kind: str) -> None:
        """Its connection is given back in good order, and not by the garbage collector."""
        gc.disable()
        await forget(getattr(every_driver, kind)())
        await given_back(every_driver)
        gc.enable()

        assert await ids(every_driver) == []

    async def test_the_next_one_of_the_task_does_not_join_it(self, every_driver: Database) -> None:
        """What is written afterwards is committed."""
        await forget(every_driver.transaction())
        await given_back(every_driver)

        async with every_driver.transaction() as session:
            session.add(Measure(id=2))

        assert await ids(every_driver) == [2]


class TestEntry:
    @pytest.mark.parametrize("kind", KINDS)
    async def test_a_second_one_fails_and_the_first_is_kept(self, every_driver: Database, kind: str) -> None:
        """Who enters a block twice hears of it, and what the block wrote is committed."""
        block = getattr(every_driver, kind)()

        async with block as session:
            if kind == "transaction":
                session.add(Measure(id=1))
            with pytest.raises(AttributeError):
                await block.__aenter__()
        with pytest.raises(AttributeError):
            await block.__aenter__()

        assert await ids(every_driver) == ([1] if kind == "transaction" else [])
        assert checked_out(every_driver) == 0

    async def test_one_that_was_never_entered_does_nothing(self, every_driver: Database) -> None:
        """It is opened when it is entered, and not when it is made."""
        every_driver.transaction(isolation="serializable")
        every_driver.read()

        assert checked_out(every_driver) == 0


async def change_in_read(database: Database) -> None:
    """Change what a block for reading holds."""
    async with database.read() as session:
        (await session.get_one(Measure, 1)).value = "other"


async def change_in_session(database: Database) -> None:
    """Change what a session for reading holds."""
    async with Session(database.engine, read_only=True) as session:
        (await session.get_one(Measure, 1)).value = "other"


async def change_in_transaction(database: Database) -> None:
    """Change what a transaction for reading holds."""
    async with database.transaction(read_only=True) as session:
        (await session.get_one(Measure, 1)).value = "other"


class TestFailedLook:
    @pytest.mark.parametrize("change", [change_in_read, change_in_session, change_in_transaction])
    async def test_its_connection_is_given_back(
        self, every_driver: Database, change: Callable[[Database], Awaitable[None]]
    ) -> None:
        """Where the values of a session for reading cannot be compared at its end, it ends all the same."""
        async with every_driver.transaction() as session:
            session.add(Measure(id=1, value="first"))

        with pytest.raises(ValueError, match="ambiguous"):
            await change(every_driver)

        assert checked_out(every_driver) == 0


class TestDecorator:
    async def test_each_call_is_a_block_of_its_own(self, every_driver: Database) -> None:
        """The blocks inside join it, and what they write is committed when the function ends."""

        @every_driver.transaction()
        async def add(number: int) -> int:
            """Add two rows."""
            for one in (number, number + 1):
                async with every_driver.transaction() as session:
                    session.add(Measure(id=one))
            assert await ids(every_driver) == list(range(1, number))
            return number

        assert [await add(1), await add(3)] == [1, 3]

        assert (add.__name__, await ids(every_driver)) == ("add", [1, 2, 3, 4])

    async def test_a_failure_takes_all_of_it(self, every_driver: Database) -> None:
        """As of any block."""

        @every_driver.transaction(isolation="serializable")
        async def fail() -> None:
            async with every_driver.transaction() as session:
                session.add(Measure(id=1))
            raise ValueError

        with pytest.raises(ValueError):
            await fail()

        assert await ids(every_driver) == []

    async def test_one_that_reads(self, sqlite: Database) -> None:
        """It returns what the function returns."""

        @sqlite.read()
        async def answer() -> int:
            return 3

        assert await answer() == 3
