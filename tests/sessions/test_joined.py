"""Tests of sessions._joined: what update() and delete() of a class in several tables ask is asked of the same row."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, and_, delete, func, select, update
from sqlalchemy.orm import Mapped, aliased, mapped_column

import sqlkeel
from sqlkeel.errors import NotSupported
from sqlkeel.models import IntKeyMixin
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    pass


class Thing(IntKeyMixin, Base):
    __tablename__ = "joined_thing"
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}


class House(VersionMixin, TimestampMixin, Thing):
    """The version stands between the tables."""

    __tablename__ = "joined_house"
    id: Mapped[int] = mapped_column(ForeignKey("joined_thing.id", ondelete="CASCADE"), primary_key=True)
    rent: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "house"}


class Hut(House):
    """A class in the table of the one above, told by a column of the table above that."""

    __mapper_args__ = {"polymorphic_identity": "hut"}


class Tower(House):
    __tablename__ = "joined_tower"
    id: Mapped[int] = mapped_column(ForeignKey("joined_house.id", ondelete="CASCADE"), primary_key=True)
    height: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "tower"}


class Turret(Tower):
    """A class in the table of the one above, whose version stands in yet another."""

    __mapper_args__ = {"polymorphic_identity": "turret"}


class Shed(Thing):
    """A class whose rows refer to others of the hierarchy."""

    __tablename__ = "joined_shed"
    id: Mapped[int] = mapped_column(ForeignKey("joined_thing.id", ondelete="CASCADE"), primary_key=True)
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("joined_thing.id"))
    tools: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "shed", "inherit_condition": id == Thing.id}  # noqa: A003 - the column


class Boat(SoftDeleteMixin, Thing):
    """A class with a mark beside those without."""

    __tablename__ = "joined_boat"
    # The attributes have names of their own, as a composite mapping may have them.
    number: Mapped[int] = mapped_column("id", ForeignKey("joined_thing.id", ondelete="CASCADE"), primary_key=True)
    rent: Mapped[int] = mapped_column(default=0)
    __mapper_args__ = {"polymorphic_identity": "boat"}


pytestmark = pytest.mark.tables(Base.metadata)

LINK = re.compile(r"joined_(?:shed|thing)[`\"]?\.id = ")
SHOWN = {"include_deleted": True}


async def fill(db: Database) -> None:
    """Save a house 1, a hut 2, towers 3 and 4, a thing 5 and boats 6, 7 and, deleted, 8; each has its number's name."""
    async with db.transaction() as session:
        session.add_all([House(id=1, name="n1"), Hut(id=2, name="n2"), Tower(id=3, name="n3"), Tower(id=4, name="n4")])
        session.add_all([Thing(id=5, name="n5"), Boat(id=6, name="n6"), Boat(id=7, name="n7"), Boat(id=8, name="n8")])
    async with db.transaction() as session:
        await session.delete(await session.get_one(Boat, 8))


async def fill_sheds(db: Database) -> None:
    """Save the sheds 11 and 12, each belonging to the other, as `fill` does."""
    async with db.transaction() as session:
        session.add_all([Shed(id=11, name="n11"), Shed(id=12, name="n12")])
        await session.flush()
        await session.execute(update(Shed), [{"id": 11, "owner_id": 12}, {"id": 12, "owner_id": 11}])


async def run(db: Database, statement: Any, **options: Any) -> None:
    async with db.transaction() as session:
        await session.execute(statement, execution_options=options)


async def stored(db: Database, *columns: Any) -> Sequence[Any]:
    """Return columns by the first of them, of all rows."""
    async with db.session() as session:
        return (await session.execute(select(*columns).order_by(columns[0]), execution_options=SHOWN)).all()


