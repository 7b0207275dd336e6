"""The status of migrations, and the check for a missing one."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, Table

from sqlkeel import errors
from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.revisions import MAKE_A, MAKE_B, empty_migrations, revision, tables


class TestStatus:
    async def test_it_lists_revisions_with_their_day_and_message(self, db: Database, tmp_path: Path) -> None:
        """A revision knows its id, its day, what it is about, and that it is pending."""
        migrations = empty_migrations(db, tmp_path)
        path = await revision(migrations, "make a", MAKE_A)

        [only] = await migrations.status()

        assert (only.message, only.day, only.applied) == ("make a", path.name[:10], False)
        assert len(only.id) == 12

    async def test_it_changes_nothing(self, db: Database, tmp_path: Path) -> None:
        """Asking makes no table."""
        migrations = empty_migrations(db, tmp_path)
        await revision(migrations, "make a", MAKE_A)

        await migrations.status()

        assert await tables(db) == set()

    async def test_a_file_without_a_day_has_none(self, sqlite: Database, tmp_path: Path) -> None:
        """Revisions that came from elsewhere keep their names."""
        migrations = empty_migrations(sqlite, tmp_path)
        path = await revision(migrations, "make a", MAKE_A)
        path.rename(path.with_name("0001_make_a.py"))

        [only] = await migrations.status()

        assert only.day == ""

    async def test_a_revision_of_another_branch_is_named(self, db: Database, tmp_path: Path) -> None:
        """A database that is ahead of the files is not touched."""
        migrations = empty_migrations(db, tmp_path)
        path = await revision(migrations, "make a", MAKE_A)
        [only] = await migrations.up()
        path.unlink()

        with pytest.raises(errors.MigrationError, match=f"at revision '{only.id}', which is not in"):
            await migrations.status()

    async def test_no_directory_is_refused(self, sqlite: Database, tmp_path: Path) -> None:
        """Nothing was ever made."""
        with pytest.raises(errors.MigrationError, match="There are no migrations in"):
            await empty_migrations(sqlite, tmp_path).status()

    async def test_two_heads_are_named(self, sqlite: Database, tmp_path: Path) -> None:
        """Two revisions that follow the same one are refused, with the line to write."""
        migrations = empty_migrations(sqlite, tmp_path)
        first = await revision(migrations, "one", "pass")
        content = first.read_text()
        first.with_name("two.py").write_text(content.replace('revision = "', 'revision = "ffff', 1))

        with pytest.raises(errors.MigrationError, match="2 newest revisions") as caught:
            await migrations.up()

        assert caught.value.hint.endswith(" in two.py.")

    @pytest.mark.parametrize("merged", [False, True])
    async def test_a_step_back_where_branches_meet(self, sqlite: Database, tmp_path: Path, *, merged: bool) -> None:
        """Alembic takes back one that nobody named, or finds the walk ambiguous: the one that stays is to be named."""
        migrations = empty_migrations(sqlite, tmp_path)
        first = await revision(migrations, "one", "pass")
        content = first.read_text()
        (own,) = [one.id for one in await migrations.status()]
        ends = {"aaa": repr(own), "bbb": repr(own), **({"ccc": "('aaa', 'bbb')"} if merged else {})}
        for name, follows in ends.items():
            text = content.replace(f'revision = "{own}"', f'revision = "{name}"', 1)
            first.with_name(f"{name}.py").write_text(text.replace("down_revision = None", f"down_revision = {follows}"))
        await migrations.up("heads")

        with pytest.raises(errors.MigrationError, match=r"there are 2, with aaa\.py, bbb\.py") as caught:
            await migrations.down()

        stays = caught.value.hint.rpartition(" ")[2]
        taken = await migrations.down(stays)
        assert sorted(one.id for one in taken) == (["ccc"] if merged else ["aaa", "bbb"])

    async def test_a_gap_is_named(self, sqlite: Database, tmp_path: Path) -> None:
        """A revision that follows one that is not there is refused."""
        migrations = empty_migrations(sqlite, tmp_path)
        path = await revision(migrations, "one", "pass")
        path.write_text(path.read_text().replace("down_revision = None", "down_revision = 'gone'"))

        with pytest.raises(errors.MigrationError, match="do not form one line: Revision gone"):
            await migrations.status()

    @pytest.mark.parametrize("line", ["this is wrong", "import sqlkeel.nowhere", "sa.Nothing"])
    async def test_a_file_that_cannot_be_read_is_named(self, sqlite: Database, tmp_path: Path, line: str) -> None:
        """With the line, and in one sentence."""
        migrations = empty_migrations(sqlite, tmp_path)
        path = await revision(migrations, "one", "pass")
        path.write_text(path.read_text().replace("down_revision = None", f"down_revision = None\n{line}"))

        with pytest.raises(errors.MigrationError, match=rf"{path.name}:\d+ cannot be read: \w+Error: "):
            await migrations.status()


class TestCheck:
    async def test_a_database_that_is_behind_fails(self, migrations: Migrations) -> None:
        """What is not applied is named."""
        path = await migrations.new("first tables")
        assert path is not None

        with pytest.raises(errors.DatabaseBehind, match=path.name):
            await migrations.check()

    async def test_differences_are_listed(self, db: Database, tmp_path: Path) -> None:
        """Each difference between models and database is a line of its own."""
        metadata = MetaData()
        Table("a", metadata, Column("id", Integer, primary_key=True), Column("n", Integer, nullable=False))
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await revision(migrations, "make a", f"{MAKE_A}\n{MAKE_B}")
        await migrations.up()

        with pytest.raises(errors.ModelsDiffer) as caught:
            await migrations.check()

        assert set(caught.value.differences) == {"has no column a.n", "has the extra table b"}
