"""Models that are changed inside a savepoint which is rolled back."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, Session, SoftDeleteMixin, VersionMixin, children, parent


class Base(sqlkeel.Base):
    pass


class Shelf(IntKeyMixin, Base):
    __tablename__ = "shelf"
    items: Mapped[list[Item]] = children(back_populates="shelf", order_by="Item.id")


class Item(IntKeyMixin, Base):
    __tablename__ = "item"
    code: Mapped[str] = mapped_column(String(20), unique=True)
    stock: Mapped[int] = mapped_column(default=0)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelf.id"), index=True)
    shelf: Mapped[Shelf | None] = parent(back_populates="items")


class Folder(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "folder"
    title: Mapped[str] = mapped_column(String(20), default="")
    pages: Mapped[list[Page]] = children(back_populates="folder", order_by="Page.id")


class Page(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "page"
    title: Mapped[str] = mapped_column(String(20), default="")
    folder_id: Mapped[int] = mapped_column(ForeignKey("folder.id"), index=True)
    folder: Mapped[Folder] = parent(back_populates="pages")


class Failure(Exception):
    """What ends a block in these tests."""


Verb = Callable[[Any, Item], Awaitable[object]]


async def fail_in_savepoint(session: Session, verb: Verb, item: Any) -> None:
    with pytest.raises(Failure):
        async with session.savepoint():
            await verb(session, item)
            raise Failure


async def stock_of(db: Database) -> int | None:
    async with db.read() as session:
        return await session.scalar(select(Item.stock))
