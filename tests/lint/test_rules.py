"""Tests of the rules: each by its own examples, and its bounds."""

from __future__ import annotations

import datetime
import decimal
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Enum,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Numeric,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql.mariadb import MariaDBDialect
from sqlalchemy.dialects.postgresql import INTERVAL, JSONB
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.database import Database
from sqlkeel.lint import Finding, Rule, check, load_rules
from sqlkeel.lint.rules.reserved_word import UNQUOTED
from sqlkeel.naming import metadata_with_names

EVERY_RULE = pytest.mark.parametrize("rule", load_rules(), ids=lambda rule: rule.code)


def models(source: str) -> Any:
    """Run an example and return its base."""

    class Base(sqlkeel.Base):
        pass

    names = {"Mapped": Mapped, "mapped_column": mapped_column, "Base": Base}
    names |= {"datetime": datetime.datetime, "date": datetime.date, "Decimal": decimal.Decimal}
    exec(compile(source, "example", "exec", dont_inherit=True), {**vars(sqlalchemy), **names})
    return Base


def codes(*tables: Table | Any) -> set[tuple[str, str]]:
    """Return code and place of all findings on these tables."""
    return {(one.code, one.where) for one in check(tables[0])}


def table(*parts: Any, name: str = "thing", metadata: MetaData | None = None) -> Table:
    """Return a table with a primary key and what is given."""
    home = metadata if metadata is not None else metadata_with_names()
    return Table(name, home, Column("id", Integer, primary_key=True), *parts)


def found(code: str, *parts: Any, name: str = "thing", **options: Any) -> list[Finding]:
    """Return what one rule finds on a table."""
    made = table(*parts, name=name)
    return [one for one in check(made.metadata, **options) if one.code == code]


class TestExamples:
    @EVERY_RULE
    def test_bad(self, rule: Rule) -> None:
        """The bad example breaks its rule."""
        findings = check(models(rule.bad))

        assert rule.code in {finding.code for finding in findings}

    @EVERY_RULE
    def test_good(self, rule: Rule) -> None:
        """The good example breaks no rule at all."""
        assert check(models(rule.good)) == []

    @EVERY_RULE
    def test_docstring(self, rule: Rule) -> None:
        """A rule says in one line what it asks for, and what to do instead."""
        first, blank, _ = (rule.why + "\n\n").split("\n", 2)

        assert first.endswith(".") or first.count("``")
        assert blank == ""
        assert "\n\nInstead: " in rule.why

    @EVERY_RULE
    def test_fix(self, rule: Rule) -> None:
        """A finding is a sentence, and says what to type next."""
        findings = [one for one in check(models(rule.bad)) if one.code == rule.code]

        assert all(one.message.endswith(".") for one in findings)
        assert all(one.fix for one in findings)


class TestSnakeCase:
    @pytest.mark.parametrize("name", ["a", "post", "post_like", "oauth2_token", "line_1"])
    def test_accepted(self, name: str) -> None:
        """Small letters, digits and single underscores."""
        assert not found("snake-case", Column(name, Integer))

    @pytest.mark.parametrize(
        ("name", "fix"),
        [
            ("Post", "post"),
            ("postLike", "post_like"),
            ("HTTPServer", "http_server"),
            ("post__like", "post_like"),
            ("_post", "post"),
            ("post_", "post"),
            ("post-like", "post_like"),
        ],
    )
    def test_refused(self, name: str, fix: str) -> None:
        """Anything else, with the name to use."""
        (finding,) = found("snake-case", Column(name, Integer))

        assert finding.where == f"thing.{name}"
        assert finding.fix == f'Call it "{fix}".'

    def test_no_name_to_offer(self) -> None:
        """Where no word is left, the form is described."""
        (finding,) = found("snake-case", Column("字", Integer))

        assert "small letters" in finding.fix


