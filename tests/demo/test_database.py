"""The migrations of the demo."""

from __future__ import annotations

from sqlalchemy import inspect

from sqlkeel import Database
from sqlkeel.demo.database import migrations
from sqlkeel.demo.models import Base


async def tables(db: Database) -> set[str]:
    """Return the names of all tables."""
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))


class TestMigrations:
    async def test_they_make_what_the_models_say(self, every_driver: Database) -> None:
        """Migrated up, no database differs from the models."""
        await migrations(every_driver).up()

        await migrations(every_driver).check()

        assert set(Base.metadata.tables) <= await tables(every_driver)

    async def test_they_leave_nothing(self, db: Database) -> None:
        """Migrated down again, nothing is left but Alembic's own table."""
        await migrations(db).up()

        await migrations(db).down("base")

        assert await tables(db) == {"alembic_version"}
