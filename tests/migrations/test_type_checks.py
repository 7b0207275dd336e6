"""The CHECKs that types bring: written by the type, and not missed where the database needs none."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Enum,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    insert,
    text,
)

from sqlkeel import errors
from sqlkeel.errors import ModelsDiffer
from sqlkeel.migrations import Migrations
from sqlkeel.models import metadata_with_names
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip


class Color(enum.Enum):
    RED = 1
    BLUE = 2


KINDS = {
    "boolean": lambda: Boolean(create_constraint=True, name="mark"),
    "boolean without a name": lambda: Boolean(create_constraint=True),
    "native enum": lambda: Enum(Color, create_constraint=True, name="color"),
    "enum": lambda: Enum(Color, create_constraint=True, native_enum=False, name="color"),
    "enum without a name": lambda: Enum("a", "b", create_constraint=True, native_enum=False),
}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_metadata = pytest.mark.parametrize("make", [MetaData, metadata_with_names], ids=["bare", "named"])


def models(make: Any, kind: str) -> MetaData:
    """Return a table with a column of the type."""
    metadata: MetaData = make()
    Table("thing", metadata, Column("id", Integer, primary_key=True), Column("value", KINDS[kind]()))
    return metadata


class TestWritten:
    @every_kind
    @every_metadata
    async def test_up_and_down(self, db: Database, tmp_path: Path, make: Any, kind: str) -> None:
        """The table can be made, differs in nothing, and can be made again."""
        migrations = Migrations(db, models(make, kind), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        await migrations.check()
        await migrations.down()
        await migrations.up()


class TestAdded:
    @every_kind
    @every_metadata
    async def test_with_a_column(self, db: Database, tmp_path: Path, make: Any, kind: str) -> None:
        """The CHECK is made once, and goes with the column."""
        before: MetaData = make()
        Table("thing", before, Column("id", Integer, primary_key=True))

        await round_trip(db, tmp_path, before, models(make, kind))

    @every_kind
    @every_metadata
    async def test_dropped_with_the_column(self, db: Database, tmp_path: Path, make: Any, kind: str) -> None:
        """Also one that has no name."""
        after: MetaData = make()
        Table("thing", after, Column("id", Integer, primary_key=True))
        migrations = Migrations(db, models(make, kind), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        later = Migrations(db, after, tmp_path / "migrations")

        await later.new("without it")
        await later.up()

        await later.check()


class TestCompared:
    @every_kind
    @every_metadata
    async def test_what_create_all_has_made(self, db: Database, tmp_path: Path, make: Any, kind: str) -> None:
        """Nothing differs."""
        metadata = models(make, kind)
        async with db.engine.begin() as connection:
            await connection.run_sync(metadata.create_all)
        migrations = Migrations(db, metadata, tmp_path / "migrations")
        await migrations.new("nothing", autogenerate=False)
        await migrations.up()

        await migrations.check()

    async def test_one_that_is_missing_is_found(self, db: Database, tmp_path: Path) -> None:
        """A text without the CHECK takes anything."""
        async with db.engine.begin() as connection:
            await connection.execute(text("CREATE TABLE thing (id INTEGER NOT NULL PRIMARY KEY, value VARCHAR(4))"))
        migrations = Migrations(db, models(metadata_with_names, "enum"), tmp_path / "migrations")
        await migrations.new("nothing", autogenerate=False)
        await migrations.up()

        with pytest.raises(ModelsDiffer, match="has no constraint thing_color_check on thing"):
            await migrations.check()

    async def test_it_is_there(self, sqlite: Database, tmp_path: Path) -> None:
        """What the type does not let pass is refused by the database, too."""
        metadata = models(metadata_with_names, "boolean")
        migrations = Migrations(sqlite, metadata, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        async with sqlite.engine.connect() as connection:
            found = await connection.scalar(text("SELECT sql FROM sqlite_master WHERE name = 'thing'"))
            await connection.execute(insert(metadata.tables["thing"]).values(value=True))

        assert str(found).count("CHECK (value IN (0, 1))") == 1


class TestChanged:
    async def test_a_longer_member(self, db: Database, tmp_path: Path) -> None:
        """The CHECK of the former type goes before that of the new one, and comes back on the way back."""
        before, after = MetaData(), MetaData()
        for metadata, members in ((before, ("a", "b")), (after, ("a", "b", "longer"))):
            kind = Enum(*members, create_constraint=True, native_enum=False, name="letter")
            Table("thing", metadata, Column("id", Integer, primary_key=True), Column("value", kind))

        await round_trip(db, tmp_path, before, after)

        async with db.engine.begin() as connection:
            await connection.execute(text("INSERT INTO thing (id, value) VALUES (1, 'longer')"))
        with pytest.raises(errors.CheckViolation):
            async with db.engine.begin() as connection:
                await connection.execute(text("INSERT INTO thing (id, value) VALUES (2, 'c')"))

    @pytest.mark.parametrize("members", [("a", "b", "c"), ("a",), ("a", "x"), ("it's", "1:b", "%")], ids=str)
    @every_metadata
    async def test_other_members(self, db: Database, tmp_path: Path, make: Any, members: tuple[str, ...]) -> None:
        """Of the same length: nothing of the column changes but its CHECK."""
        before, after = lettered(make, "a", "b"), lettered(make, *members)

        await round_trip(db, tmp_path, before, after)

        assert {one for one in ("a", "b", *members) if await accepts(db, one)} == set(members)

    @pytest.mark.parametrize("members", [("a", "c"), ("a",), ("longer", "a"), ("it's", "1:b", "%")], ids=str)
    async def test_without_a_name(self, db: Database, tmp_path: Path, members: tuple[str, ...]) -> None:
        """The CHECK is found by its column and by what it lets pass; others without a name stay."""
        await round_trip(db, tmp_path, unnamed("a", "b"), unnamed(*members))

        assert {one for one in ("a", "b", *members) if await accepts(db, one)} == set(members)
        with pytest.raises(errors.CheckViolation):
            async with db.engine.begin() as connection:
                await connection.execute(text("INSERT INTO thing (id, value, number) VALUES (2, 'a', -1)"))

    @pytest.mark.parametrize("members", [("a", "b"), ("a", "c")], ids=str)
    async def test_given_a_name(self, db: Database, tmp_path: Path, members: tuple[str, ...]) -> None:
        """The CHECK without a name gives way, and comes back in its place."""
        await round_trip(db, tmp_path, lettered(MetaData, "a", "b", name=None), lettered(MetaData, *members))

        assert {one for one in "abc" if await accepts(db, one)} == set(members)

    async def test_again(self, db: Database, tmp_path: Path) -> None:
        """The CHECK that a revision has made for one without a name is found by the next."""
        for members in (("a", "b"), ("a", "c"), ("b", "c", "d")):
            migrations = Migrations(db, lettered(MetaData, *members, name=None), tmp_path / "migrations")
            await migrations.new("members")
            await migrations.up()
            await migrations.check()

        assert {one for one in "abcd" if await accepts(db, one)} == {"b", "c", "d"}

    @pytest.mark.parametrize("kind", ["boolean without a name", "enum without a name"])
    async def test_a_type_that_would_bring_one_without_a_name(self, db: Database, tmp_path: Path, kind: str) -> None:
        """A CHECK that could not be dropped on the way back is not made."""
        plain = {"boolean without a name": SmallInteger(), "enum without a name": String(5)}[kind]
        before = MetaData()
        Table("thing", before, Column("id", Integer, primary_key=True), Column("value", plain))
        migrations = Migrations(db, before, tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()
        later = Migrations(db, models(MetaData, kind), tmp_path / "migrations")

        path = await later.new("its type")

        assert path is not None
        assert "create_constraint" not in path.read_text()

    async def test_what_differs_is_told(self, db: Database, tmp_path: Path) -> None:
        """Alembic compares the name alone."""
        migrations = Migrations(db, lettered(MetaData, "a", "b"), tmp_path / "migrations")
        await migrations.new("first")
        await migrations.up()

        with pytest.raises(ModelsDiffer, match=r"thing\.value: check is a, b, not a, c"):
            await Migrations(db, lettered(MetaData, "a", "c"), tmp_path / "migrations").check()


def lettered(make: Any, *members: str, name: str | None = "letter") -> MetaData:
    """Return a table whose column is one of the members."""
    metadata: MetaData = make()
    kind = Enum(*members, create_constraint=True, native_enum=False, name=name, length=4)
    Table("thing", metadata, Column("id", Integer, primary_key=True), Column("value", kind))
    return metadata


def unnamed(*members: str) -> MetaData:
    """Return a table without a name for any of its CHECKs."""
    metadata = MetaData()
    kind = Enum(*members, create_constraint=True, native_enum=False)
    other = Enum("x", "y", create_constraint=True, native_enum=False)
    checks = (
        CheckConstraint("number >= 0"),
        CheckConstraint("value <> 'z'"),
        CheckConstraint("other IN ('x', 'y', 'z')"),
    )
    columns = Column("value", kind), Column("other", other), Column("number", Integer)
    Table("thing", metadata, Column("id", Integer, primary_key=True), *columns, *checks)
    return metadata


async def accepts(db: Database, value: str) -> bool:
    """Tell whether the database lets a value in."""
    try:
        async with db.engine.begin() as connection:
            await connection.execute(text("DELETE FROM thing"))
            await connection.execute(text("INSERT INTO thing (id, value) VALUES (1, :value)"), {"value": value})
    except errors.CheckViolation:
        return False
    return True