class TestSingularTable:
    @pytest.mark.parametrize(
        "name",
        [
            "user",
            "agenda",
            "statistics",
            "status",
            "address",
            "news",
            "series",
            "species",
            "data",
            "media",
            "class",
            "process",
            "access",
            "bus",
            "gas",
            "lens",
            "alias",
            "basis",
            "analysis",
            "person",
            "child",
            "entity",
            "history",
            "sms",
            "user_address",
            "order_status",
            "is_bus",
            "oauth2",
            "sheep",
            "canvas",
            "chaos",
            "boss",
        ],
    )
    def test_accepted(self, name: str) -> None:
        """Singulars, and words that only look like plurals."""
        assert not found("singular-table", name=name)

    @pytest.mark.parametrize(
        ("name", "one"),
        [
            ("users", "user"),
            ("post_likes", "post_like"),
            ("categories", "category"),
            ("people", "person"),
            ("children", "child"),
            ("addresses", "address"),
            ("statuses", "status"),
        ],
    )
    def test_refused(self, name: str, one: str) -> None:
        """Plurals, with the singular."""
        (finding,) = found("singular-table", name=name)

        assert finding.fix == f'Call it "{one}".'

    def test_words_of_the_project(self) -> None:
        """The project's own words are singulars."""
        assert found("singular-table", name="goods")
        assert not found("singular-table", name="goods", singular=["goods"])


class TestTablePrefix:
    def test_alone(self) -> None:
        """A plural prefix that no other table has in the singular is fine."""
        assert not found("table-prefix", name="payments_refund")

    def test_three_in_a_group(self) -> None:
        """Each one that is written differently is found; the others are not."""
        metadata = metadata_with_names()
        for name in ("order_line", "order_note", "orders_tax", "orderly"):
            table(name=name, metadata=metadata)

        assert codes(metadata) == {("table-prefix", "orders_tax")}


class TestTimeSuffix:
    @pytest.mark.parametrize(
        "column",
        [
            Column("sent_at", DateTime(timezone=True)),
            Column("sent_at", sqlkeel.UTCDateTime()),
            Column("birth_date", Date),
            Column("update", Boolean),
            Column("format", String),
            Column("data", JSONB),
            Column("validity", INTERVAL),
        ],
    )
    def test_accepted(self, column: Any) -> None:
        """The suffix and the type agree, or there is neither."""
        assert not found("time-suffix", column)

    @pytest.mark.parametrize(
        ("column", "fix"),
        [
            (Column("sent", DateTime(timezone=True)), 'Call it "sent_at".'),
            (Column("sent_date", DateTime(timezone=True)), 'Call it "sent_at".'),
            (Column("birth", Date), 'Call it "birth_date".'),
            (Column("birth_at", Date), 'Call it "birth_date".'),
            (Column("born_at", Integer), 'Drop "_at", or give it the type.'),
            (Column("born_date", String), 'Drop "_date", or give it the type.'),
        ],
    )
    def test_refused(self, column: Any, fix: str) -> None:
        """One without the other, with the name to use."""
        (finding,) = found("time-suffix", column)

        assert finding.fix == fix


class TestConstraintName:
    def test_plain_metadata(self) -> None:
        """Without a convention every constraint is without a name."""
        metadata = MetaData()
        table(Column("a", Integer, unique=True), CheckConstraint("a > 0"), metadata=metadata)

        findings = [one for one in check(metadata) if one.code == "constraint-name"]

        assert [one.message for one in findings] == [
            "A CheckConstraint has no name.",
            "A PrimaryKeyConstraint has no name.",
            "A UniqueConstraint has no name.",
        ]

    def test_other_convention(self) -> None:
        """Names of another convention are found, with the ones to use."""
        metadata = MetaData(naming_convention={"pk": "pk_%(table_name)s"})
        table(metadata=metadata)

        (finding,) = check(metadata)

        assert finding.fix == 'Drop name=, or call it "thing_pkey".'

    def test_names_that_were_cut(self) -> None:
        """Names that carry a hash, and the CHECK of an Enum, are the convention's own."""
        kind = Enum("x", "y", create_constraint=True, native_enum=False)
        long = Column("c" * 60, Integer, unique=True, index=True)

        assert not found("constraint-name", long, Column("state", kind), name="t" * 55)

    def test_table_without_a_key(self) -> None:
        """A table without a primary key has no name to give."""
        metadata = MetaData()
        Table("thing", metadata, Column("a", Integer))

        assert check(metadata) == []


class TestIdentifierLength:
    def test_bounds(self) -> None:
        """Sixty-three bytes are kept, sixty-four are not."""
        assert not found("identifier-length", Column("c" * 63, Integer), name="t" * 63)
        assert len(found("identifier-length", Column("c" * 64, Integer), name="t" * 64)) == 2

    def test_bytes_count(self) -> None:
        """Thirty-two letters of two bytes are too long."""
        (finding,) = found("identifier-length", Column("é" * 32, Integer))

        assert finding.fix == "Shorten it by 1."

    def test_constraints(self) -> None:
        """Names given to constraints and indexes count."""
        parts = Column("a", Integer), UniqueConstraint("a", name="u" * 64), Index("i" * 64, "a")

        assert len(found("identifier-length", *parts)) == 2


