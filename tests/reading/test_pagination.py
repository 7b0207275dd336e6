"""Pages: a walk in either direction meets every row once, in order, whatever the values and the database."""

from __future__ import annotations

from datetime import date, time, timedelta
from decimal import Decimal
from operator import is_
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, insert, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from sqlkeel.errors import InvalidValue, NotSupported, UnknownField
from sqlkeel.reading._pagination import Keyset
from sqlkeel.sessions import Database
from tests.reading.page_models import (
    NOON,
    Animal,
    Base,
    Bird,
    Cell,
    Event,
    Level,
    Mood,
    Sample,
    Swapped,
    Token,
    add,
    fetch,
)

pytestmark = pytest.mark.tables(Base.metadata)
VALUES: dict[str, list[Any]] = {
    "number": [3, -1, 2**31 - 1, 0],
    "words": ["a", "B", "b", "", "ä", "Z", "z", "a b", "'", '"\\%_', "\U0001f600", "日本"],
    "flag": [True, False],
    "moment": [NOON, NOON + timedelta(microseconds=1), NOON - timedelta(days=9000)],
    "day": [date(2026, 1, 1), date(1999, 12, 31)],
    "hour": [time(1, 2, 3), time(23, 59, 59)],
    "amount": [Decimal("0.10"), Decimal("-5.00"), Decimal("123456789.01"), Decimal("0.00")],
    "ratio": [0.1, 1 / 3, -1e300, 0.0],
    "token": [UUID(int=1), UUID(int=2**127), UUID("0190a0b0-ffff-7fff-8fff-ffffffffffff")],
    "raw": [b"", b"\x00\xff", b"abc"],
    "mood": [Mood.wild, Mood.calm],
    "level": [Level.high, Level.low],
    "length": [timedelta(days=1, microseconds=1), timedelta(days=-1), timedelta(0)],
}


async def page_through(session: AsyncSession, keyset: Keyset, statement: Any, *, size: int) -> list[list[Any]]:
    """Walk from the first page to the last."""
    pages: list[list[Any]] = []
    cursor: str | None = None
    while cursor is not None or not pages:
        page = await fetch(session, keyset, statement, size=size, after=cursor)
        pages.append(page.items)
        cursor = page.next
    return pages


async def page_back(
    session: AsyncSession, keyset: Keyset, statement: Any, *, size: int, cursor: str
) -> list[list[Any]]:
    """Walk from a cursor to the first page, and return the pages in their order."""
    pages: list[list[Any]] = []
    before: str | None = cursor
    while before is not None:
        page = await fetch(session, keyset, statement, size=size, before=before)
        pages.insert(0, page.items)
        before = page.previous
    return pages


async def both_ways(session: AsyncSession, keyset: Keyset, statement: Any, *, size: int) -> tuple[list[Any], ...]:
    """Return the keys in the order of the database, of a walk to the end, and of one back to the start."""
    rows = (await session.scalars(statement.order_by(*keyset.order()))).all()
    forward = [row for page in await page_through(session, keyset, statement, size=size) for row in page]
    last = keyset.rows(await session.execute(keyset.select(statement, size=len(rows))))
    end = keyset.page(statement, [*last, last[-1]], size=len(rows)).next
    assert end is not None
    backward = [row for page in await page_back(session, keyset, statement, size=size, cursor=end) for row in page]
    return tuple([identity(row) for row in found] for found in (rows, forward, [*backward, rows[-1]]))


def identity(row: Any) -> Any:
    """Return the key of a row."""
    return type(row).__mapper__.primary_key_from_instance(row)