class TestUpdate:
    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch", False])
    async def test_a_condition_on_the_base(self, every_driver: Database, synchronize: Any) -> None:
        """Only the rows whose own base row has the value are written, and only they are counted."""
        await fill(every_driver)

        statement = update(House).where(House.name == "n3").values(rent=5)
        await run(every_driver, statement, synchronize_session=synchronize)

        assert await stored(every_driver, House.id, House.rent, House.version) == [
            (1, 0, 1),
            (2, 0, 1),
            (3, 5, 2),
            (4, 0, 1),
        ]

    async def test_conditions_on_two_tables_above(self, every_driver: Database) -> None:
        """The tables between are joined as well."""
        await fill(every_driver)

        await run(every_driver, update(Tower).where(Tower.rent == 0, Tower.name == "n4").values(height=Tower.rent + 7))

        assert await stored(every_driver, Tower.id, Tower.height, Tower.version) == [(3, 0, 1), (4, 7, 2)]

    async def test_a_value_of_the_base(self, every_driver: Database) -> None:
        """A value that is computed from the base is computed from that of the same row."""
        await fill(every_driver)
        async with every_driver.transaction() as session:
            await session.execute(update(Thing).where(Thing.id == 4).values(name="long name"))

        await run(every_driver, update(Tower).values(height=func.length(Tower.name)))

        assert await stored(every_driver, Tower.id, Tower.height) == [(3, 2), (4, 9)]

    async def test_a_condition_on_a_subclass(self, every_driver: Database) -> None:
        """A condition on a column that a class below adds is asked of the same row."""
        await fill(every_driver)

        await run(every_driver, update(Thing).where(Tower.height == 0).values(name="tower"))

        assert await stored(every_driver, Thing.id, Thing.name) == [
            (1, "n1"),
            (2, "n2"),
            (3, "tower"),
            (4, "tower"),
            (5, "n5"),
            (6, "n6"),
            (7, "n7"),
            (8, "n8"),
        ]

    async def test_a_class_in_the_table_of_another(self, every_driver: Database) -> None:
        """An update of a class that its base's base tells apart writes and counts its own rows, and no others."""
        await fill(every_driver)

        await run(every_driver, update(Hut).values(rent=5))

        assert await stored(every_driver, House.id, House.rent, House.version) == [
            (1, 0, 1),
            (2, 5, 2),
            (3, 0, 1),
            (4, 0, 1),
        ]

    async def test_a_version_of_a_class_in_the_table_of_another(self, every_driver: Database) -> None:
        """Only the rows of that class are counted where the version stands in a third table."""
        await fill(every_driver)
        async with every_driver.transaction() as session:
            session.add(Turret(id=9, name="n9"))

        await run(every_driver, update(Turret).values(height=5))

        assert await stored(every_driver, Tower.id, Tower.height, Tower.version) == [(3, 0, 1), (4, 0, 1), (9, 5, 2)]

    async def test_deleted_rows_stay_as_they_are(self, every_driver: Database) -> None:
        """A soft-deletable class is filtered beside the condition."""
        await fill(every_driver)

        await run(every_driver, update(Boat).where(Boat.name.in_(["n7", "n8"])).values(rent=5))

        assert await stored(every_driver, Boat.number, Boat.rent) == [(6, 0), (7, 5), (8, 0)]

    async def test_a_subquery_of_the_same_class(self, every_driver: Database) -> None:
        """A subquery that reads the class stays a query of its own, though another table is written, too."""
        await fill(every_driver)
        chosen = select(Tower.id).where(Tower.name == "n3")

        await run(every_driver, update(Tower).where(Tower.id.in_(chosen)).values(height=5), synchronize_session=False)

        assert await stored(every_driver, Tower.id, Tower.height, Tower.version) == [(3, 5, 2), (4, 0, 1)]

    async def test_held_objects_see_it(self, every_driver: Database) -> None:
        """Loaded objects have what was written, and the others what they had."""
        await fill(every_driver)

        async with every_driver.transaction() as session:
            towers = (await session.scalars(select(Tower).order_by(Tower.id))).all()
            statement = update(Tower).where(Tower.name == "n3").values(height=5)
            await session.execute(statement, execution_options={"synchronize_session": "evaluate"})
            held = [(tower.height, tower.version) for tower in towers]

        assert held == [(5, 2), (0, 1)]

    @pytest.mark.parametrize(
        "link",
        [Shed.id == Thing.id, Thing.id == Shed.id, and_(Shed.tools == 0, Shed.id == Thing.id)],
        ids=["own first", "other first", "among others"],
    )
    async def test_a_link_that_is_written_out(self, every_driver: Database, link: Any) -> None:
        """The statement is sent as SQLAlchemy sends it, with the link once."""
        await fill_sheds(every_driver)
        statement = update(Shed).where(link, Thing.name == "n12").values(tools=5)

        async with queries(every_driver) as seen:
            await run(every_driver, statement, synchronize_session=False)

        [sent] = [one for one in seen.statements if one.startswith("UPDATE")]
        assert len(LINK.findall(sent)) == 1
        assert await stored(every_driver, Shed.id, Shed.tools) == [(11, 0), (12, 5)]

    async def test_the_rest_of_a_link_that_is_written_out(self, every_driver: Database) -> None:
        """Of two tables above, one is linked by the statement itself, and the other one is joined."""
        await fill(every_driver)
        statement = update(Tower).where(Tower.id == House.id, House.rent == 0, Tower.name == "n4").values(height=7)

        await run(every_driver, statement)

        assert await stored(every_driver, Tower.id, Tower.height) == [(3, 0), (4, 7)]

    @pytest.mark.parametrize("written", [Shed, Thing], ids=["up", "down"])
    async def test_a_reference_to_another_row_is_refused(self, every_driver: Database, written: Any) -> None:
        """Asked of the same row, it would be found nowhere."""
        await fill_sheds(every_driver)
        statement = update(written).where(Shed.owner_id == Thing.id).values(id=written.id)

        with pytest.raises(NotSupported, match="owner_id leads to another row") as refusal:
            await run(every_driver, statement)

        assert refusal.value.hint.startswith(f"other = aliased({'Thing' if written is Shed else 'Shed'}.__table__)")

    async def test_a_reference_to_an_alias(self, every_driver: Database) -> None:
        """An alias is another row, and the class itself still the row that is written."""
        await fill_sheds(every_driver)
        other: Any = aliased(Thing.__table__)
        statement = update(Shed).where(Shed.owner_id == other.c.id, other.c.name == "n12", Shed.name == "n11")

        await run(every_driver, statement.values(tools=5), synchronize_session=False)

        assert await stored(every_driver, Shed.id, Shed.tools) == [(11, 5), (12, 0)]

    async def test_a_value_for_another_table_is_refused(self, every_driver: Database) -> None:
        """What the statement cannot set is said in the user's names."""
        await fill(every_driver)

        with pytest.raises(NotSupported, match=r"update\(Tower\) cannot set name.* table of Thing"):
            await run(every_driver, update(Tower).values(name="x"))

    async def test_a_list_of_rows_counts_below(self, every_driver: Database) -> None:
        """Rows by key of a base count and date those of its subclasses, in the loaded objects, too."""
        await fill(every_driver)
        [before] = [row.updated_at for row in await stored(every_driver, House.id, House.updated_at) if row.id == 1]

        async with every_driver.transaction() as session:
            house = await session.get_one(House, 1)
            await session.execute(update(Thing), [{"id": number, "name": "x"} for number in (1, 3, 5)])
            held = house.name, house.version, house.updated_at

        rows = await stored(every_driver, House.id, House.name, House.version, House.updated_at)
        assert [tuple(row)[:3] for row in rows] == [(1, "x", 2), (2, "n2", 1), (3, "x", 2), (4, "n4", 1)]
        assert held == ("x", 2, rows[0].updated_at)
        assert rows[0].updated_at > before


