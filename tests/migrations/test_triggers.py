"""Version triggers in migrations: written, found missing, kept, and dropped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, text

from sqlkeel.errors import ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.versions._triggers import VersionTrigger
from tests.migrations.revisions import code

CALLS = re.compile(r"op\.(?:create|drop)_version_trigger\(.*\)")


def models(*, trigger: bool = True, column: str = "version", length: int = 9, other: bool = False) -> MetaData:
    """Return a table with a version, and a trigger that counts it."""
    metadata = metadata_with_names()
    parts = [Column("id", Integer, primary_key=True), Column(column, Integer, server_default="1", nullable=False)]
    article = Table("article", metadata, *parts, Column("x", Integer), Column("name", String(length)))
    if trigger:
        VersionTrigger(article, column).attach()
    if other:
        Table("other", metadata, Column("id", Integer, primary_key=True))
    return metadata


async def migrate(db: Database, directory: Path, metadata: MetaData, message: str) -> list[str]:
    """Write what is missing and apply it; return the calls for triggers in the file, upgrade first."""
    migrations = Migrations(db, metadata, directory / "migrations")
    revision = await migrations.new(message)
    await migrations.up()
    await migrations.check()
    assert revision is not None
    return CALLS.findall(code(revision))


async def version_after_update(db: Database, column: str = "version") -> int:
    """Insert a row, change it by SQL, and return its version."""
    async with db.engine.begin() as connection:
        await connection.execute(text("DELETE FROM article"))
        await connection.execute(text("INSERT INTO article (id) VALUES (1)"))
        await connection.execute(text("UPDATE article SET x = 2"))
        return int(await connection.scalar(text(f"SELECT {column} FROM article")) or 0)


class TestAutogenerate:
    @pytest.mark.parametrize(
        ("column", "written"),
        [
            ("version", "op.create_version_trigger('article')"),
            ("n", "op.create_version_trigger('article', column='n')"),
        ],
    )
    async def test_a_new_table_has_it(self, db: Database, tmp_path: Path, column: str, written: str) -> None:
        """The revision that creates the table creates the trigger, and its downgrade drops both."""
        calls = await migrate(db, tmp_path, models(column=column), "first")

        assert calls == [written, written.replace("create", "drop")]
        assert await version_after_update(db, column) == 2

    async def test_it_can_be_taken_back(self, db: Database, tmp_path: Path) -> None:
        """Down and up again is what it was."""
        await migrate(db, tmp_path, models(), "first")
        migrations = Migrations(db, models(), tmp_path / "migrations")

        await migrations.down("base")
        await migrations.up()

        await migrations.check()
        assert await version_after_update(db) == 2

    async def test_a_table_that_is_there_gets_it(self, db: Database, tmp_path: Path) -> None:
        """The mixin on a model that had the plain one is found."""
        await migrate(db, tmp_path, models(trigger=False), "first")

        with pytest.raises(ModelsDiffer) as caught:
            await Migrations(db, models(), tmp_path / "migrations").check()
        calls = await migrate(db, tmp_path, models(), "second")

        assert caught.value.differences == ("has no version trigger article_version_trigger on article",)
        assert calls == ["op.create_version_trigger('article')", "op.drop_version_trigger('article')"]
        assert await version_after_update(db) == 2

    async def test_one_too_many_is_dropped(self, db: Database, tmp_path: Path) -> None:
        """The plain mixin on a model that had a trigger is found."""
        await migrate(db, tmp_path, models(), "first")

        with pytest.raises(ModelsDiffer) as caught:
            await Migrations(db, models(trigger=False), tmp_path / "migrations").check()
        calls = await migrate(db, tmp_path, models(trigger=False), "second")

        assert caught.value.differences == ("has the extra version trigger article_version_trigger on article",)
        assert calls == ["op.drop_version_trigger('article')", "op.create_version_trigger('article')"]
        assert await version_after_update(db) == 1

    async def test_it_goes_with_its_table(self, db: Database, tmp_path: Path) -> None:
        """The table that is dropped leaves no function behind, and comes back with its trigger."""
        await migrate(db, tmp_path, models(other=True), "first")
        without = models(other=True)
        without.remove(without.tables["article"])

        calls = await migrate(db, tmp_path, without, "second")
        await Migrations(db, without, tmp_path / "migrations").down()

        assert calls == ["op.drop_version_trigger('article')", "op.create_version_trigger('article')"]
        assert await version_after_update(db) == 2

    async def test_it_survives_a_change_of_the_table(self, db: Database, tmp_path: Path) -> None:
        """SQLite changes a table by copying it, and a copy has no triggers; forth and back it is kept."""
        await migrate(db, tmp_path, models(), "first")
        migrations = Migrations(db, models(length=20), tmp_path / "migrations")

        await migrate(db, tmp_path, models(length=20), "a longer name")
        forth = await version_after_update(db)
        await migrations.down()
        back = await version_after_update(db)

        assert (forth, back) == (2, 2)

    async def test_another_table_leaves_it_alone(self, db: Database, tmp_path: Path) -> None:
        """A revision about another table does not mention it."""
        await migrate(db, tmp_path, models(), "first")

        assert await migrate(db, tmp_path, models(other=True), "second") == []


class TestOperation:
    async def test_it_is_written_by_hand(self, db: Database, tmp_path: Path) -> None:
        """A revision of one's own calls it; twice is once."""
        await migrate(db, tmp_path, models(trigger=False), "first")
        migrations = Migrations(db, models(), tmp_path / "migrations")
        call = "op.create_version_trigger('article')"

        write_by_hand(await migrations.new("by hand", autogenerate=False), f"{call}\n    {call}")
        await migrations.up()

        await migrations.check()
        assert await version_after_update(db) == 2


def write_by_hand(revision: Path | None, line: str) -> None:
    """Write the body of the upgrade."""
    assert revision is not None
    written = re.sub(r"(def upgrade.*?:\n(?:    \"\"\".*\"\"\"\n)?)    pass", rf"\1    {line}", revision.read_text())
    assert line in written
    revision.write_text(written)
