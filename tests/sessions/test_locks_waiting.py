"""How long a lock is waited for, and what is done with rows that another transaction has locked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

import pytest

from sqlkeel.errors import DatabaseBusy, LockTimeout
from sqlkeel.sessions import Database, Session
from tests.engines.peers import soon, statements_running
from tests.fixtures.databases import OpenDatabase
from tests.sessions.lock_models import Account, Animal, Base, Document, Dog, Entry, Seat, accounts, add, balances, free

pytestmark = pytest.mark.tables(Base.metadata)


async def deposit(db: Database, key: int) -> None:
    """Add one under the lock."""
    async with db.transaction() as session:
        [account] = await session.lock_rows(Account, [key])
        account.balance += 1


@asynccontextmanager
async def locked(db: Database, keys: Iterable[int]) -> AsyncIterator[Session]:
    """Hold accounts."""
    async with db.transaction() as session:
        await session.lock_rows(Account, keys)
        yield session


class TestWaiting:
    async def test_nothing_is_lost(self, every_driver: Database) -> None:
        """Twenty workers that read and write back add up."""
        await accounts(every_driver, 0)

        await asyncio.gather(*(deposit(every_driver, 1) for _ in range(20)))

        assert await balances(every_driver) == [20]

    async def test_who_waits_sees_what_was_written(self, server: Database, other: Database) -> None:
        """The lock is granted when the other transaction has ended, with its values."""
        await accounts(server, 10)

        async with locked(other, [1]) as session:
            waiting = asyncio.create_task(deposit(server, 1))
            assert await soon(lambda: statements_running(other))
            (await session.get_one(Account, 1)).balance = 50
        await waiting

        assert await balances(server) == [51]

    async def test_who_waits_does_not_get_what_was_deleted(self, server: Database, other: Database) -> None:
        """A row that is marked as deleted meanwhile is left out."""
        await add(server, Document(id=1, title="first"))

        async def lock() -> list[Document]:
            async with server.transaction() as session:
                return await session.lock_rows(Document, [1])

        async with other.transaction() as session:
            [document] = await session.lock_rows(Document, [1])
            waiting = asyncio.create_task(lock())
            assert await soon(lambda: statements_running(other))
            await session.delete(document)

        assert await waiting == []

    async def test_opposite_orders_do_not_deadlock(self, server: Database) -> None:
        """Workers that name the same rows in opposite orders wait for each other."""
        await accounts(server, *(0 for _ in range(10)))

        async def work(keys: list[int]) -> None:
            async with server.transaction() as session:
                for account in await session.lock_rows(Account, keys):
                    account.balance += 1

        forwards = list(range(1, 11))

        await asyncio.gather(*(work(keys) for keys in [forwards, forwards[::-1]] * 15))

        assert await balances(server) == [30] * 10

    async def test_only_these_rows_are_locked(self, server: Database, other: Database) -> None:
        """Their neighbours are free, those of a composite key too."""
        await accounts(server, 0, 0, 0)
        await add(server, *(Seat(row=row, number=number) for row in (1, 2) for number in (1, 2)))

        async with locked(other, [1, 3]) as session:
            await session.lock_rows(Seat, [(1, 1), (2, 2)])

            assert await free(server, [2])
            assert not await free(server, [1])
            assert not await free(server, [3])
            assert await free(server, [(1, 2), (2, 1)], model=Seat)
            assert not await free(server, [(2, 1), (2, 2)], model=Seat)

    async def test_the_table_of_a_subclass_is_locked_too(self, server: Database, other: Database) -> None:
        """Whoever locks the animal has the dog."""
        await add(server, Dog(id=1))

        async with other.transaction() as session:
            await session.lock_rows(Animal, [1])

            assert not await free(server, [1], model=Dog)

    async def test_it_waits_as_long_as_it_may(self, server: Database, other: Database) -> None:
        """Then the error says that it was a lock."""
        await accounts(server, 0)

        async with locked(other, [1]):
            with pytest.raises(LockTimeout):
                async with server.transaction(lock_timeout=0.1) as session:
                    await session.lock_rows(Account, [1])

    async def test_nowait_does_not_wait(self, server: Database, other: Database) -> None:
        """A locked row is an error at once, though the limit is far away."""
        await accounts(server, 0, 0)

        async with locked(other, [1]), asyncio.timeout(2):
            with pytest.raises(LockTimeout):
                async with server.transaction(lock_timeout=60) as session:
                    await session.lock_rows(Account, [1, 2], nowait=True)

    async def test_what_is_loaded_with_them_is_free(self, server: Database, other: Database) -> None:
        """Rows that an eager load finds are not locked with those that were named."""
        await accounts(server, 0)
        await add(server, Entry(id=1, account_id=1))

        async with other.transaction() as session:
            await session.lock_rows(Entry, [1])

            assert await free(server, [1])

    async def test_skip_locked_takes_the_others(self, server: Database, other: Database) -> None:
        """Two workers share a queue."""
        await accounts(server, 0, 0, 0)

        async with locked(other, [2]), server.transaction() as session:
            rows = await session.lock_rows(Account, [1, 2, 3], skip_locked=True)

        assert [row.id for row in rows] == [1, 3]

    async def test_a_savepoint_keeps_the_transaction(self, server: Database, other: Database) -> None:
        """Around a lock that may not be granted, it lets the rest go on."""
        await accounts(server, 0, 0)

        async with locked(other, [1]), server.transaction() as session:
            with pytest.raises(LockTimeout):
                async with session.savepoint():
                    await session.lock_rows(Account, [1], nowait=True)
            [account] = await session.lock_rows(Account, [2], nowait=True)
            account.balance = 7

        assert await balances(server) == [0, 7]

    async def test_sqlite_locks_the_database(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """Another writer waits when it begins, whichever rows it wants, and there is nothing left to skip."""
        await accounts(sqlite, 0, 0)
        hasty = open_database(sqlite, lock_timeout=0.01)

        async with sqlite.transaction() as session:
            rows = await session.lock_rows(Account, [1], skip_locked=True)
            with pytest.raises(DatabaseBusy):
                await free(hasty, [2])

        assert len(rows) == 1
        assert await free(hasty, [1, 2])
