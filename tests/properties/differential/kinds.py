"""The types of columns that are tried, each with values worth trying."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    JSON,
    BigInteger,
    Boolean,
    Date,
    DateTime,
    Double,
    Enum,
    Float,
    Integer,
    Interval,
    LargeBinary,
    Numeric,
    PickleType,
    SmallInteger,
    String,
    Text,
    Time,
    Uuid,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.ext.mutable import MutableDict, MutableList
from sqlalchemy.types import TypeEngine

from sqlkeel import Money, UTCDateTime
from sqlkeel.types import Choice, Duration, PlainDate, PlainTime
from tests.properties.differential.decorators import (
    Cents,
    Document,
    Email,
    Exactly,
    Lowered,
    Named,
    Notes,
    Pair,
    Sealed,
    Shifted,
    Shouted,
    Steps,
    Tagged,
    Veiled,
)

__all__ = ["DATABASES", "KINDS", "Color", "Kind", "Level", "Status", "kinds_on"]

DATABASES: Final = ("sqlite", "postgresql", "mariadb")


class Color(enum.Enum):
    """Stored by name."""

    RED = 1
    GREEN = 2
    BLUE = 3


class Status(enum.StrEnum):
    """Stored by value."""

    DRAFT = "draft"
    LIVE = "live"
    GONE = "gone"


class Level(enum.IntEnum):
    """Stored as a number."""

    LOW = 1
    MIDDLE = 5
    HIGH = 9


@dataclass(frozen=True)
class Kind:
    """A type: how a column of it is made, and which values it is given.

    Values of one kind are unlike each other for the database too, but for those that a normalising type makes equal.
    """

    name: str
    make: Callable[[], Any]
    values: Sequence[Any]
    on: Sequence[str] = DATABASES
    key: bool = False
    """Whether a unique constraint can be made of it."""

    wrong: Sequence[Any] = ()
    """Values that it, or the database, refuses."""

    mutable: bool = False
    many: Callable[[int], Any] | None = None
    """Makes any number of different values, for a key."""

    def draw(self, random: Random) -> Any:
        """Return a value."""
        return random.choice(self.values)

    def distinct(self, number: int) -> Any:
        """Return the value with this number, different from that of each other number."""
        return self.many(number) if self.many is not None else self.values[number]


def _json() -> TypeEngine[Any]:
    return JSON(none_as_null=True).with_variant(pg.JSONB(none_as_null=True), "postgresql")


def _folding() -> TypeEngine[Any]:
    return String(30).with_variant(String(30, collation="NOCASE"), "sqlite")


TEXTS: Final = ("a", "A", "", "b ", "ü€😀", "it's", "50%", "a\\b\n\tc", "\\N", "NULL", "{x,y}", '"q"', "b")
SAFE_TEXTS: Final = ("a", "A", "Ann", "ANN", "ann@x.org", "bob", "ü", "50%")
NUMBERS: Final = (0, 1, -1, 2, 13, 2**31 - 1, -(2**31), 7)
FLOATS: Final = (0, 1, 2.5, -0.25, 1e10, 3.0, 1 / 3, 100)
DAYS: Final = tuple(date(2026, 11, 22) + timedelta(days=days) for days in (0, 1, -1, 400, -9000))
MOMENTS: Final = (
    datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC),
    datetime(2026, 11, 22, 12, 30, 15, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    datetime(1999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    datetime(2026, 3, 29, 1, 0, 0, tzinfo=timezone(timedelta(hours=-8))),
)
NAIVE: Final = tuple(datetime(2026, 11, day, 12, 30, 15) for day in (1, 2, 3, 4))
TIMES: Final = (time(0), time(12, 30), time(23, 59, 59))
SPANS: Final = (timedelta(0), timedelta(seconds=1), timedelta(days=-3, hours=4), timedelta(days=400))
UUIDS: Final = tuple(UUID(int=(7 << 76) | (2 << 62) | number) for number in (1, 2, 255, 2**61, 3, 4))
BYTES: Final = (b"", b"\x00", b"abc", bytes(range(256)), b"ABC", b"\\x41")
DOCUMENTS: Final = (
    {},
    {"n": 1},
    {"n": 2, "s": "it's \\ %"},
    {"deep": {"list": [1, None, True]}},
    {"n": None},
    {"ü": "ü"},
)
PG: Final = ("postgresql",)

KINDS: Final[list[Kind]] = [
    Kind("integer", Integer, NUMBERS, key=True, wrong=("x", 2**40), many=lambda n: n * 3 + 1),
    Kind("big", BigInteger, (*NUMBERS, 2**53 + 1, -(2**63)), key=True, many=lambda n: 2**40 + n),
    Kind("small", SmallInteger, (0, 1, -5, 32767), key=True, wrong=(70_000,), many=lambda n: n),
    Kind("boolean", Boolean, (True, False)),
    Kind("double", Double, FLOATS),
    Kind("float", lambda: Float(53), FLOATS),
    Kind("single", Float, (0, 1, 2.5, -0.25)),
    Kind(
        "numeric",
        lambda: Numeric(14, 4),
        (0, 1, Decimal("1.5"), Decimal("-3.0001"), 7, 2.5),
        ("postgresql", "mariadb"),
        key=True,
    ),
    Kind(
        "money",
        lambda: Money(12, 2),
        (0, 1, Decimal("1.5"), Decimal("-3.01"), Decimal("1.50")),
        wrong=(1.5, Decimal("0.001")),
    ),
    Kind(
        "price",
        lambda: Money(12, 2),
        tuple(Decimal(n) / 100 for n in (0, 950, 951, -1, 100)),
        key=True,
        many=lambda n: Decimal(n) / 4,
    ),
    Kind("string", lambda: String(30), TEXTS, key=True, wrong=("x" * 31,), many=lambda n: f"s{n}"),
    Kind("text", Text, (*TEXTS, "long" * 500)),
    Kind("folding", _folding, SAFE_TEXTS, key=True, many=lambda n: f"Fold{n}"),
    Kind("native_enum", lambda: Enum(Color, validate_strings=True), tuple(Color), wrong=("PINK",)),
    Kind("text_enum", lambda: Enum(Color, native_enum=False, length=20), tuple(Color), key=True),
    Kind("choice", lambda: Choice(Status), tuple(Status), key=True, wrong=("nope", 3)),
    Kind("number_choice", lambda: Choice(Level), tuple(Level), key=True),
    Kind(
        "moment",
        UTCDateTime,
        MOMENTS,
        key=True,
        wrong=(NAIVE[0], "2026"),
        many=lambda n: MOMENTS[0] + timedelta(hours=n),
    ),
    Kind("datetime", DateTime, NAIVE, key=True),
    Kind("zoned", lambda: DateTime(timezone=True), MOMENTS[:1], PG, key=True),
    Kind("date", Date, DAYS, key=True, many=lambda n: DAYS[0] + timedelta(days=n)),
    Kind("plain_date", PlainDate, DAYS, key=True, wrong=(MOMENTS[0],), many=lambda n: DAYS[0] + timedelta(days=n)),
    Kind("time", Time, TIMES),
    Kind("plain_time", PlainTime, (*TIMES, time(1, 2, 3, 4)), key=True),
    Kind("interval", Interval, SPANS),
    Kind("duration", Duration, (*SPANS, timedelta(microseconds=1)), key=True),
    Kind("uuid", Uuid, UUIDS, key=True, wrong=("no-uuid",), many=lambda n: UUID(int=UUIDS[0].int + n)),
    Kind("uuid_text", lambda: Uuid(as_uuid=False), tuple(map(str, UUIDS)), key=True),
    Kind("bytes", LargeBinary, BYTES),
    Kind("pickle", PickleType, ([1], {"a": (1, 2)}, "x")),
    Kind("json", _json, (*DOCUMENTS, [1, 2], "text", 5, True)),
    Kind("json_null", JSON, (*DOCUMENTS, None)),
    Kind("plain_json", lambda: JSON(none_as_null=True), (*DOCUMENTS, [1, {"a": 2}])),
    Kind("mutable_dict", lambda: MutableDict.as_mutable(_json()), DOCUMENTS, mutable=True),
    Kind("mutable_list", lambda: MutableList.as_mutable(_json()), ([], [1], ["a", None]), mutable=True),
    Kind("email", Email, SAFE_TEXTS, key=True, many=lambda n: f"Mail{n}@x.org"),
    Kind("lowered", Lowered, SAFE_TEXTS, key=True, many=lambda n: f"Low{n}"),
    Kind("sealed", Sealed, ("aaa", "aaG", "secret", "i"), key=True, many=lambda n: f"seal{n}"),
    Kind("veiled", Veiled, BYTES),
    Kind("cents", Cents, (0, 1, 2.5, 1.25), key=True),
    Kind("exactly", Exactly, (0, 1, Decimal("1.5"), Decimal("-3.0001"), 2.5), ("postgresql", "mariadb")),
    Kind("shifted", Shifted, DAYS, key=True, many=lambda n: DAYS[0] + timedelta(days=n)),
    Kind(
        "tagged",
        Tagged,
        tuple(f"tag-{one}" for one in UUIDS),
        key=True,
        many=lambda n: f"tag-{UUID(int=UUIDS[0].int + n)}",
    ),
    Kind("document", Document, (Notes("a"), Notes("b", 2), Notes("it's"))),
    Kind("shouted", Shouted, ("ANN", "BOB", "50%", "IT'S"), key=True, many=lambda n: f"LOUD{n}"),
    # PostgreSQL's own
    Kind("integers", lambda: ARRAY(Integer), ([], [1, 2], [3], [None, 1]), PG),
    Kind("texts", lambda: ARRAY(String(30)), ([], ["a", "A"], ["it's", "{}", "a,b", 'q"']), PG),
    Kind("enums", lambda: ARRAY(Enum(Color, name="color")), ([], [Color.RED], [Color.RED, Color.BLUE]), PG),
    Kind("matrix", lambda: ARRAY(Integer, dimensions=2), ([[1, 2], [3, 4]], [[5]]), PG),
    Kind("uuids", lambda: ARRAY(Uuid), ([], list(UUIDS[:2])), PG),
    Kind("steps", Steps, ([], [1, 2], [9]), PG),
    Kind("jsonb", pg.JSONB, (*DOCUMENTS, [1], None), PG),
    Kind("jsonbs", lambda: ARRAY(pg.JSONB), ([], [{"a": 1}]), PG),
    Kind("inet", pg.INET, ("10.0.0.1", "::1", "10.0.0.0/8"), PG),
    Kind("cidr", pg.CIDR, ("10.0.0.0/8", "192.168.1.0/24"), PG),
    Kind("macaddr", pg.MACADDR, ("08:00:2b:01:02:03", "08:00:2b:01:02:04"), PG),
    Kind(
        "int_range",
        pg.INT4RANGE,
        (pg.Range(1, 3), pg.Range(None, 5), pg.Range(empty=True), pg.Range(2, None)),
        PG,
        key=True,
        many=lambda n: pg.Range(n * 10, n * 10 + 5),
    ),
    Kind(
        "day_range",
        pg.DATERANGE,
        (pg.Range(DAYS[0], DAYS[1]), pg.Range(DAYS[2], None)),
        PG,
        key=True,
        many=lambda n: pg.Range(DAYS[0] + timedelta(days=n), DAYS[0] + timedelta(days=n + 2), bounds="[]"),
    ),
    Kind(
        "moment_range",
        pg.TSTZRANGE,
        (pg.Range(MOMENTS[2], MOMENTS[0]), pg.Range(MOMENTS[2], None)),
        PG,
        key=True,
        many=lambda n: pg.Range(MOMENTS[0] + timedelta(hours=n), None),
    ),
    Kind("multirange", pg.INT4MULTIRANGE, ([pg.Range(1, 3)], [pg.Range(1, 2), pg.Range(5, 9)], []), PG),
    Kind("hstore", pg.HSTORE, ({}, {"a": "1"}, {"b": None, "c": "it's"}), PG),
    Kind("mutable_hstore", lambda: MutableDict.as_mutable(pg.HSTORE()), ({}, {"a": "1"}, {"c": "2"}), PG, mutable=True),
    Kind("citext", pg.CITEXT, SAFE_TEXTS, PG, key=True, many=lambda n: f"Cit{n}"),
    Kind("bit", lambda: pg.BIT(4), ("0101", "1111"), PG),
    Kind("tsvector", pg.TSVECTOR, ("'a' 'b'", "'c':1"), PG),
    Kind("cash", pg.MONEY, ("$1.00", "$2.50"), PG),
    Kind("xml", lambda: Named("xml"), ("<a>1</a>", "<b/>"), PG),
    Kind("jsonpath", lambda: Named("jsonpath"), ('$."a"', "$.*"), PG),
    Kind("pair", Pair, ((1, "x"), (2, "it's")), PG),
    Kind("pg_enum", lambda: pg.ENUM(Color, name="pg_color"), tuple(Color), PG, key=True),
    Kind("timetz", lambda: Time(timezone=True), (time(1, 2, 3, tzinfo=UTC), time(4, tzinfo=UTC)), PG),
    Kind("domain", lambda: pg.DOMAIN("differential_name", String(30)), SAFE_TEXTS, PG),
    Kind("char", lambda: pg.CHAR(5), ("abcde", "ABCDE"), PG, key=True),
    Kind("oid", pg.OID, (1, 2, 4_000_000_000), PG),
    # MariaDB's own
    Kind("tiny", mysql.TINYINT, (0, 1, -128), ("mariadb",)),
    Kind("unsigned", lambda: mysql.BIGINT(unsigned=True), (0, 2**64 - 1, 5), ("mariadb",), key=True),
    Kind("set", lambda: mysql.SET("a", "b", "c"), ({"a"}, {"a", "b"}, set()), ("mariadb",)),
    Kind("year", mysql.YEAR, (1999, 2026), ("mariadb",)),
    Kind("exact_text", lambda: String(30, collation="utf8mb4_bin"), TEXTS, ("mariadb",), key=True),
    Kind("micro_time", lambda: mysql.TIME(fsp=6), (time(1, 2, 3, 4), time(5)), ("mariadb",)),
    Kind("bits", lambda: mysql.BIT(8), (0, 5, 255), ("mariadb",)),
]


def kinds_on(database: str) -> list[Kind]:
    """Return the kinds that a database has."""
    return [kind for kind in KINDS if database in kind.on and kind.values]