class TestWalk:
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("name", VALUES)
    async def test_every_type_with_ties_and_nulls(self, every_driver: Database, name: str, descending: bool) -> None:
        """A walk by any type meets each row once in either direction, with equal values and missing ones."""
        column = getattr(Sample, name)
        keyset = Keyset(Sample, [column.desc() if descending else column])
        rows = [{name: value} for value in (*VALUES[name], *VALUES[name], None, None)]

        async with every_driver.transaction() as session:
            session.add_all(Sample(**row) for row in rows)
            await session.flush()
            expected, forward, backward = await both_ways(session, keyset, select(Sample), size=3)

        assert len(set(map(tuple, expected))) == len(rows)
        assert forward == expected
        assert backward == expected

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        rows=st.lists(
            st.tuples(
                st.none() | st.integers(-2, 2),
                st.none()
                | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3)
                | st.sampled_from(["a", "A", "ä", "a ", "B"]),
                st.none() | st.booleans(),
            ),
            min_size=1,
            max_size=12,
        ),
        order=st.lists(
            st.tuples(st.sampled_from(["number", "words", "flag"]), st.booleans()), max_size=3, unique_by=lambda t: t[0]
        ),
        size=st.integers(1, 5),
    )
    async def test_any_rows_in_any_order(self, db: Database, rows: Any, order: Any, size: int) -> None:
        """Whatever the rows, the order and the size of a page, a walk meets each row once in either direction."""
        columns = [(getattr(Sample, name), descending) for name, descending in order]
        keyset = Keyset(Sample, [column.desc() if descending else column.asc() for column, descending in columns])

        async with db.session() as session:
            session.add_all(Sample(number=number, words=words, flag=flag) for number, words, flag in rows)
            await session.flush()
            expected, forward, backward = await both_ways(session, keyset, select(Sample), size=size)
            await session.rollback()

        assert len(set(map(tuple, expected))) == len(rows)
        assert forward == expected
        assert backward == expected

    async def test_a_uuid_key(self, every_driver: Database) -> None:
        """Without an order the key is the order, a UUID too."""
        async with every_driver.transaction() as session:
            session.add_all(Token() for _ in range(10))
            await session.flush()
            expected, forward, backward = await both_ways(session, Keyset(Token), select(Token), size=3)

        assert forward == expected
        assert backward == expected

    async def test_a_composite_key(self, every_driver: Database) -> None:
        """All columns of the key break a tie, under the names of the model."""
        async with every_driver.transaction() as session:
            session.add_all(Cell(row=row, name=name) for row in (1, 2, 10) for name in "cab")
            await session.flush()
            expected, forward, backward = await both_ways(
                session, Keyset(Cell, [Cell.row.desc()]), select(Cell), size=2
            )

        assert expected[0] == (10, "a")
        assert forward == expected
        assert backward == expected

    @pytest.mark.parametrize("size", [1, 2, 3])
    async def test_one_key_in_two_tables(self, every_driver: Database, size: int) -> None:
        """In a union of tables the key alone is no order: each table may have the same."""
        async with every_driver.transaction() as session:
            session.add_all(kind(id=key, name="same") for kind in (Animal, Bird) for key in (1, 2, 3))
        everything = [(kind, key) for key in (1, 2, 3) for kind in ("Animal", "Bird")]
        keyset, statement = Keyset(Animal, [Animal.name]), select(Animal)

        async with every_driver.session() as session:
            there = await page_through(session, keyset, statement, size=size)
            page = keyset.page(statement, keyset.rows(await session.execute(keyset.select(statement, size=5))), size=5)
            assert page.next is not None
            back = await page_back(session, keyset, statement, size=size, cursor=page.next)

        assert [(type(row).__name__, row.id) for rows in there for row in rows] == everything
        assert [(type(row).__name__, row.id) for rows in back for row in rows] == everything[:4]

    async def test_nulls_come_last(self, every_driver: Database) -> None:
        """NULL comes last in either order, on every database."""
        async with every_driver.transaction() as session:
            session.add_all(Sample(number=number) for number in (None, 1, 2))
            await session.flush()
            up = await fetch(session, Keyset(Sample, [Sample.number]), select(Sample), size=9)
            down = await fetch(session, Keyset(Sample, [Sample.number.desc()]), select(Sample), size=9)

        assert [row.number for row in up] == [1, 2, None]
        assert [row.number for row in down] == [2, 1, None]

    async def test_a_filter_holds_on_every_page(self, db: Database) -> None:
        """The pages are those of the filtered list."""
        await add(db, 9)
        statement = select(Event).where(Event.rank == 1)

        async with db.session() as session:
            pages = await page_through(session, Keyset(Event, [Event.happened]), statement, size=2)

        assert [[row.rank for row in page] for page in pages] == [[1, 1], [1]]


