"""Cursors: a position survives what a type does on reading, and a made-up one is refused before it is sent."""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sqlalchemy import (
    CHAR,
    Boolean,
    Date,
    DateTime,
    Double,
    Interval,
    LargeBinary,
    Numeric,
    SmallInteger,
    String,
    Time,
    Uuid,
    func,
    insert,
    text,
)
from sqlalchemy.dialects.postgresql import CIDR, INET, MACADDR, OID, TSVECTOR
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

import sqlkeel
from sqlkeel.errors import InvalidCursor, NotSupported
from sqlkeel.models import IntKeyMixin, UUIDKeyMixin
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.types._stored import Stored, read_values, write_values
from tests.properties.examples import tried


class Base(sqlkeel.Base):
    pass


class Folded(TypeDecorator[str]):
    """Forgets the case on reading."""

    impl = String(20)
    cache_ok = True

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        """Return small letters."""
        return value and value.lower()


class Lowered(TypeDecorator[str]):
    """Compares and stores small letters, whatever was stored before."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Send small letters."""
        return value and value.lower()


class Minute(TypeDecorator[datetime]):
    """Forgets the seconds on reading."""

    impl = DateTime()
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Return the minute."""
        return value and value.replace(second=0, microsecond=0)


class Celsius(TypeDecorator[int]):
    """Reads and writes with SQL around the column."""

    impl = Double()
    cache_ok = True

    def bind_expression(self, bindvalue: Any) -> Any:
        """Store one more than was given."""
        return bindvalue + 1

    def column_expression(self, column: Any) -> Any:
        """Read one less, without its fraction."""
        return func.round(column - 1)


class Reading(IntKeyMixin, Base):
    """A column of each type that loses something on the way."""

    __tablename__ = "reading"
    free: Mapped[Decimal | None] = mapped_column(Numeric())
    rounded: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    rough: Mapped[float | None] = mapped_column(Numeric(30, 20, asdecimal=False))
    ratio: Mapped[Decimal | None] = mapped_column(Double(asdecimal=True))
    fixed: Mapped[str | None] = mapped_column(CHAR(10))
    folded: Mapped[str | None] = mapped_column(Folded())
    lowered: Mapped[str | None] = mapped_column(Lowered())
    minute: Mapped[datetime | None] = mapped_column(Minute())
    warmth: Mapped[float | None] = mapped_column(Celsius())
    at: Mapped[datetime | None] = mapped_column(DateTime())
    day: Mapped[date | None] = mapped_column(Date())
    gap: Mapped[timedelta | None] = mapped_column(Interval())
    token: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))


class Colour(enum.StrEnum):
    """Members that are checked texts."""

    RED = "red"


class Kind(UUIDKeyMixin, Base):
    """A column of each type that a cursor can hold."""

    __tablename__ = "kind"
    small: Mapped[int | None] = mapped_column(SmallInteger())
    big: Mapped[int | None] = mapped_column()
    exact: Mapped[Decimal | None] = mapped_column()
    number: Mapped[Decimal | None] = mapped_column(Numeric(10, 2))
    ratio: Mapped[float | None] = mapped_column(Double())
    words: Mapped[str | None] = mapped_column(String(20))
    fixed: Mapped[str | None] = mapped_column(CHAR(10))
    flag: Mapped[bool | None] = mapped_column(Boolean())
    moment: Mapped[datetime | None] = mapped_column()
    plain: Mapped[datetime | None] = mapped_column(DateTime())
    day: Mapped[date | None] = mapped_column()
    hour: Mapped[time | None] = mapped_column()
    clock: Mapped[time | None] = mapped_column(Time())
    length: Mapped[timedelta | None] = mapped_column()
    gap: Mapped[timedelta | None] = mapped_column(Interval())
    token: Mapped[str | None] = mapped_column(Uuid(as_uuid=False))
    raw: Mapped[bytes | None] = mapped_column(LargeBinary(50))
    folded: Mapped[str | None] = mapped_column(Folded())
    lowered: Mapped[str | None] = mapped_column(Lowered())
    minute: Mapped[datetime | None] = mapped_column(Minute())
    warmth: Mapped[float | None] = mapped_column(Celsius())
    colour: Mapped[Colour | None]
    level: Mapped[Literal[1, 2] | None]
    required: Mapped[str] = mapped_column(String(5))


pytestmark = pytest.mark.tables(Base.metadata)

COLUMNS = sorted((column.key for column in Kind.__table__.columns), key="id".__ne__)
VALUES: dict[str, list[Any]] = {
    "free": [Decimal(n) / 7 for n in range(1, 7)],
    "rounded": [Decimal("11.8881"), Decimal("11.8882"), Decimal("11.8883")],
    "rough": [Decimal("1.00000000000000000001"), Decimal("1.00000000000000000002"), Decimal("1.00000000000000000003")],
    "ratio": [Decimal(repr(1 / n)) for n in (3, 7, 11)],
    "fixed": ["a", "ab", "abc", "b"],
    "folded": ["A", "a", "B", "b", "c"],
    "lowered": ["a", "b", "c"],
    "minute": [datetime(2026, 1, 1, 12, 0, n) for n in range(5)],
    "warmth": [1.0, 1.25, 1.5, 1.75],
    "at": [datetime(2026, 1, 1, 12, 0, n) for n in range(3)],
    "day": [date(2026, 1, n) for n in range(1, 4)],
    "gap": [timedelta(seconds=n) for n in range(3)],
    "token": [str(UUID(int=n)) for n in range(3)],
}


def forge(columns: list[str], body: Any, model: type[Any] = Kind) -> str:
    """Sign a cursor as anybody can where there is no secret."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    message = "\0".join((model.__name__, ",".join(f"{name}+" for name in columns), "")).encode() + b"\0" + raw
    return base64.urlsafe_b64encode(hmac.new(b"", message, hashlib.sha256).digest()[:12] + raw).decode().rstrip("=")


