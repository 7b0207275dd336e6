"""Tests of sqlkeel.bulk._families: a bulk write of a base class counts, dates and guards the rows of those below it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final

import pytest
from sqlalchemy import select

from sqlkeel import Repository, queries
from sqlkeel.bulk import (
    delete_many,
    get_or_create,
    insert_many,
    insert_many_returning,
    update_many,
    upsert,
    upsert_many,
)
from sqlkeel.errors import NotFound, NotSupported, UniqueViolation, UnknownField, VersionConflict
from sqlkeel.sessions import Database, Session
from tests.bulk.family_models import (
    Animal,
    Asset,
    Base,
    Canal,
    Deed,
    Ferry,
    Lease,
    Loan,
    Paper,
    Permit,
    Place,
    Poster,
    River,
    Shop,
    Town,
    Transport,
    Truck,
    Vehicle,
)
from tests.bulk.models import MOMENT

pytestmark = pytest.mark.tables(Base.metadata)

Change = Callable[[Session, str], Awaitable[Any]]


async def _update(session: Session, name: str) -> None:
    await update_many(session, Asset, [{"id": number, "name": name} for number in (1, 2, 3)])


async def _one_by_one(session: Session, model: type[Any], rows: list[dict[str, Any]], **options: Any) -> None:
    for row in rows:
        await upsert(session, model, row, **options)


def _rows(name: str) -> list[dict[str, Any]]:
    return [{"code": code, "name": name, "kind": "asset"} for code in (1, 2, 3)]


async def _upsert(session: Session, name: str) -> None:
    await _one_by_one(session, Asset, _rows(name), on=[Asset.code], update=[Asset.name])


async def _upsert_many(session: Session, name: str) -> None:
    await upsert_many(session, Asset, _rows(name), on=[Asset.code], update=[Asset.name])


every_change: Final = pytest.mark.parametrize("change", [_update, _upsert, _upsert_many])


async def make_assets(session: Session) -> tuple[Lease, Loan, Asset]:
    made = (
        Lease(id=1, code=1, name="a", created_at=MOMENT, updated_at=MOMENT),
        Loan(id=2, code=2, name="a"),
        Asset(id=3, code=3, name="a"),
    )
    session.add_all(made)
    await session.flush()
    return made


async def column_of(session: Session, column: str, model: type[Any] = Asset) -> list[Any]:
    table = model.__table__
    return [*await session.scalars(select(table.c[column]).order_by(table.c.id))]


class TestVersions:
    @every_change
    async def test_they_count(self, every_driver: Database, change: Change) -> None:
        """Each row counts as its own class does; that of a class without a version does not."""
        async with every_driver.transaction() as session:
            await make_assets(session)

            await change(session, "b")

            assert await column_of(session, "name") == ["b", "b", "b"]
            assert await column_of(session, "version") == [2, 2, 1]

    @every_change
    async def test_a_stale_change_is_a_conflict(self, every_driver: Database, change: Change) -> None:
        """A row of the class itself that carries the version from before the bulk change is refused."""
        async with every_driver.transaction() as session:
            await make_assets(session)

            await change(session, "b")

            with pytest.raises(VersionConflict):
                await update_many(session, Lease, [{"id": 1, "name": "c", "version": 1}])

    @every_change
    async def test_held_objects_are_fresh(self, every_driver: Database, change: Change) -> None:
        """Objects of the session know what was counted, dated and made, and can be written at once."""
        async with every_driver.transaction() as session:
            lease, loan, _ = await make_assets(session)

            await change(session, "b")

            assert (lease.version, loan.version, lease.name) == (2, 2, "b")
            assert lease.updated_at > MOMENT
            lease.name = loan.name = "c"
            await session.flush()
            assert await column_of(session, "version") == [3, 3, 1]

    @pytest.mark.parametrize("write", [_one_by_one, upsert_many])
    async def test_a_class_that_is_given(self, every_driver: Database, write: Any) -> None:
        """A row that changes its class counts, from whichever to whichever, also where assignments are made in turn."""
        rows = [{"code": 1, "kind": "asset", "name": "b"}, {"code": 3, "kind": "loan", "name": "b"}]
        async with every_driver.transaction() as session:
            await make_assets(session)
            session.expunge_all()

            await write(session, Asset, rows, on=[Asset.code])

            assert await column_of(session, "version") == [2, 1, 2]

    async def test_one_given_to_the_base_is_unknown(self, every_driver: Database) -> None:
        """The base has no such attribute: nothing is written unchecked."""
        async with every_driver.transaction() as session:
            await make_assets(session)

            with pytest.raises(UnknownField, match="version"):
                await update_many(session, Asset, [{"id": 1, "name": "b", "version": 1}])

    @pytest.mark.parametrize("write", [_one_by_one, upsert_many])
    async def test_a_revived_row_counts(self, every_driver: Database, write: Any) -> None:
        """A row that comes back through a class above its own has the next version."""
        rows = [{"code": 4, "kind": "deed", "name": "b"}]
        async with every_driver.transaction() as session:
            session.add(Deed(id=4, code=4, name="a", deleted_at=MOMENT))
            await session.flush()

            await write(session, Permit, rows, on=[Permit.code], update=[Permit.name], revive=True)

            assert await column_of(session, "version") == [2]
            assert await column_of(session, "deleted_at") == [None]


class TestTimes:
    @every_change
    async def test_they_move(self, every_driver: Database, change: Change) -> None:
        """What the server dates moves, as with a flush; what was inserted stays."""
        async with every_driver.transaction() as session:
            await make_assets(session)

            await change(session, "b")

            moved: list[datetime] = await column_of(session, "updated_at")
            assert moved[0] > MOMENT
            assert (await column_of(session, "created_at"))[0] == MOMENT

    @every_change
    async def test_functions_are_called_for_each_row(self, every_driver: Database, change: Change) -> None:
        """An onupdate in Python makes a value of its own for each row of the table, as a flush does."""
        async with every_driver.transaction() as session:
            await make_assets(session)

            await change(session, "b")

            assert len({mark for mark in await column_of(session, "stamp") if mark is not None}) == 3


class TestVersionsOfTheirOwn:
    async def test_each_class_makes_its_own(self, every_driver: Database) -> None:
        """One column, two ways to the next version, and a class that an expression tells."""
        async with every_driver.transaction() as session:
            await insert_many(session, Paper, [{"id": 1, "size": 20, "code": 1}, {"id": 2, "size": 5, "code": 2}])

            await update_many(session, Paper, [{"id": 1, "code": 11}, {"id": 2, "code": 12}])

            assert await column_of(session, "rev", Paper) == [uuid.UUID(int=10), uuid.UUID(int=1)]

    @pytest.mark.parametrize("driver", ["sqlite"])
    async def test_a_class_that_is_given_is_refused(self, sqlite: Database, driver: str) -> None:
        """What decides about the version cannot change in the same statement."""
        async with sqlite.transaction() as session:
            await insert_many(session, Paper, [{"id": 1, "size": 20, "code": 1}])

            with pytest.raises(NotSupported, match="Poster and Card") as caught:
                await update_many(session, Paper, [{"id": 1, "size": 5}])

            assert "Poster instead of Paper" in str(caught.value.hint)
            assert await column_of(session, "size", Paper) == [20]


class TestOtherTables:
    async def test_update_many_moves_them(self, every_driver: Database) -> None:
        """A version and a time in the table of a class below move with the row of the base, for these rows alone."""
        async with every_driver.transaction() as session:
            trucks = [Truck(id=n, code=n, name="a", created_at=MOMENT, updated_at=MOMENT) for n in (1, 2)]
            session.add_all([*trucks, Vehicle(id=3, code=3, name="a")])
            await session.flush()

            await update_many(session, Vehicle, [{"id": 1, "name": "b"}, {"id": 3, "name": "b"}])

            assert [truck.version for truck in trucks] == [2, 1]
            assert [truck.updated_at > MOMENT for truck in trucks] == [True, False]

    async def test_an_upsert_is_refused(self, every_driver: Database) -> None:
        """Nothing is written, and the error names what would stay behind."""
        async with every_driver.transaction() as session:
            session.add(Truck(id=1, code=1, name="a"))
            await session.flush()

            with pytest.raises(NotSupported, match=r"family_truck\.version"):
                await upsert(session, Vehicle, {"code": 1, "kind": "truck", "name": "b"}, on=[Vehicle.code])
            with pytest.raises(NotSupported, match=r"family_truck\.updated_at"):
                await upsert_many(session, Vehicle, [{"code": 1, "kind": "truck", "name": "b"}], on=[Vehicle.code])

            assert await column_of(session, "name", Vehicle) == ["a"]

    async def test_one_that_updates_nothing_is_taken(self, every_driver: Database) -> None:
        """Rows that are missing are made; those that are there need no version."""
        async with every_driver.transaction() as session:
            rows = [{"code": 1, "kind": "vehicle", "name": "a"}]

            result = await upsert_many(session, Vehicle, rows, on=[Vehicle.code], update=[])
            _, created = await get_or_create(session, Vehicle, {"code": 1}, {"kind": "vehicle", "name": "b"})

            assert (result.inserted, created) == (1, False)


@pytest.mark.parametrize(("model", "below"), [(Asset, Permit), (Place, Shop)])
class TestDeletedRows:
    async def test_update_many_finds_none(self, every_driver: Database, model: Any, below: Any) -> None:
        """A deleted row of a class below is not there for the base, whichever table says that it is deleted."""
        async with every_driver.transaction() as session:
            session.add_all([below(id=1, code=1, name="a", deleted_at=MOMENT), below(id=2, code=2, name="a")])
            await session.flush()

            with pytest.raises(NotFound):
                await update_many(session, model, [{"id": 1, "name": "b"}])
            await update_many(session, model, [{"id": 2, "name": "b"}])

            assert await column_of(session, "name", model) == ["a", "b"]

    async def test_an_upsert_does_not_write_them(self, every_driver: Database, model: Any, below: Any) -> None:
        """An upsert that meets a deleted row is refused, and one that meets a living one is not."""
        async with every_driver.transaction() as session:
            session.add_all([below(id=1, code=1, name="a", deleted_at=MOMENT), below(id=2, code=2, name="a")])
            await session.flush()
            session.expunge_all()
            rows = [{"code": code, "kind": below.__mapper__.polymorphic_identity, "name": "b"} for code in (1, 2)]

            with pytest.raises(UniqueViolation):
                await upsert(session, model, rows[0], on=[model.code])
            with pytest.raises(UniqueViolation):
                await upsert_many(session, model, rows, on=[model.code])
            await upsert(session, model, rows[1], on=[model.code])
            await upsert_many(session, model, [{**rows[1], "name": "c"}], on=[model.code])

            assert await column_of(session, "name", model) == ["a", "c"]

    async def test_delete_many_is_refused(self, every_driver: Database, model: Any, below: Any) -> None:
        """The base cannot remove for good what is to be marked."""
        async with every_driver.transaction() as session:
            session.add_all([below(id=1, code=1, name="a"), below(id=2, code=2, name="a", deleted_at=MOMENT)])
            await session.flush()

            with pytest.raises(NotSupported, match="Some rows"):
                await delete_many(session, model, [1, 2])

            assert await column_of(session, "id", model) == [1, 2]


class TestUnreadable:
    """Where objects are read from several tables, or an expression tells their class."""

    @pytest.mark.parametrize("model", [Paper, Poster, River, Canal, Animal])
    async def test_no_object_can_be_brought(self, every_driver: Database, model: Any) -> None:
        """Refused before anything is sent, where SQLAlchemy's error came after the row was written."""
        row = {"id": 1, "size": 20, "code": 1} if issubclass(model, Paper) else {"id": 1}

        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(NotSupported):
                await insert_many_returning(session, model, [row])
            with pytest.raises(NotSupported):
                await upsert(session, model, row, on=[model.id])
            with pytest.raises(NotSupported):
                await get_or_create(session, model, {"id": 1}, row)

    @pytest.mark.parametrize("model", [River, Canal, Town, Animal])
    async def test_its_rows_are_written(self, every_driver: Database, model: Any) -> None:
        """The verbs that bring no object work."""
        async with every_driver.transaction() as session:
            assert await insert_many(session, model, [{"id": 1}]) == 1
            assert await upsert_many(session, model, [{"id": 1}, {"id": 2}], on=[model.id]) == (1, 0, 1, 0)
            assert [one.id for one in await Repository(session, model).get_many([2, 1])] == [2, 1]

    async def test_below_a_union_of_tables(self, every_driver: Database) -> None:
        """One object can be brought, several in order cannot."""
        async with every_driver.transaction() as session:
            town, created = await upsert(session, Town, {"id": 1}, on=[Town.id])
            with pytest.raises(NotSupported):
                await insert_many_returning(session, Town, [{"id": 2}])

        assert (town.id, created) == (1, True)


