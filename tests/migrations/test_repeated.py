"""What a database does not make, because it says nothing new, or makes by itself, is not a difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, ForeignKeyConstraint, Integer, MetaData, Table, UniqueConstraint, text

from sqlkeel.errors import ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip

PARTS = {
    "the key": lambda: [UniqueConstraint("id")],
    "the key, by a name": lambda: [UniqueConstraint("id", name="ident")],
    "another one": lambda: [UniqueConstraint("a", "b", name="first"), UniqueConstraint("a", "b", name="second")],
}


def models(metadata: MetaData, *parts: object) -> MetaData:
    """Return a table of three numbers."""
    numbers = [Column(name, Integer, primary_key=name == "id", nullable=False) for name in ("id", "a", "b")]
    Table("thing", metadata, *numbers, *parts)
    return metadata


async def checked(database: Database, folder: Path, metadata: MetaData) -> Migrations:
    """See that nothing differs where SQLAlchemy has made the tables, and return what has seen it."""
    async with database.engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    migrations = Migrations(database, metadata, folder / "migrations")
    await migrations.new("nothing", autogenerate=False)
    await migrations.up()
    await migrations.check()
    return migrations


class TestUnique:
    @pytest.mark.parametrize("make", [MetaData, metadata_with_names], ids=["unnamed", "named"])
    @pytest.mark.parametrize("case", PARTS)
    async def test_one_that_repeats_another(self, db: Database, tmp_path: Path, case: str, make: type) -> None:
        """PostgreSQL makes one of them, SQLite shows one, MariaDB has both."""
        await checked(db, tmp_path, models(make(), *PARTS[case]()))

    async def test_two_that_are_added_at_once(self, db: Database, tmp_path: Path) -> None:
        """A revision adds what CREATE TABLE would make, and can be taken back."""
        metadata = models(metadata_with_names(), *PARTS["another one"]())

        await round_trip(db, tmp_path, models(metadata_with_names()), metadata)

    async def test_the_same_columns_in_another_order(self, db: Database, tmp_path: Path) -> None:
        """It has an index of its own, and is missed."""
        metadata = models(metadata_with_names(), UniqueConstraint("a", "b", name="first"))
        await checked(db, tmp_path, metadata)
        other = models(metadata_with_names(), UniqueConstraint("a", "b", name="first"), UniqueConstraint("b", "a"))

        with pytest.raises(ModelsDiffer, match="thing_b_a_key"):
            await Migrations(db, other, tmp_path / "migrations").check()


class TestIndexOfAKey:
    async def test_its_name_may_be_taken(self, db: Database, tmp_path: Path) -> None:
        """MariaDB calls it ``a_2`` where a UNIQUE is called ``a``."""
        metadata = models(MetaData(), UniqueConstraint("a"), UniqueConstraint("b", "a"), UniqueConstraint("a", "b"))
        key = ForeignKeyConstraint(["a", "b"], ["thing.a", "thing.b"])
        Table(
            "part",
            metadata,
            Column("id", Integer, primary_key=True),
            *(Column("a", Integer), Column("b", Integer), UniqueConstraint("a"), key),
        )

        await checked(db, tmp_path, metadata)

    async def test_another_index_is_found(self, mariadb: Database, tmp_path: Path) -> None:
        """One on other columns, or with another name."""
        metadata = models(metadata_with_names())
        migrations = await checked(mariadb, tmp_path, metadata)
        async with mariadb.engine.begin() as connection:
            for index in ("a_2 ON thing (a)", "other ON thing (b)"):
                await connection.execute(text(f"CREATE INDEX {index}"))

        with pytest.raises(ModelsDiffer) as caught:
            await migrations.check()

        assert set(caught.value.differences) == {
            "has the extra index a_2 on thing",
            "has the extra index other on thing",
        }
