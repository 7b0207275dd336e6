"""Tests of sqlkeel.soft_delete._live: every class of a hierarchy hides deleted rows, and no statement writes them."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, delete, func, inspect, literal, select, text, update
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import Mapped, aliased, joinedload, mapped_column, selectinload, with_polymorphic
from sqlalchemy.orm.exc import UnmappedClassError

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, TimestampMixin, VersionMixin, children, parent
from sqlkeel.sessions import Database
from tests.soft_delete.library import SHOWN, add
from tests.soft_delete.library import delete as remove


class Base(sqlkeel.Base):
    pass


class Owner(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "owner"
    assets: Mapped[list[Asset]] = children(back_populates="owner")


class Asset(IntKeyMixin, Base):
    """Is removed itself; two of the classes below it are marked, each in a table of its own."""

    __tablename__ = "asset"
    kind: Mapped[str] = mapped_column(String(10))
    name: Mapped[str] = mapped_column(String(10), default="")
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"), index=True)
    owner: Mapped[Owner | None] = parent(back_populates="assets")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "asset"}


class Car(SoftDeleteMixin, VersionMixin, TimestampMixin, Asset):
    __tablename__ = "car"
    id: Mapped[int] = mapped_column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True)
    doors: Mapped[int] = mapped_column(default=4)
    __mapper_args__ = {"polymorphic_identity": "car"}


class House(SoftDeleteMixin, Asset):
    __tablename__ = "house"
    id: Mapped[int] = mapped_column("asset_no", ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "house"}


class Stock(Asset):
    __tablename__ = "stock"
    id: Mapped[int] = mapped_column(ForeignKey("asset.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "stock"}


class Document(IntKeyMixin, SoftDeleteMixin, VersionMixin, TimestampMixin, Base):
    """The mark, the version and the times are in the base table."""

    __tablename__ = "document"
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}


class Lease(Document):
    __tablename__ = "lease"
    id: Mapped[int] = mapped_column("document_no", ForeignKey("document.id", ondelete="CASCADE"), primary_key=True)
    months: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "lease"}


pytestmark = pytest.mark.tables(Base.metadata)


async def fill(db: Database) -> None:
    """Commit a living and a deleted row of each class that is marked, and one of the others."""
    await add(db, Owner(id=1))
    await add(
        db, *(model(id=number, owner_id=1) for number, model in enumerate((Asset, Car, Car, House, House, Stock), 1))
    )
    await remove(db, Car, 3)
    await remove(db, House, 5)


async def numbers(session: Any, statement: Any) -> list[int]:
    """Return the numbers that a statement finds, sorted."""
    return sorted((await session.scalars(statement)).unique())


class TestBaseOfMarkedClasses:
    async def test_columns_and_counts(self, every_driver: Database) -> None:
        """A query of the base leaves out the deleted rows of the classes below, and no others."""
        await fill(every_driver)

        async with every_driver.session() as session:
            found = await numbers(session, select(Asset.id))
            counted = await session.scalar(select(func.count()).select_from(Asset))
            shown = await numbers(session, select(Asset.id).execution_options(**SHOWN))

        assert (found, counted, shown) == ([1, 2, 4, 6], 4, [1, 2, 3, 4, 5, 6])

    async def test_get(self, every_driver: Database) -> None:
        """get() of the base does not find them, loaded or not."""
        await fill(every_driver)

        async with every_driver.session() as session:
            unloaded = [await session.get(Asset, number) for number in (3, 5, 6)]
            held = await session.get(Car, 3, execution_options=SHOWN)
            loaded = await session.get(Asset, 3)

        assert [one is None for one in (*unloaded, held, loaded)] == [True, True, False, False, True]

    async def test_alias_and_polymorphic(self, every_driver: Database) -> None:
        """An alias, and the base with all its classes joined, leave them out too."""
        await fill(every_driver)
        other, everything = aliased(Asset), with_polymorphic(Asset, "*")

        async with every_driver.session() as session:
            by_alias = await numbers(session, select(other.id))
            by_class = await numbers(session, select(everything.id))
            objects = sorted(one.id for one in (await session.scalars(select(everything))).unique())

        assert by_alias == by_class == objects == [1, 2, 4, 6]

    @pytest.mark.parametrize("load", [selectinload, joinedload])
    async def test_relation_to_the_base(self, every_driver: Database, load: Any) -> None:
        """A relation to the base is loaded without them, and a join does not find them."""
        await fill(every_driver)

        async with every_driver.session() as session:
            owner = (await session.scalars(select(Owner).options(load(Owner.assets)))).unique().one()
            joined = await numbers(session, select(Asset.id).join(Owner.assets))

        assert sorted(asset.id for asset in owner.assets) == joined == [1, 2, 4, 6]

    async def test_loaded_objects_pickle(self, every_driver: Database) -> None:
        """An object that was loaded through these conditions travels to another process."""
        await fill(every_driver)

        async with every_driver.session() as session:
            copy = pickle.loads(pickle.dumps(await session.get_one(Asset, 1)))

        assert copy.id == 1

    async def test_update(self, every_driver: Database) -> None:
        """An update() statement of the base writes the living rows."""
        await fill(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Asset).values(name="x"))
            written = await numbers(session, text("SELECT id FROM asset WHERE name = 'x'"))

        assert written == [1, 2, 4, 6]

    async def test_update_counts_and_dates_the_classes_below(self, every_driver: Database) -> None:
        """An update() statement of the base is a change of the rows of a class with versions and times."""
        await fill(every_driver)

        async with every_driver.transaction() as session:
            car = await session.get_one(Car, 2)
            before = car.updated_at
            await session.execute(update(Asset).where(Asset.name == "").values(name="x"))

        assert (car.name, car.version, car.updated_at > before) == ("x", 2, True)

    async def test_delete(self, every_driver: Database) -> None:
        """A delete() statement of the base removes the living rows; the others can be restored."""
        await fill(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(delete(Asset))
            left = await numbers(session, text("SELECT id FROM asset"))
            cars = await numbers(session, text("SELECT id FROM car"))

        assert (left, cars) == ([3, 5], [3])

    async def test_deletion_above(self, every_driver: Database) -> None:
        """A row above takes along those of its rows that can be marked."""
        await fill(every_driver)

        await remove(every_driver, Owner, 1)

        async with every_driver.session() as session:
            assert await numbers(session, select(Asset.id)) == [1, 6]


class TestMarkInTheBaseTable:
    async def test_update(self, every_driver: Database) -> None:
        """An update() statement of a class in a table of its own writes no deleted row."""
        await add(every_driver, Lease(id=1, months=1), Lease(id=2, months=1))
        await remove(every_driver, Lease, 2)

        async with every_driver.transaction() as session:
            lease = await session.get_one(Lease, 1)
            before = lease.updated_at
            await session.execute(update(Lease).values(months=99))
            stored = (await session.execute(text("SELECT document_no, months FROM lease ORDER BY 1"))).all()
            versions = (await session.execute(text("SELECT id, version FROM document ORDER BY 1"))).all()

        assert [tuple(row) for row in stored] == [(1, 99), (2, 1)]
        assert [tuple(row) for row in versions] == [(1, 2), (2, 2)]  # the deletion counted, the statement did not
        assert (lease.months, lease.version, lease.updated_at > before) == (99, 2, True)

    @pytest.mark.parametrize("synchronize", ["auto", "fetch", False])
    async def test_delete(self, every_driver: Database, synchronize: Any) -> None:
        """A delete() statement leaves both parts of a deleted row."""
        await add(every_driver, Lease(id=1, months=1), Lease(id=2, months=1))
        await remove(every_driver, Lease, 2)

        async with every_driver.transaction() as session:
            await session.execute(delete(Lease), execution_options={"synchronize_session": synchronize})
            left = await numbers(session, text("SELECT document_no FROM lease"))

        assert left == [2]

    async def test_shown_rows_are_written(self, every_driver: Database) -> None:
        """With include_deleted the statement writes them, as asked."""
        await add(every_driver, Lease(id=1, months=1), Lease(id=2, months=1))
        await remove(every_driver, Lease, 2)

        async with every_driver.transaction() as session:
            await session.execute(update(Lease).values(months=99), execution_options=SHOWN)
            stored = await numbers(session, text("SELECT months FROM lease"))

        assert stored == [99]


class TestSQLAlchemy:
    def test_a_column_is_annotated_as_an_attribute_is(self) -> None:
        """Canary of `_annotate`: without it, joins would not adapt the condition on the base of marked classes."""
        attribute: Any = Document.deleted_at
        column: Any = Document.__table__.c.deleted_at
        mapper = inspect(Document)

        adaptable = column._annotate({"parententity": mapper, "parentmapper": mapper})

        assert {"parententity", "parentmapper"} <= attribute.expression._annotations.keys()
        assert adaptable._annotations["parententity"] is attribute.expression._annotations["parententity"]


class TestClassesThatAreNotMappedYet:
    async def test_a_statement_without_a_model_is_run(self, db: Database) -> None:
        """The first one of a process may come before a concrete hierarchy is mapped, which waits for all others."""

        class Local(sqlkeel.Base):
            pass

        class Marked(IntKeyMixin, SoftDeleteMixin, Local):
            __tablename__ = "marked"

        class Abstract(AbstractConcreteBase, Local):
            pass

        class Concrete(SoftDeleteMixin, Abstract):
            __tablename__ = "concrete"
            id: Mapped[int] = mapped_column(primary_key=True)
            __mapper_args__ = {"polymorphic_identity": "concrete", "concrete": True}

        try:
            async with db.session() as session:
                assert await session.scalar(select(literal(1))) == 1
            with pytest.raises(UnmappedClassError):
                list(Local.registry.mappers)
        finally:
            Local.registry.dispose()
