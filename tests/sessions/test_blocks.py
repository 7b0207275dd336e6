"""Blocks of a database: how each is entered and left, forgotten, and put around a function."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import InvalidRequestError

from sqlkeel.errors import SessionShared, TransactionAborted
from sqlkeel.sessions import Database, Session
from tests.engines.peers import soon
from tests.sessions.block_models import Base, Measure, checked_out, ids

pytestmark = pytest.mark.tables(Base.metadata)
KINDS = ["transaction", "read"]


async def forget(block: Any) -> None:
    """Enter a block by hand, write where that is allowed, and drop it."""
    session = await block.__aenter__()
    await session.execute(text("select 1") if session.read_only else Measure.__table__.insert().values(id=1))


async def numbers(database: Database) -> AsyncGenerator[int]:
    """Hold a transaction open in which a row is written, and yield twice."""
    async with database.transaction() as session:
        session.add(Measure(id=1))
        await session.flush()
        yield 1
        yield 2


async def inner(database: Database) -> AsyncIterator[int]:
    """Read another generator, by which the block is held."""
    async for number in numbers(database):
        yield number


async def stacked(database: Database) -> AsyncIterator[int]:
    """Hold the block on a stack."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(database.transaction())
        session.add(Measure(id=1))
        await session.flush()
        yield 1
        yield 2


async def with_savepoint(database: Database, *, own: bool = True) -> AsyncGenerator[int]:
    """Hold a savepoint open, of a transaction that is the generator's *own* or is joined."""
    async with database.transaction(savepoint=not own) as session, session.savepoint():
        session.add(Measure(id=1))
        await session.flush()
        yield 1
        yield 2


async def with_statement(database: Database) -> AsyncGenerator[int]:
    """Send a statement when it is closed."""
    async with database.transaction() as session:
        session.add(Measure(id=1))
        await session.flush()
        try:
            yield 1
        finally:
            await session.execute(text("select 1"))


async def start(generator: AsyncGenerator[int]) -> None:
    """Read the first number in a task, as `asyncio.wait_for` does before Python 3.12, and drop the generator."""
    await asyncio.create_task(anext(generator))


async def break_off(generator: AsyncIterator[int]) -> None:
    """Read the first number, and drop the generator with its block."""
    async for _ in generator:
        break


DROPS: dict[str, Callable[[Database], Awaitable[None]]] = {
    "by hand": lambda database: forget(database.transaction()),
    "generator": lambda database: break_off(numbers(database)),
    "generator in a generator": lambda database: break_off(inner(database)),
    "stack in a generator": lambda database: break_off(stacked(database)),
    "savepoint in a generator": lambda database: break_off(with_savepoint(database)),
    "statement at the end of a generator": lambda database: break_off(with_statement(database)),
    "generator started in a task": lambda database: start(numbers(database)),
}


async def given_back(database: Database) -> None:
    """Give the tasks that end what was dropped their turns."""
    assert await soon(lambda: not checked_out(database))


