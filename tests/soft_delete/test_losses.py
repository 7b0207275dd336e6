"""Tests of sqlkeel.soft_delete._losses: no relation of plain SQLAlchemy removes rows for good that are to be marked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import ForeignKey, select
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

import sqlkeel
from sqlkeel.errors import CascadeMismatch
from sqlkeel.models import IntKeyMixin, children
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin


class Base(sqlkeel.Base):
    pass


class Firm(IntKeyMixin, Base):
    """A row that is really deleted, above others like it."""

    __tablename__ = "loss_firm"
    shops: Mapped[list[Shop]] = children()


class Shop(IntKeyMixin, Base):
    __tablename__ = "loss_shop"
    firm_id: Mapped[int | None] = mapped_column(ForeignKey("loss_firm.id"), index=True)
    plain: Mapped[list[Plain]] = relationship(cascade="all")
    passive: Mapped[list[Passive]] = relationship(cascade="all", passive_deletes=True)
    nulled: Mapped[list[Nulled]] = relationship()
    orphaned: Mapped[list[Orphaned]] = relationship(cascade="all, delete-orphan")


class Plain(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loss_plain"
    shop_id: Mapped[int | None] = mapped_column(ForeignKey("loss_shop.id"), index=True)


class Passive(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loss_passive"
    shop_id: Mapped[int | None] = mapped_column(ForeignKey("loss_shop.id", ondelete="CASCADE"), index=True)


class Nulled(IntKeyMixin, SoftDeleteMixin, Base):
    """Rows that the ORM would let go and, where they are hidden, the database would remove."""

    __tablename__ = "loss_nulled"
    shop_id: Mapped[int | None] = mapped_column(ForeignKey("loss_shop.id", ondelete="CASCADE"), index=True)


class Orphaned(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loss_orphaned"
    shop_id: Mapped[int | None] = mapped_column(ForeignKey("loss_shop.id"), index=True)


class Told(IntKeyMixin, Base):
    """A row that takes its parts along for good, as is written."""

    __tablename__ = "loss_told"
    parts: Mapped[list[Part]] = children(on_delete="cascade")


class Part(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "loss_part"
    told_id: Mapped[int] = mapped_column(ForeignKey("loss_told.id"), index=True)


def base_of(relation: str) -> tuple[Any, Any]:
    """Return a base's removed class and its soft-deletable one, related by one of the relations above only."""

    class Alone(sqlkeel.Base):
        pass

    class Up(IntKeyMixin, Alone):
        __tablename__ = f"loss_up_{relation}"
        down = _RELATIONS[relation]()

    class Down(IntKeyMixin, SoftDeleteMixin, Alone):
        __tablename__ = f"loss_down_{relation}"
        up_id: Mapped[int | None] = mapped_column(
            ForeignKey(f"{Up.__tablename__}.id", ondelete=_KEYS.get(relation)), index=True
        )

    return Up, Down


_KEYS = {"passive": "CASCADE", "unloaded": "CASCADE", "nulled": "CASCADE"}
_RELATIONS: dict[str, Any] = {
    "loading": lambda: relationship("Down", cascade="all"),
    "passive": lambda: relationship("Down", cascade="all", passive_deletes=True),
    "unloaded": lambda: relationship("Down", passive_deletes="all"),
    "nulled": lambda: relationship("Down"),
    "single": lambda: relationship("Down", cascade="all", uselist=False),
}


async def stored(db: Database, model: Any) -> Sequence[int]:
    """Return the keys of all rows, deleted ones, too."""
    async with db.session() as session:
        found = await session.scalars(select(model.id).order_by(model.id), execution_options={"include_deleted": True})
        return found.all()


async def fill(db: Database, model: Any, below: Any, column: str) -> None:
    """Save a row with one below it."""
    async with db.engine.begin() as connection:
        await connection.run_sync(model.metadata.create_all)
    async with db.transaction() as session:
        session.add(model(id=1))
        await session.flush()
        session.add(below(id=1, **{column: 1}))


@pytest.mark.tables(Base.metadata)
class TestRemovedAbove:
    @pytest.mark.parametrize("relation", sorted(_RELATIONS))
    async def test_a_plain_relationship_is_refused(self, every_driver: Database, relation: str) -> None:
        """Whether the ORM or the database would remove the rows, deleting the one above them is refused."""
        up, down = base_of(relation)
        await fill(every_driver, up, down, "up_id")

        with pytest.raises(CascadeMismatch, match="permanently remove the rows of Down") as caught:
            async with every_driver.transaction() as session:
                await session.delete(await session.get_one(up, 1))
        kept = await stored(every_driver, down), await stored(every_driver, up)
        async with every_driver.engine.begin() as connection:
            await connection.run_sync(up.metadata.drop_all)

        assert kept == ([1], [1])
        assert "children()" in caught.value.hint

    async def test_two_levels_above(self, db: Database) -> None:
        """A row whose children have such a relation is refused as well."""
        async with db.transaction() as session:
            session.add(Firm(id=1, shops=[Shop(id=1, passive=[Passive(id=1)])]))

        with pytest.raises(CascadeMismatch, match=r"Shop\.\w+ would permanently remove"):
            async with db.transaction() as session:
                await session.delete(await session.get_one(Firm, 1))

        assert await stored(db, Passive) == [1]

    @pytest.mark.parametrize("loaded", [False, True])
    async def test_what_is_said_is_done(self, every_driver: Database, loaded: bool) -> None:
        """``children(on_delete="cascade")`` takes the rows along for good, whether they are loaded or not."""
        async with every_driver.transaction() as session:
            session.add(Told(id=1, parts=[Part(id=1), Part(id=2)]))

        async with every_driver.transaction() as session:
            row = await session.get_one(Told, 1, options=[selectinload(Told.parts)] if loaded else [])
            await session.delete(row)

        assert await stored(every_driver, Part) == []


@pytest.mark.tables(Base.metadata)
class TestOrphans:
    async def test_an_orphan_is_refused(self, every_driver: Database) -> None:
        """A row that is taken out of a collection with delete-orphan is not removed for good."""
        async with every_driver.transaction() as session:
            session.add(Shop(id=1, orphaned=[Orphaned(id=1)]))

        with pytest.raises(CascadeMismatch, match=r"Shop\.orphaned would permanently remove a row of Orphaned"):
            async with every_driver.transaction() as session:
                shop = await session.get_one(Shop, 1, options=[selectinload(Shop.orphaned)])
                shop.orphaned.clear()

        assert await stored(every_driver, Orphaned) == [1]

    async def test_the_row_itself_can_be_deleted(self, db: Database) -> None:
        """The same row is marked when it is deleted itself."""
        async with db.transaction() as session:
            session.add(Shop(id=1, orphaned=[Orphaned(id=1)]))

        async with db.transaction() as session:
            await session.delete(await session.get_one(Orphaned, 1))

        assert await stored(db, Orphaned) == [1]

    async def test_a_stock_session_removes_what_it_is_told(self, db: Database) -> None:
        """A session without our listeners deletes really, as SQLAlchemy says."""
        async with db.transaction() as session:
            session.add(Shop(id=1, orphaned=[Orphaned(id=1)]))

        async with async_sessionmaker(db.engine).begin() as session:
            await session.delete(await session.get_one(Orphaned, 1))

        assert await stored(db, Orphaned) == []