class TestChanges:
    """What comes or goes between two pages shifts nothing."""

    async def test_rows_that_come_before_are_not_shown_again(self, db: Database) -> None:
        """A row that appears on a page that was read moves no row to the next."""
        await add(db, 6)
        keyset, statement = Keyset(Event, [Event.happened]), select(Event)

        async with db.transaction() as session:
            first = await fetch(session, keyset, statement, size=3)
            session.add(Event(happened=NOON - timedelta(days=1)))
            await session.flush()
            second = await fetch(session, keyset, statement, size=3, after=first.next)

        assert {row.id for row in first}.isdisjoint({row.id for row in second})
        assert len(first) + len(second) == 6

    async def test_rows_that_go_leave_no_gap(self, db: Database) -> None:
        """A row that disappears from a page that was read takes no row from the next."""
        await add(db, 6)
        keyset, statement = Keyset(Event, [Event.happened]), select(Event)

        async with db.transaction() as session:
            first = await fetch(session, keyset, statement, size=3)
            await session.execute(delete(Event).where(Event.id == first.items[0].id))
            second = await fetch(session, keyset, statement, size=3, after=first.next)

        assert [row.happened for row in second] == [NOON + timedelta(minutes=n) for n in (3, 4, 5)]

    async def test_the_row_of_the_cursor_may_go(self, db: Database) -> None:
        """A cursor is a position, which stays when its row does not."""
        await add(db, 6)
        keyset, statement = Keyset(Event, [Event.happened]), select(Event)

        async with db.transaction() as session:
            first = await fetch(session, keyset, statement, size=3)
            await session.execute(delete(Event).where(Event.id == first.items[-1].id))
            second = await fetch(session, keyset, statement, size=3, after=first.next)

        assert len(second) == 3


class TestPage:
    async def test_the_ends_have_no_cursor(self, db: Database) -> None:
        """The first page has no previous one, the last no next one, the middle both."""
        await add(db, 6)
        keyset, statement = Keyset(Event, [Event.happened]), select(Event)

        async with db.session() as session:
            first = await fetch(session, keyset, statement, size=2)
            middle = await fetch(session, keyset, statement, size=2, after=first.next)
            last = await fetch(session, keyset, statement, size=2, after=middle.next)
            again = await fetch(session, keyset, statement, size=2, before=middle.previous)

        assert (first.previous, first.has_next) == (None, True)
        assert (middle.previous is not None, middle.has_next) == (True, True)
        assert (last.previous is not None, last.next) == (True, None)
        assert (again.items, again.previous, again.has_next) == (first.items, None, True)

    async def test_a_full_last_page_knows_that_it_is_the_last(self, db: Database) -> None:
        """As many rows as fit, and no more, make one page; one row more makes two."""
        await add(db, 3)
        keyset, statement = Keyset(Event), select(Event)

        async with db.session() as session:
            exactly = await fetch(session, keyset, statement, size=3)
            one_less = await fetch(session, keyset, statement, size=2)

        assert exactly.next is None
        assert one_less.next is not None

    async def test_an_empty_list_is_a_page(self, db: Database) -> None:
        """No rows are a page without cursors."""
        async with db.session() as session:
            page = await fetch(session, Keyset(Event), select(Event), size=3)

        assert (list(page), len(page), page.next, page.previous) == ([], 0, None, None)

    @pytest.mark.parametrize("size", [0, -1, 2**63 - 1, 2**64, 1.5, "2", None])
    def test_a_size_is_positive(self, size: Any) -> None:
        """A page without rows, of more than can be counted or of a part is refused."""
        with pytest.raises(InvalidValue, match="at least one row"):
            Keyset(Event).select(select(Event), size=size)

    @pytest.mark.parametrize("size", [1, 2**63 - 2])
    async def test_the_bounds_of_a_size_are_allowed(self, every_driver: Database, size: int) -> None:
        """A page may have one row, or as many as a database can count."""
        await add(every_driver, 1)

        async with every_driver.session() as session:
            assert len(await fetch(session, Keyset(Event), select(Event), size=size)) == 1

    def test_two_cursors_are_refused(self) -> None:
        """A page lies on one side of one cursor."""
        with pytest.raises(ValueError, match="not both"):
            Keyset(Event).select(select(Event), size=1, after="a", before="b")


