"""The tellers: concurrent customers of the bank, interrupted in every way that asyncio and anyio know."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from random import Random
from typing import Final

import anyio
from sqlalchemy import func, select

from sqlkeel import Database
from sqlkeel.errors import (
    CheckViolation,
    CommitUnknown,
    DatabaseUnavailable,
    PoolTimeout,
    StatementTimeout,
    TransientFault,
)
from sqlkeel.models import uuid7
from tests.faults.bank import ACCOUNTS, TOTAL, WAYS, Account, Book, Order, transfer

__all__ = ["Teller"]

PATIENCE: Final = 0.08
"""Seconds after which an interruption comes, at the latest; a transfer takes about half of that under load."""

REST: Final = 0.05
"""Seconds between two tries to reach a server that is not there."""

EXPECTED: Final = (
    CheckViolation,
    CommitUnknown,
    DatabaseUnavailable,
    PoolTimeout,
    StatementTimeout,
    TransientFault,
)
"""What the weather may do to a customer; any other error is a defect."""


class Teller:
    """One worker: transfer after transfer, some of them interrupted, and now and then a look at all accounts."""

    def __init__(self, database: Database, book: Book, random: Random) -> None:
        self.database = database
        self.book = book
        self.random = random
        self.stopped = False
        self._interrupt: Callable[[], object] | None = None

    async def work(self) -> None:
        """Carry out one order after the other until told to stop."""
        while not self.stopped:
            await (self._look() if self.random.random() < 0.1 else self._serve())

    def interrupt(self) -> None:
        """Interrupt the transfer that is being made."""
        if self._interrupt is not None:
            self._interrupt()

    async def _serve(self) -> None:
        order, after = self._order(), self.random.uniform(0, PATIENCE)
        ways = [self._undisturbed, self._cancelled, self._timed_out, self._scoped]
        way = self.random.choices(ways, weights=[5, 2, 1, 2])[0]
        task = asyncio.create_task(way(order, after))
        await asyncio.wait({task})
        self._interrupt = None
        if task.cancelled():
            self.book.interrupt("task.cancel()")
        elif error := task.exception():
            self.book.complain("a transfer let out", error)
        if order.id in self.book.asked and order.id not in self.book.told:
            self.book.complain(f"{order.id} ended without an outcome")

    async def _undisturbed(self, order: Order, after: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._interrupt = task.cancel
        await self._ask(order)

    async def _cancelled(self, order: Order, after: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._interrupt = task.cancel
        timer = asyncio.get_running_loop().call_later(after, task.cancel)
        try:
            await self._ask(order)
        finally:
            timer.cancel()

    async def _timed_out(self, order: Order, after: float) -> None:
        timeout = asyncio.timeout(after)
        with suppress(TimeoutError):
            async with timeout:
                self._interrupt = lambda: None if timeout.expired() else timeout.reschedule(0)
                await self._ask(order)
        if timeout.expired():
            self.book.interrupt("asyncio.timeout()")
        await self._see_that_it_is_over("asyncio.timeout()")

    async def _scoped(self, order: Order, after: float) -> None:
        with anyio.move_on_after(after) as scope:
            self._interrupt = scope.cancel
            await self._ask(order)
        if scope.cancel_called:
            self.book.interrupt("anyio.CancelScope")
        await self._see_that_it_is_over("anyio.CancelScope")

    async def _see_that_it_is_over(self, what: str) -> None:
        """Let a cancellation that outlived its block come out."""
        self._interrupt = None
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.book.complain(f"{what} ended, and cancelled what came after it")

    async def _ask(self, order: Order) -> None:
        self.book.ask(order.id)
        try:
            await self.database.run_transaction(
                transfer, self.database, self.book, order, isolation=order.isolation, attempts=4
            )
        except CommitUnknown as error:
            self.book.tell(order.id, "unknown", type(error).__name__)
        except BaseException as error:
            self.book.tell(order.id, "failed", type(error).__name__)
            if not isinstance(error, (*EXPECTED, asyncio.CancelledError)):
                self.book.complain("a transfer failed with", error)
            if not isinstance(error, Exception):
                raise
            if isinstance(error, DatabaseUnavailable):
                self._interrupt = None
                await asyncio.sleep(REST)
        else:
            self.book.tell(order.id, "acknowledged")

    async def _look(self) -> None:
        """Read all accounts: at no moment is there more or less money."""
        try:
            seen = await (self._sum() if self.random.random() < 0.5 else self._sum_in_steps())
        except EXPECTED:
            await asyncio.sleep(REST)
        except Exception as error:  # noqa: BLE001 - reported, whatever it is
            self.book.complain("a read failed with", error)
        else:
            if seen != TOTAL:
                self.book.complain(f"a read saw {seen} where there is {TOTAL}")

    async def _sum(self) -> Decimal:
        async with self.database.read() as session:
            return (await session.execute(select(func.sum(Account.balance)))).scalar_one()

    async def _sum_in_steps(self) -> Decimal:
        half = ACCOUNTS // 2
        async with self.database.transaction(read_only=True, isolation="repeatable read") as session:
            first = await session.scalars(select(Account.balance).where(Account.id < half))
            await asyncio.sleep(0.005)
            second = await session.scalars(select(Account.balance).where(Account.id >= half))
            return sum([*first, *second], Decimal(0))

    def _order(self) -> Order:
        sender, recipient = self.random.sample(range(ACCOUNTS), 2)
        return Order(
            uuid7(),
            sender,
            recipient,
            Decimal(self.random.randint(1, 30_000)) / 100,
            way=self.random.choices(WAYS, weights=[3, 1, 1])[0],
            isolation=self.random.choices([None, "serializable"], weights=[3, 1])[0],
            pause=self.random.choice([0.0, 0.0, 0.01]),
        )
