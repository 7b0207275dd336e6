"""Moving money."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import pytest

from sqlkeel import Database
from sqlkeel.demo.models import Base
from sqlkeel.demo.payments import transfer, transfer_batch
from sqlkeel.demo.repositories import PaymentAccountRepository, PaymentTransferRepository
from sqlkeel.demo.schemas import RefusedLine, TransferIn
from sqlkeel.errors import CheckViolation, NotFound, UniqueViolation
from sqlkeel.models import uuid7

pytestmark = pytest.mark.tables(Base.metadata)


async def open_accounts(db: Database) -> tuple[UUID, UUID]:
    """Open an account with 10.00 and an empty one."""
    async with db.transaction() as session:
        accounts = PaymentAccountRepository(session)
        rich = await accounts.create(holder="rich", balance=Decimal("10.00"))
        poor = await accounts.create(holder="poor")
    return rich.public_id, poor.public_id


async def balances(db: Database) -> dict[str, Decimal]:
    """Return what everybody has."""
    async with db.read() as session:
        return {account.holder: account.balance for account in await PaymentAccountRepository(session).get_all()}


class TestTransfer:
    async def test_money_arrives(self, db: Database) -> None:
        """What one account loses, the other gains, to the cent; the last cent may go."""
        rich, poor = await open_accounts(db)

        await db.run_transaction(transfer, TransferIn(sender=rich, recipient=poor, amount=Decimal("10.00")))

        assert await balances(db) == {"rich": Decimal("0.00"), "poor": Decimal("10.00")}

    async def test_nobody_owes_money(self, db: Database) -> None:
        """One cent too much is refused by the database, and nothing moves."""
        rich, poor = await open_accounts(db)

        with pytest.raises(CheckViolation):
            await db.run_transaction(transfer, TransferIn(sender=rich, recipient=poor, amount=Decimal("10.01")))

        assert await balances(db) == {"rich": Decimal("10.00"), "poor": Decimal("0.00")}

    async def test_a_retry_is_recognised(self, db: Database) -> None:
        """The same id moves money once, and the error says which column was taken."""
        rich, poor = await open_accounts(db)
        order = TransferIn(sender=rich, recipient=poor, amount=Decimal("4.00"))
        await db.run_transaction(transfer, order)

        with pytest.raises(UniqueViolation) as caught:
            await db.run_transaction(transfer, order)

        assert caught.value.columns == ("id",)
        assert await balances(db) == {"rich": Decimal("6.00"), "poor": Decimal("4.00")}

    async def test_an_unknown_account_is_refused(self, db: Database) -> None:
        """Money does not go nowhere."""
        rich, _ = await open_accounts(db)

        with pytest.raises(NotFound):
            await db.run_transaction(transfer, TransferIn(sender=rich, recipient=uuid7(), amount=Decimal(1)))

    async def test_an_account_may_pay_itself(self, db: Database) -> None:
        """Nothing is made or lost."""
        rich, _ = await open_accounts(db)

        await db.run_transaction(transfer, TransferIn(sender=rich, recipient=rich, amount=Decimal(3)))

        assert (await balances(db))["rich"] == Decimal("10.00")


class TestTransferBatch:
    async def test_a_bad_line_is_skipped(self, every_driver: Database) -> None:
        """The lines before and after it are made, and each refusal has its reason."""
        rich, poor = await open_accounts(every_driver)
        orders = [
            TransferIn(sender=rich, recipient=poor, amount=Decimal("6.00")),
            TransferIn(sender=rich, recipient=poor, amount=Decimal("6.00")),
            TransferIn(sender=uuid7(), recipient=poor, amount=Decimal("1.00")),
            TransferIn(sender=rich, recipient=poor, amount=Decimal("4.00")),
        ]

        outcome = await every_driver.run_transaction(transfer_batch, orders)

        assert outcome.made == 2
        assert outcome.refused == [
            RefusedLine(line=2, reason="check-violation"),
            RefusedLine(line=3, reason="not-found"),
        ]
        assert await balances(every_driver) == {"rich": Decimal("0.00"), "poor": Decimal("10.00")}

    async def test_an_empty_batch_does_nothing(self, db: Database) -> None:
        """No line, no transfer."""
        outcome = await db.run_transaction(transfer_batch, [])

        assert (outcome.made, outcome.refused) == (0, [])
        async with db.read() as session:
            assert await PaymentTransferRepository(session).count() == 0
