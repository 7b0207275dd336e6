"""Tests of sqlkeel.soft_delete._joins: each side of a join keeps what it is to keep, and shows no deleted row."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import ForeignKey, String, and_, func, or_, orm, select
from sqlalchemy.orm import Mapped, aliased, mapped_column, with_polymorphic

import sqlkeel
from sqlkeel.models import children, parent
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin


class Base(sqlkeel.Base):
    pass


pytestmark = pytest.mark.tables(Base.metadata)


class Room(Base):
    """Has no mark."""

    __tablename__ = "room"
    id: Mapped[int] = mapped_column(primary_key=True)


class Desk(SoftDeleteMixin, Base):
    __tablename__ = "desk"
    id: Mapped[int] = mapped_column(primary_key=True)
    room_id: Mapped[int] = mapped_column(ForeignKey("room.id", ondelete="CASCADE"))
    lamps: Mapped[list[Lamp]] = children(back_populates="desk")


class Lamp(SoftDeleteMixin, Base):
    __tablename__ = "lamp"
    id: Mapped[int] = mapped_column(primary_key=True)
    desk_id: Mapped[int] = mapped_column(ForeignKey("desk.id", ondelete="CASCADE"))
    desk: Mapped[Desk] = parent(back_populates="lamps")


class Asset(Base):
    """Only some of its rows have a mark."""

    __tablename__ = "asset"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), default="asset")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "asset"}


class Printer(SoftDeleteMixin, Asset):
    __tablename__ = "printer"
    id: Mapped[int] = mapped_column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "printer"}


async def fill(db: Database) -> None:
    """Make four rooms with a desk and a lamp each: desks 1 and 2 are deleted, and lamps 1 and 3, and printer 1."""
    async with db.transaction() as session:
        session.add_all([Room(id=key) for key in (1, 2, 3, 4)])
        await session.flush()
        session.add_all([Desk(id=key, room_id=key, lamps=[Lamp(id=key)]) for key in (1, 2, 3, 4)])
        session.add_all([Printer(id=1), Printer(id=2), Asset(id=3)])
        await session.flush()
        for table, keys in ((Desk.__table__, (1, 2)), (Lamp.__table__, (1, 3)), (Printer.__table__, (1,))):
            dead = sa.update(table).where(table.c.id.in_(keys))  # type: ignore[arg-type]  # a Table
            await session.execute(dead.values(deleted_at=datetime(2020, 1, 1, tzinfo=UTC)))


@pytest.fixture
async def rooms(db: Database) -> Database:
    await fill(db)
    return db


def outer(left: Any, right: Any, on: Any = None) -> Any:
    return sa.outerjoin(left, right, on)


NESTED: dict[str, Callable[[], Any]] = {
    "by a function": lambda: select(Room.id, Desk.id, Lamp.id).select_from(outer(Room, outer(Desk, Lamp))),
    "by one of the orm": lambda: select(Room.id, Desk.id, Lamp.id).select_from(
        orm.outerjoin(Room, orm.outerjoin(Desk, Lamp, Desk.lamps), Desk.room_id == Room.id)
    ),
    "as a step": lambda: (
        select(Room.id, Desk.id, Lamp.id).select_from(Room).outerjoin(outer(Desk, Lamp), Desk.room_id == Room.id)
    ),
    "as a step without a condition": lambda: (
        select(Room.id, Desk.id, Lamp.id).select_from(Room).outerjoin(outer(Desk, Lamp))
    ),
    "as a step of the orm": lambda: (
        select(Room.id, Desk.id, Lamp.id)
        .select_from(Room)
        .outerjoin(orm.outerjoin(Desk, Lamp, Desk.lamps), Desk.room_id == Room.id)
    ),
    "then a step": lambda: select(Room.id, Desk.id, Lamp.id).select_from(outer(Room, Desk)).outerjoin(Desk.lamps),
}

FULL: dict[str, Callable[[], Any]] = {
    "by a function": lambda: select(Desk.id, Lamp.id).select_from(sa.join(Desk, Lamp, full=True)),
    "as a step": lambda: select(Desk.id, Lamp.id).join(Lamp, Lamp.desk_id == Desk.id, full=True),
    "without a condition": lambda: select(Desk.id, Lamp.id).select_from(Desk).join(Lamp, full=True),
    "from one to the other": lambda: select(Desk.id, Lamp.id).join_from(Desk, Lamp, full=True),
    "of two columns": lambda: select(Desk.id, Lamp.id).join(Lamp, full=True),
    "over a relation": lambda: select(Desk.id, Lamp.id).join(Desk.lamps, full=True),
    "over a relation, to a class": lambda: select(Desk.id, Lamp.id).join(Lamp, Desk.lamps, full=True),
}


def by_key(rows: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(row) for row in rows), key=lambda row: [(value is None, value) for value in row])


class TestNestedJoins:
    @pytest.mark.parametrize("name", NESTED)
    async def test_each_outer_join_keeps_its_rows(self, rooms: Database, name: str) -> None:
        """The room of a deleted desk, and the desk of a deleted lamp."""
        async with rooms.read() as session:
            found = await session.execute(NESTED[name]())

        assert by_key(found) == [(1, None, None), (2, None, None), (3, 3, None), (4, 4, 4)]

    @pytest.mark.parametrize("name", NESTED)
    async def test_all_are_shown_when_asked(self, rooms: Database, name: str) -> None:
        """By the same statement, after it has hidden them."""
        statement = NESTED[name]()
        async with rooms.read() as session:
            await session.execute(statement)
            found = await session.execute(select(func.count()).select_from(statement.subquery()))
            assert found.scalar() == 4
            shown = await session.execute(statement, execution_options={"include_deleted": True})

        assert (1, 1) in {tuple(row)[:2] for row in shown}

    async def test_beside_another_table(self, rooms: Database) -> None:
        """A join that is one of two FROMs."""
        statement = select(func.count()).select_from(outer(Room, Desk), Lamp).where(Lamp.id == Desk.id)
        async with rooms.read() as session:
            assert await session.scalar(statement) == 1

    async def test_two_aliases_have_each_its_condition(self, rooms: Database) -> None:
        """They compare as the same to SQLAlchemy."""
        one, two = aliased(Desk), aliased(Desk)
        joined = outer(outer(Room, one, one.room_id == Room.id), two, two.id == one.id - 1)
        async with rooms.read() as session:
            found = await session.execute(select(Room.id, one.id, two.id).select_from(joined))

        assert by_key(found) == [(1, None, None), (2, None, None), (3, 3, None), (4, 4, 3)]

    async def test_of_the_tables_of_an_inherited_class(self, rooms: Database) -> None:
        """On the right side, where only the count tells."""
        printers = outer(Room, Printer, and_(Printer.id == Room.id, or_(Room.id > 0, Printer.id > 9)))
        every = with_polymorphic(Asset, "*", flat=True)
        async with rooms.read() as session:
            assert by_key(await session.execute(select(Room.id, Printer.id).select_from(printers))) == [
                (1, None),
                (2, 2),
                (3, None),
                (4, None),
            ]
            assert (
                await session.scalar(select(func.count()).select_from(sa.join(Room, every, every.id == Room.id))) == 2
            )

    async def test_its_condition_is_no_hint_of_what_is_joined(self, rooms: Database) -> None:
        """SQLAlchemy looks at the columns of an ON to find the left side among several."""
        asset = aliased(Asset)
        statement = (
            select(func.count())
            .select_from(Lamp, Room)
            .join(outer(asset, Desk, Desk.id == asset.id), asset.id == Room.id)
        )
        async with rooms.read() as session:
            assert await session.scalar(statement.where(Lamp.id == Room.id)) == 1

    async def test_only_the_columns_change(self, rooms: Database) -> None:
        """What with_only_columns() keeps is the table, without its class."""
        statement = select(func.max(Desk.id)).with_only_columns(func.count(), maintain_column_froms=True)
        async with rooms.read() as session:
            assert await session.scalar(statement) == 2


async def found(db: Database, name: str) -> list[tuple[Any, ...]]:
    async with db.read() as session:
        return by_key(await session.execute(FULL[name]()))


@pytest.mark.parametrize("name", FULL)
class TestFullJoins:
    """MariaDB has none."""

    async def test_a_dead_row_of_either_side_is_no_row(self, postgres: Database, name: str) -> None:
        """And what it was joined with stands alone."""
        await fill(postgres)

        assert await found(postgres, name) == [(3, None), (4, 4), (None, 2)]

    async def test_on_sqlite(self, sqlite: Database, name: str) -> None:
        """The same."""
        await fill(sqlite)

        assert await found(sqlite, name) == [(3, None), (4, 4), (None, 2)]
