"""Transfers of money: exact, all or nothing, and safe with concurrent transfers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlkeel import Session
from sqlkeel.errors import ConstraintViolation, NotFound

from .models import PaymentAccount, PaymentTransfer
from .repositories import PaymentAccountRepository, PaymentTransferRepository
from .schemas import BatchOut, RefusedLine, TransferIn

__all__ = ["transfer", "transfer_batch"]


async def transfer(session: Session, order: TransferIn) -> PaymentTransfer:
    """Move the amount of *order*.

    Raises:
        NotFound: When one of the accounts does not exist.
        CheckViolation: When the balance of the sender is less than the amount.
        UniqueViolation: When a transfer with this id exists already.
    """
    accounts = await PaymentAccountRepository(session).lock([order.sender, order.recipient])
    return await _move(session, accounts, order)


async def transfer_batch(session: Session, orders: Sequence[TransferIn]) -> BatchOut:
    """Make all possible transfers, and return the refused ones with the reasons."""
    named = [public_id for order in orders for public_id in (order.sender, order.recipient)]
    accounts = await PaymentAccountRepository(session).lock(named)
    refused: list[RefusedLine] = []
    for line, order in enumerate(orders, 1):
        try:
            async with session.savepoint():
                await _move(session, accounts, order)
        except (ConstraintViolation, NotFound) as error:
            refused.append(RefusedLine(line=line, reason=error.code or ""))
    return BatchOut(made=len(orders) - len(refused), refused=refused)


async def _move(session: Session, accounts: Mapping[UUID, PaymentAccount], order: TransferIn) -> PaymentTransfer:
    for public_id in (order.sender, order.recipient):
        if public_id not in accounts:
            raise NotFound("PaymentAccount", public_id)
    sender, recipient = accounts[order.sender], accounts[order.recipient]
    sender.balance -= order.amount
    recipient.balance += order.amount
    return await PaymentTransferRepository(session).create(
        id=order.id, sender=sender, recipient=recipient, amount=order.amount
    )
