"""Moments and amounts: stored exactly or refused, on every database."""

from __future__ import annotations

import decimal
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import JSON, DateTime, String, case, cast, create_engine, func, insert, literal, select, text
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.pool import StaticPool
from sqlalchemy.schema import CreateTable

import sqlkeel
from sqlkeel.errors import InexactNumber, InvalidValue, NaiveDatetime, NotSupported
from sqlkeel.sessions import Database
from sqlkeel.types import ExactNumeric, Money, PlainDate, PlainTime, UTCDateTime, utc_now
from sqlkeel.types._operands import check_operands

POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
NEPAL = timezone(timedelta(hours=5, minutes=45))


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Event(Base):
    """Something that happened, and what it cost."""

    __tablename__ = "event"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime | None]
    price: Mapped[Decimal | None]
    quantity: Mapped[int] = mapped_column(default=1)
    noted_at: Mapped[datetime] = mapped_column(server_default=utc_now())


pytestmark = pytest.mark.tables(Base.metadata)


async def stored(database: Database, **values: Any) -> Event:
    """Write an event and read it on another session."""
    async with database.transaction() as session:
        session.add(Event(id=1, **values))
    async with database.read() as session:
        return await session.get_one(Event, 1)


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
        with pytest.raises(InvalidValue, match="is no moment"):
            await stored(every_driver, at=value)

    @pytest.mark.parametrize(
        ("kind", "value", "hint"),
        [
            (UTCDateTime(), "2026-11-22", "datetime.fromisoformat(text), with"),
            (UTCDateTime(), 5, "datetime.now(timezone.utc)"),
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


AMOUNTS = [Decimal("0.00"), Decimal("1.10"), Decimal("-0.01"), Decimal("9999999999999999.99"), Decimal(12)]


class TestMoney:
    @pytest.mark.parametrize("amount", AMOUNTS, ids=str)
    async def test_an_amount_comes_back(self, every_driver: Database, amount: Decimal) -> None:
        """What is stored is what is read, with exactly two digits behind the point."""
        event = await stored(every_driver, price=amount)

        assert event.price == amount
        assert str(event.price).partition(".")[2] == str(amount.quantize(Decimal("0.01"))).partition(".")[2]

    async def test_a_whole_number_is_an_amount(self, every_driver: Database) -> None:
        """An int loses nothing."""
        event = await stored(every_driver, price=7)

        assert event.price == Decimal("7.00")

    @pytest.mark.parametrize(
        "value",
        [1.5, True, "1.50", Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1.005"), Decimal("1E+16")],
        ids=repr,
    )
    async def test_what_is_inexact_is_refused(self, every_driver: Database, value: object) -> None:
        """A float, NaN, infinity and an amount with too many digits are refused before they are sent."""
        with pytest.raises(InexactNumber):
            await stored(every_driver, price=value)

    async def test_it_is_refused_in_a_query_too(self, every_driver: Database) -> None:
        """A comparison with a float would be one with another number."""
        with pytest.raises(InexactNumber):
            async with every_driver.read() as session:
                await session.execute(select(Event).where(Event.price > 1.1))

    async def test_sums_are_exact(self, every_driver: Database) -> None:
        """0.10 + 0.20 is 0.30, in the database."""
        async with every_driver.transaction() as session:
            session.add_all([Event(id=1, price=Decimal("0.10")), Event(id=2, price=Decimal("0.20"))])

        async with every_driver.read() as session:
            total = await session.scalar(select(func.sum(Event.price)))
            groups = (
                await session.scalars(
                    select(Event.id).having(func.sum(Event.price) == Decimal("0.10")).group_by(Event.id)
                )
            ).all()

        assert total == Decimal("0.30")
        assert groups == [1]

    async def test_an_amount_times_a_number_of_pieces(self, every_driver: Database) -> None:
        """A whole factor keeps an amount exact; so does the sum of such products."""
        async with every_driver.transaction() as session:
            session.add_all([Event(id=1, price=Decimal("0.35"), quantity=3), Event(id=2, price=Decimal("1.10"))])

        async with every_driver.read() as session:
            total = await session.scalar(select(func.sum(Event.price * Event.quantity)))
            doubled = await session.scalar(select(Event.price * 2).where(Event.id == 1))

        assert (total, doubled) == (Decimal("2.15"), Decimal("0.70"))

    async def test_adding_to_a_column_is_exact(self, every_driver: Database) -> None:
        """An UPDATE that adds an amount adds that amount."""
        await stored(every_driver, price=Decimal("1.10"))

        async with every_driver.transaction() as session:
            event = await session.get_one(Event, 1)
            event.price = Event.price + Decimal("2.20")
            await session.flush()
            await session.refresh(event)

            assert event.price == Decimal("3.30")

    @pytest.mark.parametrize("factor", [Decimal("1.19"), 1.19], ids=repr)
    def test_a_fraction_as_factor_is_refused(self, factor: object) -> None:
        """The product would be rounded by one database and not by the other."""
        with pytest.raises(NotSupported, match="compute and round it in Python"):
            Event.price * factor

    def test_division_is_refused(self) -> None:
        """A third of an amount is no amount."""
        with pytest.raises(NotSupported):
            Event.price / 3

    async def test_the_thread_s_context_does_not_matter(self, every_driver: Database) -> None:
        """A program that computes with six digits stores all of them all the same."""
        with decimal.localcontext(prec=6):
            event = await stored(every_driver, price=Decimal("1234567890123456.78"))

            assert event.price == Decimal("1234567890123456.78")

    @pytest.mark.parametrize(("precision", "fits"), [(18, True), (19, False)])
    def test_sqlite_has_18_digits(self, precision: int, fits: bool) -> None:
        """More do not fit into its integers, and are refused when the table is made."""
        dialect = sqlite.dialect()

        outcome = _attempt(lambda: Money(precision=precision).load_dialect_impl(dialect))

        assert isinstance(outcome, NotSupported) is not fits

    @pytest.mark.parametrize(
        ("amount", "fits"),
        [("12345678901234567890123456789012345678.12", True), ("1234567890123456789012345678.125", False)],
    )
    def test_long_amounts_are_not_rounded(self, amount: str, fits: bool) -> None:
        """More than the 28 digits of Python's default context are checked as they are."""
        kind, dialect = Money(precision=40, scale=2), POSTGRESQL

        outcome = _attempt(lambda: kind.process_bind_param(Decimal(amount), dialect))

        assert outcome == Decimal(amount) if fits else isinstance(outcome, InexactNumber)

    @pytest.mark.parametrize(
        ("amount", "fits"), [("99.999", True), ("-99.999", True), ("100", False), ("9.9999", False)]
    )
    def test_precision_and_scale_are_bounds(self, amount: str, fits: bool) -> None:
        """The largest amount passes, one more does not."""
        outcome = _attempt(lambda: Money(5, 3).process_bind_param(Decimal(amount), POSTGRESQL))

        assert isinstance(outcome, InexactNumber) is not fits

    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(amounts=st.lists(st.decimals(min_value=-(10**9), max_value=10**9, places=2), min_size=1, max_size=20))
    def test_sqlite_sums_compares_and_sorts_like_python(self, amounts: list[Decimal]) -> None:
        """For any amounts SUM, ORDER BY and a comparison agree with Python's own arithmetic."""
        with ENGINE.connect() as connection:
            Base.metadata.create_all(connection)
            rows = [{"id": number, "price": amount} for number, amount in enumerate(amounts)]
            connection.execute(insert(Event), rows)

            total = connection.scalar(select(func.sum(Event.price)))
            ordered = connection.scalars(select(Event.price).order_by(Event.price)).all()
            above = connection.scalar(select(func.count()).where(Event.price > amounts[0]))

        assert total == sum(amounts)
        assert ordered == sorted(amounts)
        assert above == len([amount for amount in amounts if amount > amounts[0]])


def checked(dialect: Any) -> Any:
    """Return the dialect as the engine of a Database has it."""
    check_operands(dialect)
    return dialect


class Measure(Base):
    """A number of three digits behind the point, and others."""

    __tablename__ = "measure"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    weight: Mapped[Decimal | None] = mapped_column(ExactNumeric(12, 3))
    limit: Mapped[Decimal | None] = mapped_column(ExactNumeric(10, 3))
    price: Mapped[Decimal | None] = mapped_column(Money())
    pieces: Mapped[int | None]
    share: Mapped[float | None]


class TestExactNumeric:
    async def test_it_keeps_its_scale(self, every_driver: Database) -> None:
        """Three digits are three digits, zeros included."""
        async with every_driver.transaction() as session:
            session.add(Measure(id=1, weight=Decimal("-123456789.120")))

        async with every_driver.read() as session:
            assert str(await session.scalar(select(Measure.weight))) == "-123456789.120"

    @pytest.mark.parametrize("value", [1.5, True, "1.5", Decimal("NaN"), Decimal("0.0001"), Decimal("1E+9")], ids=repr)
    async def test_what_is_inexact_is_refused(self, every_driver: Database, value: object) -> None:
        """As for an amount."""
        with pytest.raises(InexactNumber):
            async with every_driver.transaction() as session:
                session.add(Measure(id=1, weight=value))

    async def test_columns_of_one_scale_meet(self, every_driver: Database) -> None:
        """They compare, add and subtract in the database, and multiply with whole numbers."""
        async with every_driver.transaction() as session:
            session.add(Measure(id=1, weight=Decimal("2.125"), limit=Decimal("2.130"), pieces=3))

        async with every_driver.read() as session:
            row = (
                await session.execute(
                    select(
                        Measure.limit - Measure.weight,
                        Measure.weight * Measure.pieces,
                        func.coalesce(Measure.weight, Decimal(0)),
                    ).where(Measure.weight < Measure.limit, Measure.weight.is_not(None))
                )
            ).one()

        assert tuple(row) == (Decimal("0.005"), Decimal("6.375"), Decimal("2.125"))

    @pytest.mark.parametrize(
        "combine",
        [
            lambda: Measure.weight + Measure.price,
            lambda: Measure.weight > Measure.price,
            lambda: Measure.weight == Measure.pieces,
            lambda: Measure.weight.between(Measure.price, Measure.limit),
            lambda: Measure.weight * Measure.limit,
            lambda: Measure.weight * Measure.share,
            lambda: Measure.weight / Measure.pieces,
            lambda: Measure.weight - literal(1),
            lambda: ~(Measure.weight == Measure.pieces),
            lambda: Measure.pieces == Measure.weight,
            lambda: Measure.pieces + Measure.price,
            lambda: Measure.share < Measure.price,
            lambda: Measure.share * Measure.price,
            lambda: Measure.pieces / Measure.price,
            lambda: Measure.weight.in_([Measure.limit, Measure.price]),
            lambda: Measure.weight.not_in(select(Measure.pieces)),
            lambda: Measure.weight.like("1%"),
            lambda: Measure.weight.concat(" kg"),
            lambda: Measure.weight.op("^")(2),
        ],
        ids=[
            "add",
            "greater",
            "equal",
            "between",
            "multiply",
            "share",
            "divide",
            "literal",
            "not equal",
            "equal plain",
            "add to plain",
            "share first",
            "share multiplied",
            "plain divided",
            "in columns",
            "not in a query",
            "like",
            "concat",
            "operator of one's own",
        ],
    )
    def test_columns_of_another_unit_are_refused(self, combine: Any) -> None:
        """On SQLite they are whole numbers of other units: the result would be wrong by a power of ten."""
        with pytest.raises(NotSupported):
            select(combine()).compile(dialect=checked(sqlite.dialect()))

    @pytest.mark.parametrize(
        "expression",
        [
            lambda: func.avg(Measure.weight),
            lambda: func.round(Measure.weight),
            lambda: func.coalesce(Measure.weight, Measure.price),
            lambda: cast(Measure.weight, String),
            lambda: cast(Measure.pieces, Money()),
            lambda: func.coalesce(literal(0), Measure.price),
            lambda: case((Measure.id == 1, 0), else_=Measure.price),
            lambda: case((Measure.id == 1, Measure.weight), else_=Measure.price),
        ],
        ids=[
            "avg",
            "unknown result",
            "two scales",
            "to text",
            "from a number",
            "coalesce of a whole number",
            "whole number first",
            "two results",
        ],
    )
    def test_sqlite_refuses_what_would_see_its_units(self, expression: Any) -> None:
        """There an average is one of cents, and a text or the result of an unknown function too."""
        statement = select(expression())

        assert str(statement.compile(dialect=checked(postgresql.dialect())))  # type: ignore[no-untyped-call]
        with pytest.raises(NotSupported, match="smallest units"):
            statement.compile(dialect=checked(sqlite.dialect()))

    async def test_what_keeps_the_unit_passes(self, every_driver: Database) -> None:
        """Functions, CASE and CAST mean the number where all of it has one scale."""
        async with every_driver.transaction() as session:
            session.add(Measure(id=1, weight=Decimal("-2.125"), limit=Decimal("2.130"), pieces=3))

        async with every_driver.read() as session:
            row = (
                await session.execute(
                    select(
                        func.abs(Measure.weight, type_=ExactNumeric(12, 3)),
                        func.coalesce(Measure.price, 1),
                        func.coalesce(func.sum(Measure.price).over(), Decimal("1.5")),
                        case((Measure.id == 1, Measure.weight), else_=Decimal("1.5")),
                        case((Measure.id == 1, literal(Decimal("1.5"), Money())), else_=Measure.price),
                        case((Measure.id == 2, Measure.price), else_=Decimal("0.5")),
                        cast(Measure.weight, ExactNumeric(12, 3)),
                        Measure.pieces * Measure.weight,
                    ).where(Measure.weight.in_([Decimal("-2.125")]), Measure.limit.in_(select(Measure.limit)))
                )
            ).one()

        assert [str(value) for value in row] == ["2.125", "1.00", "1.50", "-2.125", "1.50", "0.50", "-2.125", "-6.375"]

    def test_a_list_of_columns_can_be_searched(self) -> None:
        """SQLAlchemy itself asks whether a column is among others, and means no comparison in the database."""
        columns = Measure.__table__.c

        assert columns.limit not in [columns.weight, columns.pieces]
        assert columns.limit in [columns.weight, columns.limit]


ENGINE = create_engine("sqlite://", poolclass=StaticPool)


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


def _attempt(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
