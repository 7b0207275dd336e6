"""A shop that breaks every rule once, and an application that answers with it."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from fastapi import FastAPI
from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    Integer,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.lint import allow

__all__ = ["Base", "app"]


class Base(sqlkeel.Base):
    pass


class Customer(sqlkeel.DualIDMixin, sqlkeel.SoftDeleteMixin, Base):
    __tablename__ = "customer"
    __table_args__ = (UniqueConstraint("city", name="uq1"),)

    email: Mapped[str] = mapped_column(String(320), unique=True)
    city: Mapped[str] = mapped_column(String(80))
    street: Mapped[str] = mapped_column(String(255))
    phoneNumber: Mapped[str]
    active: Mapped[bool | None]
    joined: Mapped[datetime]
    birth_at: Mapped[date]
    orders: Mapped[list[Order]] = relationship(back_populates="customer", cascade="all, delete")


class Order(Base):
    __tablename__ = "shop_orders"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    customer_id: Mapped[int] = mapped_column(ForeignKey("customer.id"))
    total_price: Mapped[float] = mapped_column(Float)
    state: Mapped[str] = mapped_column(Enum("paid", "sent", name="order_state"))
    document: Mapped[str] = mapped_column(JSON())
    note: Mapped[str] = mapped_column(default="")
    options: Mapped[str] = mapped_column(server_default=text("'{\"gift\":0}'"))
    sent_at: Mapped[datetime] = mapped_column(DateTime)
    portion: Mapped[int]
    a_column_whose_name_says_everything_that_there_is_to_know_about_it: Mapped[int]
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Product(sqlkeel.IntKeyMixin, Base):
    __tablename__ = "shop_product"

    price: Mapped[Decimal] = mapped_column(info=allow("inexact-money", "it was a float once"))
    reviews: Mapped[list[Review]] = relationship(cascade="all, delete-orphan", passive_deletes=True)


class Review(sqlkeel.IntKeyMixin, sqlkeel.SoftDeleteMixin, Base):
    __tablename__ = "shop_review"

    product_id: Mapped[int] = mapped_column(Integer, ForeignKey("shop_product.id", ondelete="CASCADE"), index=True)
    reviewer: Mapped[int] = mapped_column(ForeignKey("customer.id"), index=True)


class Voucher(sqlkeel.IntKeyMixin, Base):
    __tablename__ = "shops_voucher"


Table(
    "shop_product_tag",
    Base.metadata,
    Column("product_id", BigInteger, ForeignKey("shop_product.id"), index=True),
    Column("voucher_id", BigInteger, ForeignKey("shops_voucher.id"), index=True),
)


@dataclass
class CustomerOut:
    id: int
    email: str


app = FastAPI()


@app.get("/customer")
async def customer() -> CustomerOut:
    """Answer with more than one should."""
    raise NotImplementedError
