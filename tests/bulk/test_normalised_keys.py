"""Keys that a type stores in another form than it is given: each verb finds their rows, and what a session holds."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import REAL, DateTime, Double, Float, Integer, Numeric, String, func
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, unique_live
from sqlkeel.bulk import delete_many, get_or_create, insert_many_returning, update_many, upsert, upsert_many
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Lowered(TypeDecorator[str]):
    """A text that is stored in small letters."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Return what is stored."""
        return None if value is None else value.lower()


class Sealed(UserDefinedType[str]):
    """Stands for an encrypting type: what is stored, and read, goes through a function of SQL."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Be a text."""
        return "VARCHAR(50)"

    def bind_expression(self, bindvalue: Any) -> Any:
        """Store it in small letters."""
        return func.lower(bindvalue, type_=self)

    def column_expression(self, colexpr: Any) -> Any:
        """Read it in capitals."""
        return func.upper(colexpr, type_=self)


class Person(Base):
    """A key that a decorator folds."""

    __tablename__ = "normalised_person"

    name: Mapped[str] = mapped_column(Lowered, primary_key=True)
    age: Mapped[int]


class Room(Base):
    """A key of two columns, one of which goes through functions of SQL."""

    __tablename__ = "normalised_room"

    house: Mapped[str] = mapped_column(Sealed, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    size: Mapped[int]


class Weight(Base):
    """A number for a key."""

    __tablename__ = "normalised_weight"

    grams: Mapped[Decimal] = mapped_column(Numeric(10, 2), primary_key=True)


class Measured(IntKeyMixin, SoftDeleteMixin, Base):
    """Unique numbers and times, which the database may round."""

    __tablename__ = "normalised_measured"
    __table_args__ = (unique_live("single"), unique_live("amount"), unique_live("at"), unique_live("double"))

    single: Mapped[float | None] = mapped_column(Float().with_variant(REAL(), "postgresql"))
    double: Mapped[float | None] = mapped_column(Double)
    amount: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    at: Mapped[datetime | None] = mapped_column(DateTime().with_variant(TIMESTAMP(precision=0), "postgresql"))
    n: Mapped[int]


pytestmark = pytest.mark.tables(Base.metadata)


async def people(session: Session) -> tuple[Person, Person]:
    """Let the session hold two objects whose rows have their keys in small letters."""
    rows = Repository(session, Person)
    return await rows.create(name="Ann", age=1), await rows.create(name="Bob", age=2)


async def rooms(session: Session) -> tuple[Room, Room]:
    """Let the session hold two objects with keys of two columns."""
    rows = Repository(session, Room)
    return await rows.create(house="A", number=1, size=1), await rows.create(house="B", number=2, size=2)


class TestInsertManyReturning:
    async def test_a_key_that_is_folded(self, every_driver: Database) -> None:
        """The objects come back in the order of the rows, with their keys as they are stored."""
        async with every_driver.transaction() as session:
            given = [{"name": "Cid", "age": 3}, {"name": "Ann", "age": 1}, {"name": "bob", "age": 2}]
            made = await insert_many_returning(session, Person, given)

            assert [(one.name, one.age) for one in made] == [("cid", 3), ("ann", 1), ("bob", 2)]
            assert await values_of(session, Person.name) == [("ann",), ("bob",), ("cid",)]

    async def test_a_later_chunk(self, sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a chunk takes back is not what the chunks before it have written."""
        monkeypatch.setattr("sqlkeel.bulk._rows.chunks.__defaults__", (1,))
        async with sqlite.transaction() as session:
            given = [{"name": "ann", "age": 1}, {"name": "Bob", "age": 2}, {"name": "Cid", "age": 3}]
            made = await insert_many_returning(session, Person, given)

            assert [one.name for one in made] == ["ann", "bob", "cid"]
            assert await values_of(session, Person.name) == [("ann",), ("bob",), ("cid",)]


class TestFinding:
    async def test_many_by_a_key_in_functions(self, every_driver: Database) -> None:
        """Rows are found by a key of two columns, one of which goes through a function of SQL."""
        async with every_driver.transaction() as session:
            await rooms(session)

        async with every_driver.transaction() as session:
            found = await Repository(session, Room).get_many([("B", 2), ("C", 3), ("A", 1)])

            assert [one.size for one in found] == [2, 1]

    @pytest.mark.parametrize("keys", [[1, Decimal("1.5")], [Decimal("1.5"), 1], [1, 1.5], [2, Decimal("1.5"), 1]])
    async def test_many_by_mixed_numbers(self, server: Database, keys: list[Any]) -> None:
        """Whole and other numbers may stand in one list: none is cut to the type of the first."""
        async with server.transaction() as session:
            await insert_many_returning(session, Weight, [{"grams": 1}, {"grams": Decimal("1.5")}, {"grams": 2}])

        async with server.transaction() as session:
            found = await Repository(session, Weight).get_many(keys)
            locked = await session.lock_rows(Weight, keys)

            assert [one.grams for one in found] == keys
            assert {one.grams for one in locked} == set(keys)


ROUNDED: dict[str, Any] = {
    "single": 0.1,
    "double": 0.1,
    "amount": Decimal("0.125"),
    "at": datetime(2026, 1, 2, 3, 4, 5, 250_000),
}


@pytest.mark.parametrize("field", ROUNDED)
class TestRoundedKeys:
    async def test_the_row_is_found(self, every_driver: Database, field: str) -> None:
        """A row is found by a value that its column stores with less precision than it has."""
        key = {field: ROUNDED[field]}
        async with every_driver.transaction() as session:
            made, created = await get_or_create(session, Measured, key, {"n": 1})
            found, created_again = await get_or_create(session, Measured, key, {"n": 2})
            left, _ = await upsert(session, Measured, {**key, "n": 3}, on=[getattr(Measured, field)], update=[])

            assert (found, left) == (made, made)
            assert (created, created_again) == (True, False)

    async def test_a_deleted_row_is_revived(self, every_driver: Database, field: str) -> None:
        """A deleted row is found by such a value, too."""
        key = {field: ROUNDED[field]}
        async with every_driver.transaction() as session:
            made, _ = await get_or_create(session, Measured, key, {"n": 1})
            await Repository(session, Measured).delete(made)
            row, _ = await upsert(session, Measured, {**key, "n": 2}, on=[getattr(Measured, field)], revive=True)

            assert (row.id, row.n, row.deleted_at) == (made.id, 2, None)


class TestHeldObjects:
    async def test_a_folded_key(self, every_driver: Database) -> None:
        """Objects whose rows have another form of their key show what was written, and the others stay loaded."""
        async with every_driver.transaction() as session:
            ann, bob = await people(session)
            await update_many(session, Person, [{"name": "Ann", "age": 11}])

            assert (ann.age, bob.age) == (11, 2)

    async def test_a_folded_key_upserted(self, every_driver: Database) -> None:
        """Objects whose rows have another form of their key show what was written, and the others stay loaded."""
        async with every_driver.transaction() as session:
            ann, bob = await people(session)
            await upsert_many(session, Person, [{"name": "bob", "age": 12}], on=[Person.name])

            assert (ann.age, bob.age) == (1, 12)

    async def test_a_key_in_functions(self, every_driver: Database) -> None:
        """Objects whose key goes through a function of SQL show what was written, and the others stay loaded."""
        async with every_driver.transaction() as session:
            first, second = await rooms(session)
            await upsert_many(session, Room, [{"house": "B", "number": 2, "size": 20}], on=[Room.house, Room.number])

            assert (first.size, second.size) == (1, 20)

    async def test_deleted_rows_alone_are_forgotten(self, every_driver: Database) -> None:
        """The session forgets the objects of deleted rows, and keeps the others, whatever the form of their keys."""
        async with every_driver.transaction() as session:
            ann, bob = await people(session)
            first, second = await rooms(session)
            await delete_many(session, Person, ["ANN"])
            await delete_many(session, Room, [("A", 1)])

            assert [one in session for one in (ann, bob, first, second)] == [False, True, False, True]

    async def test_a_rollback_reads_them_again(self, every_driver: Database) -> None:
        """A savepoint that is rolled back leaves no object unloaded whose key goes through a function of SQL."""
        async with every_driver.transaction() as session:
            first, _ = await rooms(session)
            with pytest.raises(ZeroDivisionError):
                async with session.savepoint():
                    first.size = 1 // 1 + 7
                    await session.flush()
                    raise ZeroDivisionError

            assert first.size == 1