async def walk(db: Database, column: Any, size: int) -> list[int]:
    """Return the keys that a stream meets, of at most a hundred."""
    seen: list[int] = []
    async with db.session() as session:
        stream = Repository(session, Reading).iterate(order_by=column, batch=size)
        async for row in stream:
            seen.append(row.id)
            assert len(seen) < 100, "the stream has no end"
    return seen


class TestExact:
    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("size", [1, 2, 5])
    @pytest.mark.parametrize("name", VALUES)
    async def test_what_reading_loses_is_not_lost_from_the_position(
        self, every_driver: Database, name: str, size: int, descending: bool
    ) -> None:
        """A walk meets every row once, though the values that are read are not those that are stored."""
        async with every_driver.transaction() as session:
            session.add_all(Reading(**{name: value}) for value in (*VALUES[name], *VALUES[name], None))
        column = getattr(Reading, name)
        order = column.desc() if descending else column

        seen = await walk(every_driver, order, size)

        async with every_driver.session() as session:
            assert seen == [row.id for row in await Repository(session, Reading).get_all(order_by=order)]

    @pytest.mark.parametrize("size", [1, 2])
    async def test_times_that_other_programs_wrote(self, sqlite: Database, size: int) -> None:
        """SQLite's CURRENT_TIMESTAMP has no fractions, and is a position all the same."""
        async with sqlite.transaction() as session:
            for _ in range(5):
                await session.execute(insert(Reading).values(at=text("CURRENT_TIMESTAMP")))
            session.add(Reading(at=datetime(2020, 1, 1)))

        seen = await walk(sqlite, Reading.at, size)

        assert sorted(seen) == sorted(set(seen))
        assert len(seen) == 6

    async def test_letters_that_a_type_would_fold(self, every_driver: Database) -> None:
        """What was stored before the type folded is a position as it is stored."""
        async with every_driver.transaction() as session:
            for words in ("B", "a", "C", "d"):
                await session.execute(text("insert into reading (lowered) values (:words)").bindparams(words=words))

        seen = await walk(every_driver, Reading.lowered, 1)

        assert len(seen) == len(set(seen)) == 4

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1"])
    async def test_numbers_of_postgresql(self, postgres: Database, number: str) -> None:
        """NaN and the infinities are values of PostgreSQL's, and positions."""
        async with postgres.transaction() as session:
            for _ in range(3):
                await session.execute(text(f"insert into reading (free) values ('{number}')"))

        assert len(set(await walk(postgres, Reading.free, 1))) == 3


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\ud800", "\0", "x", "2026-01-01", "12:00:00", str(UUID(int=1)), "0" * 32])
    | st.builds(
        lambda tag, text: {tag: text},
        st.sampled_from("tdcunpbx"),
        st.sampled_from(
            [
                "x", "", "NaN", "sNaN", "Infinity", "1E+999999", "1E-999999", "9" * 30, "9" * 5000, "-1", "00", "0",
                "2026-01-01", "2026-01-01T00:00:00", "2026-01-01T00:00:00+00:00", "0001-01-01T00:00:00+14:00",
                "9999-12-31T23:59:59-14:00", "12:00:00", "12:00:00+02:00", str(UUID(int=1)),
            ]
        )
        | st.integers(-3, 3)
        | st.none(),
    ),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("tdx"), inner, max_size=2),
    max_leaves=3,
)  # fmt: skip


