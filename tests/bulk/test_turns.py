"""Tests of sqlkeel.bulk._turns: many rows of one key, with other fields each, end as one upsert after the other."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Numeric, String, UniqueConstraint
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapped, QueryableAttribute, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, VersionMixin, unique_live
from sqlkeel.bulk import UpsertResult, insert_many, upsert, upsert_many
from sqlkeel.errors import NotSupported
from sqlkeel.sessions import Database, Session
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Part(IntKeyMixin, VersionMixin, Base):
    """A key of one column, and one of two."""

    __tablename__ = "turns_part"
    __table_args__ = (UniqueConstraint("shelf", "place"),)

    sku: Mapped[str | None] = mapped_column(String(20), unique=True)
    shelf: Mapped[str | None] = mapped_column(String(20))
    place: Mapped[int | None]
    a: Mapped[int | None]
    b: Mapped[int | None]
    needed: Mapped[int] = mapped_column(server_default="0")


class Folded(IntKeyMixin, Base):
    """A text of which the database calls "Ann" and "ANN" the same."""

    __tablename__ = "turns_folded"

    name: Mapped[str] = mapped_column(String(20).with_variant(String(20, collation="NOCASE"), "sqlite"), unique=True)
    a: Mapped[int | None]
    b: Mapped[int | None]


class Weight(IntKeyMixin, Base):
    """A number that Python has in several types, and writes in several ways."""

    __tablename__ = "turns_weight"

    grams: Mapped[Decimal] = mapped_column(Numeric(10, 2), unique=True)
    a: Mapped[int | None]
    b: Mapped[int | None]


class Placed(IntKeyMixin, Base):
    """A column of the name that tells the places of rows."""

    __tablename__ = "turns_placed"

    sku: Mapped[str] = mapped_column(String(20), unique=True)
    sqlkeel_place: Mapped[int | None]
    a: Mapped[int | None]


class Seat(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    """A key that deleted rows do not keep."""

    __tablename__ = "turns_seat"
    __table_args__ = (unique_live("code"),)

    code: Mapped[str] = mapped_column(String(20))
    a: Mapped[int | None]
    b: Mapped[int | None]


pytestmark = pytest.mark.tables(Base.metadata)
Rows = list[dict[str, Any]]
SKU = [Part.sku]
THREE: Rows = [{"sku": "x", "a": 1}, {"sku": "x", "a": 2, "b": 1}, {"sku": "x", "a": 3}]


@pytest.fixture(params=["sqlite", "mariadb"])
def folding(request: pytest.FixtureRequest) -> Database:
    """The databases that compare a text without its case, where they are told so or by themselves."""
    found: Database = request.getfixturevalue(request.param)
    return found


async def one_by_one(session: Session, model: type[Any], rows: Rows, on: Sequence[QueryableAttribute[Any]]) -> None:
    for row in rows:
        await upsert(session, model, row, on=on)


async def both_ways(session: Session, model: type[Any], rows: Rows, on: Sequence[QueryableAttribute[Any]]) -> list[Any]:
    """Return the values that are there after one upsert for each row, and after one call for all of them."""
    mapped = [attribute.key for attribute in sa_inspect(model).column_attrs]
    columns = [getattr(model, name) for name in mapped if name not in {"id", "version"}]
    found = []
    for write in (one_by_one, lambda *args: upsert_many(*args[:3], on=args[3])):
        async with session.begin_nested() as savepoint:
            await write(session, model, rows, on)
            session.expunge_all()
            found.append(await values_of(session, *columns))
            await savepoint.rollback()
    return found


def drawn(seed: int, keys: Iterable[Mapping[str, Any]], fields: Iterable[str]) -> Rows:
    """Draw rows of some keys, each with some fields."""
    draw, keys, fields = random.Random(seed), list(keys), list(fields)
    return [{**draw.choice(keys), **{name: number for name in fields if draw.random() < 0.6}} for number in range(30)]


async def in_lists(rows: Rows) -> AsyncIterator[dict[str, Any]]:
    for row in rows:
        yield row


SOURCES: list[Callable[[Rows], Any]] = [list, iter, in_lists]


class TestOneKey:
    @pytest.mark.parametrize("source", SOURCES)
    async def test_the_last_row_counts(self, every_driver: Database, source: Callable[[Rows], Any]) -> None:
        """A field has the value of the last row that gives it, whichever fields stand beside it."""
        async with every_driver.transaction() as session:
            result = await upsert_many(session, Part, source(THREE), on=SKU)

            assert await values_of(session, Part.sku, Part.a, Part.b, Part.version) == [("x", 3, 1, 3)]
            assert result == UpsertResult(inserted=1, updated=2, unchanged=0)

    async def test_a_row_that_is_there(self, every_driver: Database) -> None:
        """It is the same for a row that is there; of rows with the same fields next to each other one is written."""
        async with every_driver.transaction() as session:
            await insert_many(session, Part, [{"sku": "x"}, {"sku": "y", "a": 7}])
            result = await upsert_many(session, Part, [{"sku": "x", "a": 0}, *THREE, {"sku": "y", "a": 7}], on=SKU)

            assert await values_of(session, Part.sku, Part.a, Part.b) == [("x", 3, 1), ("y", 7, None)]
            assert result == UpsertResult(inserted=0, updated=3, unchanged=2)

    async def test_the_first_row_makes_it(self, every_driver: Database) -> None:
        """A new row gets what only the first of its rows has, though a later one replaces that."""
        rows = [{"sku": "x", "needed": 1}, {"sku": "x", "a": 2}, {"sku": "x", "needed": 3}]
        async with every_driver.transaction() as session:
            await upsert_many(session, Part, rows, on=SKU)

            assert await values_of(session, Part.a, Part.needed) == [(2, 3)]

    async def test_only_some_columns_are_updated(self, every_driver: Database) -> None:
        """The first row makes it, and of the later ones only the named fields count."""
        rows = [{"sku": "x", "a": 1}, {"sku": "x", "a": 2, "b": 1}, {"sku": "x", "a": 3}]
        async with every_driver.transaction() as session:
            result = await upsert_many(session, Part, rows, on=SKU, update=[])

            assert await values_of(session, Part.a, Part.b) == [(1, None)]
            assert result == UpsertResult(inserted=1, updated=0, unchanged=2)

    async def test_other_fields_far_behind(self, every_driver: Database) -> None:
        """Rows with other fields may come when many have been read, and the first fields once more after them."""
        many = [{"sku": f"{number}", "a": 1} for number in range(700)]
        rows = [*many, {"sku": "3", "a": 2}, {"sku": "3", "a": 3, "b": 3}, {"sku": "4", "b": 4}, {"sku": "3", "a": 4}]
        async with every_driver.transaction() as session:
            result = await upsert_many(session, Part, rows, on=SKU)
            found = await values_of(session, Part.sku, Part.a, Part.b)

        assert [row for row in found if row[0] in {"3", "4", "5"}] == [("3", 4, 3), ("4", 1, 4), ("5", 1, None)]
        assert result == UpsertResult(inserted=700, updated=3, unchanged=1)

    async def test_nothing_is_left_behind(self, every_driver: Database) -> None:
        """A call like it finds no table of the first in its way."""
        async with every_driver.transaction() as session:
            await upsert_many(session, Part, THREE, on=SKU)
            result = await upsert_many(session, Part, THREE, on=SKU)

            assert result == UpsertResult(inserted=0, updated=3, unchanged=0)


@pytest.mark.parametrize("seed", range(6))
class TestSameEnd:
    async def test_one_column(self, every_driver: Database, seed: int) -> None:
        """Rows of a few keys, each with some of the fields."""
        rows = drawn(seed, [{"sku": name} for name in "xyz"], ["a", "b", "needed"])
        async with every_driver.transaction() as session:
            single, many = await both_ways(session, Part, rows, SKU)

        assert many == single

    async def test_two_columns(self, every_driver: Database, seed: int) -> None:
        """A key of two columns, in which one value is that of several keys."""
        keys = [{"shelf": name, "place": number} for name in "xy" for number in (1, 2)]
        rows = drawn(seed, keys, ["a", "b", "needed"])
        async with every_driver.transaction() as session:
            single, many = await both_ways(session, Part, rows, [Part.place, Part.shelf])

        assert many == single

    async def test_texts_of_another_case(self, folding: Database, seed: int) -> None:
        """Keys that only the database calls the same."""
        rows = drawn(seed, [{"name": name} for name in ("Ann", "ann", "ANN", "Bob", "bob")], ["a", "b"])
        async with folding.transaction() as session:
            single, many = await both_ways(session, Folded, rows, [Folded.name])

        assert [row[1:] for row in many] == [row[1:] for row in single]

    async def test_texts_with_a_space(self, mariadb: Database, seed: int) -> None:
        """A space at the end, which MariaDB does not look at."""
        rows = drawn(seed, [{"name": name} for name in ("ann", "ann ", "bob ", "bob")], ["a", "b"])
        async with mariadb.transaction() as session:
            single, many = await both_ways(session, Folded, rows, [Folded.name])

        assert [row[1:] for row in many] == [row[1:] for row in single]

    async def test_numbers(self, every_driver: Database, seed: int) -> None:
        """One number in several types and with more zeros."""
        keys: list[Any] = [1, Decimal("1.0"), Decimal("1.00"), Decimal("2.5"), Decimal("2.50")]
        rows = drawn(seed, [{"grams": key} for key in keys], ["a", "b"])
        async with every_driver.transaction() as session:
            single, many = await both_ways(session, Weight, rows, [Weight.grams])

        assert many == single


class TestDeletedRows:
    async def test_a_row_comes_back_once(self, every_driver: Database) -> None:
        """The first row of the key brings it back, the others update it."""
        rows = [{"code": "x", "a": 1}, {"code": "x", "a": 2, "b": 1}, {"code": "x", "a": 3}]
        async with every_driver.transaction() as session:
            seat, _ = await upsert(session, Seat, {"code": "x"}, on=[Seat.code])
            await session.delete(seat)
            await session.flush()
            result = await upsert_many(session, Seat, rows, on=[Seat.code], revive=True)

            assert await values_of(session, Seat.code, Seat.a, Seat.b) == [("x", 3, 1)]
            assert result == UpsertResult(inserted=0, updated=2, unchanged=0, revived=1)

    async def test_a_deleted_row_stays(self, every_driver: Database) -> None:
        """Without it, a new one is made, and a held object of the deleted one is left as it is."""
        rows = [{"code": "x", "a": 1}, {"code": "x", "a": 2, "b": 1}, {"code": "x", "a": 3}]
        async with every_driver.transaction() as session:
            seat, _ = await upsert(session, Seat, {"code": "x"}, on=[Seat.code])
            await session.delete(seat)
            await session.flush()
            result = await upsert_many(session, Seat, rows, on=[Seat.code])

            assert await values_of(session, Seat.code, Seat.a, Seat.b) == [("x", 3, 1)]
            assert result == UpsertResult(inserted=1, updated=2, unchanged=0)


class TestHeldObjects:
    async def test_they_are_fresh(self, every_driver: Database) -> None:
        """An object of the session shows what the last turn has written."""
        async with every_driver.transaction() as session:
            part, _ = await upsert(session, Part, {"sku": "x"}, on=SKU)
            await upsert_many(session, Part, THREE, on=SKU)

            assert (part.a, part.b, part.version) == (3, 1, 4)


class TestNameOfAPlace:
    async def test_a_column_of_that_name_is_refused(self, every_driver: Database) -> None:
        """The values of the column would be taken for the places of the rows."""
        rows = [{"sku": "x", "sqlkeel_place": 1}, {"sku": "x", "a": 1}]

        async with every_driver.transaction() as session:
            with pytest.raises(NotSupported, match="sqlkeel_place"):
                await upsert_many(session, Placed, rows, on=[Placed.sku])

            assert await values_of(session, Placed.sku) == []
