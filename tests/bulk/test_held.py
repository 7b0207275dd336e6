"""Tests of sqlkeel.bulk._held: what a session holds of the written rows is as a new session would read it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import JSON, Computed, ForeignKey, String, event, select, text, update
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.orm import (
    Mapped,
    column_property,
    composite,
    deferred,
    mapped_column,
    query_expression,
    with_expression,
)

import sqlkeel
from sqlkeel import IntKeyMixin, parent
from sqlkeel.bulk import insert_many, insert_many_returning, update_many, upsert, upsert_many
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session


class Base(sqlkeel.Base):
    pass


class Shelf(IntKeyMixin, Base):
    __tablename__ = "held_shelf"

    name: Mapped[str] = mapped_column(String(20), unique=True)


@dataclass
class Size:
    width: int
    height: int


class Line(IntKeyMixin, Base):
    """Everything that follows from a column that is written."""

    __tablename__ = "held_line"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "line"}

    kind: Mapped[str] = mapped_column(String(20))
    code: Mapped[str] = mapped_column(String(20), unique=True)
    price: Mapped[int] = mapped_column(default=1)
    quantity: Mapped[int] = mapped_column(default=1)
    total: Mapped[int] = mapped_column(Computed("price * quantity", persisted=True))
    double: Mapped[int] = column_property(price * 2)
    width: Mapped[int] = mapped_column(default=1)
    height: Mapped[int] = mapped_column(default=1)
    size: Mapped[Size] = composite("width", "height")
    data: Mapped[dict[str, Any]] = mapped_column(MutableDict.as_mutable(JSON()), default=dict)
    tags: Mapped[list[Any]] = mapped_column(MutableList.as_mutable(JSON()), default=list)
    note: Mapped[str | None] = deferred(mapped_column(String(20)))
    rank: Mapped[int | None] = query_expression()
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("held_shelf.id", ondelete="RESTRICT"))
    shelf: Mapped[Shelf | None] = parent(on_delete="restrict")


class LongLine(Line):
    """A subclass in the same table, with a column of its own."""

    __mapper_args__ = {"polymorphic_identity": "long"}

    length: Mapped[int | None]


Write = Callable[[Session, Line, dict[str, Any]], Awaitable[Any]]


async def _update(session: Session, line: Line, values: dict[str, Any]) -> None:
    await update_many(session, Line, [{"id": line.id, **values}])


async def _upsert_one(session: Session, line: Line, values: dict[str, Any]) -> None:
    await upsert(session, Line, {"code": line.code, **values}, on=[Line.code])


async def _upsert(session: Session, line: Line, values: dict[str, Any]) -> None:
    await upsert_many(session, Line, [{"code": line.code, **values}], on=[Line.code])


class Parcel(Base):
    """An attribute that is computed from a column when it is read."""

    __tablename__ = "held_parcel"

    code: Mapped[str] = mapped_column(String(20), primary_key=True)
    weight: Mapped[int] = mapped_column()
    place: Mapped[str] = mapped_column(String(20), default="door")
    label: Mapped[str] = column_property(code + "!")
    double: Mapped[int] = column_property(weight * 2)
    triple: Mapped[int] = column_property(weight * 3, deferred=True)


WRITES: dict[str, Write] = {"update_many": _update, "upsert_many": _upsert, "upsert": _upsert_one}
pytestmark = [pytest.mark.tables(Base.metadata)]
each_write = pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)


@each_write
class TestFreshness:
    async def test_generated_columns(self, every_driver: Database, write: Write) -> None:
        """A generated column and a column_property follow the column they are computed from."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="a", price=2, quantity=3)

            await write(session, line, {"price": 10})

            assert (line.price, line.total, line.double) == (10, line.quantity * 10, 20)

    async def test_composites(self, every_driver: Database, write: Write) -> None:
        """A composite that was read before has the new values."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="a", width=1, height=2)
            before = line.size

            await write(session, line, {"width": 5, "height": 6})

            assert (before, line.size) == (Size(1, 2), Size(5, 6))

    async def test_a_change_in_place_is_written(self, every_driver: Database, write: Write) -> None:
        """A dict and a list that a verb replaced are tracked as those before."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="a", data={"n": 1}, tags=["x"])

            await write(session, line, {"data": {"n": 2}, "tags": ["y"]})
            line.data["done"] = True
            line.tags.append("z")
            await session.flush()

            stored = (await session.execute(select(Line.data, Line.tags))).one()
            assert tuple(stored) == ({"n": 2, "done": True}, ["y", "z"])

    async def test_a_relation_whose_key_changed(self, every_driver: Database, write: Write) -> None:
        """A loaded many-to-one leads to the new row, also to none."""
        async with every_driver.transaction() as session:
            old, new = await insert_many_returning(session, Shelf, [{"name": "old"}, {"name": "new"}])
            line = await Repository(session, Line).create(code="a", shelf_id=old.id)
            await session.refresh(line, ["shelf"])

            await write(session, line, {"shelf_id": new.id})
            moved = line.shelf
            await write(session, line, {"shelf_id": None})

            assert (moved, line.shelf) == (new, None)

    async def test_a_relation_whose_key_stays(self, every_driver: Database, write: Write) -> None:
        """What hangs on another column stays loaded."""
        async with every_driver.transaction() as session:
            (shelf,) = await insert_many_returning(session, Shelf, [{"name": "old"}])
            line = await Repository(session, Line).create(code="a", shelf_id=shelf.id)
            await session.refresh(line, ["shelf"])

            await write(session, line, {"price": 2})

            assert line.shelf is shelf

    async def test_a_deferred_column(self, every_driver: Database, write: Write) -> None:
        """A deferred column that was loaded is read again."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="a", note="old")
            await session.refresh(line, ["note"])

            await write(session, line, {"note": "new"})

            assert line.note == "new"

    async def test_an_object_of_a_subclass(self, every_driver: Database, write: Write) -> None:
        """It keeps the columns of its own class, and stays of that class."""
        async with every_driver.transaction() as session:
            line = await Repository(session, LongLine).create(code="a", price=1, length=9)

            await write(session, line, {"price": 2, "kind": "long"})

            assert (line.price, line.length, line.total) == (2, 9, 2)

    async def test_what_is_not_flushed_stays(self, every_driver: Database, write: Write) -> None:
        """A change of another attribute that was not flushed is not lost, and is written later."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="a", price=1, quantity=1)
            with session.no_autoflush:
                line.height = 7
                await write(session, line, {"price": 2})
            await session.flush()

            assert (await session.execute(select(Line.price, Line.height))).one() == (2, 7)

    async def test_what_a_listener_made_stays(self, every_driver: Database, write: Write) -> None:
        """The ORM's own event tells listeners that the object was read again."""
        seen: list[set[str]] = []
        listener = lambda obj, context, names: seen.append(set(names or ()))  # noqa: E731
        event.listen(Line, "refresh", listener)
        try:
            async with every_driver.transaction() as session:
                line = await Repository(session, Line).create(code="a", price=1)
                seen.clear()
                await write(session, line, {"price": 2})
        finally:
            event.remove(Line, "refresh", listener)

        assert any("price" in names for names in seen)


@pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg", "mariadb"], indirect=True)
class TestSinceTheSnapshot:
    """A row that another transaction has made what it was to be: MariaDB writes nothing, and its snapshot is older."""

    @each_write
    async def test_the_row_is_shown_as_it_is(self, every_driver: Database, write: Write) -> None:
        """The object has the values that were given, and what else has changed of its row."""
        async with every_driver.session() as session, every_driver.session() as other:
            shelf = Shelf(name="s")
            other.add_all([shelf, Line(code="a")])
            await other.commit()
            line = (await session.scalars(select(Line))).one()
            await other.execute(update(Line).values(price=5, quantity=7, shelf_id=shelf.id))
            await other.commit()

            await write(session, line, {"price": 5, "shelf_id": shelf.id})

            assert (line.price, line.quantity, line.total, line.shelf_id) == (5, 7, 35, shelf.id)

    async def test_one_that_is_left_as_it_is(self, every_driver: Database) -> None:
        """Upserts that update nothing lock the row all the same, and show it."""
        async with every_driver.session() as session, every_driver.session() as other:
            other.add_all([Line(code="a"), Line(code="b")])
            await other.commit()
            first, second = await session.scalars(select(Line).order_by(Line.code))
            await other.execute(update(Line).values(price=5))
            await other.commit()

            await upsert(session, Line, {"code": "a"}, on=[Line.code], update=[])
            await upsert_many(session, Line, [{"code": "b"}], on=[Line.code], update=[])

            assert (first.price, second.price) == (5, 5)

    async def test_a_row_that_was_locked_before_stays_as_it_is(self, every_driver: Database) -> None:
        """What a locking read has brought is not taken back to the snapshot by an upsert of other rows."""
        async with every_driver.session() as session, every_driver.session() as other:
            other.add_all([Line(code="a"), Line(code="b"), Line(code="c")])
            await other.commit()
            first, second, _ = await session.scalars(select(Line).order_by(Line.code))
            await other.execute(update(Line).values(price=5))
            await other.commit()

            await session.lock_rows(Line, [first.id])
            await session.refresh(second, with_for_update=True)
            await upsert_many(session, Line, [{"code": "c", "price": 6}], on=[Line.code])

            assert (first.price, second.price) == (5, 5)

    async def test_rows_that_were_not_given_are_not_locked(self, every_driver: Database) -> None:
        """Another object of the session, whose row somebody else is writing, makes nobody wait."""
        async with every_driver.session() as session, every_driver.session() as other:
            other.add_all([Line(code="a"), Line(code="b")])
            await other.commit()
            await session.scalars(select(Line))
            await other.execute(update(Line).where(Line.code == "b").values(price=5))

            assert await upsert_many(session, Line, [{"code": "a", "price": 2}], on=[Line.code]) == (0, 1, 0, 0)


