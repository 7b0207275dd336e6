"""A bank whose books show every lost, doubled or half-made transfer, and what its customers were told."""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from sqlalchemy import CheckConstraint, ForeignKey, select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, Session, UUIDKeyMixin, VersionMixin
from sqlkeel.errors import CheckViolation

__all__ = [
    "ACCOUNTS",
    "TOTAL",
    "WAYS",
    "Account",
    "Base",
    "Book",
    "Order",
    "Outcome",
    "Transfer",
    "Way",
    "audit",
    "found",
    "open_accounts",
    "transfer",
]

ACCOUNTS: Final = 12
OPENING: Final = Decimal("1000.00")
TOTAL: Final = ACCOUNTS * OPENING

Outcome = Literal["acknowledged", "failed", "unknown"]
Way = Literal["plainly", "with a savepoint", "in a joined block"]
WAYS: Final[list[Way]] = ["plainly", "with a savepoint", "in a joined block"]


class Base(sqlkeel.Base): ...


class Account(VersionMixin, Base):
    __tablename__ = "account"
    __table_args__ = (CheckConstraint("balance >= 0", name="account_balance_check"),)
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    balance: Mapped[Decimal]


class Transfer(UUIDKeyMixin, Base):
    __tablename__ = "transfer"
    __table_args__ = (CheckConstraint("amount > 0", name="transfer_amount_check"),)
    sender_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    recipient_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    amount: Mapped[Decimal]


@dataclass(frozen=True)
class Order:
    """One transfer that a customer asks for, once; its id is made by the customer."""

    id: uuid.UUID
    sender: int
    recipient: int
    amount: Decimal
    way: Way = "plainly"
    isolation: str | None = None
    pause: float = 0.0
    """Seconds between reading and writing, with the rows locked."""


@dataclass
class Book:
    """What the customers were told."""

    asked: set[uuid.UUID] = field(default_factory=set)
    told: dict[uuid.UUID, Outcome] = field(default_factory=dict)
    hooks: Counter[uuid.UUID] = field(default_factory=Counter)
    reasons: dict[uuid.UUID, str] = field(default_factory=dict)
    interrupted: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def ask(self, number: uuid.UUID) -> None:
        """Note that a transfer is asked for."""
        self.asked.add(number)

    def tell(self, number: uuid.UUID, outcome: Outcome, reason: str = "") -> None:
        """Note what the customer was told."""
        if number in self.told:
            self.complain(f"{number} was {self.told[number]} and then {outcome}")
        self.told[number] = outcome
        if reason:
            self.reasons[number] = reason

    def hook(self, number: uuid.UUID) -> None:
        """Note that the `on_commit` hook of a transfer ran."""
        self.hooks[number] += 1

    def interrupt(self, how: str) -> None:
        """Note that a customer was interrupted."""
        self.interrupted[how] += 1

    def complain(self, what: str, error: BaseException | None = None) -> None:
        """Note what must not happen at all, with where it happened."""
        if error is not None:
            places = [f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__)]
            what = f"{what} {error!r} at {' > '.join(places)}"
        self.complaints.append(what)

    def those(self, outcome: Outcome | None) -> set[uuid.UUID]:
        """Return the transfers with this outcome; ``None`` for those whose customer never got an answer."""
        if outcome is None:
            return self.asked - self.told.keys()
        return {number for number, told in self.told.items() if told == outcome}


async def open_accounts(connection: AsyncConnection) -> None:
    """Make the tables, and the accounts with what is in them."""
    await connection.run_sync(Base.metadata.create_all)
    rows = [{"id": number, "balance": OPENING} for number in range(ACCOUNTS)]
    await connection.execute(Account.__table__.insert(), rows)  # type: ignore[attr-defined]  # the stubs say FromClause


async def transfer(session: Session, database: Database, book: Book, order: Order) -> None:
    """Carry out *order*."""
    if order.way == "in a joined block":
        async with database.transaction() as joined:
            assert joined is session
            await _move(joined, order)
    else:
        await _move(session, order)
    if order.way == "with a savepoint":
        await session.flush()
        await _stumble(session, order)
    session.on_commit(book.hook, order.id)


async def _move(session: Session, order: Order) -> None:
    accounts = await session.lock_rows(Account, [order.sender, order.recipient])
    by_number = {account.id: account for account in accounts}
    if order.pause:
        await asyncio.sleep(order.pause)
    by_number[order.sender].balance -= order.amount
    by_number[order.recipient].balance += order.amount
    session.add(Transfer(id=order.id, sender_id=order.sender, recipient_id=order.recipient, amount=order.amount))


async def _stumble(session: Session, order: Order) -> None:
    """Do something that fails and is rolled back to a savepoint, in the middle of the transaction."""
    try:
        async with session.savepoint():
            session.add(Transfer(sender_id=order.sender, recipient_id=order.recipient, amount=-order.amount))
    except CheckViolation:
        pass


async def audit(connection: AsyncConnection, book: Book) -> list[str]:
    """Compare the books with what the customers were told, and describe every difference."""
    rows = (await connection.execute(select(Transfer.__table__))).all()
    accounts = (await connection.execute(select(Account.__table__))).all()
    there = Counter(row.id for row in rows)
    balances = dict.fromkeys(range(ACCOUNTS), OPENING)
    versions = Counter(dict.fromkeys(range(ACCOUNTS), 1))
    for row in rows:
        balances[row.sender_id] -= row.amount
        balances[row.recipient_id] += row.amount
        versions.update((row.sender_id, row.recipient_id))
    total = sum(account.balance for account in accounts)
    differences = {
        "the sum is not exact": {total} - {TOTAL},
        "the balance is not what the transfers make it": {a.id for a in accounts if a.balance != balances[a.id]},
        "the version is not what the transfers make it": {a.id for a in accounts if a.version != versions[a.id]},
        "acknowledged, and not there": book.those("acknowledged") - there.keys(),
        "failed, and there": book.those("failed") & there.keys(),
        "there, and never asked for": there.keys() - book.asked,
        "there more than once": {number for number, times in there.items() if times > 1},
        "committed, and its hook did not run once": {
            number for number in book.those("acknowledged") if book.hooks[number] != 1
        },
        "not acknowledged, and its hook ran": book.hooks.keys() - book.those("acknowledged") - book.those(None),
    }
    return [
        *book.complaints,
        *(f"{what}: {_named(thing, book)}" for what, which in differences.items() for thing in sorted(which, key=str)),
    ]


def _named(thing: object, book: Book) -> str:
    why = book.reasons.get(thing) if isinstance(thing, uuid.UUID) else None
    return f"{thing} ({why})" if why else f"{thing}"


async def found(connection: AsyncConnection, book: Book) -> tuple[int, int]:
    """Return how many of the transfers without a known outcome are there, and how many transfers there are."""
    there = set((await connection.execute(select(Transfer.id))).scalars())
    return len(there & (book.those("unknown") | book.those(None))), len(there)
