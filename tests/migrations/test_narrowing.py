"""A changed type rounds no value that a row has."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Date, DateTime, Float, Integer, Interval, MetaData, Numeric, String, Table, Text
from sqlalchemy.dialects import mysql, postgresql

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import Money
from tests.migrations.revisions import revision
from tests.migrations.test_ownership import execute

LOSING = {
    "scale": (Numeric(10, 4), Numeric(10, 2), "1.2345"),
    "money": (Money(10, 4), Money(10, 2), "1.2345"),
    "whole": (Float(53), Integer(), "1.7"),
    "decimal to whole": (Numeric(10, 2), Integer(), "0.50"),
    "day": (DateTime(), Date(), "'2024-01-01 10:00:00'"),
    "text to a day": (String(40), Date(), "'2024-01-01 10:00:00'"),
    "text to an amount": (String(40), Numeric(10, 2), "'1.255'"),
}
KEEPING = {
    "scale": (Numeric(10, 4), Numeric(10, 2), "1.2300", Decimal("1.23")),
    "more": (Numeric(10, 2), Numeric(12, 4), "1.23", Decimal("1.2300")),
    "whole": (Float(53), Integer(), "2.0", 2),
    "null": (Numeric(10, 4), Numeric(10, 2), "NULL", None),
    "text": (String(9), Text(), "'abc'", "abc"),
    "text to a day": (String(40), Date(), "'2024-01-02'", date(2024, 1, 2)),
    "text to a moment": (String(40), DateTime(), "'2024-01-02 10:00:00'", datetime(2024, 1, 2, 10)),
    "text to an amount": (String(40), Numeric(10, 2), "'1.250'", Decimal("1.25")),
}


def models(kind: Any) -> MetaData:
    """Return the table a with a column of this type."""
    metadata = metadata_with_names()
    Table("a", metadata, Column("id", Integer, primary_key=True), Column("x", kind))
    return metadata


async def changed(db: Database, folder: Path, old: Any, new: Any, *, value: str) -> Migrations:
    """Make the column with a value by the first revision, and write the one that changes its type."""
    first = Migrations(db, models(old), folder / "migrations")
    await first.new("first")
    await first.up()
    await execute(db, f"INSERT INTO a (id, x) VALUES (1, {value})")
    migrations = Migrations(db, models(new), folder / "migrations")
    await migrations.new("change")
    return migrations


class TestTypes:
    @pytest.mark.parametrize("case", LOSING)
    async def test_a_value_that_would_be_rounded_stops_it(self, server: Database, tmp_path: Path, case: str) -> None:
        """Nothing happens, and the message says which column."""
        old, new, value = LOSING[case]
        migrations = await changed(server, tmp_path, old, new, value=value)

        with pytest.raises(errors.MigrationError, match="a has rows whose x would change"):
            await migrations.up()

        assert await execute(server, f"SELECT count(*) FROM a WHERE x = {value}") == [1]

    @pytest.mark.parametrize("case", KEEPING)
    async def test_a_value_that_fits_is_kept(self, server: Database, tmp_path: Path, case: str) -> None:
        """The type changes, the value does not."""
        old, new, value, seen = KEEPING[case]
        migrations = await changed(server, tmp_path, old, new, value=value)

        await migrations.up()

        await migrations.check()
        assert await execute(server, "SELECT x FROM a") == [seen]

    async def test_rounding_may_be_said(self, server: Database, tmp_path: Path) -> None:
        """An UPDATE before the change makes every value fit."""
        migrations = Migrations(server, models(Numeric(10, 2)), tmp_path / "migrations")
        await execute(server, "CREATE TABLE a (id integer, x numeric(10, 4))", "INSERT INTO a VALUES (1, 1.2345)")
        change = 'op.alter_column("a", "x", existing_type=sa.Numeric(10, 4), type_=sa.Numeric(10, 2))'
        await revision(migrations, "change", f'op.execute("UPDATE a SET x = round(x, 2)")\n{change}')

        await migrations.up()

        assert await execute(server, "SELECT x FROM a") == [Decimal("1.23")]

    async def test_using_is_said(self, postgres: Database, tmp_path: Path) -> None:
        """PostgreSQL's USING says what becomes of the values."""
        migrations = Migrations(postgres, models(Integer()), tmp_path / "migrations")
        await execute(postgres, "CREATE TABLE a (id integer, x numeric(10, 4))", "INSERT INTO a VALUES (1, 1.7)")
        change = 'existing_type=sa.Numeric(10, 4), type_=sa.Integer(), postgresql_using="floor(x)::int"'
        await revision(migrations, "change", f'op.alter_column("a", "x", {change})')

        await migrations.up()

        assert await execute(postgres, "SELECT x FROM a") == [1]

    async def test_a_fraction_of_a_second(self, mariadb: Database, tmp_path: Path) -> None:
        """MariaDB cuts what the new column has no room for."""
        old, value = mysql.DATETIME(fsp=6), "'2024-01-01 10:00:00.777'"
        migrations = await changed(mariadb, tmp_path, old, DateTime(), value=value)

        with pytest.raises(errors.MigrationError, match="would change"):
            await migrations.up()

    @pytest.mark.parametrize("new", [postgresql.INTERVAL(precision=0), postgresql.INTERVAL(fields="DAY")], ids=str)
    async def test_a_part_of_an_interval(self, postgres: Database, tmp_path: Path, new: Any) -> None:
        """PostgreSQL rounds seconds, and cuts what is less than the fields."""
        migrations = await changed(postgres, tmp_path, Interval(), new, value="'1 day 00:00:00.7'")

        with pytest.raises(errors.MigrationError, match="would change"):
            await migrations.up()

    async def test_a_text_with_a_zone(self, postgres: Database, tmp_path: Path) -> None:
        """PostgreSQL would leave it out."""
        migrations = await changed(postgres, tmp_path, String(40), DateTime(), value="'2024-01-01 10:00+05'")

        with pytest.raises(errors.MigrationError, match="would change"):
            await migrations.up()
