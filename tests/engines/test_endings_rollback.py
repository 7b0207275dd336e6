"""ROLLBACK and RELEASE that the server refuses: through every door, on every server."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from sqlkeel.errors import DatabaseFault, TransactionAborted
from sqlkeel.sessions import Database
from tests.engines.ending_tables import Change, Way, connection_of, entries, metadata, one, two
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.tables(metadata)


async def back_by_transaction(database: Database) -> None:
    """Leave ``db.transaction()`` with an error."""
    async with database.transaction() as session:
        await session.execute(one)
        raise Change


async def back_by_session_block(database: Database) -> None:
    """Leave a session with an error."""
    async with database.session() as session:
        await session.execute(one)
        raise Change


async def back_by_session_begin(database: Database) -> None:
    """Leave ``session.begin()`` with an error."""
    async with database.session() as session, session.begin():
        await session.execute(one)
        raise Change


async def back_by_session_close(database: Database) -> None:
    """Leave a session without a COMMIT."""
    async with database.session() as session:
        await session.execute(one)


async def back_by_session_rollback(database: Database) -> None:
    """Call ``session.rollback()``."""
    async with database.session() as session:
        await session.execute(one)
        await session.rollback()


async def back_by_engine_begin(database: Database) -> None:
    """Leave ``engine.begin()`` with an error."""
    async with database.engine.begin() as connection:
        await connection.execute(one)
        raise Change


async def back_by_connection_block(database: Database) -> None:
    """Leave a connection with an error."""
    async with database.engine.connect() as connection:
        await connection.execute(one)
        raise Change


async def back_by_connection_begin(database: Database) -> None:
    """Leave ``connection.begin()`` of a copied engine with an error."""
    async with database.engine.execution_options(anything=1).connect() as connection, connection.begin():
        await connection.execute(one)
        raise Change


async def back_by_connection(database: Database) -> None:
    """Call ``connection.rollback()``."""
    async with database.engine.connect() as connection:
        await connection.execute(one)
        await connection.rollback()


WAYS_BACK: dict[str, Way] = {
    way.__name__: way
    for way in (
        back_by_transaction,
        back_by_session_block,
        back_by_session_begin,
        back_by_session_close,
        back_by_session_rollback,
        back_by_engine_begin,
        back_by_connection_block,
        back_by_connection_begin,
        back_by_connection,
    )
}

BLOCKS = ["back_by_transaction", "back_by_engine_begin", "back_by_connection_block", "back_by_connection_begin"]


class TestRefusedRollback:
    @pytest.mark.parametrize("way", WAYS_BACK)
    async def test_the_next_unit_of_work_does_not_commit_it(self, single: Database, proxy: Proxy, way: str) -> None:
        """The connection is closed, which rolls back as well."""
        await connection_of(single)
        proxy.garble(b"ROLLBACK")
        with pytest.raises((DBAPIError, Change)):
            await WAYS_BACK[way](single)

        async with single.transaction() as session:
            await session.execute(two)

        assert await entries(single) == [2]

    @pytest.mark.parametrize("way", [*BLOCKS, "back_by_session_block", "back_by_session_begin"])
    async def test_it_does_not_hide_what_went_wrong(self, single: Database, proxy: Proxy, way: str) -> None:
        """The caller's own error leaves the block, with a note of the other."""
        await connection_of(single)
        proxy.garble(b"ROLLBACK")

        with pytest.raises(Change) as caught:
            await WAYS_BACK[way](single)

        assert "rollback" in "".join(caught.value.__notes__)

    @pytest.mark.parametrize("way", BLOCKS)
    async def test_a_cancellation_stays_one(
        self, single: Database, proxy: Proxy, way: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A task that was cancelled in the block ends cancelled, whatever became of the connection."""
        await connection_of(single)
        proxy.garble(b"ROLLBACK")
        monkeypatch.setattr(sys.modules[__name__], "Change", asyncio.CancelledError)

        with pytest.raises(asyncio.CancelledError):
            await WAYS_BACK[way](single)


class TestRefusedSavepoint:
    @pytest.mark.parametrize("end", [b"RELEASE SAVEPOINT", b"ROLLBACK TO SAVEPOINT"], ids=bytes.decode)
    async def test_what_failed_in_it_is_not_committed(self, single: Database, proxy: Proxy, end: bytes) -> None:
        """Who swallows the error of a savepoint whose end was refused would keep what it wrote."""
        fails = end == b"ROLLBACK TO SAVEPOINT"

        with pytest.raises(TransactionAborted):
            async with single.transaction() as session:
                await session.execute(two)
                with pytest.raises((DatabaseFault, Change)):
                    await in_savepoint(session, proxy, end, fails=fails)

        assert await entries(single) == []

    async def test_the_next_one_has_nothing_to_do_with_it(self, single: Database, proxy: Proxy) -> None:
        """Rolled back, the transaction is over, and its connection is as good as any."""
        with pytest.raises(DatabaseFault):
            async with single.transaction() as session:
                await in_savepoint(session, proxy, b"RELEASE SAVEPOINT", fails=False)

        async with single.transaction() as session:
            await session.execute(two)

        assert await entries(single) == [2]


async def in_savepoint(session: Any, proxy: Proxy, end: bytes, *, fails: bool) -> None:
    """Write a row in a savepoint whose end the server does not understand."""
    async with session.savepoint():
        await session.execute(one)
        proxy.garble(end)
        if fails:
            raise Change
