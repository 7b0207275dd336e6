"""The pool: what is said when it is empty."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from sqlalchemy import NullPool, event, exc, select, text

from sqlkeel._sqlalchemy import ASYNCPG_SET_UPS
from sqlkeel.engines._pool import Pool
from sqlkeel.errors import ConnectionLost, PoolTimeout, UsageError
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase


async def hold(database: Database, others: int) -> int | None:
    """Hold a connection, and *others* more, one inside the other, while one more is asked for."""
    async with database.engine.connect():
        return await hold(database, others - 1) if others else await ask(database)


async def ask(database: Database) -> int | None:
    """Ask for a value over a connection of its own."""
    async with database.engine.connect() as connection:
        return await connection.scalar(select(7))


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let connections of asyncpg break right behind their authentication, as often as the list says."""
    connect, breaks = asyncpg.connect, [0]

    async def connect_and_break(*args: Any, **options: Any) -> Any:
        connection = await connect(*args, **options)
        if breaks[0]:
            breaks[0] -= 1
            connection._transport.abort()  # a reset from the network
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return connection

    monkeypatch.setattr(asyncpg, "connect", connect_and_break)
    return breaks


class TestSetUp:
    @pytest.mark.parametrize("kind", [Pool, NullPool])
    @pytest.mark.parametrize("first", [True, False], ids=["first", "another"])
    async def test_one_that_breaks_is_lost(
        self, postgres: Database, open_database: OpenDatabase, breaking: list[int], first: bool, kind: type[Any]
    ) -> None:
        """What the driver raises past SQLAlchemy is one of our errors, whichever pool was chosen."""
        database = open_database(postgres, poolclass=kind)
        async with AsyncExitStack() as stack:
            if not first:
                await stack.enter_async_context(database.engine.connect())
            breaking[0] = 1

            with pytest.raises(ConnectionLost):
                await database.check()

    async def test_it_is_tried_again(
        self, postgres: Database, open_database: OpenDatabase, breaking: list[int]
    ) -> None:
        """run_transaction makes another connection."""
        database = open_database(postgres)
        breaking[0] = 2

        answer = await database.run_transaction(lambda session: session.scalar(select(7)))

        assert answer == 7

    @pytest.mark.parametrize("options", [{}, {"native_inet_types": False}])
    async def test_the_methods_that_are_watched_are_there(
        self, postgres: Database, open_database: OpenDatabase, options: dict[str, Any]
    ) -> None:
        """Canary for what is SQLAlchemy's own: a set-up by other names would raise the driver's errors again."""
        database = open_database(postgres, **options)

        await database.check()

        assert all(hasattr(database.engine.dialect, name) for name in ASYNCPG_SET_UPS)

    async def test_a_listeners_own_error_is_left_alone(self, postgres: Database, open_database: OpenDatabase) -> None:
        """What somebody else does when a connection is made is somebody else's to explain."""
        database = open_database(postgres)

        @event.listens_for(database.engine.sync_engine, "connect")
        def fail(raw: Any, record: Any) -> None:
            raise KeyError("no secret")

        with pytest.raises(KeyError):
            await database.check()