class TestDelete:
    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch", False])
    async def test_a_condition_on_the_base(self, every_driver: Database, synchronize: Any) -> None:
        """Only the rows whose own base row has the value are removed from the table of the class."""
        await fill(every_driver)

        await run(every_driver, delete(Tower).where(Tower.name == "n3"), synchronize_session=synchronize)

        assert await stored(every_driver, Tower.id) == [(4,)]

    async def test_a_condition_on_the_base_beside_a_mark(self, every_driver: Database) -> None:
        """Deleted rows are left alone."""
        await fill(every_driver)

        await run(every_driver, delete(Boat).where(Boat.name.in_(["n7", "n8"])))

        assert await stored(every_driver, Boat.number) == [(6,), (8,)]

    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch", False])
    async def test_a_link_that_is_written_out(self, every_driver: Database, synchronize: Any) -> None:
        """It is enough by itself, in the form that the database knows."""
        await fill_sheds(every_driver)
        statement = delete(Shed).where(Shed.id == Thing.id, Thing.name == "n12")

        await run(every_driver, statement, synchronize_session=synchronize)

        assert await stored(every_driver, Shed.id) == [(11,)]

    async def test_a_link_that_is_written_out_is_sent_as_it_is(self, postgres: Database) -> None:
        """Where the database deletes by a join and returns the keys, the statement is SQLAlchemy's."""
        await fill_sheds(postgres)

        async with queries(postgres) as seen:
            await run(postgres, delete(Shed).where(Shed.id == Thing.id, Thing.name == "n12"))

        [sent] = [one for one in seen.statements if one.startswith("DELETE")]
        assert sent.startswith("DELETE FROM joined_shed USING joined_thing WHERE joined_shed.id = joined_thing.id AND")

    async def test_a_reference_to_another_row_is_refused(self, every_driver: Database) -> None:
        """Nothing is removed."""
        await fill_sheds(every_driver)

        with pytest.raises(NotSupported, match="owner_id leads to another row"):
            await run(every_driver, delete(Shed).where(Shed.owner_id == Thing.id, Thing.name == "n12"))

        assert await stored(every_driver, Shed.id) == [(11,), (12,)]

    async def test_a_class_in_the_table_of_another_is_refused(self, every_driver: Database) -> None:
        """Where only another table tells the rows apart, nothing is removed."""
        await fill(every_driver)

        with pytest.raises(NotSupported, match=r"delete\(Hut\) cannot tell its rows"):
            await run(every_driver, delete(Hut))

        assert await stored(every_driver, House.id) == [(1,), (2,), (3,), (4,)]