class TestForged:
    @tried(60)
    @given(name=st.sampled_from(COLUMNS), value=JSON_VALUES)
    @example(name="small", value=2**15)
    @example(name="big", value=2**63)
    @example(name="number", value={"n": "1E+131072"})
    @example(name="ratio", value=float("nan"))
    @example(name="words", value="a\0")
    async def test_a_made_up_value_is_a_position_or_refused(
        self, every_driver: Database, name: str, value: Any
    ) -> None:
        """Whatever stands in a cursor that anybody signed, the answer is a page or InvalidCursor."""
        columns = [name] if name == "id" else [name, "id"]
        key = str(UUID(int=1).hex) if every_driver.dialect == "sqlite" else {"u": str(UUID(int=1))}
        cursor = forge(columns, [value] if name == "id" else [value, key])

        async with every_driver.session() as session:
            kinds = Repository(session, Kind)
            order = getattr(Kind, name)
            try:
                page = list(await kinds.page(order_by=order, after=cursor))
            except InvalidCursor:
                page = []

            assert page == []
            assert await kinds.count() == 0

    @tried(40)
    @given(
        names=st.lists(
            st.sampled_from([name for name in COLUMNS if name != "id"]), min_size=2, max_size=3, unique=True
        ),
        values=st.lists(JSON_VALUES, min_size=2, max_size=3),
    )
    async def test_so_is_one_of_several_columns(
        self, every_driver: Database, names: list[str], values: list[Any]
    ) -> None:
        """Each value is checked against its own column, and none, or one too many, is damage."""
        key = str(UUID(int=1).hex) if every_driver.dialect == "sqlite" else {"u": str(UUID(int=1))}
        cursor = forge([*names, "id"], [*values, key])

        async with every_driver.session() as session:
            kinds = Repository(session, Kind)
            try:
                page = list(await kinds.page(order_by=[getattr(Kind, name) for name in names], after=cursor))
            except InvalidCursor:
                page = []

            assert page == []
            assert await kinds.count() == 0

    @pytest.mark.parametrize(
        "body",
        [
            b"[" * 200_000, b"{" * 200_000, b"", b"null", b"1", b"{}", b'{"a":1}', b"[]", b"[1,2]", b"[[1]]", b"[null]",
            b"\xff", b"[NaN]", b"[Infinity]", b"[-Infinity]", b"[1e999]", b"[true]", b"[" + b"9" * 5_000 + b"]",
            b'[{"u":1}]', b'[{"u":"x"}]', b'[{"u":"1","t":"2"}]', b'[{"z":"1"}]', b'["\\ud800"]', b'[{"n":"abc"}]',
        ],
    )  # fmt: skip
    async def test_what_was_never_written_is_refused(self, every_driver: Database, body: bytes) -> None:
        """Anything but a list of the order's values is damage, however well it is signed."""
        async with every_driver.session() as session:
            with pytest.raises(InvalidCursor):
                await Repository(session, Kind).page(after=forge(["id"], body))
            assert await Repository(session, Kind).count() == 0

    @pytest.mark.parametrize("cursor", [5, b"abc", object(), "\ud800", "a\0b", "é", "=" * 9, ["a"]])
    async def test_what_is_no_text_is_refused(self, sqlite: Database, cursor: Any) -> None:
        """Bytes, numbers and what is not base 64 are damage too."""
        async with sqlite.session() as session:
            with pytest.raises(InvalidCursor):
                await Repository(session, Kind).page(after=cursor)


class TestOwnTypes:
    @pytest.mark.parametrize("kind", [INET(), CIDR(), MACADDR(), TSVECTOR()], ids=str)
    @pytest.mark.parametrize("value", [1, True, 1.5, date(2020, 1, 1), b"a"], ids=str)
    def test_what_is_no_text(self, kind: Any, value: Any) -> None:
        """Of PostgreSQL's own types only texts are read, so that nothing else can stand in a cursor."""
        dialect = PGDialect_psycopg()

        assert Stored(kind).process_bind_param("a", dialect) == "a"
        with pytest.raises(InvalidCursor):
            Stored(kind).process_bind_param(value, dialect)

    def test_an_object_identifier(self) -> None:
        """It is the one that is a number."""
        assert Stored(OID()).process_bind_param(5, PGDialect_psycopg()) == 5


class TestWritten:
    @pytest.mark.parametrize(
        "value",
        [
            None, True, 0, -(2**63), 1.5, float("inf"), "", "ä\0", b"", b"\xff", Decimal("1.50"), UUID(int=7),
            datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), date(2026, 1, 1), time(1, 2, 3, 4),
            timedelta(days=-1, microseconds=1),
        ],
    )  # fmt: skip
    def test_a_value_comes_back(self, value: Any) -> None:
        """What is written is read again, with its type."""
        [again] = read_values(write_values([value]), 1)

        assert (type(again), again) == (type(value), value)

    def test_an_unknown_value_is_refused(self) -> None:
        """Nothing is written that could not be read."""
        with pytest.raises(NotSupported, match="object"):
            write_values([object()])

    @pytest.mark.parametrize("count", [0, 2])
    def test_the_number_of_values_counts(self, count: int) -> None:
        """One value too many or too few is damage."""
        with pytest.raises(InvalidCursor):
            read_values(write_values([1]), count)
