"""The base: every project its own metadata, exact types, a repr that asks nobody."""

from __future__ import annotations

import uuid
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import ForeignKey, MetaData, String, Text, Uuid, select
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

from sqlkeel import base
from sqlkeel.database import Database
from sqlkeel.naming import metadata_with_names
from sqlkeel.types import Money, UTCDateTime


class Base(base.Base):
    """A project's base."""


class Person(Base):
    """Has a column of each annotation."""

    __tablename__ = "person"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    code: Mapped[str] = mapped_column(String(8), unique=True)
    born: Mapped[datetime | None]
    wealth: Mapped[Decimal | None]
    settings: Mapped[dict[str, Any] | None]
    token: Mapped[uuid.UUID | None]
    boss_id: Mapped[int | None] = mapped_column(ForeignKey("person.id"))
    boss: Mapped[Person | None] = relationship(remote_side="Person.id")


class Seat(Base):
    """Has a key of two columns."""

    __tablename__ = "seat"
    row: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


pytestmark = pytest.mark.tables(Base.metadata)


class TestProject:
    def test_each_base_has_its_own_tables(self) -> None:
        """Two projects in one process may both have a table of one name."""

        class Other(base.Base):
            pass

        class OtherPerson(Other):
            __tablename__ = "person"
            id: Mapped[int] = mapped_column(primary_key=True)

        assert Other.metadata is not Base.metadata
        assert OtherPerson.__table__ is not Person.__table__
        assert Other.registry is not Base.registry

    def test_models_share_the_base_of_their_project(self) -> None:
        """A model is in its base's metadata, and so is that of a base below it."""

        class Abstract(Base):
            __abstract__ = True

        assert Person.metadata is Base.metadata
        assert Abstract.metadata is Base.metadata

    def test_a_metadata_of_your_own_is_kept(self) -> None:
        """A project may give its schema, or a naming convention of its own."""

        class Other(base.Base):
            metadata = metadata_with_names(schema="shop")

        class Item(Other):
            __tablename__ = "item"
            id: Mapped[int] = mapped_column(primary_key=True)

        assert Item.__table__.schema == "shop"

    def test_names_come_with_it(self) -> None:
        """Constraints are named without a word."""
        names = {str(constraint.name) for constraint in Person.__table__.constraints}  # type: ignore[attr-defined]

        assert names == {"person_pkey", "person_code_key", "person_boss_id_fkey"}

    def test_a_base_has_no_table(self) -> None:
        """The base itself is not mapped."""
        assert not hasattr(Base, "__table__")
        assert isinstance(Base.metadata, MetaData)


class TestTypeMap:
    @pytest.mark.parametrize(
        ("column", "kind"),
        [("name", Text), ("code", String), ("born", UTCDateTime), ("wealth", Money), ("token", Uuid)],
    )
    def test_annotations_become_columns(self, column: str, kind: type) -> None:
        """Each annotation has a type that loses nothing."""
        assert type(Person.__table__.c[column].type) is kind

    def test_a_dict_is_jsonb_on_postgresql(self) -> None:
        """The kind that can be indexed."""
        kind = Person.__table__.c.settings.type

        assert isinstance(kind.dialect_impl(postgresql.dialect()), JSONB)

    async def test_every_kind_comes_back(self, every_driver: Database) -> None:
        """What was stored is what is read."""
        token, settings = uuid.uuid4(), {"a": [1, {"b": None}], "ö": "ü"}
        async with every_driver.transaction() as session:
            row = Person(id=1, name="Ann" * 100, code="ann", wealth=Decimal("1.10"), settings=settings, token=token)
            session.add(row)

        async with every_driver.read() as session:
            found = await session.get_one(Person, 1)

        assert (found.name, found.wealth) == ("Ann" * 100, Decimal("1.10"))
        assert (found.settings, found.token) == (settings, token)


class TestRepr:
    def test_a_new_object(self) -> None:
        """Before it is stored it has no key."""
        assert repr(Person(id=1)) == "<Person new>"

    async def test_a_stored_object(self, db: Database) -> None:
        """Class and key, no values: a log holds no personal data."""
        async with db.transaction() as session:
            person, seat = Person(id=7, name="Ann", code="ann"), Seat(row=3, number=4)
            session.add_all([person, seat])

        assert repr(person) == "<Person 7>"
        assert repr(seat) == "<Seat 3, 4>"

    async def test_an_expired_object(self, db: Database) -> None:
        """Nothing is loaded for it, in a session or out of one."""
        async with db.transaction() as session:
            person = Person(id=7, name="Ann", code="ann")
            session.add(person)
            await session.flush()
            session.expire(person)

            assert repr(person) == "<Person 7>"

            await session.refresh(person)


class TestAsyncAttrs:
    async def test_what_is_not_loaded_can_be_awaited(self, db: Database) -> None:
        """Every model has awaitable_attrs."""
        async with db.transaction() as session:
            session.add(Person(id=1, name="Ann", code="ann"))
            await session.flush()
            session.add(Person(id=2, name="Bob", code="bob", boss_id=1))

        async with db.read() as session:
            bob = (await session.scalars(select(Person).where(Person.id == 2))).one()
            boss = await bob.awaitable_attrs.boss

        assert boss.name == "Ann"
