"""Sponsoring: accounts, and transfers between them."""

from __future__ import annotations

from fastapi import APIRouter

from sqlkeel.integrations.fastapi import DatabaseDep, PathID, ReadSessionDep, SessionDep

from ..models import PaymentAccount, PaymentTransfer
from ..payments import transfer, transfer_batch
from ..repositories import PaymentAccountRepository, ProjectRepository
from ..schemas import AccountIn, AccountOut, BatchOut, TransferIn, TransferOut

__all__ = ["router"]

router = APIRouter(tags=["payments"])


@router.post("/accounts", response_model=AccountOut, status_code=201)
async def open_account(body: AccountIn, session: SessionDep) -> PaymentAccount:
    """Open an account, of a project or of anybody else."""
    project = await ProjectRepository(session).get_one_by_public_id(body.project) if body.project else None
    return await PaymentAccountRepository(session).create(holder=body.holder, balance=body.balance, project=project)


@router.get("/accounts/{public_id}", response_model=AccountOut)
async def read_account(public_id: PathID[PaymentAccount], session: ReadSessionDep) -> PaymentAccount:
    """Return an account."""
    return await PaymentAccountRepository(session).get_one_by_public_id(public_id)


# Money has a unit of work of its own: where it loses a race, the whole of it is run again.


@router.post("/transfers", response_model=TransferOut, status_code=201)
async def make_transfer(body: TransferIn, db: DatabaseDep) -> PaymentTransfer:
    """Move money from one account to another."""
    return await db.run_transaction(transfer, body)


@router.post("/transfers/batch")
async def make_transfers(body: list[TransferIn], db: DatabaseDep) -> BatchOut:
    """Make many transfers: one that is refused does not stop the others."""
    return await db.run_transaction(transfer_batch, body)
