"""The CHECK of an enumeration is written with its members, and found when these change."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import CheckConstraint, Column, Integer, MetaData, String, Table, insert, text

from sqlkeel.errors import CheckViolation, ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from sqlkeel.types import Choice
from tests.fixtures.databases import OpenDatabase
from tests.migrations.revisions import code

OLD = ["draft", "li:ve", "it's", "100%", "a\\b"]


def tasks(*members: str) -> MetaData:
    """Return a table whose status is one of *members*."""
    return table(Column("status", Choice(enum.StrEnum("Status", {f"M{n}": m for n, m in enumerate(members)}))))


def grades(kind: object) -> MetaData:
    """Return a table with a grade."""
    return table(Column("grade", Choice(kind)))


def table(*parts: Any) -> MetaData:
    """Return a table with a key, a level and *parts*."""
    metadata = metadata_with_names()
    Table(
        "task", metadata, Column("id", Integer, primary_key=True), Column("level", Integer, server_default="0"), *parts
    )
    return metadata


class Project:
    """The migrations of one folder on one database, for models that change."""

    def __init__(self, db: Database, directory: Path) -> None:
        self.db = db
        self.directory = directory / "migrations"

    def on(self, metadata: MetaData) -> Migrations:
        """Return the migrations, as a program with these models has them."""
        return Migrations(self.db, metadata, self.directory)

    async def to(self, metadata: MetaData, message: str = "first") -> str:
        """Bring the database to the models by a revision; return what was written."""
        path = await self.on(metadata).new(message)
        assert path is not None
        await self.on(metadata).up()
        await self.on(metadata).check()
        return code(path)

    async def differences(self, metadata: MetaData) -> tuple[str, ...]:
        """Return what `sqlkeel migrate check` finds."""
        with pytest.raises(ModelsDiffer) as caught:
            await self.on(metadata).check()
        return caught.value.differences

    async def accepts(self, status: str) -> bool:
        """Tell whether the database lets a status in."""
        try:
            async with self.db.transaction() as session:
                await session.execute(insert(tasks(status).tables["task"]), [{"status": None}])
                await session.execute(text("UPDATE task SET status = :status"), {"status": status})
        except CheckViolation:
            return False
        return True


@pytest.fixture
def project(db: Database, tmp_path: Path) -> Project:
    """A project without a revision, on each database in turn."""
    return Project(db, tmp_path)


class TestNewTable:
    async def test_it_is_written_without_the_class(self, project: Project) -> None:
        """The revision holds a plain type and the members of that day, as code for every database."""
        written = await project.to(tasks(*OLD))

        assert "sa.Column('status', sa.String(length=64).with_variant(" in written
        assert "sa.String(length=64, collation='utf8mb4_nopad_bin'), 'mariadb')" in written
        assert f"sa.CheckConstraint(sa.column('status').in_({OLD!r}), name=op.f('task_status_check'))" in written
        assert "Choice" not in written
        assert "Status" not in written

    async def test_the_members_pass(self, project: Project) -> None:
        """Whatever characters are in them, and nothing beside them."""
        await project.to(tasks(*OLD))

        assert [await project.accepts(status) for status in OLD] == [True] * len(OLD)
        assert [await project.accepts(f"{status} ") for status in OLD] == [False] * len(OLD)

    async def test_numbers_are_an_integer(self, project: Project) -> None:
        """An IntEnum and a Literal of integers are written as one."""
        written = await project.to(grades(Literal[1, 2, -3]))

        assert "sa.Column('grade', sa.Integer()" in written
        assert "sa.column('grade').in_([1, 2, -3])" in written

    async def test_it_runs_on_the_others(self, project: Project, open_database: OpenDatabase, tmp_path: Path) -> None:
        """A revision that was made on SQLite makes the same CHECK elsewhere."""
        local = Project(open_database(f"sqlite+aiosqlite:///{tmp_path / 'local.db'}"), tmp_path)
        await local.on(tasks(*OLD)).new("first")

        await project.on(tasks(*OLD)).up()

        await project.on(tasks(*OLD)).check()
        assert await project.accepts("a\\b")


class TestChangedMembers:
    @pytest.mark.parametrize("members", [[*OLD, "DRAFT"], OLD[:1], [*OLD[:-1], "other"]], ids=["case", "less", "other"])
    async def test_it_is_a_difference(self, project: Project, members: list[str]) -> None:
        """Alembic compares the name of the CHECK only; we ask the database which members it lets pass."""
        await project.to(tasks(*OLD))

        found = await project.differences(tasks(*members))

        assert found == (f"task.status: check is {', '.join(OLD)}, not {', '.join(members)}",)

    async def test_a_check_of_your_own_is_left_alone(self, project: Project) -> None:
        """Another condition on the same column is written as it is, and compared by its name."""
        own = tasks("a", "b")
        status: Any = own.tables["task"].c.status
        own.tables["task"].append_constraint(CheckConstraint(status != status.type.kind("b"), name="not_b"))

        written = await project.to(own)

        assert "sa.CheckConstraint(\"status != 'b'\", name=op.f('task_not_b_check'))" in written

    async def test_another_order_is_none(self, project: Project) -> None:
        """A CHECK is a set."""
        await project.to(tasks(*OLD))

        await project.on(tasks(*reversed(OLD))).check()

    async def test_the_revision_changes_it(self, project: Project) -> None:
        """A new member is let in, up and down and up again."""
        await project.to(tasks(*OLD))
        assert not await project.accepts("new")

        await project.to(tasks(*OLD, "new"), "second")
        after = await project.accepts("new")
        async with project.db.transaction() as session:
            await session.execute(text("DELETE FROM task"))
        await project.on(tasks(*OLD, "new")).down()
        back = await project.accepts("new"), await project.accepts("li:ve")
        await project.on(tasks(*OLD, "new")).up()

        assert (after, back) == (True, (False, True))
        await project.on(tasks(*OLD, "new")).check()

    async def test_numbers_change_too(self, project: Project) -> None:
        """One and minus one are different members."""
        await project.to(grades(Literal[1, 2]))

        assert await project.differences(grades(Literal[-1, 2])) == ("task.grade: check is 1, 2, not -1, 2",)

    async def test_a_check_of_that_name_about_something_else(self, project: Project) -> None:
        """It is replaced, for it does not keep the members, and comes back with downgrade."""
        kind = String(64).with_variant(String(64, collation=Choice.collation), "mariadb")
        await project.to(table(Column("status", kind), CheckConstraint("level > 5", name="status")))

        [found] = await project.differences(tasks("a"))
        await project.to(tasks("a"), "second")
        await project.on(tasks("a")).down()

        assert found.endswith("> 5, not a")
        assert not await project.accepts("b")


class TestNewColumn:
    async def test_it_comes_with_its_check(self, project: Project) -> None:
        """In a table that is there already, up and down."""
        await project.to(table())

        assert await project.differences(tasks(*OLD)) == (
            "has no column task.status",
            "has no constraint task_status_check on task",
        )
        written = await project.to(tasks(*OLD), "second")
        assert f"sa.column('status').in_({OLD!r})" in written
        assert await project.accepts("li:ve")
        await project.on(tasks(*OLD)).down()

    async def test_it_goes_with_its_check(self, project: Project) -> None:
        """A column that is dropped leaves nothing behind."""
        await project.to(tasks(*OLD))

        written = await project.to(table(), "second")

        assert "drop_column(" in written
