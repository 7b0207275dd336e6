"""Canaries of what drivers do not promise: each says which feature breaks with a release that changes the name."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from psycopg._py_transformer import Transformer
from psycopg.types import datetime as psycopg_datetime
from sqlalchemy import text

from sqlkeel.engines import _drivers as drivers
from sqlkeel.sessions import Database


async def driver_of(connection: Any) -> Any:
    """Return the driver's own connection."""
    return (await connection.get_raw_connection()).driver_connection


class TestList:
    def test_each_has_a_canary(self) -> None:
        """A name that is added comes with what breaks without it."""
        canaries = Path(__file__).read_text(encoding="utf-8")

        assert [name for name in drivers.__all__ if f"drivers.{name}" not in canaries] == []


class TestSQLite:
    async def test_thread_of(self) -> None:
        """A program could not end before it has closed its connections."""
        connection = aiosqlite.connect(":memory:")

        assert isinstance(drivers.thread_of(connection), threading.Thread)
        async with connection:
            assert drivers.thread_of(connection).is_alive()

    async def test_library_connection(self) -> None:
        """No statement on SQLite would end at its timeout, or when it is cancelled."""
        async with aiosqlite.connect(":memory:") as connection:
            assert isinstance(drivers.library_connection(connection), sqlite3.Connection)


class TestTransport:
    async def test_transport_of_asyncpg(self, postgres: Database) -> None:
        """A connection of an event loop that is closed would stay open on the server."""
        async with postgres.engine.connect() as connection:
            transport = drivers.transport_of(await driver_of(connection))

            assert transport.get_extra_info("socket").fileno() > 0

    async def test_transport_of_asyncmy(self, mariadb: Database) -> None:
        """The same."""
        async with mariadb.engine.connect() as connection:
            transport = drivers.transport_of(await driver_of(connection))

            assert transport.get_extra_info("socket").fileno() > 0


class TestUnreadRows:
    async def test_has_unread_rows(self, mariadb: Database) -> None:
        """A statement beside a stream of MariaDB would drop the rest of its rows, without an error."""
        async with mariadb.engine.connect() as connection:
            stream = await connection.stream(text("select 1 union select 2"))
            await stream.fetchone()
            driver = await driver_of(connection)
            during = drivers.has_unread_rows(driver)
            await stream.fetchall()

            assert during
            assert not drivers.has_unread_rows(driver)


class TestReading:
    async def test_reads_rows_of_asyncpg(self, postgres: Database) -> None:
        """A value of a row that Python does not have would be taken for one that somebody has sent."""
        async with postgres.engine.connect() as connection:
            driver = await driver_of(connection)
            with pytest.raises(ValueError) as caught:
                await driver.fetch("select '10000-01-01'::date")

        names = {frame.name.rpartition(".")[2] for frame in caught.traceback}
        assert names & drivers.READS_ROWS == {"_decode_row"}

    def test_reads_rows_of_psycopg(self) -> None:
        """The same: these are the functions by which it makes rows."""
        assert all(hasattr(Transformer, name) for name in drivers.READS_ROWS - {"_decode_row"})

    def test_reads_times(self) -> None:
        """UnreadableValue would not name the column."""
        assert psycopg_datetime.__name__.rpartition(".")[2] == drivers.READS_TIMES
