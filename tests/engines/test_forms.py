"""The forms in which MariaDB's driver writes values, and what has none."""

from __future__ import annotations

from collections import OrderedDict
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import PurePath
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import JSON, LargeBinary, Numeric, String, insert, select, text
from sqlalchemy.dialects.mysql import DATETIME, SET
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.bulk import insert_many, update_many, upsert_many
from sqlkeel.errors import ValueRefused
from sqlkeel.sessions import Database
from sqlkeel.types import Choice


class Size(Enum):
    """A member that is no text."""

    SMALL = "s"


class Color(StrEnum):
    """A member that is one."""

    RED = "red"


class Level(IntEnum):
    """A member that is a number."""

    LOW = 5


class Step(int, Enum):
    """A member that is a number, and whose ``str()`` is none."""

    FIRST = 1


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Note(Base):
    """A column for each of some kinds of values."""

    __tablename__ = "forms_note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[Any] = mapped_column(String(60), nullable=True)
    number: Mapped[int | None]
    amount: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    ratio: Mapped[float | None]
    moment: Mapped[datetime | None] = mapped_column(DATETIME())
    day: Mapped[date | None]
    parts: Mapped[Any] = mapped_column(SET("a", "b"), nullable=True)
    data: Mapped[Any] = mapped_column(JSON, nullable=True)
    blob: Mapped[Any] = mapped_column(LargeBinary, nullable=True)
    size: Mapped[Any] = mapped_column(Choice(Size), nullable=True)


class Day(date):
    """A class whose ``str()`` is no form of SQL, as of the moments of other libraries."""

    def __str__(self) -> str:
        return "today"


class Moment(datetime):
    """Another one."""

    __str__ = Day.__str__


class Amount(Decimal):
    """Another one."""

    def __str__(self) -> str:
        return "much"


class Ratio(float):
    """Another one."""

    def __str__(self) -> str:
        return "half"


class Name(str):
    """Another one."""

    __slots__ = ()

    def __str__(self) -> str:
        return "somebody"


pytestmark = pytest.mark.tables(Base.metadata)

WITHOUT_FORM: list[Any] = [
    {"x": 1},
    OrderedDict(x=1),
    Size.SMALL,
    object(),
    SimpleNamespace(x=1),
    PurePath("x"),
    memoryview(b"x"),
    frozenset({"x"}),
    ["x"],
    type("Names", (list,), {})(["x"]),
]
TUPLES = [("number", (1,)), ("name", ("x",)), ("amount", (Decimal(1),)), ("ratio", (1.5,))]
WITH_FORM: list[tuple[str, Any, Any]] = [
    ("name", Name("x'"), "x'"),
    ("name", Color.RED, "red"),
    ("name", UUID(int=5), str(UUID(int=5))),
    ("name", ip_address("10.0.0.1"), "10.0.0.1"),
    ("name", ip_network("10.0.0.0/8"), "10.0.0.0/8"),
    ("name", Fraction(1, 2), "1/2"),
    ("number", Level.LOW, 5),
    ("number", Step.FIRST, 1),
    ("number", True, 1),
    ("amount", Amount("1.50"), Decimal("1.50")),
    ("ratio", Ratio(1.5), 1.5),
    ("moment", Moment(2026, 1, 2, 3, 4, 5), datetime(2026, 1, 2, 3, 4, 5)),
    ("day", Day(2026, 1, 2), date(2026, 1, 2)),
    ("parts", {"a", "b"}, {"a", "b"}),
    ("data", {"x": [1]}, {"x": [1]}),
    ("blob", b"\0'", b"\0'"),
    ("size", Size.SMALL, Size.SMALL),
]


class TestForms:
    """The driver writes the ``str()`` of what it does not know; sqlkeel writes what MariaDB has a form for."""

    @pytest.mark.parametrize("value", WITHOUT_FORM, ids=lambda value: type(value).__name__)
    async def test_what_has_none_is_refused(self, mariadb: Database, value: Any) -> None:
        """As every other driver refuses it, and with its column."""
        async with mariadb.session() as session:
            with pytest.raises(ValueRefused) as caught:
                await session.execute(insert(Note).values(id=1, name=value))
            with pytest.raises(ValueRefused):
                await session.execute(text("select :value"), {"value": value})

        assert caught.value.column == "name"

    async def test_among_many_its_row_is_named(self, mariadb: Database) -> None:
        """As that of any value that does not fit."""
        async with mariadb.session() as session:
            with pytest.raises(ValueRefused) as caught:
                await insert_many(session, Note, [{"id": 1, "name": "x"}, {"id": 2, "name": {"x": 1}}])

        assert (caught.value.column, caught.value.row) == ("name", 2)

    @pytest.mark.parametrize(("column", "value", "found"), WITH_FORM, ids=lambda part: type(part).__name__)
    async def test_what_has_one_is_written(self, mariadb: Database, column: str, value: Any, found: Any) -> None:
        """One of a class that inherits is written as one of the class that the server knows."""
        async with mariadb.session() as session:
            await session.execute(insert(Note).values({"id": 1, column: value}))

            assert await session.scalar(select(getattr(Note, column))) == found

    @pytest.mark.parametrize("values", [("a'", Name("b")), ("b",)], ids=len)
    async def test_a_tuple_is_a_list_of_sql(self, mariadb: Database, values: Any) -> None:
        """In SQL text, with texts in it."""
        async with mariadb.session() as session:
            assert await session.scalar(text("select 'b' in :values"), {"values": values}) == 1

    @pytest.mark.parametrize("pairs", [((1, 2),), ((1, 2), (3, 4))], ids=len)
    async def test_it_may_hold_tuples(self, mariadb: Database, pairs: Any) -> None:
        """Each of them is a row to compare with."""
        async with mariadb.session() as session:
            assert await session.scalar(text("select (1, 2) in :pairs"), {"pairs": pairs}) == 1

    @pytest.mark.parametrize(("column", "value"), TUPLES)
    async def test_it_is_no_value(self, mariadb: Database, column: str, value: Any) -> None:
        """Of one element neither, which the server takes for that element; nothing is written, and nothing found."""
        async with mariadb.session() as session:
            await session.execute(insert(Note).values({"id": 1, column: value[0]}))
            with pytest.raises(ValueRefused) as written:
                await session.execute(insert(Note).values({"id": 2, column: value}))
            with pytest.raises(ValueRefused) as found:
                await session.execute(select(Note).where(getattr(Note, column) == value))

        assert (written.value.column, found.value.column) == (column, column)

    @pytest.mark.parametrize(("column", "value"), TUPLES)
    @pytest.mark.parametrize("verb", [insert_many, update_many, upsert_many], ids=lambda verb: verb.__name__)
    async def test_among_many_its_row_is_named_too(self, mariadb: Database, verb: Any, column: str, value: Any) -> None:
        """By each way of many rows."""
        options = {"on": [Note.id]} if verb is upsert_many else {}
        async with mariadb.session() as session:
            with pytest.raises(ValueRefused) as caught:
                await verb(session, Note, [{"id": 1, column: None}, {"id": 2, column: value}], **options)

        assert (caught.value.column, caught.value.row) == (column, 2)
