"""Canaries of SQLAlchemy's tables, dialects and connections."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any

import asyncpg
import pytest
from sqlalchemy import (
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Integer,
    Table,
    create_engine,
    select,
    text,
)
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy
from sqlalchemy.exc import StatementError
from sqlalchemy.orm import DeclarativeBase

from sqlkeel import _sqlalchemy as private
from sqlkeel import _sqlalchemy_tables as tables
from sqlkeel.sessions import Database
from tests.engines.peers import soon


class TestTables:
    def test_bound_to_type(self) -> None:
        """The CHECK of a Choice would stand in a copy of its table twice."""
        assert tables.is_bound_to_type(CheckConstraint("1 = 1", **private.bound_to_type()))

    def test_leave_out_of_statements(self) -> None:
        """live_parent() would load its mark with each row, and write it."""

        class Marked(DeclarativeBase):
            pass

        class Thing(Marked):
            __table__ = Table(
                "thing",
                Marked.metadata,
                Column("id", Integer, primary_key=True),
                Column("mark", Integer, **private.leave_out_of_statements()),
            )

        assert "mark" not in str(select(Thing))

    def test_key_part_of(self) -> None:
        """live_parent() would have two ways from table to table, and each join be refused."""
        kind = type("Part", (ForeignKey,), {"inherit_cache": True})
        key = ForeignKeyConstraint(["house_id"], ["house.id"])
        part = private.key_part_of(kind, "house.id", key)

        assert (type(part), part.constraint) == (kind, key)


async def adapter_of(connection: Any) -> Any:
    """Return SQLAlchemy's adapter of a driver's connection."""
    return (await connection.get_raw_connection()).dbapi_connection


class TestConnections:
    def test_asyncpg_set_ups(self) -> None:
        """A connection that breaks while it is set up would raise the driver's own error."""
        from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg

        assert [name for name in private.ASYNCPG_SET_UPS if not hasattr(PGDialect_asyncpg, name)] == []

    def test_watch_rows(self) -> None:
        """A statement beside a stream would not be refused, and take its rows."""
        engine = create_engine("sqlite://")
        seen: list[Any] = []
        with engine.connect() as connection:
            result = connection.execute(text("select 1"))
            result.cursor_strategy = BufferedRowCursorFetchStrategy(result.cursor, {})
            private.watch_rows(result, lambda strategy: seen.append(strategy) or strategy)
            row = result.scalar_one()
        engine.dispose()

        assert row == 1
        assert [type(one) for one in seen] == [BufferedRowCursorFetchStrategy]

    def test_rows_ahead(self) -> None:
        """Each row of a stream would take a turn of the session."""
        strategy = BufferedRowCursorFetchStrategy(None, {}, initial_buffer=deque([(1,)]))

        assert [*private.rows_ahead(strategy)] == [(1,)]

    async def test_raise_adapted(self, postgres: Database) -> None:
        """An error of COPY, or of a stream, would be asyncpg's own and no error of sqlkeel."""
        async with postgres.engine.connect() as connection:
            raw = await adapter_of(connection)

            with pytest.raises(postgres.engine.dialect.loaded_dbapi.Error):
                private.raise_adapted(raw, asyncpg.UniqueViolationError("twice"))

    async def test_what_is_no_error_of_the_driver_is_raised_as_it_is(self, every_driver: Database) -> None:
        """The same, for the adapter of each driver."""
        async with every_driver.engine.connect() as connection:
            raw = await adapter_of(connection)

            with pytest.raises(KeyError):
                private.raise_adapted(raw, KeyError("mine"))

    async def test_is_waiting(self, mariadb: Database) -> None:
        """COMMIT beside another task's statement would read the answer to that, and be CommitUnknown."""
        async with mariadb.engine.connect() as connection:
            raw = await adapter_of(connection)
            free = private.is_waiting(raw)
            waiting = asyncio.create_task(connection.execute(text("select sleep(2)")))
            taken = await soon(lambda: private.is_waiting(raw))
            await waiting

        assert (free, taken) == (False, True)

    def test_refuse_use(self) -> None:
        """A statement behind a lost connection would be an error that advises to roll back in the middle."""
        engine = create_engine("sqlite://")

        def refuse() -> None:
            raise KeyError("ours")

        with engine.connect() as connection:
            connection.begin()
            private.refuse_use(connection, refuse)
            connection.invalidate()
            with pytest.raises(StatementError, match="ours"):
                connection.execute(text("select 1"))
        engine.dispose()

    def test_renew_queue(self) -> None:
        """A second event loop would wait for connections in the first one, for ever."""
        from sqlalchemy import AsyncAdaptedQueuePool

        pool = AsyncAdaptedQueuePool(lambda: None, pool_size=3)  # type: ignore[arg-type,return-value]
        before: Any = pool._pool
        private.renew_queue(pool)

        assert pool._pool is not before
        assert pool.size() == 3

    def test_forget_pool_locks(self) -> None:
        """A second event loop would wait for the lock of the first one."""
        engine = create_engine("sqlite://")
        with engine.connect():
            pass
        locks: list[Any] = []
        listeners: Any = engine.pool.dispatch.connect
        for _ in range(2):
            locks.append(listeners._get_exec_once_mutex())
            private.forget_pool_locks(engine.pool)
        engine.dispose()

        assert locks[0] is not locks[1]
