"""What means the same is not a difference, and what does not is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    CHAR,
    JSON,
    Boolean,
    Column,
    DateTime,
    Enum,
    Float,
    Index,
    Integer,
    Interval,
    MetaData,
    Numeric,
    String,
    Table,
    Text,
    Time,
    false,
    text,
    true,
)
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CheckConstraint

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names, unique_live
from sqlkeel.sessions import Database
from sqlkeel.types import UTCDateTime, utc_now
from tests.migrations.revisions import round_trip

DEFAULTS = {
    "number": (Integer, "1", "2"),
    "amount": (Numeric(10, 2), "1", "1.5"),
    "switch": (Boolean, true(), false()),
    "word": (String(20), "it", "IT"),
    "digits": (String(20), "0", "0.00"),
    "expression": (Integer, text("(1 + 1)"), text("(1 + 2)")),
    "clock": (UTCDateTime, utc_now(), None),
}


def one_table(*parts: Any, name: str = "a") -> MetaData:
    """Return tables with a key and *parts*."""
    metadata = metadata_with_names()
    Table(name, metadata, Column("id", Integer, primary_key=True), *parts)
    return metadata


async def differences(db: Database, directory: Path, before: MetaData, after: MetaData) -> tuple[str, ...]:
    """Migrate an empty database to *before*, and compare it with *after*."""
    first = Migrations(db, before, directory / "migrations")
    await first.new("first")
    await first.up()
    try:
        await Migrations(db, after, directory / "migrations").check()
    except errors.ModelsDiffer as error:
        return error.differences
    return ()


class TestServerDefaults:
    @pytest.mark.parametrize("kind", DEFAULTS)
    async def test_the_same_is_no_difference(self, db: Database, tmp_path: Path, kind: str) -> None:
        """Each database writes a default in its own way."""
        type_, default, _ = DEFAULTS[kind]
        same = one_table(Column("x", type_, server_default=default))

        assert await differences(db, tmp_path, same, same) == ()

    @pytest.mark.parametrize("kind", DEFAULTS)
    async def test_another_is_a_difference(self, db: Database, tmp_path: Path, kind: str) -> None:
        """A changed default is found, even where only the case of a word changed."""
        type_, default, other = DEFAULTS[kind]
        before = one_table(Column("x", type_, server_default=default))
        after = one_table(Column("x", type_, server_default=other))

        [found] = await differences(db, tmp_path, before, after)

        assert found.startswith("a.x: default is ")


class TestChecks:
    async def test_the_same_is_no_difference(self, db: Database, tmp_path: Path) -> None:
        """A CHECK is recognised by its name."""
        same = one_table(Column("x", Integer), CheckConstraint("x > 0", name="positive"))

        assert await differences(db, tmp_path, same, same) == ()

    async def test_a_missing_one_is_a_difference(self, db: Database, tmp_path: Path) -> None:
        """A CHECK that the models have and the database has not is found."""
        before = one_table(Column("x", Integer))
        after = one_table(Column("x", Integer), CheckConstraint("x > 0", name="positive"))

        assert await differences(db, tmp_path, before, after) == ("has no constraint a_positive_check on a",)


class TestUniqueLive:
    @pytest.fixture
    def with_it(self) -> MetaData:
        """A table whose names are unique among live rows."""
        return one_table(Column("name", String(20)), Column("deleted_at", UTCDateTime), unique_live("name"))

    @pytest.fixture
    def without_it(self) -> MetaData:
        """The same table without."""
        return one_table(Column("name", String(20)), Column("deleted_at", UTCDateTime))

    async def test_a_missing_one_is_a_difference(
        self, db: Database, tmp_path: Path, with_it: MetaData, without_it: MetaData
    ) -> None:
        """It is found by its index, on every database."""
        assert await differences(db, tmp_path, without_it, with_it) == ("has no index a_name_idx on a",)

    async def test_it_can_be_dropped(
        self, db: Database, tmp_path: Path, with_it: MetaData, without_it: MetaData
    ) -> None:
        """The revision that drops it leaves nothing, not even the generated column of MariaDB."""
        await differences(db, tmp_path, with_it, with_it)
        migrations = Migrations(db, without_it, tmp_path / "migrations")

        await migrations.new("drop it")
        await migrations.up()

        await migrations.check()
        async with db.engine.connect() as connection:
            columns = await connection.run_sync(lambda sync: sa_inspect(sync).get_columns("a"))
        assert {column["name"] for column in columns} == {"id", "name", "deleted_at"}


def one_column(kind: Any) -> MetaData:
    """Return a table with a column of the type."""
    metadata = MetaData()
    Table("thing", metadata, Column("id", Integer, primary_key=True), Column("value", kind))
    return metadata


MARIADB: list[Any] = [
    mysql.SET("a", "b"),
    mysql.SET("", "it's", retrieve_as_bitwise=True),
    mysql.SET("a", "b", charset="latin1"),
    mysql.ENUM("a", "b", charset="latin1"),
    mysql.VARCHAR(20, charset="latin1"),
    mysql.VARCHAR(20, ascii=True),
    mysql.VARCHAR(20, binary=True),
    mysql.LONGTEXT(charset="latin1"),
    mysql.YEAR(),
    mysql.BIT(8),
    mysql.TINYINT(1),
    mysql.MEDIUMTEXT(),
    mysql.INTEGER(5, zerofill=True),
]
POSTGRESQL: list[Any] = [
    postgresql.DOMAIN("code", Text, check="VALUE ~ '^a'"),
    postgresql.DOMAIN("code", Text, not_null=True),
    postgresql.ARRAY(postgresql.DOMAIN("code", Text, schema="public")),
    Float(24),
    Interval(native=False),
    postgresql.INTERVAL(fields="YEAR TO MONTH"),
    postgresql.JSONPATH(),
    postgresql.INT4MULTIRANGE(),
    postgresql.TSVECTOR(),
    postgresql.BIT(8, varying=True),
]
VARIANTS: list[Any] = [
    postgresql.ARRAY(Text),
    postgresql.JSONB(),
    postgresql.TSVECTOR(),
    postgresql.INT4RANGE(),
]


@pytest.mark.filterwarnings("ignore:Did not recognize type")
class TestTypes:
    @pytest.mark.parametrize("kind", MARIADB, ids=str)
    async def test_those_of_mariadb(self, mariadb: Database, tmp_path: Path, kind: Any) -> None:
        """There, back and there again; a second revision finds nothing."""
        await self.make_twice(mariadb, tmp_path, kind)

    @pytest.mark.parametrize("kind", POSTGRESQL, ids=str)
    async def test_those_of_postgresql(self, postgres: Database, tmp_path: Path, kind: Any) -> None:
        """There, back and there again; a second revision finds nothing."""
        await self.make_twice(postgres, tmp_path, kind)

    @pytest.mark.parametrize("kind", VARIANTS, ids=str)
    async def test_variants_for_postgresql(self, db: Database, tmp_path: Path, kind: Any) -> None:
        """The other databases have the type that they are given, and a revision names all that it needs."""
        await self.make_twice(db, tmp_path, JSON().with_variant(kind, "postgresql"))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (mysql.SET("a", "b"), mysql.SET("a", "b", "c")),
            (mysql.SET("a", "b"), mysql.SET("b", "a")),
            (mysql.ENUM("a", "b"), mysql.ENUM("b", "a")),
            (mysql.VARCHAR(20, charset="ascii"), mysql.VARCHAR(20, charset="latin1")),
            (mysql.VARCHAR(20, charset="ascii"), mysql.VARCHAR(20)),
            (String(20), mysql.VARCHAR(20, charset="latin1")),
            (String(20, collation="utf8mb4_bin"), String(20, collation="utf8mb4_general_ci")),
            (Text(), mysql.TEXT(charset="latin1")),
            (CHAR(3), mysql.CHAR(3, charset="ascii")),
            (Enum("a", "b"), mysql.ENUM("a", "b", charset="latin1")),
            (mysql.ENUM("a", "b"), mysql.ENUM("a", "b", collation="utf8mb4_bin")),
            (mysql.DATETIME(fsp=6), mysql.DATETIME()),
            (UTCDateTime(), DateTime()),
            (mysql.TIMESTAMP(fsp=3), mysql.TIMESTAMP()),
            (mysql.TIME(fsp=3), Time()),
            (Numeric(12, 2), Numeric()),
            (Numeric(12, 2), Numeric(12)),
            (Float(24), Float(53)),
            (mysql.DOUBLE(7, 3), mysql.DOUBLE()),
            (mysql.BIT(8), mysql.BIT()),
            (CHAR(8), CHAR()),
        ],
        ids=str,
    )
    async def test_changes_on_mariadb(self, mariadb: Database, tmp_path: Path, before: Any, after: Any) -> None:
        """Members, their order, by which rows are sorted, character sets, and precisions that one side leaves out."""
        await round_trip(mariadb, tmp_path, one_column(before), one_column(after))

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            (String(20), String()),
            (String(), String(20)),
            (CHAR(8), CHAR()),
            (postgresql.BIT(8, varying=True), postgresql.BIT(varying=True)),
            (Numeric(12, 2), Numeric()),
            (Numeric(), Numeric(12, 2)),
            (Numeric(12, 2), Numeric(12)),
            (Float(53), Float(24)),
            (postgresql.TIMESTAMP(precision=3), DateTime()),
            (DateTime(timezone=True), postgresql.TIMESTAMP(precision=3, timezone=True)),
            (postgresql.TIME(precision=3), Time()),
            (Interval(second_precision=3), Interval()),
            (postgresql.INTERVAL(fields="DAY TO SECOND", precision=3), postgresql.INTERVAL(fields="DAY TO SECOND")),
            (postgresql.INTERVAL(), postgresql.INTERVAL(fields="YEAR TO MONTH")),
            (postgresql.ARRAY(String(20)), postgresql.ARRAY(String())),
            (postgresql.ARRAY(Numeric(12, 2)), postgresql.ARRAY(Numeric())),
            (postgresql.ARRAY(Text), postgresql.ARRAY(Text(collation="C"))),
        ],
        ids=str,
    )
    async def test_changes_on_postgresql(self, postgres: Database, tmp_path: Path, before: Any, after: Any) -> None:
        """Lengths and precisions that one side leaves out."""
        await round_trip(postgres, tmp_path, one_column(before), one_column(after))

    @pytest.mark.parametrize(
        ("before", "after"),
        [(Numeric(12, 2), Numeric()), (String(20), String()), (Float(53), Float())],
        ids=str,
    )
    async def test_sqlite_keeps_none(self, sqlite: Database, tmp_path: Path, before: Any, after: Any) -> None:
        """It looks at neither, so no table is copied for one that is left out."""
        assert await differences(sqlite, tmp_path, one_column(before), one_column(after)) == ()

    async def test_how_wide_a_number_is_shown(self, mariadb: Database, tmp_path: Path) -> None:
        """It says nothing of the values."""
        before, after = one_column(mysql.INTEGER(5)), one_column(Integer)

        assert await differences(mariadb, tmp_path, before, after) == ()

    async def test_a_table_with_a_character_set_and_a_fulltext_index(self, mariadb: Database, tmp_path: Path) -> None:
        """What the server makes of a type is asked in a table of the same character set."""
        same = one_column(mysql.VARCHAR(20, charset="utf8mb4"))
        same.tables["thing"].dialect_options["mariadb"]["charset"] = "latin1"
        Index("words", same.tables["thing"].c.value, mariadb_prefix="FULLTEXT")

        assert await differences(mariadb, tmp_path, same, same) == ()

    async def test_a_type_that_fits_once(self, mariadb: Database, tmp_path: Path) -> None:
        """What the server does not make beside the column that is there is taken for the same."""
        same = one_column(mysql.VARCHAR(40000, charset="latin1"))

        assert await differences(mariadb, tmp_path, same, same) == ()

    async def test_a_type_that_reflection_does_not_know(self, mariadb: Database, tmp_path: Path) -> None:
        """It is not compared; what else changes of its column is written with the type of the models."""
        before, after = one_column(mysql.INET6()), one_column(mysql.INET6())
        after.tables["thing"].c.value.nullable = False

        written = await round_trip(mariadb, tmp_path, before, after)

        assert "existing_type=mysql.INET6()" in written

    async def make_twice(self, database: Database, folder: Path, kind: Any) -> None:
        """Write a revision, apply it, take it back and apply it again."""
        migrations = Migrations(database, one_column(kind), folder / "migrations")
        await migrations.new("first")
        await migrations.up()
        await migrations.check()
        await migrations.down()

        await migrations.up()

        assert await migrations.new("again") is None
