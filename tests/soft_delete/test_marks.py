"""Tests of sqlkeel.soft_delete._marks: the mark is found under whatever name and key, in whichever table."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, String, Table, Uuid, event, select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, Repository, SoftDeleteMixin, SyncSession, UTCDateTime, children, parent, unique_live
from sqlkeel.errors import NotFound, RestoreConflict, TransactionAborted
from sqlkeel.sessions import Database
from sqlkeel.soft_delete._marks import Mark
from tests.soft_delete.library import SHOWN, add, bring_back, delete, everything


class Base(sqlkeel.Base):
    pass


class Shop(IntKeyMixin, SoftDeleteMixin, Base):
    """The columns of the mixin under other names, in the database and in the table."""

    __tablename__ = "shop"
    __table_args__ = (unique_live("name", deleted="removed_on"),)
    name: Mapped[str] = mapped_column(String(20))
    deleted_at: Mapped[datetime | None] = mapped_column("removed_on", UTCDateTime(), default=None, key="removed")
    deletion_id: Mapped[uuid.UUID | None] = mapped_column("batch", Uuid(), default=None)
    sales: Mapped[list[Sale]] = children(back_populates="shop")


class Sale(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "sale"
    deleted_at: Mapped[datetime | None] = mapped_column("gone", UTCDateTime(), default=None)
    deletion_id: Mapped[uuid.UUID | None] = mapped_column("gone_with", Uuid(), default=None, key="gone_key")
    shop_id: Mapped[int] = mapped_column("shop_no", ForeignKey("shop.id"), index=True)
    shop: Mapped[Shop] = parent(back_populates="sales")
    above_id: Mapped[int | None] = mapped_column("above_no", ForeignKey("sale.id"), index=True)
    refunds: Mapped[list[Sale]] = children(back_populates="above")
    above: Mapped[Sale | None] = parent(back_populates="refunds", remote_side="Sale.id")


legacy = Table(
    "legacy",
    Base.metadata,
    Column("code", String(10)),
    Column("part", Integer()),
    Column("deleted_at", UTCDateTime()),
    Column("deletion_id", Uuid()),
)


class Legacy(SoftDeleteMixin, Base):
    """A table without a primary key."""

    __table__ = legacy
    __mapper_args__ = {"primary_key": [legacy.c.code, legacy.c.part]}


class First(IntKeyMixin, Base):
    """Each class has a key of its own name, and the last one has the mark."""

    __tablename__ = "first"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "first"}


class Second(First):
    __tablename__ = "second"
    second_id: Mapped[int] = mapped_column(ForeignKey("first.id", ondelete="CASCADE"), primary_key=True)
    other_id: Mapped[int | None] = mapped_column(ForeignKey("first.id"), index=True)
    __mapper_args__ = {"polymorphic_identity": "second", "inherit_condition": second_id == First.id}


class Third(SoftDeleteMixin, Second):
    __tablename__ = "third"
    third_no: Mapped[int] = mapped_column(ForeignKey("second.second_id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "third"}


pytestmark = pytest.mark.tables(Base.metadata)


class TestKey:
    def test_through_tables_with_keys_of_other_names(self) -> None:
        """The key of each table is found along the joins of the hierarchy."""
        assert [column.name for column in Mark(Third.__mapper__).key] == ["third_no"]

    def test_without_a_primary_key_in_the_table(self) -> None:
        """The key is the one that the mapper names."""
        assert [column.name for column in Mark(Legacy.__mapper__).key] == ["code", "part"]


class TestOtherNames:
    async def test_a_row_and_what_hangs_on_it_are_marked(self, every_driver: Database) -> None:
        """Columns under other names are marked, in a tree as well."""
        await add(every_driver, Shop(id=1, name="a"))
        await add(every_driver, Sale(id=1, shop_id=1))
        await add(every_driver, Sale(id=2, shop_id=1, above_id=1))

        shop = await delete(every_driver, Shop, 1)

        assert shop.is_deleted
        assert [sale.deletion_id for sale in await everything(every_driver, Sale)] == [shop.deletion_id] * 2

    async def test_they_come_back(self, every_driver: Database) -> None:
        """A restore clears them."""
        await add(every_driver, Shop(id=1, name="a"))
        await add(every_driver, Sale(id=1, shop_id=1))
        await delete(every_driver, Shop, 1)

        shop = await bring_back(every_driver, Shop, 1)

        assert shop.deleted_at is None
        assert [sale.is_deleted for sale in await everything(every_driver, Sale)] == [False]

    async def test_a_deleted_name_is_free(self, every_driver: Database) -> None:
        """The unique index looks at the same column, so that a restore meets the row that took the name."""
        await add(every_driver, Shop(id=1, name="a"))
        await delete(every_driver, Shop, 1)
        await add(every_driver, Shop(id=2, name="a"))

        with pytest.raises(RestoreConflict):
            await bring_back(every_driver, Shop, 1)


class TestWithoutPrimaryKey:
    async def test_it_is_marked_and_comes_back(self, every_driver: Database) -> None:
        """A row that only its mapper has a key for is marked, hidden and restored; its neighbour is not."""
        await add(every_driver, Legacy(code="a", part=1), Legacy(code="a", part=2))

        row = await delete(every_driver, Legacy, ("a", 1))
        async with every_driver.session() as session:
            hidden = list(await session.scalars(select(Legacy.part)))
        await bring_back(every_driver, Legacy, ("a", 1))

        assert row.is_deleted
        assert hidden == [2]
        assert [one.is_deleted for one in await everything(every_driver, Legacy)] == [False, False]


class TestMarkInTheLastTable:
    async def test_it_is_marked_and_comes_back(self, every_driver: Database) -> None:
        """A mark in the third table of a row hides the row from all of its classes."""
        await add(every_driver, Third(id=1), Second(id=2), First(id=3))

        await delete(every_driver, Third, 1)
        async with every_driver.session() as session:
            found = [list(await session.scalars(select(model.id))) for model in (First, Second, Third)]
            got = [await session.get(model, 1) for model in (First, Second, Third)]
        await bring_back(every_driver, Third, 1)

        assert (sorted(found[0]), found[1:], got) == ([2, 3], [[2], []], [None, None, None])
        assert [row.is_deleted for row in await everything(every_driver, Third)] == [False]


class TestDuringAFlush:
    async def test_a_listener_deletes(self, every_driver: Database) -> None:
        """What a before_flush listener deletes is marked when the flush has written its changes, new rows with it."""
        await add(every_driver, Shop(id=1, name="a"))
        async with every_driver.transaction() as session:
            shop = await session.get_one(Shop, 1)

            @event.listens_for(session.sync_session, "before_flush", once=True)
            def close(sync: Any, *_: Any) -> None:
                sync.add(Sale(id=1, shop_id=1))
                sync.delete(shop)

            shop.name = "b"
            await session.flush()

            assert (shop.name, shop.is_deleted, shop in session) == ("b", True, False)
        assert [sale.is_deleted for sale in await everything(every_driver, Sale)] == [True]

    async def test_a_deletion_that_fails_is_not_swallowed(self, every_driver: Database) -> None:
        """A flush whose listener deletes what is gone already fails, and what it wrote is not committed."""
        await add(every_driver, Shop(id=1, name="a"), Shop(id=2, name="b"))
        async with every_driver.session() as session:
            shop, other = await session.get_one(Shop, 1), await session.get_one(Shop, 2)
            await session.commit()
            await delete(every_driver, Shop, 2)

            @event.listens_for(session.sync_session, "before_flush", once=True)
            def close(sync: Any, *_: Any) -> None:
                sync.delete(other)

            shop.name = "c"
            with pytest.raises(NotFound):
                await session.flush()
            with pytest.raises(TransactionAborted):
                await session.commit()
            await session.rollback()
        assert [row.name for row in await everything(every_driver, Shop)] == ["a", "b"]


class TestEngineThatIsNotOurs:
    async def test_a_restore_that_meets_a_live_row(self, every_driver: Database) -> None:
        """On an engine without our errors, a restore that fails is a RestoreConflict, too."""
        await add(every_driver, Shop(id=1, name="a"))
        await delete(every_driver, Shop, 1)
        await add(every_driver, Shop(id=2, name="a"))
        engine = create_async_engine(every_driver.url)
        make = async_sessionmaker(engine, sync_session_class=SyncSession, expire_on_commit=False)

        async with make() as session:
            shop = await session.get_one(Shop, 1, execution_options=SHOWN)
            with pytest.raises(RestoreConflict):
                await Repository(session, Shop).restore(shop)
        await engine.dispose()
