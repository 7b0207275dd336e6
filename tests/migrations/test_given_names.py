"""Constraints that the models leave unnamed can be added, dropped and taken back on every database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Integer, MetaData, Table, UniqueConstraint, text

from sqlkeel.errors import MigrationError
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip

Parts = Callable[[], list[Any]]

CASES: dict[str, Parts] = {
    "a foreign key": lambda: [Column("c", Integer, ForeignKey("parent.id"))],
    "to the table itself": lambda: [Column("c", Integer, ForeignKey("child.id"))],
    "a composite foreign key": lambda: [ForeignKeyConstraint(["a", "b"], ["parent.x", "parent.y"])],
    "two on one column": lambda: [Column("c", Integer, ForeignKey("parent.id"), ForeignKey("child.id"))],
    "a unique column": lambda: [Column("c", Integer, unique=True)],
    "a composite UNIQUE": lambda: [UniqueConstraint("b", "a")],
    "a name that is taken": lambda: [Column("c", Integer), UniqueConstraint("a", name="child_c_key"), uq("c")],
    "a long name": lambda: [Column("c" * 60, Integer, ForeignKey("parent.id"))],
}


def uq(*columns: str) -> UniqueConstraint:
    """Return a UNIQUE without a name."""
    return UniqueConstraint(*columns)


def models(*parts: Any) -> MetaData:
    """Return two tables of models without a naming convention."""
    metadata = MetaData()
    keys = [Column("id", Integer, primary_key=True) for _ in range(2)]
    numbers = [Column(name, Integer) for name in ("x", "y", "a", "b")]
    Table("parent", metadata, keys[0], *numbers[:2], uq("x", "y"))
    Table("child", metadata, keys[1], *numbers[2:], *parts)
    return metadata


class TestAdded:
    @pytest.mark.parametrize("case", [one for one in CASES if "foreign" in one or "UNIQUE" in one])
    async def test_it_gets_the_name_of_our_convention(self, db: Database, tmp_path: Path, case: str) -> None:
        """The revision names it, so that downgrade() can drop it; the models go on without a name."""
        written = await round_trip(db, tmp_path, models(), models(*CASES[case]()))

        assert "None, [" not in written
        assert "child_" in written

    @pytest.mark.parametrize("case", [one for one in CASES if "foreign" not in one and "UNIQUE" not in one])
    async def test_every_kind(self, db: Database, tmp_path: Path, case: str) -> None:
        """A name that another one has is not taken twice, and a long one fits."""
        await round_trip(db, tmp_path, models(), models(*CASES[case]()))


class TestDropped:
    @pytest.mark.parametrize("case", CASES)
    async def test_it_comes_back(self, db: Database, tmp_path: Path, case: str) -> None:
        """With its column and without; SQLite has made it without a name."""
        if case in {"two on one column", "a name that is taken"} and db.engine.dialect.name == "sqlite":
            pytest.skip("two of them would get one name; TestShared")
        await round_trip(db, tmp_path, models(*CASES[case]()), models())

    async def test_only_the_constraint(self, db: Database, tmp_path: Path) -> None:
        """The column stays, and takes a value twice."""
        before, after = models(Column("c", Integer, unique=True)), models(Column("c", Integer))

        await round_trip(db, tmp_path, before, after)

        async with db.engine.begin() as connection:
            for key in (1, 2):
                await connection.execute(text(f"INSERT INTO child (id, c) VALUES ({key}, 5)"))

    async def test_another_option(self, db: Database, tmp_path: Path) -> None:
        """A changed foreign key is dropped and made again by one name."""
        before = models(Column("c", Integer, ForeignKey("parent.id")))
        after = models(Column("c", Integer, ForeignKey("parent.id", ondelete="CASCADE")))

        await round_trip(db, tmp_path, before, after)

    async def test_it_gets_a_name_later(self, postgres: Database, tmp_path: Path) -> None:
        """The one with the name of the server goes, and the named one comes."""
        before, after = models(uq("a")), models(UniqueConstraint("a", name="child_by_a"))

        await round_trip(postgres, tmp_path, before, after)


class TestShared:
    async def test_two_of_one_name(self, sqlite: Database, tmp_path: Path) -> None:
        """A copy that would keep one of two constraints is refused."""
        first = Migrations(sqlite, models(*CASES["two on one column"]()), tmp_path / "m")
        await first.new("first")
        await first.up()
        second = Migrations(sqlite, models(Column("c", Integer, ForeignKey("parent.id"))), tmp_path / "m")
        await second.new("second")

        with pytest.raises(MigrationError, match="constraints that its naming_convention calls child_c_fkey"):
            await second.up()
