"""The base: every project its own metadata, exact types, a repr that asks nobody."""

from __future__ import annotations

import uuid
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import ForeignKey, MetaData, String, Text, Uuid, create_engine, func, null, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.dialects.mysql import mariadb
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.bulk import insert_many
from sqlkeel.errors import UsageError
from sqlkeel.models import metadata_with_names
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.types import Money, UTCDateTime


class Base(sqlkeel.Base):
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


class Sign(Base):
    """Has columns that the server fills in when the row is changed."""

    __tablename__ = "sign"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    words: Mapped[str]
    length: Mapped[int | None] = mapped_column(onupdate=func.length(text("'changed'")))
    seen: Mapped[int] = mapped_column(server_default="1")


class Quiet(Base):
    """Says itself what is read back."""

    __tablename__ = "quiet"
    __mapper_args__ = {"eager_defaults": False}
    id: Mapped[int] = mapped_column(primary_key=True)


class Seat(Base):
    """Has a key of two columns."""

    __tablename__ = "seat"
    row: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)


pytestmark = pytest.mark.tables(Base.metadata)


class TestProject:
    def test_each_base_has_its_own_tables(self) -> None:
        """Two projects in one process may both have a table of one name."""

        class Other(sqlkeel.Base):
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

    def test_the_base_of_all_has_no_tables(self) -> None:
        """What makes the tables of ``sqlkeel.Base`` would make none, and nobody would be told."""
        engine = create_engine("sqlite://")

        with pytest.raises(UsageError, match="has no tables"):
            sqlkeel.Base.metadata.create_all(engine)

    def test_a_metadata_of_your_own_is_kept(self) -> None:
        """A project may give its schema, or a naming convention of its own."""

        class Other(sqlkeel.Base):
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

        assert isinstance(kind.dialect_impl(DIALECTS[0]), JSONB)

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


class Colour(Enum):
    """Has members."""

    RED = 1


class Level(IntEnum):
    """Has numbers."""

    LOW = 1


class Sample(Base):
    """Has a column of each annotation, in the order of the page about types."""

    __tablename__ = "sample"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    bool_: Mapped[bool | None]
    int_: Mapped[int | None]
    float_: Mapped[float | None]
    Decimal_: Mapped[Decimal | None]
    str_: Mapped[str | None]
    bytes_: Mapped[bytes | None]
    UUID_: Mapped[uuid.UUID | None]
    datetime_: Mapped[datetime | None]
    date_: Mapped[date | None]
    time_: Mapped[time | None]
    timedelta_: Mapped[timedelta | None]
    Enum_: Mapped[Colour | None]
    IntEnum_: Mapped[Level | None]
    Literal_: Mapped[Literal["a", "b"] | None]
    dict_: Mapped[dict[str, Any] | None]
    list_: Mapped[list[int] | None]


SHOWN = {
    "UUID_": "uuid.UUID",
    "Literal_": 'Literal["a", "b"]',
    "dict_": "dict[str, Any]",
    "list_": "list[int]",
}
VALUES: dict[str, Any] = {
    "bool_": True,
    "int_": 2**31 - 1,
    "float_": 0.1 + 0.2,
    "Decimal_": Decimal("1.10"),
    "str_": "ö" * 30_000,
    "bytes_": bytes(range(256)),
    "UUID_": uuid.UUID(int=7),
    "date_": date(2026, 11, 22),
    "time_": time(9, 30, 0, 1),
    "timedelta_": timedelta(days=1, microseconds=1),
    "Enum_": Colour.RED,
    "IntEnum_": Level.LOW,
    "Literal_": "b",
    "dict_": {"a": [1, {"b": None}], "ö": "ü"},
    "list_": [1, 2],
}
DIALECTS = (postgresql.dialect(), mariadb.MariaDBDialect(), sqlite.dialect())  # type: ignore[no-untyped-call]


def line_of(column: Any) -> str:
    """Return the line of the page for a column: its annotation, and its type on each database."""
    kinds = [str(column.type.compile(dialect).partition(" COLLATE")[0]) for dialect in DIALECTS]
    words = (SHOWN.get(column.name, column.name.rstrip("_")), *kinds)
    return f"| {' | '.join(f'`{word}`' for word in words)} |"


class TestEveryAnnotation:
    def test_the_page_says_its_types(self) -> None:
        """docs/patterns/types.md has a line for it, with what CREATE TABLE says on each database."""
        page = (Path(__file__).parents[2] / "docs" / "patterns" / "types.md").read_text()

        lines = {line_of(column) for column in Sample.__table__.c if column.name != "id"}

        assert {line for line in lines if line not in page} == set()

    @pytest.mark.parametrize("name", VALUES)
    @pytest.mark.parametrize("bulk", [False, True], ids=["orm", "bulk"])
    async def test_a_value_comes_back(self, every_driver: Database, name: str, bulk: bool) -> None:
        """The value that was stored, and of its own class, whichever way it went in."""
        row = {"id": 1, name: VALUES[name]}
        async with every_driver.transaction() as session:
            await (insert_many(session, Sample, [row]) if bulk else _add(session, Sample(**row)))

        async with every_driver.read() as session:
            found = getattr(await session.get_one(Sample, 1), name)

        assert found == VALUES[name]
        assert isinstance(found, type(VALUES[name]))  # asyncpg has a subclass of UUID

    async def test_no_document_is_null(self, every_driver: Database) -> None:
        """None is NULL and not a JSON null, which IS NULL would not find."""
        async with every_driver.transaction() as session:
            session.add(Sample(id=1, dict_=None, list_=None))

        async with every_driver.read() as session:
            missing = select(func.count()).where(Sample.dict_.is_(null()), Sample.list_.is_(None))
            assert await session.scalar(missing) == 1

    async def test_a_fraction_keeps_all_of_its_digits(self, every_driver: Database) -> None:
        """Seventeen of them, where MariaDB's FLOAT would have seven."""
        async with every_driver.transaction() as session:
            session.add(Sample(id=1, float_=123456789.123456789))

        async with every_driver.read() as session:
            assert await session.scalar(select(Sample.float_)) == 123456789.123456789


async def _add(session: Any, row: Any) -> None:
    session.add(row)


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


class TestServerValues:
    async def test_what_an_update_fills_in_can_be_read(self, every_driver: Database) -> None:
        """A column with an onupdate in SQL is read back by the flush; nothing has to be awaited afterwards."""
        async with every_driver.transaction() as session:
            sign = Sign(id=1, words="new")
            session.add(sign)
            await session.flush()
            sign.words = "changed"
            await session.flush()

            assert (sign.length, sign.seen) == (7, 1)

    async def test_nothing_more_is_sent_where_the_server_returns_it(self, postgres: Database) -> None:
        """On PostgreSQL the value comes back with the UPDATE."""
        async with postgres.transaction() as session:
            sign = Sign(id=1, words="new")
            session.add(sign)
            await session.flush()
            sign.words = "changed"

            async with queries(postgres, exactly=1) as seen:
                await session.flush()

        assert "RETURNING" in seen.statements[0]

    def test_a_model_may_say_otherwise(self) -> None:
        """What stands in __mapper_args__ is left as it is."""
        assert Quiet.__mapper__.eager_defaults is False


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
