"""Money: a key known before the insert, a batch with a bad line, many transfers at once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import cycle, islice

from sqlalchemy import func, select

from sqlkeel.models import uuid7

from ..models import PaymentAccount, PaymentTransfer, Project
from .step import Tour, step

__all__ = ["concurrency", "savepoint", "uuid_keys"]

TRANSFERS = 24


@step("UUID Primary Keys")
async def uuid_keys(tour: Tour) -> str:
    """Sponsor a project; send the same transfer again, as after a lost answer."""
    sender, recipient = await _open(tour, "100.00"), await _open(tour, "0.00")
    order = {"id": str(uuid7()), "sender": sender, "recipient": recipient, "amount": "9.50"}
    async with tour.counted():
        await tour.call("POST", "/transfers", json=order, status=201)
        again = (await tour.call("POST", "/transfers", json=order, status=409)).json()
    tour.expect(again.get("columns") == ["id"], f"refused by {again}")
    tour.expect(await _balance(tour, recipient) == Decimal("9.50"), "paid twice")
    keys = [row.id for row in await tour.see(select(PaymentTransfer.id).order_by(PaymentTransfer.created_at))]
    tour.expect({key.version for key in keys} == {7}, "not UUIDv7")
    return "the sender makes the UUIDv7; the second attempt is a 409, and the money moved once"


@step("Nested Transaction with Savepoint")
async def savepoint(tour: Tour) -> str:
    """Send a batch of three transfers, the second larger than the balance."""
    sender, recipient = await _open(tour, "10.00"), await _open(tour, "0.00")
    orders = [{"sender": sender, "recipient": recipient, "amount": amount} for amount in ("4.00", "1000.00", "5.99")]
    async with tour.counted():
        outcome = (await tour.call("POST", "/transfers/batch", json=orders)).json()
    tour.expect(outcome["made"] == 2, f"{outcome}")
    tour.expect(outcome["refused"] == [{"line": 2, "reason": "check-violation"}], f"{outcome}")
    balances = await _balance(tour, sender), await _balance(tour, recipient)
    tour.expect(balances == (Decimal("0.01"), Decimal("9.99")), f"{balances}")
    return "lines 1 and 3 made, line 2 refused by the CHECK on the balance; 0.01 and 9.99 remain"


@step("Transactions under Concurrency")
async def concurrency(tour: Tour) -> str:
    """Send 24 transfers at once between two accounts, in both directions."""
    total = await _total(tour)
    left, right = await _open(tour, "50.00"), await _open(tour, "50.00")
    pairs = islice(cycle([(left, right), (right, left), (left, right)]), TRANSFERS)
    orders = [{"sender": sender, "recipient": recipient, "amount": "1.25"} for sender, recipient in pairs]
    async with tour.counted():
        await asyncio.gather(*(tour.call("POST", "/transfers", json=order, status=201) for order in orders))
    balances = await _balance(tour, left), await _balance(tour, right)
    tour.expect(balances == (Decimal("40.00"), Decimal("60.00")), f"an update was lost: {balances}")
    tour.expect(await _total(tour) == total + 100, "money was made or lost")
    return f"{TRANSFERS} transfers, no update lost, 100.00 in all before and after"


async def _open(tour: Tour, balance: str) -> str:
    """Open an account of the next project that has none."""
    taken = select(PaymentAccount.project_id).where(PaymentAccount.project_id.is_not(None))
    project = (await tour.see(select(Project.public_id, Project.name).where(Project.id.not_in(taken)).limit(1)))[0]
    body = {"holder": project.name, "balance": balance, "project": str(project.public_id)}
    return str((await tour.call("POST", "/accounts", json=body, status=201)).json()["public_id"])


async def _balance(tour: Tour, public_id: str) -> Decimal:
    return Decimal((await tour.call("GET", f"/accounts/{public_id}")).json()["balance"])


async def _total(tour: Tour) -> Decimal:
    found = await tour.see_one(select(func.sum(PaymentAccount.balance)))
    return Decimal(found or 0)
