"""The questions of the demo."""

from __future__ import annotations

import asyncio
from decimal import Decimal

import pytest

from sqlkeel import Database, queries
from sqlkeel.demo.importer import Importer
from sqlkeel.demo.models import Base, PaymentAccount, Release
from sqlkeel.demo.repositories import PaymentAccountRepository, ReleaseFileRepository, ReleaseRepository
from sqlkeel.demo.source import Distribution
from sqlkeel.errors import NotFound

pytestmark = pytest.mark.tables(Base.metadata)


class TestReleaseRepository:
    async def test_it_measures_what_changed(self, db: Database, distributions: list[Distribution]) -> None:
        """Sizes are stored once; a release whose files have no size has none."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)
            first = await ReleaseRepository(session).measure()
            second = await ReleaseRepository(session).measure()
            sizes = [release.size for release in await ReleaseRepository(session).get_all(order_by=Release.id)]

        assert (first, second) == (1, 0)
        assert sizes == [30, None]


class TestReleaseFileRepository:
    async def test_it_finds_a_file_by_path(self, db: Database, distributions: list[Distribution]) -> None:
        """The path is compared exactly."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)
            release = (await ReleaseRepository(session).get_all(order_by=Release.id))[0]
            found = await ReleaseFileRepository(session).get_by_path(release, "keel/A.py")

        assert found.size == 20

    async def test_a_missing_file_is_an_error(self, db: Database, distributions: list[Distribution]) -> None:
        """The error names the path."""
        async with db.transaction() as session:
            await Importer(session).run(distributions)
            release = (await ReleaseRepository(session).get_all(order_by=Release.id))[0]

            with pytest.raises(NotFound, match="no/such/file"):
                await ReleaseFileRepository(session).get_by_path(release, "no/such/file")


class TestPaymentAccountRepository:
    async def test_a_lock_reads_again(self, postgres: Database) -> None:
        """A balance that somebody changed since it was read is the new one, in the statement that locks."""
        async with postgres.transaction() as session:
            account = await PaymentAccountRepository(session).create(holder="Ada")

        async with postgres.transaction() as session:
            await session.get(PaymentAccount, account.id)
            async with postgres.session() as other, other.begin():
                (await other.get_one(PaymentAccount, account.id)).balance += 1
            async with queries(postgres, exactly=1):
                locked = await PaymentAccountRepository(session).lock([account.public_id])

        assert locked[account.public_id].balance == Decimal("1.00")

    async def test_a_locked_account_waits(self, db: Database) -> None:
        """Ten writers that lock, read and write lose no update."""
        async with db.transaction() as session:
            account = await PaymentAccountRepository(session).create(holder="Ada")

        async def add_one() -> None:
            async with db.transaction() as session:
                locked = await PaymentAccountRepository(session).lock([account.public_id])
                locked[account.public_id].balance += 1

        await asyncio.gather(*(add_one() for _ in range(10)))

        async with db.read() as session:
            assert await PaymentAccountRepository(session).total() == Decimal("10.00")

    async def test_no_account_holds_no_money(self, db: Database) -> None:
        """The total of nothing is zero, not None."""
        async with db.read() as session:
            assert await PaymentAccountRepository(session).total() == 0