class TestReservedWord:
    @pytest.mark.parametrize("name", ["user", "order", "group", "key"])
    def test_accepted(self, name: str) -> None:
        """Words that SQLAlchemy quotes are no problem."""
        assert not found("reserved-word", Column(name, Integer), name=name)

    async def test_postgresql_reserves_no_other(self, postgres: Database) -> None:
        """The words of PostgreSQL that are reserved and not quoted are in the list."""
        query = text("SELECT word FROM pg_get_keywords() WHERE catcode IN ('R', 'T')")
        async with postgres.read() as session:
            words = (await session.scalars(query)).all()
        quoted = postgres.engine.dialect.identifier_preparer.reserved_words

        assert set(words) - set(quoted) <= UNQUOTED.keys()

    @pytest.mark.parametrize("word", [word for word, where in UNQUOTED.items() if where == "MariaDB"])
    async def test_mariadb_reserves_them(self, mariadb: Database, word: str) -> None:
        """The words of MariaDB in the list are refused by the server, and unknown to SQLAlchemy."""
        assert word not in MariaDBDialect().identifier_preparer.reserved_words
        async with mariadb.read() as session:
            with pytest.raises(sqlalchemy.exc.ProgrammingError):
                await session.execute(text(f"SELECT 1 AS {word}"))


class TestSameType:
    def test_missing_target(self) -> None:
        """A foreign key to a table that is not here cannot be compared."""
        assert not found("same-type", Column("a", Integer, ForeignKey("elsewhere.id"), index=True))

    def test_names_without_a_key(self) -> None:
        """Columns that share a name and point nowhere may differ."""
        metadata = metadata_with_names()
        table(Column("object_id", Integer), name="a", metadata=metadata)
        table(Column("object_id", BigInteger), name="b", metadata=metadata)

        assert codes(metadata) == set()


class TestForeignKeyIndex:
    @pytest.mark.parametrize(
        "constraint",
        [
            UniqueConstraint("a", "b"),
            UniqueConstraint("b", "a", "other"),
            Index(None, "b", "a"),
            Index(None, "a", "b", "other"),
        ],
    )
    def test_composite_accepted(self, constraint: Any) -> None:
        """An index that begins with the columns, in any order, serves the key."""
        assert not self.composite(constraint)

    @pytest.mark.parametrize(
        "constraint",
        [
            Index(None, "a"),
            Index(None, "other", "a", "b"),
            Index(None, "a", "other", "b"),
            Index(None, "a", "b", postgresql_where=text("a > 0")),
            Index("thing_a_idx", text("a + 0"), "b"),
        ],
    )
    def test_composite_refused(self, constraint: Any) -> None:
        """One that begins otherwise, or leaves rows out, does not."""
        (finding,) = self.composite(constraint)

        assert finding.fix == "Index(None, 'a', 'b')"

    def composite(self, constraint: Any) -> list[Finding]:
        """Return the findings on a foreign key of two columns with this constraint."""
        columns = [Column(name, Integer) for name in ("a", "b", "other")]
        key = ForeignKeyConstraint(["a", "b"], ["team.x", "team.y"])
        return found("foreign-key-index", *columns, key, constraint)


class TestTypes:
    def test_naive_datetime(self) -> None:
        """Only a datetime without a zone is found; a date has none to keep."""
        assert found("naive-datetime", Column("sent_at", DateTime))
        assert not found("naive-datetime", Column("sent_at", DateTime(timezone=True)), Column("due_date", Date))

    @pytest.mark.parametrize(
        "column", [Column("price", Numeric(9, 2)), Column("priceless", Float), Column("rate", Float)]
    )
    def test_money_accepted(self, column: Any) -> None:
        """Exact types, and floats that are no money."""
        assert not found("inexact-money", column)

    @pytest.mark.parametrize("name", ["price", "unit_price", "balance_before"])
    def test_money_refused(self, name: str) -> None:
        """A float is found by a whole word of its name."""
        assert found("inexact-money", Column(name, Float))
