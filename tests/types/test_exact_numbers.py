"""Amounts and numbers: stored exactly or refused, on every database."""

from __future__ import annotations

import decimal
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import String, case, cast, create_engine, func, insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.pool import StaticPool

from sqlkeel.errors import InexactNumber, NotSupported
from sqlkeel.sessions import Database
from sqlkeel.types import ExactNumeric, Money
from sqlkeel.types._operands import check_operands
from tests.types.exact_models import POSTGRESQL, Base, Event, Measure, stored

pytestmark = pytest.mark.tables(Base.metadata)


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


def _attempt(call: Any) -> Any:
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error
