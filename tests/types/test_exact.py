"""Moments: stored exactly or refused, on every database; and the types that annotations stand for."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import JSON, DateTime, case, func, insert, select, text
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.schema import CreateTable

import sqlkeel
from sqlkeel.errors import InvalidValue, NaiveDatetime
from sqlkeel.sessions import Database
from sqlkeel.types import Money, PlainDate, PlainTime, UTCDateTime, utc_now
from tests.types.exact_models import POSTGRESQL, Base, Event, stored

NEPAL = timezone(timedelta(hours=5, minutes=45))


pytestmark = pytest.mark.tables(Base.metadata)


class TestUTCDateTime:
    @pytest.mark.parametrize(
        "moment",
        [
            datetime(2026, 11, 22, 13, 57, 1, 123456, UTC),
            datetime(2026, 11, 22, 13, 57, 1, 0, UTC),
            datetime(1969, 12, 31, 23, 59, 59, 999999, UTC),
            datetime(1000, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        ],
        ids=str,
    )
    async def test_a_moment_comes_back_to_the_microsecond(self, every_driver: Database, moment: datetime) -> None:
        """What is stored is what is read, in UTC."""
        event = await stored(every_driver, at=moment)

        assert event.at == moment
        assert event.at is not None
        assert event.at.utcoffset() == timedelta(0)

    async def test_another_zone_becomes_utc(self, every_driver: Database) -> None:
        """The moment is kept, its zone is not."""
        event = await stored(every_driver, at=datetime(2026, 11, 22, 19, 42, tzinfo=NEPAL))

        assert event.at == datetime(2026, 11, 22, 13, 57, tzinfo=UTC)

    async def test_nothing_stays_nothing(self, every_driver: Database) -> None:
        """NULL is None."""
        event = await stored(every_driver, at=None)

        assert event.at is None

    async def test_a_naive_datetime_is_refused(self, every_driver: Database) -> None:
        """The error is ours, not one of SQLAlchemy with ours inside."""
        with pytest.raises(NaiveDatetime, match="has no time zone"):
            await stored(every_driver, at=datetime(2026, 11, 22))

    async def test_it_is_refused_in_a_query_too(self, every_driver: Database) -> None:
        """A comparison with a naive datetime would compare with another moment."""
        with pytest.raises(NaiveDatetime):
            async with every_driver.read() as session:
                await session.execute(select(Event).where(Event.at > datetime(2026, 11, 22)))

    async def test_it_is_refused_in_many_rows(self, every_driver: Database) -> None:
        """One naive datetime in an executemany refuses all of it."""
        rows = [{"id": 1, "at": datetime(2026, 1, 1, tzinfo=UTC)}, {"id": 2, "at": datetime(2026, 1, 1)}]

        with pytest.raises(NaiveDatetime):
            async with every_driver.transaction() as session:
                await session.execute(insert(Event), rows)

    async def test_nothing_is_sent(self, postgres: Database) -> None:
        """The transaction goes on: the server has seen nothing of it."""
        async with postgres.transaction() as session:
            with pytest.raises(NaiveDatetime):
                await session.execute(insert(Event).values(id=1, at=datetime(2026, 11, 22)))

            assert await session.scalar(select(func.count()).select_from(Event)) == 0

    @pytest.mark.parametrize("value", [date(2026, 11, 22), "2026-11-22T00:00:00Z", 1_790_000_000], ids=str)
    async def test_what_is_no_datetime_is_refused(self, every_driver: Database, value: object) -> None:
        """A date, a text and a number are no moments."""
        with pytest.raises(InvalidValue, match="is not a datetime"):
            await stored(every_driver, at=value)

    @pytest.mark.parametrize(
        ("kind", "value", "hint"),
        [
            (UTCDateTime(), "2026-11-22", "datetime.fromisoformat(text), with"),
            (UTCDateTime(), 5, "Compute it before the statement: datetime.now("),
            (PlainDate(), "2026-11-22", "date.fromisoformat(text)"),
            (PlainDate(), 5, "date(2026, 11, 22)"),
            (PlainTime(), "09:30", "time.fromisoformat(text)"),
        ],
    )
    def test_a_text_has_a_hint_of_its_own(self, kind: Any, value: object, hint: str) -> None:
        """It says how the text becomes such a value."""
        with pytest.raises(InvalidValue) as caught:
            kind.process_bind_param(value, None)

        assert caught.value.hint.startswith(hint)

    async def test_arithmetic_is_refused(self, every_driver: Database) -> None:
        """No two databases subtract alike; the hint says where to compute."""
        with pytest.raises(InvalidValue, match="timedelta"):
            async with every_driver.read() as session:
                await session.execute(select(Event).where(Event.at > utc_now() - timedelta(days=30)))

    async def test_order_is_the_order_of_time(self, every_driver: Database) -> None:
        """Sorting and comparing follow the moments, whatever zones they were given in."""
        moments = [
            datetime(2026, 11, 22, 12, tzinfo=UTC),
            datetime(2026, 11, 22, 12, 0, 0, 1, UTC),
            datetime(2026, 11, 22, 18, tzinfo=NEPAL),
        ]
        async with every_driver.transaction() as session:
            session.add_all([Event(id=number, at=moment) for number, moment in enumerate(moments)])

        async with every_driver.read() as session:
            ordered = (await session.scalars(select(Event.id).order_by(Event.at))).all()
            later = (await session.scalars(select(Event.id).where(Event.at > moments[0]).order_by(Event.id))).all()

        assert ordered == sorted(range(3), key=moments.__getitem__)
        assert later == [1, 2]

    @pytest.mark.parametrize(
        "choose",
        [lambda at: func.coalesce(Event.at, at), lambda at: case((Event.id == 2, Event.at), else_=at)],
        ids=["coalesce", "case"],
    )
    async def test_a_moment_beside_a_column_is_one(self, every_driver: Database, choose: Any) -> None:
        """In a function and in CASE a value is checked like in a comparison, and sent in UTC."""
        await stored(every_driver, at=None)

        async with every_driver.read() as session:
            found = await session.scalar(select(choose(datetime(2026, 11, 22, 19, 42, tzinfo=NEPAL))))
            with pytest.raises(NaiveDatetime):
                await session.scalar(select(choose(datetime(2026, 11, 22))))

        assert found == datetime(2026, 11, 22, 13, 57, tzinfo=UTC)

    def test_columns_keep_microseconds(self) -> None:
        """The DDL says so, for each database."""
        table: Any = Event.__table__
        create = {d.name: str(CreateTable(table).compile(dialect=d)) for d in (POSTGRESQL, mysql.dialect())}

        assert "at TIMESTAMP WITH TIME ZONE" in create["postgresql"]
        assert "at DATETIME(6)" in create["mysql"]


class TestUtcNow:
    async def test_a_server_default_is_the_servers_clock(self, every_driver: Database) -> None:
        """A default is an aware moment close to our own clock."""
        before = datetime.now(UTC)

        event = await stored(every_driver)

        assert abs(event.noted_at - before) < timedelta(seconds=5)
        assert event.noted_at.utcoffset() == timedelta(0)

    async def test_it_can_be_selected(self, every_driver: Database) -> None:
        """In a query it is a moment as well."""
        async with every_driver.read() as session:
            now = await session.scalar(select(utc_now()))

        assert now is not None
        assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)

    async def test_it_compares_with_stored_moments(self, every_driver: Database) -> None:
        """A moment of an hour ago is before now, one in an hour is not; on SQLite that is a comparison of texts."""
        hour = timedelta(hours=1)
        async with every_driver.transaction() as session:
            session.add_all([Event(id=1, at=datetime.now(UTC) - hour), Event(id=2, at=datetime.now(UTC) + hour)])

        async with every_driver.read() as session:
            past = (await session.scalars(select(Event.id).where(Event.at < utc_now()))).all()

        assert past == [1]

    async def test_the_session_of_mariadb_is_in_utc(self, mariadb: Database) -> None:
        """Whatever zone the server has, NOW() of our sessions is UTC."""
        async with mariadb.transaction() as session:
            zone = await session.scalar(text("select @@session.time_zone"))

        assert zone == "+00:00"


class TestTypeMap:
    def test_annotations_become_exact_types(self) -> None:
        """Datetime and Decimal in an annotation need no column type."""
        columns = Event.__table__.c

        assert isinstance(columns["at"].type, UTCDateTime)
        assert isinstance(columns["price"].type, Money)

    def test_a_type_of_your_own_wins(self) -> None:
        """A project's own map overrides ours and keeps the rest."""

        class Own(sqlkeel.Base):
            type_annotation_map = {datetime: DateTime()}

        class Row(Own):
            __tablename__ = "row"
            id: Mapped[int] = mapped_column(primary_key=True)
            at: Mapped[datetime]
            data: Mapped[dict[str, Any]]

        assert type(Row.__table__.c["at"].type) is DateTime
        assert isinstance(Row.__table__.c.data.type, JSON)
