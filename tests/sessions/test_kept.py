"""Tests of sessions._kept: a statement that reads a row over its object leaves loaded what it does not bring."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, deferred, mapped_column, selectinload, undefer

import sqlkeel
from sqlkeel import IntKeyMixin, children, parent
from sqlkeel.bulk import upsert
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session


class Base(sqlkeel.Base):
    pass


class House(IntKeyMixin, Base):
    __tablename__ = "kept_house"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    rooms: Mapped[list[Room]] = children(back_populates="house")


class Room(IntKeyMixin, Base):
    __tablename__ = "kept_room"

    name: Mapped[str] = mapped_column(String(20), unique=True)
    size: Mapped[int] = mapped_column(default=1)
    note: Mapped[str | None] = deferred(mapped_column(String(20)))
    house_id: Mapped[int] = mapped_column(ForeignKey("kept_house.id", ondelete="CASCADE"))
    house: Mapped[House] = parent(back_populates="rooms")


pytestmark = pytest.mark.tables(Base.metadata)
Again = Callable[[Session, type[Any], Any], Awaitable[Any]]
AGAIN: dict[str, Again] = {
    "upsert": lambda session, model, obj: upsert(
        session, model, {"name": obj.name, **({"house_id": obj.house_id} if model is Room else {})}, on=[model.name]
    ),
    "lock_rows": lambda session, model, obj: session.lock_rows(model, [obj.id]),
}


async def room_of(session: Session) -> Room:
    """Return a room with all that it can have loaded."""
    house = await Repository(session, House).create(name="h")
    await Repository(session, Room).create(name="r", note="dark", house_id=house.id)
    session.expunge_all()
    options = [undefer(Room.note), selectinload(Room.house).selectinload(House.rooms)]
    return (await session.scalars(select(Room).options(*options))).one()


class TestWhatWasLoaded:
    @pytest.mark.parametrize("again", AGAIN.values(), ids=AGAIN)
    async def test_a_deferred_column(self, every_driver: Database, again: Again) -> None:
        """A deferred column that was loaded is there afterwards."""
        async with every_driver.transaction() as session:
            room = await room_of(session)

            await again(session, Room, room)

            assert room.note == "dark"

    async def test_a_parent(self, every_driver: Database) -> None:
        """The loaded row above is there after an upsert."""
        async with every_driver.transaction() as session:
            room = await room_of(session)

            await AGAIN["upsert"](session, Room, room)

            assert room.house.name == "h"

    async def test_a_collection(self, every_driver: Database) -> None:
        """A loaded collection is there after an upsert."""
        async with every_driver.transaction() as session:
            room = await room_of(session)

            await AGAIN["upsert"](session, House, room.house)

            assert room.house.rooms == [room]


class TestWhatHasChanged:
    async def test_a_deferred_column_is_fresh(self, every_driver: Database) -> None:
        """A deferred column that an upsert writes shows what was written."""
        async with every_driver.transaction() as session:
            room = await room_of(session)
            values = {"name": "r", "note": "bright", "house_id": room.house_id}

            await upsert(session, Room, values, on=[Room.name])

            assert room.note == "bright"

    async def test_another_parent(self, every_driver: Database) -> None:
        """A row that an upsert moves does not keep the parent that it had."""
        async with every_driver.transaction() as session:
            room = await room_of(session)
            other = await Repository(session, House).create(name="other")

            await upsert(session, Room, {"name": "r", "house_id": other.id}, on=[Room.name])

            assert (room.house_id, room.house) == (other.id, other)
