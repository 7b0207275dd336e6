"""A CHECK without a name in the models is neither dropped nor found missing."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, Table, text

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database


def parcels(*checks: CheckConstraint) -> MetaData:
    """Return a table of models without a naming convention."""
    metadata = MetaData()
    columns: list[Column[int]] = [Column(name, Integer) for name in ("weight", "height")]
    Table("parcel", metadata, Column("id", Integer, primary_key=True), *columns, *checks)
    return metadata


async def migrated(db: Database, folder: Path, models: MetaData) -> Migrations:
    """Return migrations whose first revision is applied."""
    migrations = Migrations(db, models, folder / "migrations")
    await migrations.new("first")
    await migrations.up()
    return migrations


class TestUnnamed:
    async def test_they_are_left_alone(self, every_driver: Database, tmp_path: Path) -> None:
        """Over one column, over two, and a second one of the kind."""
        checks = [CheckConstraint(one) for one in ("weight >= 0", "weight < 99", "weight <> height")]
        migrations = await migrated(every_driver, tmp_path, parcels(*checks))

        await migrations.check()

        assert await migrations.new("again") is None

    async def test_they_are_left_alone_where_one_is_added(self, every_driver: Database, tmp_path: Path) -> None:
        """Give it a name to have it written."""
        await migrated(every_driver, tmp_path, parcels(CheckConstraint("weight >= 0")))
        later = parcels(CheckConstraint("weight >= 0"), CheckConstraint("weight < 99", name="light"))
        migrations = Migrations(every_driver, later, tmp_path / "migrations")

        path = await migrations.new("light")

        assert path is not None
        assert "drop_constraint" not in path.read_text().partition("def downgrade")[0]
        await migrations.up()
        await migrations.check()

    async def test_one_with_a_name_is_dropped(self, db: Database, tmp_path: Path) -> None:
        """Beside one that has none."""
        named = CheckConstraint("weight < 99", name="light")
        await migrated(db, tmp_path, parcels(CheckConstraint("weight >= 0"), named))
        migrations = Migrations(db, parcels(CheckConstraint("weight >= 0")), tmp_path / "migrations")

        await migrations.new("heavy")
        await migrations.up()

        async with db.engine.begin() as connection:
            await connection.execute(text("INSERT INTO parcel (id, weight) VALUES (1, 100)"))
            assert await connection.scalar(text("SELECT weight FROM parcel")) == 100
        with pytest.raises(errors.CheckViolation):
            async with db.engine.begin() as connection:
                await connection.execute(text("INSERT INTO parcel (id, weight) VALUES (2, -1)"))

    async def test_the_last_one_goes_with_the_models(self, postgres: Database, tmp_path: Path) -> None:
        """Without one in the models the name of the server is as good as any."""
        await migrated(postgres, tmp_path, parcels(CheckConstraint("weight >= 0")))

        try:
            await Migrations(postgres, parcels(), tmp_path / "migrations").check()
        except errors.ModelsDiffer as error:
            found = error.differences

        assert found == ("has the extra constraint parcel_weight_check on parcel",)