class TestNewRows:
    @pytest.mark.parametrize("verb", ["insert_many", "insert_many_returning", "upsert_many"])
    async def test_under_the_key_of_an_object(self, every_driver: Database, verb: str) -> None:
        """An object whose row is gone shows the new row that has its key."""
        async with every_driver.transaction() as session:
            line = await Repository(session, Line).create(code="old", data={"n": 1})
            await session.execute(text("DELETE FROM held_line"))
            rows = [{"id": line.id, "code": "new", "price": 5}]
            calls: dict[str, Callable[[], Awaitable[Any]]] = {
                "insert_many": lambda: insert_many(session, Line, rows),
                "insert_many_returning": lambda: insert_many_returning(session, Line, rows),
                "upsert_many": lambda: upsert_many(session, Line, rows, on=[Line.code]),
            }

            await calls[verb]()

            assert (line.code, line.price, line.total, line.data) == ("new", 5, 5, {})

    @pytest.mark.parametrize("verb", ["insert_many", "insert_many_returning"])
    async def test_what_is_loaded_stays_loaded(self, every_driver: Database, verb: str) -> None:
        """A relation and a deferred column of such an object are those of the new row."""
        calls = {"insert_many": insert_many, "insert_many_returning": insert_many_returning}
        async with every_driver.transaction() as session:
            old, new = await insert_many_returning(session, Shelf, [{"name": "old"}, {"name": "new"}])
            line = await Repository(session, Line).create(code="old", note="old", shelf_id=old.id)
            await session.refresh(line, ["shelf", "note"])
            await session.execute(text("DELETE FROM held_line"))

            await calls[verb](session, Line, [{"id": line.id, "code": "new", "note": "new", "shelf_id": new.id}])

            assert (line.note, line.shelf) == ("new", new)

    async def test_a_query_expression_stays(self, every_driver: Database) -> None:
        """What only the query that loaded an object knows is not taken from it."""
        async with every_driver.transaction() as session:
            await insert_many(session, Line, [{"code": "a", "price": 1}])
            line = (await session.scalars(select(Line).options(with_expression(Line.rank, Line.price + 5)))).one()

            await update_many(session, Line, [{"id": line.id, "price": 2}])

            assert (line.price, line.rank) == (2, 6)


