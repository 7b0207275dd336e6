"""The recipe of docs/patterns/transactions.md under load: 64 workers move money, and every cent is where it belongs."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from decimal import Decimal
from typing import NamedTuple

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, func, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, Session
from sqlkeel.errors import CheckViolation, NotFound
from tests.fixtures.databases import OpenDatabase

WORKERS = 64
ACCOUNTS = 8
OPENING = Decimal("100.00")


class Base(sqlkeel.Base):
    pass


class Account(IntKeyMixin, Base):
    __tablename__ = "account"
    __table_args__ = (CheckConstraint("balance >= 0", name="account_balance_check"),)
    balance: Mapped[Decimal]


class Payment(IntKeyMixin, Base):
    __tablename__ = "payment"
    __table_args__ = (CheckConstraint("amount > 0", name="payment_amount_check"),)
    source_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    target_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    amount: Mapped[Decimal]


pytestmark = pytest.mark.tables(Base.metadata)


class Line(NamedTuple):
    """One transfer of an order."""

    source: int
    target: int
    amount: Decimal


async def move(session: Session, source: Account, target: Account, amount: Decimal) -> None:
    """Make one transfer, or nothing of it."""
    async with session.savepoint():
        source.balance -= amount
        target.balance += amount
        session.add(Payment(source_id=source.id, target_id=target.id, amount=amount))


async def transfer_funds(session: Session, lines: Sequence[Line]) -> list[Line]:
    """Make the transfers that can be made, under locks, and return the others."""
    keys = {key for line in lines for key in (line.source, line.target)}
    accounts = {account.id: account for account in await session.lock_rows(Account, keys)}
    if missing := keys - accounts.keys():
        raise NotFound("Account", min(missing))
    refused: list[Line] = []
    for line in lines:
        try:
            await move(session, accounts[line.source], accounts[line.target], line.amount)
        except CheckViolation:
            refused.append(line)
    return refused


async def transfer_serializable(session: Session, line: Line) -> None:
    """Make one transfer without a lock; the server finds out who was in whose way."""
    source = await session.get_one(Account, line.source)
    target = await session.get_one(Account, line.target)
    await move(session, source, target, line.amount)


async def open_accounts(db: Database, count: int = ACCOUNTS) -> None:
    """Commit accounts with the keys 1, 2, …, all with the same balance."""
    async with db.transaction() as session:
        session.add_all(Account(id=key, balance=OPENING) for key in range(1, count + 1))


def orders(seed: int) -> list[list[Line]]:
    """Make an order for each worker, of three transfers in any direction; the third asks for too much."""
    chance = random.Random(seed)

    def line(cents: int) -> Line:
        source, target = chance.sample(range(1, ACCOUNTS + 1), 2)
        return Line(source, target, Decimal(cents) / 100)

    return [[line(chance.randint(1, 999)), line(chance.randint(1, 999)), line(100_000)] for _ in range(WORKERS)]


async def balances(db: Database) -> dict[int, Decimal]:
    """Return what is on each account."""
    async with db.read() as session:
        return {account.id: account.balance for account in await session.scalars(select(Account))}


async def booked(db: Database) -> dict[int, Decimal]:
    """Return what must be on each account, by what was paid."""
    expected = dict.fromkeys(range(1, ACCOUNTS + 1), OPENING)
    async with db.read() as session:
        for payment in await session.scalars(select(Payment)):
            expected[payment.source_id] -= payment.amount
            expected[payment.target_id] += payment.amount
    return expected


async def payments(db: Database) -> int:
    """Count the transfers that were made."""
    async with db.read() as session:
        return await session.scalar(select(func.count()).select_from(Payment)) or 0


class TestRowLocks:
    async def test_sixty_four_workers_lose_nothing(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """Nobody is refused a turn, nothing has to run again, and each balance is the sum of its payments."""
        db = open_database(every_driver, pool_size=WORKERS, lock_timeout=60)
        await open_accounts(db)

        async def work(lines: Sequence[Line]) -> list[Line]:
            async with db.transaction() as session:
                return await transfer_funds(session, lines)

        refused = await asyncio.gather(*(work(lines) for lines in orders(1)))

        assert [len(lines) for lines in refused] == [1] * WORKERS
        assert await payments(db) == 2 * WORKERS
        assert await balances(db) == await booked(db)
        assert sum((await balances(db)).values()) == ACCOUNTS * OPENING

    async def test_one_account_takes_all(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """Sixty-four payments of 1.57 into one account are 100.48, to the cent."""
        db = open_database(every_driver, pool_size=WORKERS, lock_timeout=60)
        await open_accounts(db, 2)

        async def work() -> None:
            async with db.transaction() as session:
                await transfer_funds(session, [Line(2, 1, Decimal("1.57"))])

        await asyncio.gather(*(work() for _ in range(63)))

        assert await balances(db) == {1: Decimal("198.91"), 2: Decimal("1.09")}


class TestSerializable:
    async def test_sixty_four_workers_lose_nothing(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """Who loses a race runs again, until all have been through, and each balance is the sum of its payments."""
        db = open_database(every_driver, pool_size=WORKERS, lock_timeout=60)
        await open_accounts(db)
        transfer = db.transactional(attempts=200, isolation="serializable")(transfer_serializable)

        await asyncio.gather(*(transfer(lines[0]) for lines in orders(2)))

        assert await payments(db) == WORKERS
        assert await balances(db) == await booked(db)
        assert sum((await balances(db)).values()) == ACCOUNTS * OPENING

    async def test_what_cannot_be_is_not_tried_again(self, every_driver: Database) -> None:
        """A refused amount is no race: the function runs once, and nothing has moved."""
        await open_accounts(every_driver, 2)
        calls: list[Line] = []

        async def transfer(session: Session, line: Line) -> None:
            calls.append(line)
            await transfer_serializable(session, line)

        with pytest.raises(CheckViolation):
            await every_driver.run_transaction(transfer, Line(1, 2, OPENING + 1), isolation="serializable")

        assert len(calls) == 1
        assert await balances(every_driver) == {1: OPENING, 2: OPENING}


class TestLines:
    async def test_the_last_cent_may_go(self, db: Database) -> None:
        """All that is there can be sent, and then not one cent more."""
        await open_accounts(db, 2)

        async with db.transaction() as session:
            refused = await transfer_funds(session, [Line(1, 2, OPENING), Line(1, 2, Decimal("0.01"))])

        assert refused == [Line(1, 2, Decimal("0.01"))]
        assert await balances(db) == {1: Decimal("0.00"), 2: Decimal("200.00")}

    async def test_a_refused_line_leaves_no_trace(self, db: Database) -> None:
        """The lines before and after it are made, and the balances are those of the lines that were."""
        await open_accounts(db, 3)
        lines = [Line(1, 2, Decimal("60.00")), Line(1, 3, Decimal("60.00")), Line(2, 3, Decimal("160.00"))]

        async with db.transaction() as session:
            refused = await transfer_funds(session, lines)

        assert refused == [lines[1]]
        assert await payments(db) == 2
        assert await balances(db) == {1: Decimal("40.00"), 2: Decimal("0.00"), 3: Decimal("260.00")}

    async def test_nothing_flows_backwards(self, db: Database) -> None:
        """A negative amount would take from the recipient; the database refuses it."""
        await open_accounts(db, 2)

        async with db.transaction() as session:
            refused = await transfer_funds(session, [Line(1, 2, Decimal("-5.00"))])

        assert len(refused) == 1
        assert await balances(db) == {1: OPENING, 2: OPENING}

    async def test_an_account_that_is_not_there(self, db: Database) -> None:
        """The whole order is refused before anything moves."""
        await open_accounts(db, 2)

        with pytest.raises(NotFound, match="9"):
            async with db.transaction() as session:
                await transfer_funds(session, [Line(1, 2, OPENING), Line(1, 9, OPENING)])

        assert await balances(db) == {1: OPENING, 2: OPENING}
