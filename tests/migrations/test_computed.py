"""A generated column whose expression changed is found, and made anew."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Computed, Index, Integer, MetaData, UniqueConstraint, text

from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip
from tests.migrations.test_comparing_sql import differences, migrated, one_table

PARTS = {
    "an index": lambda: Index("a_made", "made"),
    "a wider index": lambda: Index("a_made", "n", "made"),
    "a UNIQUE": lambda: UniqueConstraint("made", "n", name="a_made"),
    "an unnamed UNIQUE": lambda: UniqueConstraint("made"),
}
TWICE = ["n*2", "(n * 2)", "((n) * (2))", "n  *  2", "CASE WHEN n > 1 THEN 2 ELSE 3 END"]


def computed(sql: str) -> MetaData:
    """Return a table with a generated column."""
    return one_table(Column("made", Integer, Computed(sql, persisted=True)))


class TestComputed:
    async def test_another_expression_is_found_and_written(self, every_driver: Database, tmp_path: Path) -> None:
        """The column is made anew, and its values with it."""
        await migrated(every_driver, tmp_path, computed("n * 2"))
        async with every_driver.engine.begin() as connection:
            await connection.execute(text("INSERT INTO a (id, n) VALUES (1, 5)"))
        later = Migrations(every_driver, computed("n * 3"), tmp_path / "migrations")

        [found] = await differences(later)

        assert found.startswith("a.made: computed is ")
        assert found.endswith("not n * 3")
        await migrated(every_driver, tmp_path, computed("n * 3"))
        assert await differences(later) == []
        async with every_driver.engine.begin() as connection:
            assert await connection.scalar(text("SELECT made FROM a")) == 15

    async def test_it_can_be_taken_back(self, every_driver: Database, tmp_path: Path) -> None:
        """The former expression comes back."""
        before = await migrated(every_driver, tmp_path, computed("n * 2"))
        later = await migrated(every_driver, tmp_path, computed("n * 3"))

        await later.down()
        [pending] = [one for one in await later.status() if not one.applied]
        pending.path.unlink()

        assert await differences(before) == []

    @pytest.mark.parametrize("part", PARTS)
    async def test_what_stands_on_it_comes_back(self, db: Database, tmp_path: Path, part: str) -> None:
        """The server drops an index with the column, or its part of one."""
        before, after = (
            one_table(Column("made", Integer, Computed(sql, persisted=True)), PARTS[part]())
            for sql in ("n * 2", "n * 3")
        )

        await round_trip(db, tmp_path, before, after)

    async def test_a_plain_column_is_another(self, every_driver: Database, tmp_path: Path) -> None:
        """A column that stops being generated."""
        await migrated(every_driver, tmp_path, computed("n * 2"))
        later = Migrations(every_driver, one_table(Column("made", Integer)), tmp_path / "migrations")

        assert [one.partition(":")[0] for one in await differences(later)] == ["a.made"]

    async def test_the_way_of_writing_does_not_count(self, every_driver: Database, tmp_path: Path) -> None:
        """Brackets around it and spaces."""
        parts = [Column(f"x{number}", Integer, Computed(sql, persisted=True)) for number, sql in enumerate(TWICE)]
        migrations = await migrated(every_driver, tmp_path, one_table(*parts))

        assert await differences(migrations) == []