async def waiting(database: Database, go_on: asyncio.Event) -> AsyncGenerator[int]:
    """Send a statement when it is closed, and wait for somebody."""
    async with database.transaction() as session:
        try:
            yield 1
        finally:
            await session.execute(text("select 1"))
            await go_on.wait()


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

    @pytest.mark.parametrize("drop", DROPS)
    async def test_nor_does_one_that_comes_at_once(self, every_driver: Database, drop: str) -> None:
        """Before asyncio has begun to end what was dropped."""
        await DROPS[drop](every_driver)

        async with every_driver.transaction() as session:
            session.add(Measure(id=2))

        await given_back(every_driver)
        assert await ids(every_driver) == [2]

    @pytest.mark.parametrize("drop", DROPS)
    async def test_nor_does_run_transaction(self, every_driver: Database, drop: str) -> None:
        """It is not refused as one inside of another."""

        async def add(session: Session) -> None:
            session.add(Measure(id=2))

        await DROPS[drop](every_driver)
        await every_driver.run_transaction(add)

        await given_back(every_driver)
        assert await ids(every_driver) == [2]

    async def test_nor_does_one_that_comes_while_it_is_ended(self, every_driver: Database) -> None:
        """The connection is given back before the block has ended: its hooks come then."""
        ending, going_on = asyncio.Event(), asyncio.Event()

        async def hook() -> None:
            ending.set()
            await going_on.wait()

        async def hooked() -> AsyncIterator[int]:
            async with every_driver.transaction() as session:
                session.on_rollback(hook)
                session.add(Measure(id=1))
                await session.flush()
                yield 1

        await break_off(hooked())
        await ending.wait()
        async with every_driver.transaction() as session:
            session.add(Measure(id=2))
        going_on.set()

        assert await ids(every_driver) == [2]

    @pytest.mark.parametrize("savepoint", [False, True])
    async def test_one_that_has_joined_is_told(self, every_driver: Database, savepoint: bool) -> None:
        """Where another task ends what it has joined, nothing of it is committed, and it does not seem so."""
        async with aclosing(numbers(every_driver)) as generator:
            await anext(generator)
            with pytest.raises(InvalidRequestError):
                async with every_driver.transaction(savepoint=savepoint):
                    await asyncio.create_task(generator.aclose())

        assert await ids(every_driver) == []

    async def test_one_that_takes_its_time_is_waited_for(self, every_driver: Database) -> None:
        """Between the last statement of the generator and the end of its block it may do anything."""
        go_on = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, go_on.set)
        await break_off(waiting(every_driver, go_on))

        await add(every_driver, 2)

        assert await ids(every_driver) == [2]

    async def test_one_that_waits_for_the_next_is_told(
        self, every_driver: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is not joined, as it will be rolled back, and nobody waits for ever."""
        monkeypatch.setattr("sqlkeel.sessions._unit_of_work._CLOSES_WITHIN", 0.05)
        go_on = asyncio.Event()
        await break_off(waiting(every_driver, go_on))

        with pytest.raises(SessionShared, match="the end of a dropped async generator"):
            await add(every_driver, 2)

        go_on.set()
        await given_back(every_driver)
        assert await ids(every_driver) == []

    async def test_one_that_goes_on_is_joined(self, every_driver: Database) -> None:
        """A block between two numbers of a generator is a part of the generator's, as ever."""
        async with aclosing(numbers(every_driver)) as generator:
            async for number in generator:
                async with every_driver.transaction() as session:
                    session.add(Measure(id=10 * number))

        assert await ids(every_driver) == [1, 10, 20]


async def add(database: Database, number: int) -> None:
    """Add a row in a block of its own."""
    async with database.transaction() as session:
        session.add(Measure(id=number))


async def adding(database: Database) -> AsyncGenerator[int]:
    """Hold a transaction open that another block has joined."""
    async with database.transaction():
        await add(database, 1)
        yield 1


PARTS: dict[str, Callable[[Database], AsyncGenerator[int]]] = {
    "block": numbers,
    "savepoint": lambda database: with_savepoint(database, own=False),
}


class TestLeft:
    """A generator that is left while it holds a block, and that somebody still has or asyncio closes later."""

    @pytest.mark.parametrize("failure", [None, ValueError("mine")])
    async def test_what_has_joined_it_is_logged(
        self, every_driver: Database, failure: Exception | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """What a block between two of its numbers wrote is gone; an error for which it is closed is not hidden."""

        async def leave() -> None:
            async with aclosing(numbers(every_driver)) as generator:
                await break_off(generator)
                await add(every_driver, 2)
                if failure is not None:
                    raise failure

        (raised,) = await asyncio.gather(leave(), return_exceptions=True)

        assert raised is failure
        assert [record.name for record in caplog.records] == ["sqlkeel.session"]
        assert "async generator was closed early; nothing is written" in caplog.text
        assert await ids(every_driver) == []

    async def test_so_it_is_where_the_garbage_collector_closes_it(
        self, every_driver: Database, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A block in a circle of references is there until then, and is joined."""
        circle: list[Any] = [every_driver.transaction()]
        circle.append(circle)
        await circle[0].__aenter__()
        await add(every_driver, 2)

        del circle
        gc.collect()

        assert await soon(lambda: "async generator was closed early; nothing is written" in caplog.text)
        assert await ids(every_driver) == []

    @pytest.mark.parametrize("generate", [numbers, adding])
    async def test_what_is_the_generators_own_ends_quietly(
        self, every_driver: Database, generate: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Where nothing else has joined, a generator that is closed early is rolled back, as it has to be."""
        generator = generate(every_driver)
        await anext(generator)

        await generator.aclose()

        assert caplog.records == []
        assert await ids(every_driver) == []
        assert checked_out(every_driver) == 0

    @pytest.mark.parametrize("part", PARTS)
    @pytest.mark.parametrize("kept", [False, True])
    async def test_the_end_around_an_open_part_is_refused(self, every_driver: Database, part: str, kept: bool) -> None:
        """Nobody knows whether what the part has written is to be committed."""
        generators = [PARTS[part](every_driver)]
        with pytest.raises(TransactionAborted, match="has not ended"):
            async with every_driver.transaction():
                await break_off(generators[0] if kept else generators.pop())

        assert await ids(every_driver) == []
        assert checked_out(every_driver) == 0

    @pytest.mark.parametrize("part", PARTS)
    async def test_nor_is_it_committed_when_asyncio_has_ended_the_part(self, every_driver: Database, part: str) -> None:
        """What was added meanwhile would be lost with the savepoint, and nobody told."""
        with pytest.raises(TransactionAborted, match="async generator that was closed before its end"):
            async with every_driver.transaction() as session:
                await break_off(PARTS[part](every_driver))
                session.add(Measure(id=2))
                assert await soon(lambda: session.sync_session.is_half_done)

        assert await ids(every_driver) == []

    async def test_a_savepoint_that_is_ended_where_it_is_left_is_rolled_back_alone(
        self, every_driver: Database
    ) -> None:
        """By aclosing: what comes after it is not in it."""
        async with every_driver.transaction() as session:
            async with aclosing(with_savepoint(every_driver, own=False)) as generator:
                await break_off(generator)
            session.add(Measure(id=2))

        assert await ids(every_driver) == [2]

    async def test_a_task_does_not_keep_what_it_was_made_of(self, every_driver: Database) -> None:
        """A task has its generator for as long as it lives, so that an open block must not have the task."""
        gc.disable()
        await start(numbers(every_driver))
        await given_back(every_driver)
        gc.enable()

        assert await ids(every_driver) == []


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
