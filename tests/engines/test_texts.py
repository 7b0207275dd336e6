"""Values that are no text for a column of text: refused by psycopg's engine as asyncpg refuses them."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.multirange import Multirange
from psycopg.types.range import Range
from sqlalchemy import ARRAY, JSON, LargeBinary, String, Text, func, literal, select, update
from sqlalchemy.dialects.postgresql import INT4RANGE
from sqlalchemy.dialects.postgresql import Range as SQLAlchemyRange
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel import Session
from sqlkeel.bulk import insert_many, update_many, upsert_many
from sqlkeel.engines._texts import has_notation, refuse_notation
from sqlkeel.errors import ValueRefused
from sqlkeel.sessions import Database
from sqlkeel.types import Choice


class Words(TypeDecorator[list[str]]):
    """A list in a text."""

    impl = String(60)
    cache_ok = True

    def process_bind_param(self, value: list[str] | None, dialect: Any) -> str | None:
        """Join the words."""
        return None if value is None else " ".join(value)

    def process_result_value(self, value: str | None, dialect: Any) -> list[str] | None:
        """Split the text."""
        return None if value is None else value.split()


class Passed(TypeDecorator[Any]):
    """A text whose type converts nothing."""

    impl = Text
    cache_ok = True


class Color(StrEnum):
    """A member that is a text."""

    RED = "red"


class Size(Enum):
    """A member that is none."""

    SMALL = "s"


class Name(str):
    """A text of another class."""


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Note(Base):
    """Columns of text, and those that hold what is none."""

    __tablename__ = "texts_note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[Any] = mapped_column(String(60), nullable=True)
    body: Mapped[Any] = mapped_column(Text, nullable=True)
    passed: Mapped[Any] = mapped_column(Passed, nullable=True)
    words: Mapped[Any] = mapped_column(Words, nullable=True)
    tags: Mapped[Any] = mapped_column(ARRAY(String(10)), nullable=True)
    data: Mapped[Any] = mapped_column(JSON, nullable=True)
    blob: Mapped[Any] = mapped_column(LargeBinary, nullable=True)
    size: Mapped[Any] = mapped_column(Choice(Size), nullable=True)
    span: Mapped[Any] = mapped_column(INT4RANGE, nullable=True)


pytestmark = pytest.mark.tables(Base.metadata)
NO_TEXTS: list[Any] = [
    ["x"],
    [],
    ("x",),
    {"x"},
    frozenset({"x"}),
    {"x": 1},
    b"x",
    bytearray(b"x"),
    memoryview(b"x"),
    UUID(int=5),
    datetime(2026, 1, 2, tzinfo=UTC),
    time(1),
    timedelta(1),
    ip_address("10.0.0.1"),
    ip_interface("10.0.0.1/8"),
    ip_network("10.0.0.0/8"),
    Range(1, 2),
    Multirange([Range(1, 2)]),
    Size.SMALL,
]
WRITTEN: list[tuple[Any, str | None]] = [
    ("x", "x"),
    (None, None),
    (Name("x"), "x"),
    (Color.RED, "red"),
    (5, "5"),
    (Decimal("1.50"), "1.50"),
    (True, "true"),
    (date(2026, 1, 2), "2026-01-02"),
]
KINDS: dict[str, Any] = {"list": ["x"], "tuple": ("x",), "bytes": b"x", "uuid": UUID(int=5), "enum": Size.SMALL}


async def create(session: Session, column: str, value: Any) -> None:
    """Write one object."""
    session.add(Note(id=2, **{column: value}))
    await session.flush()


async def set_by_statement(session: Session, column: str, value: Any) -> None:
    """Write by a statement."""
    await session.execute(update(Note).values({column: value}))


async def compare(session: Session, column: str, value: Any) -> None:
    """Look for the value."""
    await session.scalars(select(Note).where(getattr(Note, column) == value))


async def insert(session: Session, column: str, value: Any) -> None:
    """Write rows of which the second has the value."""
    await insert_many(session, Note, [{"id": 8, column: None}, {"id": 2, column: value}])


async def insert_by_copy(session: Session, column: str, value: Any) -> None:
    """Write as many rows as are sent by COPY."""
    rows = [{"id": number, column: None} for number in range(10, 3_000)]
    await insert_many(session, Note, [rows[0], {"id": 2, column: value}, *rows[1:]])


async def upsert(session: Session, column: str, value: Any) -> None:
    """Merge rows."""
    await upsert_many(session, Note, [{"id": 8, column: None}, {"id": 2, column: value}], on=[Note.id])


async def change(session: Session, column: str, value: Any) -> None:
    """Update rows by their keys."""
    session.add_all([Note(id=8), Note(id=2)])
    await session.flush()
    await update_many(session, Note, [{"id": 8, column: None}, {"id": 2, column: value}])


SINGLE = [create, set_by_statement, compare]
BULK = [insert, insert_by_copy, upsert, change]


@pytest.fixture(params=["asyncpg", "psycopg"])
def either(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    database: Database = request.getfixturevalue({"asyncpg": "postgres", "psycopg": "psycopg"}[request.param])
    return database


class TestRefused:
    @pytest.mark.parametrize("column", ["name", "body", "passed"])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("write", SINGLE)
    async def test_its_column_is_named(self, either: Database, write: Any, kind: str, column: str) -> None:
        """It is a value that does not fit, and not the text of an array."""
        async with either.session() as session:
            with pytest.raises(ValueRefused) as caught:
                await write(session, column, KINDS[kind])

        assert (caught.value.column, caught.value.row) == (column, None)

    @pytest.mark.parametrize("column", ["name", "body", "passed"])
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("write", BULK)
    async def test_its_row_is_named(self, either: Database, write: Any, kind: str, column: str) -> None:
        """Among many rows, too, however they are sent."""
        async with either.session() as session:
            with pytest.raises(ValueRefused) as caught:
                await write(session, column, KINDS[kind])

        assert (caught.value.column, caught.value.row) == (column, 2)

    @pytest.mark.parametrize("value", NO_TEXTS, ids=lambda value: type(value).__name__)
    async def test_each_kind(self, either: Database, value: Any) -> None:
        """One driver refuses what the other one does."""
        async with either.session() as session:
            with pytest.raises(ValueRefused):
                await create(session, "name", value)
            await session.rollback()
            with pytest.raises(ValueRefused):
                await insert_by_copy(session, "name", value)


class TestWritten:
    @pytest.mark.parametrize("write", [create, insert, insert_by_copy, upsert, change])
    @pytest.mark.parametrize(("value", "text"), WRITTEN, ids=repr)
    async def test_a_text(self, psycopg: Database, write: Any, value: Any, text: str | None) -> None:
        """What is one, and what psycopg writes in one way, arrive as they did."""
        async with psycopg.session() as session:
            await write(session, "name", value)

            assert await session.scalar(select(Note.name).where(Note.id == 2)) == text

    @pytest.mark.parametrize("write", [create, insert, insert_by_copy, upsert, change])
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("words", ["a", "b"]),
            ("tags", ["a", "b"]),
            ("data", ["a", {"b": ["c"]}]),
            ("blob", b"\0x"),
            ("size", Size.SMALL),
            ("span", SQLAlchemyRange(1, 2)),
        ],
    )
    async def test_a_column_of_another_type(self, either: Database, write: Any, column: str, value: Any) -> None:
        """A list is no text, and is one where a type makes it one."""
        async with either.session() as session:
            await write(session, column, value)
            session.expunge_all()

            assert getattr(await session.get_one(Note, 2), column) == value

    async def test_an_expression(self, psycopg: Database) -> None:
        """The database makes the text, of an array if it is told so."""
        async with psycopg.session() as session:
            session.add(Note(id=2, name=func.array_to_string(literal(["a", "b"], ARRAY(String)), "-")))
            await session.flush()

            found = select(Note.name).where(
                Note.name.in_(["a-b"]), Note.name == func.any(literal(["a-b"], ARRAY(Text)))
            )
            assert await session.scalar(found) == "a-b"


class TestNotation:
    @pytest.mark.parametrize("value", NO_TEXTS, ids=lambda value: type(value).__name__)
    def test_many_are_refused_as_one_is(self, value: Any) -> None:
        """The rule is the same for a value and among values."""
        with pytest.raises(TypeError):
            refuse_notation(value)

        assert has_notation([str, type(None), type(value)])

    def test_many_pass_as_one_does(self) -> None:
        """What is written is returned as it is."""
        values = [value for value, _ in WRITTEN]

        assert [refuse_notation(value) for value in values] == values
        assert not has_notation(map(type, values))
