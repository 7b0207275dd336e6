"""Words, numbers and objects for a moment: refused by every driver, as a server reads them in its own way."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from fractions import Fraction
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import (
    TIMESTAMP,
    Column,
    Date,
    DateTime,
    Interval,
    LargeBinary,
    MetaData,
    Table,
    Time,
    bindparam,
    cast,
    insert,
    select,
)
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateColumn

import sqlkeel
from sqlkeel.bulk import insert_many, update_many, upsert_many
from sqlkeel.errors import ValueRefused
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Visit(Base):
    """One column of each kind."""

    __tablename__ = "moments_visit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[Any] = mapped_column(Date, nullable=True)
    begins: Mapped[Any] = mapped_column(Time, nullable=True)
    booked_at: Mapped[Any] = mapped_column(DateTime, nullable=True)
    lasts: Mapped[Any] = mapped_column(Interval, nullable=True)
    photo: Mapped[Any] = mapped_column(LargeBinary, nullable=True)


pytestmark = pytest.mark.tables(Base.metadata)


class Day(date):
    """A day of another class."""


class Moment(datetime):
    """A moment of another class, as other libraries have one."""


REFUSED = [
    ("day", "2026-01-01"),
    ("day", "infinity"),
    ("day", 20260101),
    ("day", 0),
    ("begins", "24:00:00"),
    ("begins", "-10:00:00"),
    ("booked_at", "infinity"),
    ("booked_at", b"2026-01-01"),
    ("lasts", "1000000000 days"),
    ("lasts", 5),
    ("photo", 5),
    ("photo", [1, 2]),
    ("day", 1j),
    ("begins", range(2)),
    ("booked_at", print),
    ("lasts", object()),
    ("day", Fraction(1, 2)),
    ("begins", UUID(int=5)),
    ("booked_at", UUID(int=5)),
    ("booked_at", ip_address("0.0.0.9")),
    ("booked_at", time(1)),
    ("day", timedelta(days=1)),
]
TAKEN = [
    ("day", date.max, date.max),
    ("day", Day(2026, 1, 1), date(2026, 1, 1)),
    ("begins", time(23, 59), time(23, 59)),
    ("booked_at", datetime(1, 1, 1), datetime(1, 1, 1)),
    ("booked_at", Moment(2026, 1, 1), datetime(2026, 1, 1)),
    ("lasts", timedelta(days=1), timedelta(days=1)),
    ("photo", b"\xff\0", b"\xff\0"),
    ("photo", bytearray(b"\xff"), b"\xff"),
    ("photo", memoryview(b"\xff"), b"\xff"),
    *((name, None, None) for name in ("day", "begins", "booked_at", "lasts", "photo")),
]
KINDS: list[Any] = [Date(), DateTime(), DateTime(timezone=True), Time(), Interval(second_precision=3), TIMESTAMP()]
OWN: dict[str, list[Any]] = {
    "mariadb": [mysql.DATETIME(fsp=3), mysql.TIMESTAMP(fsp=3), mysql.TIME(fsp=2)],
    "postgresql": [
        postgresql.TIMESTAMP(precision=3),
        postgresql.TIME(precision=3),
        postgresql.INTERVAL(fields="day to second"),
    ],
}
"""The types of one database alone."""


class TestRefused:
    @pytest.mark.parametrize(("name", "value"), REFUSED)
    async def test_it_is_refused_with_its_column(self, every_driver: Database, name: str, value: Any) -> None:
        """When it is written, and nothing is."""
        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                await session.execute(insert(Visit).values({"id": 1, name: value}))

        assert caught.value.column == name

    @pytest.mark.parametrize(("name", "value"), REFUSED)
    @pytest.mark.parametrize("verb", [insert_many, update_many, upsert_many], ids=lambda verb: verb.__name__)
    async def test_among_many_its_row_is_named(self, every_driver: Database, verb: Any, name: str, value: Any) -> None:
        """The other ways by which many rows are sent write it no more than one does."""
        rows = [{"id": 1, name: None}, {"id": 2, name: value}]
        options = {"on": [Visit.id]} if verb is upsert_many else {}

        with pytest.raises(ValueRefused) as caught:
            async with every_driver.transaction() as session:
                if verb is update_many:
                    session.add_all([Visit(id=1), Visit(id=2)])
                    await session.flush()
                await verb(session, Visit, rows, **options)

        assert (caught.value.column, caught.value.row) == (name, 2)


class TestTaken:
    @pytest.mark.parametrize(("name", "value", "found"), TAKEN)
    async def test_it_is_written(self, every_driver: Database, name: str, value: Any, found: Any) -> None:
        """What is one is, whatever its class; nothing is, too."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Visit).values({"id": 1, name: value}))
            await insert_many(session, Visit, [{"id": 2, name: value}])

            assert list(await session.scalars(select(getattr(Visit, name)))) == [found] * 2


class TestSQL:
    async def test_types_are_written_as_before(self, every_driver: Database) -> None:
        """Fractions of a second are kept in a CAST and in a table, and so is what MariaDB says of NULL."""
        ours, stock = every_driver.engine.dialect, every_driver.url.get_dialect()()
        stock.server_version_info = ours.server_version_info

        for kind in [*KINDS, *OWN.get(every_driver.dialect, ())]:
            column = Table("moment", MetaData(), Column("at", kind)).c.at
            for element in (cast(column, kind), column == bindparam("given"), CreateColumn(column)):
                assert str(element.compile(dialect=ours)) == str(element.compile(dialect=stock))
