"""Versions that only a class below the one at the top of the table has: checked by a flush like any other."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin, VersionMixin, queries
from sqlkeel.errors import VersionConflict
from sqlkeel.sessions import Database
from sqlkeel.versions import touch


class Base(sqlkeel.Base):
    pass


class Thing(IntKeyMixin, Base):
    __tablename__ = "versioned_thing"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "thing"}

    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20))


class Lease(VersionMixin, Thing):
    """In the table of its base."""

    __mapper_args__ = {"polymorphic_identity": "lease"}


class SubLease(Lease):
    """One class further down."""

    __mapper_args__ = {"polymorphic_identity": "sublease"}


class Craft(IntKeyMixin, Base):
    __tablename__ = "versioned_craft"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "craft"}

    kind: Mapped[str] = mapped_column(String(20))


class Boat(Craft):
    """In a table of its own, without a version."""

    __tablename__ = "versioned_boat"
    __mapper_args__ = {"polymorphic_identity": "boat"}

    boat_id: Mapped[int] = mapped_column(ForeignKey("versioned_craft.id"), primary_key=True)
    name: Mapped[str] = mapped_column(String(20))


class Ferry(VersionMixin, Boat):
    """In the table of a class that is stored in two."""

    __mapper_args__ = {"polymorphic_identity": "ferry"}


pytestmark = pytest.mark.tables(Base.metadata)

every_class = pytest.mark.parametrize("model", [Lease, SubLease, Ferry])


async def stale_object(database: Database, model: Any) -> Any:
    """Return a detached object whose row somebody else has changed since."""
    async with database.transaction() as session:
        session.add(model(id=1, name="a"))
    async with database.session() as session:
        stale = await session.get_one(model, 1)
    async with database.transaction() as session:
        other = await session.get_one(model, 1)
        other.name = "b"
        touch(other)
    return stale


@every_class
class TestStale:
    async def test_a_change_is_refused(self, every_driver: Database, model: Any) -> None:
        """A change made on an old version writes nothing, and the error has both versions and the row."""
        stale = await stale_object(every_driver, model)

        stale.name = "lost"
        async with every_driver.session() as session:
            session.add(stale)
            with pytest.raises(VersionConflict) as caught:
                await session.flush()

        assert (caught.value.expected, caught.value.current) == (1, 2)
        assert caught.value.current_row is not None
        assert caught.value.current_row["name"] == "b"

    async def test_a_deletion_is_refused(self, every_driver: Database, model: Any) -> None:
        """A row that changed since is not deleted."""
        stale = await stale_object(every_driver, model)

        async with every_driver.session() as session:
            session.add(stale)
            await session.delete(stale)
            with pytest.raises(VersionConflict):
                await session.flush()

        async with every_driver.session() as session:
            assert await session.scalar(select(model.name)) == "b"

    async def test_a_fresh_change_counts(self, every_driver: Database, model: Any) -> None:
        """A change of what was read last is written, counts, and can be followed by a deletion."""
        async with every_driver.transaction() as session:
            made = model(id=1, name="a")
            session.add(made)
            await session.flush()

            made.name = "b"
            touch(made)
            await session.flush()

            assert made.version == 2
            await session.delete(made)
            await session.flush()
            assert await session.scalar(select(model.name)) is None


class TestStatements:
    @pytest.mark.parametrize("driver", ["sqlite"])
    async def test_what_is_not_changed_is_not_asked_for(self, sqlite: Database, driver: str) -> None:
        """An object whose value was set to what it was costs no statement."""
        async with sqlite.transaction() as session:
            made = Lease(id=1, name="a")
            session.add(made)
            await session.flush()

            made.name = "a"

            async with queries(sqlite, exactly=0):
                await session.flush()
