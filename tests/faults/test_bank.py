"""An audit that finds nothing proves nothing unless it finds what is wrong."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import delete, insert, update

from sqlkeel import Database
from sqlkeel.models import uuid7
from tests.faults.bank import Account, Base, Book, Order, Transfer, audit, open_accounts, transfer

pytestmark = pytest.mark.tables(Base.metadata)
AMOUNT = Decimal("10.00")


@pytest.fixture
def book() -> Book:
    """An empty book."""
    return Book()


@pytest.fixture
async def bank(sqlite: Database) -> Database:
    """A bank with open accounts."""
    async with sqlite.engine.begin() as connection:
        await open_accounts(connection)
    return sqlite


@pytest.fixture
async def made(bank: Database, book: Book) -> Order:
    """A transfer that was made and acknowledged."""
    order = Order(uuid7(), sender=0, recipient=1, amount=AMOUNT)
    book.ask(order.id)
    await bank.run_transaction(transfer, bank, book, order)
    book.tell(order.id, "acknowledged")
    return order


async def findings(bank: Database, book: Book) -> list[str]:
    """Return what the audit says."""
    async with bank.engine.connect() as connection:
        return await audit(connection, book)


class TestAudit:
    async def test_it_is_content_with_a_transfer_that_was_made(self, bank: Database, book: Book, made: Order) -> None:
        """Money that arrived, and was said to have arrived, is no finding."""
        assert await findings(bank, book) == []

    @pytest.mark.parametrize("way", ["with a savepoint", "in a joined block"])
    async def test_it_is_content_with_every_way(self, bank: Database, book: Book, way: str) -> None:
        """A savepoint that was rolled back and a joined block leave nothing to find."""
        order = Order(uuid7(), sender=0, recipient=1, amount=AMOUNT, way=way)  # type: ignore[arg-type]

        await bank.run_transaction(transfer, bank, book, order)
        book.ask(order.id)
        book.tell(order.id, "acknowledged")

        assert await findings(bank, book) == []

    async def test_it_finds_money_from_nowhere(self, bank: Database, book: Book, made: Order) -> None:
        """A cent too much is found in the sum and in the account."""
        async with bank.transaction() as session:
            await session.execute(update(Account).where(Account.id == 3).values(balance=Account.balance + AMOUNT))

        found = await findings(bank, book)

        assert found[:2] == ["the sum is not exact: 12010.00", "the balance is not what the transfers make it: 3"]

    async def test_it_finds_half_a_transfer(self, bank: Database, book: Book, made: Order) -> None:
        """Two balances that are wrong by the same amount have the right sum, and are found all the same."""
        async with bank.engine.begin() as connection:
            await connection.execute(update(Account).where(Account.id == 3).values(balance=990))
            await connection.execute(update(Account).where(Account.id == 4).values(balance=1010))

        found = await findings(bank, book)

        assert found == [f"the balance is not what the transfers make it: {number}" for number in (3, 4)]

    async def test_it_finds_a_lost_update(self, bank: Database, book: Book, made: Order) -> None:
        """A version that counted one change too few is found."""
        async with bank.engine.begin() as connection:
            await connection.execute(update(Account).where(Account.id == 0).values(version=1))

        found = await findings(bank, book)

        assert found == ["the version is not what the transfers make it: 0"]

    async def test_it_finds_a_lost_transfer(self, bank: Database, book: Book, made: Order) -> None:
        """What was acknowledged and is not there is found."""
        async with bank.transaction() as session:
            await session.execute(delete(Transfer))

        found = await findings(bank, book)

        assert f"acknowledged, and not there: {made.id}" in found

    async def test_it_finds_a_transfer_that_failed(self, bank: Database, book: Book, made: Order) -> None:
        """What was reported failed and is there is found, with the reason that was given."""
        book.told[made.id] = "failed"
        book.reasons[made.id] = "ConnectionLost"

        found = await findings(bank, book)

        assert f"failed, and there: {made.id} (ConnectionLost)" in found

    async def test_it_finds_a_transfer_that_nobody_asked_for(self, bank: Database, book: Book) -> None:
        """A row that no customer knows of is found."""
        number = uuid7()
        async with bank.transaction() as session:
            row = {"id": number, "sender_id": 0, "recipient_id": 1, "amount": AMOUNT}
            await session.execute(insert(Transfer).values(row))

        found = await findings(bank, book)

        assert f"there, and never asked for: {number}" in found

    async def test_an_unknown_transfer_may_be_there(self, bank: Database, book: Book, made: Order) -> None:
        """Where nobody could say, both are right."""
        book.told[made.id] = "unknown"
        book.hooks.clear()

        assert await findings(bank, book) == []

    async def test_it_finds_a_hook_that_did_not_run(self, bank: Database, book: Book, made: Order) -> None:
        """An acknowledged transfer whose hook did not run is found."""
        book.hooks.clear()

        found = await findings(bank, book)

        assert found == [f"committed, and its hook did not run once: {made.id}"]

    async def test_it_finds_a_hook_of_nothing(self, bank: Database, book: Book) -> None:
        """The hook of a transfer that failed must not run."""
        number = uuid7()
        book.ask(number)
        book.hook(number)
        book.tell(number, "failed")

        found = await findings(bank, book)

        assert found == [f"not acknowledged, and its hook ran: {number}"]
