"""Models whose rows are locked, and a look at what is free."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.errors import LockTimeout
from sqlkeel.models import IntKeyMixin, UUIDKeyMixin, children, parent
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class Account(IntKeyMixin, Base):
    __tablename__ = "account"
    __table_args__ = (CheckConstraint("balance >= 0", name="account_balance_check"),)
    balance: Mapped[int] = mapped_column(default=0)
    entries: Mapped[list[Entry]] = children(back_populates="account", on_delete="set null")


class Entry(IntKeyMixin, Base):
    """Has its account loaded with it, by a join, and by another one."""

    __tablename__ = "entry"
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), index=True)
    account: Mapped[Account | None] = parent(back_populates="entries", lazy="joined", on_delete="set null")
    payer: Mapped[Account | None] = relationship(viewonly=True, lazy=False)


class Document(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "document"
    title: Mapped[str] = mapped_column(String(50))


class Seat(Base):
    __tablename__ = "seat"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column("seat_no", primary_key=True, autoincrement=False)
    guest: Mapped[str | None] = mapped_column(String(50))


class Parcel(UUIDKeyMixin, Base):
    __tablename__ = "parcel"
    weight: Mapped[int] = mapped_column(default=0)


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Vehicle(IntKeyMixin, Base):
    """Joins the tables of all kinds into each query."""

    __tablename__ = "vehicle"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle", "with_polymorphic": "*"}


class Car(Vehicle):
    __tablename__ = "car"
    __mapper_args__ = {"polymorphic_identity": "car"}
    id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), primary_key=True)
    doors: Mapped[int] = mapped_column(default=4)


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    tricks: Mapped[int] = mapped_column(default=0)


async def add(db: Database, *rows: Any) -> None:
    """Commit rows."""
    async with db.transaction() as session:
        session.add_all(rows)


async def accounts(db: Database, *balances: int) -> None:
    """Commit accounts with the keys 1, 2, …."""
    await add(db, *(Account(id=key, balance=balance) for key, balance in enumerate(balances, 1)))


async def balances(db: Database) -> list[int]:
    """Read what is committed."""
    async with db.read() as session:
        return list(await session.scalars(select(Account.balance).order_by(Account.id)))


async def free(db: Database, keys: Iterable[Any], *, model: type[Any] = Account) -> bool:
    """Tell whether nobody has locked these rows."""
    async with db.transaction() as session:
        try:
            await session.lock_rows(model, keys, nowait=True)
        except LockTimeout:
            await session.rollback()
            return False
    return True


async def name_is_free(db: Database, name: str) -> bool:
    """Tell whether nobody has locked the name."""
    async with db.transaction() as session:
        try:
            await session.advisory_lock(name, nowait=True)
        except LockTimeout:
            return False
    return True
