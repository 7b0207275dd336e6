"""The index that MariaDB makes for a foreign key comes and goes with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, ForeignKeyConstraint, Index, Integer, MetaData, Table, UniqueConstraint
from sqlalchemy import inspect as sa_inspect

from sqlkeel.migrations import Migrations
from sqlkeel.sessions import Database
from tests.migrations.revisions import round_trip

Parts = Callable[[], list[Any]]


@pytest.fixture(params=["postgres", "mariadb"])
def server(request: pytest.FixtureRequest) -> Database:
    """Each database that refuses to drop what a foreign key needs."""
    database: Database = request.getfixturevalue(request.param)
    return database


def to(target: str = "parent.id", **options: Any) -> ForeignKeyConstraint:
    """Return a foreign key of the column a."""
    return ForeignKeyConstraint(["a"], [target], **options)


def pair(**options: Any) -> ForeignKeyConstraint:
    """Return a composite foreign key."""
    return ForeignKeyConstraint(["a", "b"], ["parent.x", "parent.y"], **options)


CASES: dict[str, tuple[Parts, Parts]] = {
    "added": (list, lambda: [to(name="child_to_parent")]),
    "composite, added": (list, lambda: [pair(name="child_to_parent")]),
    "unnamed, added": (list, lambda: [to()]),
    "two on one column, added": (list, lambda: [to(), to("child.id")]),
    "with an index, added": (list, lambda: [to(), Index("child_a", "a")]),
    "dropped": (lambda: [to(name="child_to_parent")], list),
    "composite, dropped": (lambda: [pair()], list),
    "unnamed, dropped": (lambda: [to()], list),
    "two on one column, dropped": (lambda: [to(), to("child.id")], list),
    "one of two dropped": (lambda: [to(), to("child.id")], lambda: [to("child.id")]),
    "with an index, dropped": (lambda: [to(), Index("child_a", "a")], list),
    "with the index of the models, dropped": (lambda: [to(), Index("a", "a")], list),
    "an index stays": (lambda: [to(), Index("a", "a")], lambda: [Index("a", "a")]),
    "another option": (lambda: [to(name="one")], lambda: [to(name="one", ondelete="CASCADE")]),
    "another target": (lambda: [to(name="one")], lambda: [to("child.id", name="other")]),
    "a composite one stays": (lambda: [to(name="one"), pair(name="two")], lambda: [pair(name="two")]),
    "an index for it, added": (lambda: [to()], lambda: [to(), Index("child_a", "a")]),
    "an index for it, renamed": (lambda: [to(), Index("one", "a")], lambda: [to(), Index("two", "a")]),
    "a wider index, added": (lambda: [to(name="one")], lambda: [to(name="one"), Index("wide", "a", "b")]),
    "a wider index, dropped": (lambda: [to(), Index("wide", "a", "b")], lambda: [to()]),
    "a wider index, replaced": (lambda: [to(), Index("wide", "a", "b")], lambda: [to(), Index("other", "a", "id")]),
    "a wider index, changed": (lambda: [to(), Index("wide", "a", "b")], lambda: [to(), Index("wide", "a", "id")]),
    "a wider UNIQUE, added": (lambda: [to()], lambda: [to(), UniqueConstraint("a", "b", name="wide")]),
    "a UNIQUE, added": (lambda: [to()], lambda: [to(), UniqueConstraint("a")]),
    "a UNIQUE, dropped": (lambda: [to(), UniqueConstraint("a")], lambda: [to()]),
    "a composite one, added": (lambda: [to()], lambda: [to(), pair()]),
    "a composite one, dropped": (lambda: [to(), pair()], lambda: [to()]),
    "with a composite one, added": (list, lambda: [to(), pair()]),
    "with a composite one, dropped": (lambda: [to(), pair()], list),
    "on a unique column": (lambda: [to(), UniqueConstraint("a", name="child_a")], list),
}


def models(*parts: Any) -> MetaData:
    """Return a parent and a child."""
    metadata = MetaData()
    columns = [[Column(name, Integer) for name in names] for names in ("xy", "ab")]
    keys = [Column("id", Integer, primary_key=True) for _ in range(2)]
    Table("parent", metadata, keys[0], *columns[0], UniqueConstraint("x", "y"))
    Table("child", metadata, keys[1], *columns[1], *parts)
    return metadata


class TestKeys:
    @pytest.mark.parametrize("case", CASES)
    async def test_nothing_is_left(self, mariadb: Database, tmp_path: Path, case: str) -> None:
        """There and back the models agree, and a second revision has nothing to do."""
        before, after = CASES[case]

        await round_trip(mariadb, tmp_path, models(*before()), models(*after()))

    async def test_the_index_goes(self, mariadb: Database, tmp_path: Path) -> None:
        """It is not only unseen."""
        await round_trip(mariadb, tmp_path, models(to(name="child_to_parent")), models())

        async with mariadb.engine.connect() as connection:
            found = await connection.run_sync(lambda sync: sa_inspect(sync).get_indexes("child"))
        assert found == []

    @pytest.mark.parametrize(
        ("before", "after", "left"),
        [
            ([to(name="child_to_parent")], [], []),
            ([pair(name="two")], [], []),
            ([to(name="one"), Index("one", "a")], [Index("one", "a")], ["one"]),
            ([to(name="one"), pair(name="two")], [pair(name="two")], ["two"]),
        ],
    )
    async def test_a_revision_of_sqlite(
        self, sqlite: Database, mariadb: Database, tmp_path: Path, before: Any, after: Any, left: list[str]
    ) -> None:
        """It says nothing of an index; the one that MariaDB has made goes, and none that the models have."""
        old, new = models(*before), models(*after)
        await round_trip(sqlite, tmp_path, old, new)
        migrations = Migrations(mariadb, new, tmp_path / "migrations")

        await migrations.up()

        await migrations.check()
        async with mariadb.engine.connect() as connection:
            found = await connection.run_sync(lambda sync: sa_inspect(sync).get_indexes("child"))
        assert [one["name"] for one in found] == left
        await migrations.down()
        await Migrations(mariadb, old, tmp_path / "migrations").down("base")

    async def test_other_databases_make_none(self, postgres: Database, tmp_path: Path) -> None:
        """A revision made there drops no index."""
        written = await round_trip(postgres, tmp_path, models(to()), models())

        assert "drop_index" not in written


class TestOrder:
    async def test_a_key_is_dropped_before_what_it_needs(self, server: Database, tmp_path: Path) -> None:
        """The parent, whose name comes first, loses the UNIQUE that the key of the child refers to."""
        before, after = (MetaData(), MetaData())
        for metadata, parts, keys in ((before, [UniqueConstraint("x")], [ForeignKey("a_parent.x")]), (after, [], [])):
            Table("a_parent", metadata, Column("id", Integer, primary_key=True), Column("x", Integer), *parts)
            Table("child", metadata, Column("id", Integer, primary_key=True), Column("x", Integer, *keys))

        await round_trip(server, tmp_path, before, after)
