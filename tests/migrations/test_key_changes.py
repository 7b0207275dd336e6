"""Columns of foreign keys that change their type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, ForeignKey, Integer, MetaData, Table

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip
from tests.migrations.test_ownership import execute


def models(parent: Any, child: Any) -> MetaData:
    """Return two tables, a key between them, and a key inside of one, with columns of these types."""
    metadata = metadata_with_names()
    Table("parent", metadata, Column("id", parent, primary_key=True), Column("up_id", parent, ForeignKey("parent.id")))
    key = ForeignKey("parent.id", ondelete="CASCADE")
    Table("child", metadata, Column("id", Integer, primary_key=True), Column("parent_id", child, key))
    return metadata


class TestMariaDB:
    async def test_both_columns(self, mariadb: Database, tmp_path: Path) -> None:
        """The key is there afterwards, with what it does, and on the way back."""
        revision = await round_trip(mariadb, tmp_path, models(Integer, Integer), models(BigInteger, BigInteger))

        assert "ondelete='CASCADE'" in revision
        await execute(mariadb, "INSERT INTO parent (id) VALUES (1)", "INSERT INTO child (id, parent_id) VALUES (1, 1)")
        with pytest.raises(errors.ForeignKeyViolation):
            await execute(mariadb, "INSERT INTO child (id, parent_id) VALUES (2, 9)")

    async def test_rows_stay(self, mariadb: Database, tmp_path: Path) -> None:
        """Those that refer to others, too."""
        first = Migrations(mariadb, models(Integer, Integer), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        await execute(mariadb, "INSERT INTO parent (id) VALUES (1)", "INSERT INTO child (id, parent_id) VALUES (1, 1)")
        later = Migrations(mariadb, models(BigInteger, BigInteger), tmp_path / "migrations")
        await later.new("later")

        await later.up()

        assert await execute(mariadb, "SELECT parent_id FROM child") == [1]

    async def test_one_of_them(self, mariadb: Database, tmp_path: Path) -> None:
        """The key could not be made again: the server refuses the first statement, and nothing is done."""
        first = Migrations(mariadb, models(Integer, Integer), tmp_path / "migrations")
        await first.new("first")
        await first.up()
        later = Migrations(mariadb, models(Integer, BigInteger), tmp_path / "migrations")
        await later.new("later")

        with pytest.raises(errors.KeelError):
            await later.up()

        (later.directory / "versions").joinpath((await later.status())[-1].path.name).unlink()
        await first.check()

    async def test_check_tells_the_types_only(self, mariadb: Database, tmp_path: Path) -> None:
        """A key that is made again is no difference."""
        first = Migrations(mariadb, models(Integer, Integer), tmp_path / "migrations")
        await first.new("first")
        await first.up()

        with pytest.raises(errors.ModelsDiffer) as caught:
            await Migrations(mariadb, models(BigInteger, BigInteger), tmp_path / "migrations").check()

        assert [line.partition(":")[0] for line in caught.value.differences] == [
            "child.parent_id",
            "parent.id",
            "parent.up_id",
        ]


class TestOthers:
    async def test_nothing_is_dropped(self, postgres: Database, tmp_path: Path) -> None:
        """PostgreSQL changes the columns below the key."""
        revision = await round_trip(postgres, tmp_path, models(Integer, Integer), models(BigInteger, BigInteger))

        assert "drop_constraint" not in revision