class TestKeysOfOtherTypes:
    async def test_a_number_given_as_text(self, sqlite: Database) -> None:
        """The database finds the row by a key that Python calls another one: its object is fresh all the same."""
        async with sqlite.transaction() as session:
            line = await Repository(session, Line).create(code="a", price=1)

            await update_many(session, Line, [{"id": str(line.id), "price": 2}])

            assert (line.price, line.total) == (2, 2)


class Vehicle(IntKeyMixin, Base):
    __tablename__ = "held_vehicle"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle"}

    kind: Mapped[str] = mapped_column(String(20))
    plate: Mapped[str] = mapped_column(String(20), unique=True)
    wheels: Mapped[int]


class Truck(Vehicle):
    """A subclass with a table of its own."""

    __tablename__ = "held_truck"
    __mapper_args__ = {"polymorphic_identity": "truck"}

    id: Mapped[int] = mapped_column(ForeignKey("held_vehicle.id", ondelete="CASCADE"), primary_key=True)
    load: Mapped[int]


class TestUpsertOfASubclass:
    async def test_its_own_columns_stay_loaded(self, every_driver: Database) -> None:
        """A row found by its base class is an object of its own class, with all that this one has."""
        async with every_driver.transaction() as session:
            truck = await Repository(session, Truck).create(plate="a", wheels=4, load=7)

            found, created = await upsert(session, Vehicle, {"plate": "a", "wheels": 6}, on=[Vehicle.plate])

            assert (found is truck, created, truck.wheels, truck.load) == (True, False, 6, 7)

    async def test_a_row_that_was_not_held(self, every_driver: Database) -> None:
        """A row found by its base class is an object of its own class, with all that this one has."""
        async with every_driver.transaction() as session:
            await Repository(session, Truck).create(plate="a", wheels=4, load=7)
        async with every_driver.transaction() as session:
            found, _ = await upsert(session, Vehicle, {"plate": "a", "wheels": 6}, on=[Vehicle.plate])

            assert isinstance(found, Truck)
            assert (found.wheels, found.load) == (6, 7)


class TestExpressions:
    """The value of a column_property() is there at once: nobody can wait for it when it is read."""

    async def test_of_a_row_that_is_inserted(self, every_driver: Database) -> None:
        """upsert() and get_or_create() read it for a new row."""
        async with every_driver.transaction() as session:
            one, _ = await upsert(session, Parcel, {"code": "a", "weight": 4}, on=[Parcel.code])
            other, _ = await Repository(session, Parcel).get_or_create({"code": "b"}, {"weight": 5})

            assert (one.double, one.label) == (8, "a!")
            assert (other.double, other.label) == (10, "b!")

    async def test_of_a_row_that_is_updated(self, every_driver: Database) -> None:
        """upsert() reads it for a row that it updates, or leaves as it is, and that the session did not hold."""
        async with every_driver.transaction() as session:
            await insert_many(session, Parcel, [{"code": "a", "weight": 4}, {"code": "b", "weight": 5}])

            one, _ = await upsert(session, Parcel, {"code": "a", "weight": 7}, on=[Parcel.code])
            other, _ = await upsert(session, Parcel, {"code": "b", "weight": 9}, on=[Parcel.code], update=[])

            assert (one.double, one.label) == (14, "a!")
            assert (other.double, other.label) == (10, "b!")

    async def test_of_many_rows(self, every_driver: Database) -> None:
        """insert_many_returning() reads it for every row, and leaves a deferred one alone."""
        async with every_driver.transaction() as session:
            rows = [{"code": f"p{number}", "weight": number} for number in range(501)]

            made = await insert_many_returning(session, Parcel, rows)

            assert [parcel.double for parcel in made] == [number * 2 for number in range(501)]
            assert "triple" not in vars(made[0])
