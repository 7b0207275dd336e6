"""Dates, times of day and durations: stored to the microsecond or refused, on every database."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.bulk import insert_many
from sqlkeel.errors import InvalidValue
from sqlkeel.sessions import Database
from sqlkeel.types import Duration


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Shift(Base):
    """A day's work."""

    __tablename__ = "shift"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    day: Mapped[date | None]
    start: Mapped[time | None]
    length: Mapped[timedelta | None]
    began_at: Mapped[datetime | None]


pytestmark = pytest.mark.tables(Base.metadata)


async def stored(database: Database, **values: Any) -> Shift:
    """Write a shift and read it on another session."""
    async with database.transaction() as session:
        session.add(Shift(id=1, **values))
    async with database.read() as session:
        return await session.get_one(Shift, 1)


class TestPlainDate:
    @pytest.mark.parametrize("day", [date(2024, 2, 29), date(1000, 1, 1), date(9999, 12, 31)], ids=str)
    async def test_a_day_comes_back(self, every_driver: Database, day: date) -> None:
        """What is read is a date and nothing more."""
        shift = await stored(every_driver, day=day)

        assert shift.day == day
        assert type(shift.day) is date

    @pytest.mark.parametrize("value", [datetime(2026, 11, 22), datetime(2026, 11, 22, tzinfo=UTC), "2026-11-22", 1])
    async def test_anything_else_is_refused(self, every_driver: Database, value: object) -> None:
        """A moment would lose its time, or come to lie on another day."""
        with pytest.raises(InvalidValue):
            await stored(every_driver, day=value)

    async def test_it_is_refused_in_a_query_too(self, sqlite: Database) -> None:
        """A date is not compared with a moment."""
        with pytest.raises(InvalidValue, match="is a datetime"):
            async with sqlite.read() as session:
                await session.execute(select(Shift).where(Shift.day >= datetime(2026, 11, 22)))


class TestPlainTime:
    @pytest.mark.parametrize("start", [time(0), time(23, 59, 59, 999999), time(9, 30, 0, 1)], ids=str)
    async def test_a_time_comes_back_to_the_microsecond(self, every_driver: Database, start: time) -> None:
        """MariaDB's plain TIME would drop the fraction."""
        shift = await stored(every_driver, start=start)

        assert shift.start == start

    @pytest.mark.parametrize("value", [time(9, tzinfo=UTC), "09:30", timedelta(hours=9), datetime(2026, 11, 22)])
    async def test_anything_else_is_refused(self, every_driver: Database, value: object) -> None:
        """A zone would be lost."""
        with pytest.raises(InvalidValue):
            await stored(every_driver, start=value)

    async def test_order(self, every_driver: Database) -> None:
        """Times sort and compare as in Python."""
        starts = [time(9), time(9, 0, 0, 1), time(10)]
        async with every_driver.transaction() as session:
            session.add_all([Shift(id=number, start=start) for number, start in enumerate(starts)])

        async with every_driver.read() as session:
            later = (await session.scalars(select(Shift.id).where(Shift.start > time(9)).order_by(Shift.start))).all()

        assert later == [1, 2]


LENGTHS = [
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(microseconds=-1),
    timedelta(days=-3, hours=5, microseconds=7),
    timedelta(days=100_000, microseconds=999_999),
]


class TestDuration:
    @pytest.mark.parametrize("length", LENGTHS, ids=str)
    async def test_a_duration_comes_back(self, every_driver: Database, length: timedelta) -> None:
        """To the microsecond, longer than a day, and below zero."""
        shift = await stored(every_driver, length=length)

        assert shift.length == length

    @pytest.mark.parametrize("value", [3600, 1.5, "1:00", time(1)], ids=repr)
    async def test_anything_else_is_refused(self, every_driver: Database, value: object) -> None:
        """A number has no unit."""
        with pytest.raises(InvalidValue, match="is not a duration"):
            await stored(every_driver, length=value)

    @pytest.mark.parametrize(("microseconds", "fits"), [(2**63 - 1, True), (2**63, False), (-(2**63), False)])
    def test_the_longest(self, microseconds: int, fits: bool) -> None:
        """What does not fit into 64 bits is refused, on PostgreSQL too."""
        length = timedelta(microseconds=microseconds)

        assert _bound(length) == (microseconds if fits else None)

    async def test_sums_and_order(self, every_driver: Database) -> None:
        """SUM, ORDER BY and comparisons agree with Python."""
        async with every_driver.transaction() as session:
            session.add_all([Shift(id=number, length=length) for number, length in enumerate(LENGTHS)])

        async with every_driver.read() as session:
            total = await session.scalar(select(func.sum(Shift.length)))
            ordered = (await session.scalars(select(Shift.length).order_by(Shift.length))).all()
            longer = (await session.scalars(select(Shift.id).where(Shift.length > timedelta(0)))).all()

        assert total == sum(LENGTHS, timedelta(0))
        assert ordered == sorted(LENGTHS)
        assert sorted(longer) == [1, 4]

    async def test_postgresql_adds_it_to_a_moment(self, postgres: Database) -> None:
        """There it is an interval."""
        await stored(postgres, length=timedelta(hours=8), began_at=datetime(2026, 11, 22, 9, tzinfo=UTC))

        async with postgres.read() as session:
            ended = await session.scalar(select(Shift.began_at + Shift.length))

        assert ended == datetime(2026, 11, 22, 17, tzinfo=UTC)


class TestBulk:
    async def test_bulk_writes_the_same(self, every_driver: Database) -> None:
        """COPY and the other ways in store what the ORM stores."""
        row = {"id": 1, "day": date(2026, 11, 22), "start": time(9, 0, 0, 1), "length": LENGTHS[3], "began_at": None}

        async with every_driver.transaction() as session:
            await insert_many(session, Shift, [row])

        async with every_driver.read() as session:
            shift = await session.get_one(Shift, 1)
        assert {name: getattr(shift, name) for name in row} == row


def _bound(length: timedelta) -> Any:
    try:
        return Duration().process_bind_param(length, sqlite_dialect.dialect())
    except InvalidValue:
        return None