class TestPool:
    @pytest.mark.parametrize(("size", "overflow"), [(1, 0), (2, 0), (1, 1)])
    async def test_an_empty_pool_says_so(
        self, every_driver: Database, open_database: OpenDatabase, size: int, overflow: int
    ) -> None:
        """Who waits in vain is told how many connections there are, and for how long it waited."""
        database = open_database(every_driver, pool_size=size, max_overflow=overflow, pool_timeout=0.1)

        with pytest.raises(PoolTimeout) as caught:
            await hold(database, others=size + overflow - 1)

        assert f"All {size + overflow} connections" in caught.value.message
        assert "in 0.1 s" in caught.value.message
        assert "pool_size" in caught.value.hint

    @pytest.mark.parametrize(("size", "overflow"), [(2, 0), (1, 1)])
    async def test_the_last_connection_is_given_out(
        self, every_driver: Database, open_database: OpenDatabase, size: int, overflow: int
    ) -> None:
        """One holder less, and there is no error."""
        database = open_database(every_driver, pool_size=size, max_overflow=overflow, pool_timeout=0.1)

        assert await hold(database, others=size + overflow - 2) == 7

    async def test_it_goes_on_afterwards(self, db: Database, open_database: OpenDatabase) -> None:
        """What was held came back, and nothing was lost."""
        database = open_database(db, pool_size=1, max_overflow=0, pool_timeout=0.05)
        with pytest.raises(PoolTimeout):
            await hold(database, others=0)

        assert await ask(database) == 7
        assert database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]

    async def test_it_is_sqlalchemys_error_too(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """An ``except sqlalchemy.exc.TimeoutError`` still works; it is no fault of the server."""
        database = open_database(sqlite, pool_size=1, max_overflow=0, pool_timeout=0.05)

        with pytest.raises(exc.TimeoutError) as caught:
            await hold(database, others=0)

        assert isinstance(caught.value, UsageError)
        assert not isinstance(caught.value, exc.DBAPIError)
        assert type(caught.value.__cause__) is exc.TimeoutError

    async def test_a_block_in_a_block_of_another_session(self, db: Database, open_database: OpenDatabase) -> None:
        """The mistake that it is most often: a session of its own in a function that is called inside of one."""
        database = open_database(db, pool_size=1, max_overflow=0, pool_timeout=0.05)

        with pytest.raises(PoolTimeout, match="block inside another one"):
            async with database.transaction() as outer:
                await outer.execute(select(1))
                await ask(database)

    async def test_who_waits_in_time_is_served(self, db: Database, open_database: OpenDatabase) -> None:
        """Ten tasks share one connection, one after the other."""
        database = open_database(db, pool_size=1, max_overflow=0)

        assert await asyncio.gather(*(ask(database) for _ in range(10))) == [7] * 10

    async def test_readers_have_a_pool_like_it(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """``db.read()`` waits in a queue of its own, with the same error at its end."""
        database = open_database(sqlite, pool_size=1, max_overflow=0, pool_timeout=0.05)

        with pytest.raises(PoolTimeout):
            async with database.read() as first, database.read() as second:
                await first.execute(select(1))
                await second.execute(select(1))

    @pytest.mark.parametrize(("options", "kind"), [({}, Pool), ({"poolclass": NullPool}, NullPool)])
    async def test_the_caller_may_choose_another(
        self, postgres: Database, open_database: OpenDatabase, options: dict[str, Any], kind: type
    ) -> None:
        """``poolclass=`` is SQLAlchemy's, and wins."""
        assert type(open_database(postgres, **options).engine.pool) is kind

    async def test_it_logs_under_a_name_that_one_can_guess(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """The logger is that of the pool, and not of the module where its class happens to be."""
        pool = open_database(sqlite).engine.pool

        assert pool.logger is logging.getLogger("sqlkeel.pool")

    async def test_a_pool_with_a_name_has_a_logger_of_its_own(
        self, sqlite: Database, open_database: OpenDatabase
    ) -> None:
        """Of several databases each can be told from the others."""
        pool = open_database(sqlite, pool_logging_name="archive").engine.pool

        assert pool.logger is logging.getLogger("sqlkeel.pool.archive")

    async def test_it_may_be_told_to_print(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """``echo_pool`` is SQLAlchemy's, and means what it says there."""
        pool = open_database(sqlite, echo_pool="debug").engine.pool

        assert pool._should_log_debug()


# SQLAlchemy closes a detached connection by letting go of it, and psycopg says so.
@pytest.mark.filterwarnings("ignore:.*was deleted while still open:ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
class TestDetached:
    async def test_it_works_to_its_end(
        self, every_driver: Database, open_database: OpenDatabase, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A connection that was detached from the pool is used on, streams, and is closed, without an error."""
        database = open_database(every_driver, pool_size=1, max_overflow=0)

        with caplog.at_level(logging.ERROR):
            async with database.engine.begin() as connection:
                await connection.run_sync(lambda sync: sync.detach())
                async with connection.stream(text("select 7")) as result:
                    rows = await result.all()
                answer = await connection.scalar(text("select 8"))

        assert ([tuple(row) for row in rows], answer) == ([(7,)], 8)
        assert caplog.records == []