class TestAbstract:
    @pytest.mark.parametrize("verb", ["insert_many", "insert_many_returning", "upsert", "upsert_many", "get_or_create"])
    async def test_it_has_no_rows(self, every_driver: Database, verb: str) -> None:
        """A row of no class is refused: it could never be loaded."""
        repository = Repository[Transport]
        arguments: dict[str, Callable[[Session], Awaitable[Any]]] = {
            "insert_many": lambda session: insert_many(session, Transport, [{"id": 1}]),
            "insert_many_returning": lambda session: insert_many_returning(session, Transport, [{"id": 1}]),
            "upsert": lambda session: repository(session, Transport).upsert({"id": 1}, on=[Transport.id]),
            "upsert_many": lambda session: upsert_many(session, Transport, [{"id": 1}], on=[Transport.id]),
            "get_or_create": lambda session: get_or_create(session, Transport, {"id": 1}, {}),
        }

        async with every_driver.transaction() as session:
            with pytest.raises(NotSupported, match="abstract"):
                await arguments[verb](session)

            assert await Repository(session, Transport).count() == 0

    async def test_a_row_may_say_its_class(self, every_driver: Database) -> None:
        """A row that names a class below is one of that."""
        async with every_driver.transaction() as session:
            await insert_many(session, Transport, [{"id": 1, "kind": "ferry"}])

            assert isinstance(await Repository(session, Transport).get_one(1), Ferry)