class TestOrder:
    @pytest.mark.parametrize(
        "element", [Token.id, func.lower(Sample.words), text("id"), "number", literal(1), Sample.number + 1, None]
    )
    def test_what_is_no_column_of_the_model_is_refused(self, element: Any) -> None:
        """A page is ordered by columns of its model, so that the cursor can hold the values."""
        with pytest.raises(UnknownField):
            Keyset(Sample, [element])

    @pytest.mark.parametrize(
        ("element", "hint"),
        [
            ("number", "order_by=[Sample.number]"),
            ("-number", "order_by=[Sample.number.desc()]"),
            (Sample.number.desc, "Call the method: order_by=[Sample.created_at.desc()]."),
            ("other", "Order by columns of Sample: order_by=[Sample.created_at.desc()]."),
        ],
        ids=["text", "text with a sign", "method", "unknown"],
    )
    def test_it_says_how_it_is_written(self, element: Any, hint: str) -> None:
        """The hint is what was most likely meant."""
        with pytest.raises(UnknownField) as caught:
            Keyset(Sample, [element])

        assert caught.value.hint == hint

    @pytest.mark.parametrize("column", [Sample.colour, Sample.data, Sample.rough])
    def test_types_without_one_order_are_refused(self, column: Any) -> None:
        """An Enum is sorted by position and compared by name, a single-precision float equals nothing sent to it."""
        with pytest.raises(NotSupported):
            Keyset(Sample, [column])

    @pytest.mark.parametrize(
        "element",
        [
            func.lower(Sample.words).label("words"),
            func.length(Sample.words).label("id"),
            literal(1).label("number"),
            Sample.words.label("x") + "y",
            Token.id.label("id"),
        ],
    )
    def test_a_label_is_not_taken_for_the_column_of_its_name(self, element: Any) -> None:
        """An expression that is called as a column is called is not that column."""
        with pytest.raises(UnknownField):
            Keyset(Sample, [element])

    @pytest.mark.parametrize("element", [Sample.words.label("number"), Sample.__table__.c.words, Sample.words.asc()])
    def test_a_column_is_known_by_itself(self, element: Any) -> None:
        """A column under another name, or of the table, is the column."""
        assert str(Keyset(Sample, [element]).order()[1]) == "sample.words ASC"

    def test_swapped_names_are_not_mixed_up(self) -> None:
        """Of columns that are called as other attributes are, each is ordered by itself."""
        keyset = Keyset(Swapped, [Swapped.__table__.c.first, Swapped.first.desc()])

        assert [str(term) for term in keyset.order()][:2] == ["swapped.first ASC", "swapped.second DESC"]

    def test_its_parts_are_made_once(self) -> None:
        """The next request's order is of the same columns and terms; one that goes down is another."""
        first, next_one = (Keyset(Event, [Event.happened]) for _ in range(2))
        down = Keyset(Event, [Event.happened.desc()])

        assert all(map(is_, first.order(), next_one.order()))
        assert all(map(is_, first.order(backwards=True), next_one.order(backwards=True)))
        assert [str(term) for term in down.order()] == ["event.happened DESC", "event.id ASC"]

    def test_the_key_is_not_repeated(self) -> None:
        """An order that ends with the key is total already."""
        keyset = Keyset(Event, [Event.happened, Event.id.desc()])

        assert [str(term) for term in keyset.order()] == ["event.happened ASC", "event.id DESC"]

    async def test_an_index_finds_the_page(self, postgres: Database) -> None:
        """PostgreSQL starts from the index at the cursor, and does not sort."""
        async with postgres.transaction() as session:
            happened = NOON + func.make_interval(0, 0, 0, 0, 0, literal(1)) * func.generate_series(1, 5_000)
            await session.execute(insert(Event).from_select(["happened", "rank"], select(happened, literal(0))))
            await session.execute(text("analyze event"))
        keyset = Keyset(Event, [Event.happened])

        async with postgres.session() as session:
            first = await fetch(session, keyset, select(Event), size=50)
            statement = keyset.select(select(Event), size=50, after=first.next)
            plan = await explain(session, statement)

        assert "Index Scan using event_happened_id_idx" in plan
        assert "Index Cond" in plan
        assert "Sort" not in plan


async def explain(session: AsyncSession, statement: Any) -> str:
    """Return the plan of a statement."""
    connection = await session.connection()
    compiled = statement.compile(connection.engine.sync_engine, compile_kwargs={"literal_binds": True})
    return "\n".join(await session.scalars(text(f"explain {compiled}".replace(":", "\\:"))))
