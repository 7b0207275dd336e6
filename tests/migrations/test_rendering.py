"""What is written into a revision runs on every database."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Interval, MetaData, String, Table, Text
from sqlalchemy.dialects import postgresql

from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from sqlkeel.types import UTCDateTime
from tests.fixtures.databases import OpenDatabase
from tests.migrations.models import Base, Email
from tests.migrations.revisions import code


@pytest.fixture
async def written(db: Database, tmp_path: Path) -> str:
    """A revision made on each database in turn."""
    path = await Migrations(db, Base, tmp_path / "migrations").new("first")
    assert path is not None
    return code(path)


class TestTypes:
    def test_our_types_are_imported(self, written: str) -> None:
        """A type of sqlkeel is written by its name, with the import."""
        assert re.search(r"from sqlkeel\.types import .*UTCDateTime", written)
        assert "sa.Column('seen_at', UTCDateTime(), nullable=True)" in written
        assert "sa.Column('fee', Money(precision=10, scale=4)," in written

    def test_the_projects_own_types_are_imported(self, written: str) -> None:
        """A type of the application is imported from where it is."""
        assert "from tests.migrations.models import Email\n" in written
        assert "sa.Column('email', Email(length=320)," in written

    def test_variants_are_written_for_all_databases(self, written: str) -> None:
        """A column is not narrowed to the database that the revision was made on."""
        assert "sa.BigInteger().with_variant(sa.Integer(), 'sqlite')" in written
        assert "sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(" in written

    @pytest.mark.parametrize("kind", [UTCDateTime(), Email(9), Interval(), postgresql.DOMAIN("code", Text)], ids=repr)
    async def test_what_we_write_ourselves_keeps_its_variants(self, db: Database, tmp_path: Path, kind: Any) -> None:
        """The base of them may be a type of ours, of the project or of PostgreSQL."""
        metadata = MetaData()
        Table("a", metadata, Column("x", kind.with_variant(String(20), "sqlite").with_variant(Text(), "mariadb")))

        path = await Migrations(db, metadata, tmp_path / "migrations").new("first")

        assert path is not None
        assert ".with_variant(sa.Text(), 'mariadb').with_variant(sa.String(length=20), 'sqlite')" in code(path)


class TestServerDefaults:
    def test_the_clock_is_written_by_name(self, written: str) -> None:
        """utc_now() stays itself; each database compiles its own."""
        assert "server_default=utc_now()" in written

    def test_true_is_written_by_name(self, written: str) -> None:
        """PostgreSQL refuses 1 as a boolean, so it is not written as 1."""
        assert "server_default=sa.true()" in written


class TestDowngrade:
    def test_no_index_is_dropped_before_its_table(self, written: str) -> None:
        """MariaDB refuses to drop an index that a foreign key needs."""
        downgrade = written.partition("def downgrade")[2]

        assert "drop_table('member')" in downgrade
        assert "drop_index" not in downgrade


class TestPortability:
    async def test_a_revision_made_on_one_runs_on_the_others(
        self, db: Database, open_database: OpenDatabase, tmp_path: Path
    ) -> None:
        """A team may write on SQLite and run on a server."""
        local = open_database(f"sqlite+aiosqlite:///{tmp_path / 'local.db'}")
        await Migrations(local, Base, tmp_path / "migrations").new("first")
        migrations = Migrations(db, Base, tmp_path / "migrations")

        await migrations.up()

        await migrations.check()
