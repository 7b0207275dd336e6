"""Rows of every shape: trees, several tables, keys of several columns, and what nobody knows of."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, delete, insert, update
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import Database, IntKeyMixin, SoftDeleteMixin
from sqlkeel.errors import NotSupported
from sqlkeel.observe import queries
from sqlkeel.soft_delete import Purged, purge
from sqlkeel.soft_delete import _purge as purge_run
from tests.engines.peers import soon, statements_running
from tests.soft_delete.purge_models import (
    MONTH,
    OLD,
    Animal,
    Base,
    Bone,
    Box,
    Cell,
    Dog,
    Left,
    Mark,
    Node,
    Post,
    Right,
    Shelf,
    Strange,
    Token,
    User,
    dead,
    fill,
    keys,
)

pytestmark = pytest.mark.tables(Base.metadata)


async def run(db: Database, models: Any, **options: Any) -> dict[str, Purged]:
    """Purge what is older than a month, and return how it ended for each table."""
    found = purge(db, models, older_than=MONTH, **options)
    return {progress.table: progress async for progress in found}


def animal(key: int, kind: str = "dog", **values: Any) -> dict[str, Any]:
    """Return the row of an old deleted animal."""
    return dead(id=key, kind=kind, **values)


class TestTrees:
    async def test_leaves_go_first(self, db: Database) -> None:
        """Rows of a tree go from the leaves up, in as many rounds as it is deep; MariaDB checks row by row."""
        tree = [dead(id=n, parent_id=n // 2 or None) for n in range(1, 64)]
        await fill(db, {Node: tree})

        found = await run(db, Node, batch=10)

        assert await keys(db, Node) == []
        assert found["purge_node"] == Purged("purge_node", removed=63, kept=0)

    async def test_a_row_that_points_to_itself(self, db: Database) -> None:
        """It keeps nothing: it goes with itself, and what hangs on it before it."""
        await fill(db, {Node: [dead(id=1, parent_id=1), dead(id=2, parent_id=1)]})

        found = await run(db, Node)

        assert found["purge_node"] == Purged("purge_node", removed=2, kept=0)

    async def test_a_live_leaf_keeps_its_branch(self, db: Database) -> None:
        """All above it stays, and the rest of the tree goes; then the rounds end."""
        await fill(
            db,
            {
                Node: [
                    dead(id=1),
                    dead(id=2, parent_id=1),
                    dead(id=3, parent_id=1),
                    dead(id=4, parent_id=3),
                    {"id": 5, "parent_id": 2},
                ]
            },
        )

        found = await run(db, Node)

        assert await keys(db, Node) == [1, 2, 5]
        assert found["purge_node"] == Purged("purge_node", removed=2, kept=2)

    @given(
        forest=st.lists(
            st.tuples(st.integers(0, 11), st.sampled_from(["live", "recent", "old", "old"])), min_size=1, max_size=12
        )
    )
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    async def test_exactly_what_nothing_needs_goes(self, sqlite: Database, forest: list[tuple[int, str]]) -> None:
        """Of any forest: old rows, if all that is below them is old; and a second purge finds nothing more."""
        above = [place if place < number else None for number, (place, _) in enumerate(forest)]
        moments = {"live": None, "recent": datetime.now(UTC), "old": OLD}
        rows = [
            {"id": number, "parent_id": above[number], "deleted_at": moments[state]}
            for number, (_, state) in enumerate(forest)
        ]
        async with sqlite.engine.begin() as connection:
            await connection.execute(delete(Node.__table__))  # type: ignore[arg-type]  # a Table
        await fill(sqlite, {Node: rows})

        first = await run(sqlite, Node, batch=2)
        second = await run(sqlite, Node)

        stay = needed(above, [state for _, state in forest])
        assert await keys(sqlite, Node) == sorted(stay)
        assert first["purge_node"].removed == len(forest) - len(stay)
        assert second["purge_node"].removed == 0

    async def test_tables_that_point_to_each_other(self, db: Database) -> None:
        """They are taken in turn until nothing more goes; rows in a circle keep each other."""
        await fill(
            db,
            {
                Left: [dead(id=1), dead(id=2)],
                Right: [dead(id=1, left_id=1), dead(id=2, left_id=2)],
            },
        )
        async with db.engine.begin() as connection:
            left: Any = Left.__table__
            await connection.execute(update(left).where(Left.id == 2).values(right_id=2))
            await connection.execute(insert(left).values(dead(id=3, right_id=1)))

        found = await run(db, Right)

        assert await keys(db, Left) == await keys(db, Right) == [2]
        assert [found[table][1:] for table in ("purge_left", "purge_right")] == [(2, 1), (1, 1)]


def needed(above: list[int | None], states: list[str]) -> set[int]:
    """Return the rows that are not old, and all above them."""
    found = {number for number, state in enumerate(states) if state != "old"}
    for number in range(len(above) - 1, -1, -1):
        place = above[number]
        found |= {place} if number in found and place is not None else set()
    return found


class TestSeveralTables:
    async def test_all_parts_of_a_row_go(self, db: Database) -> None:
        """Joined inheritance: the lower tables first, whatever their ON DELETE is."""
        await fill(
            db, {Animal: [animal(1), animal(2, "animal"), {"id": 3, "kind": "dog"}], Dog: [{"id": 1}, {"id": 3}]}
        )

        found = await run(db, Animal)

        assert await keys(db, Animal) == await keys(db, Dog.__table__) == [3]
        assert found["purge_animal"] == Purged("purge_animal", removed=2, kept=0)

    async def test_what_points_to_a_part_keeps_the_row(self, db: Database) -> None:
        """No part goes without the others."""
        await fill(db, {Animal: [animal(1), animal(2)], Dog: [{"id": 1}, {"id": 2}], Bone: [{"id": 1, "dog_id": 1}]})

        found = await run(db, Animal)

        assert await keys(db, Animal) == await keys(db, Dog.__table__) == await keys(db, Bone) == [1]
        assert found["purge_animal"] == Purged("purge_animal", removed=1, kept=1)

    async def test_what_begins_to_point_to_a_part_keeps_the_row(self, server: Database) -> None:
        """A bone that is being inserted locks the dog and not the animal; it is waited for, and never taken along."""
        await fill(server, {Animal: [animal(1)], Dog: [{"id": 1}]})
        async with server.transaction() as session:
            session.add(Bone(id=1, dog_id=1))
            await session.flush()
            purging = asyncio.create_task(run(server, Animal))
            waits = await soon(lambda: statements_running(server))

        found = await purging

        assert waits
        assert found["purge_animal"] == Purged("purge_animal", removed=0, kept=1)
        assert await keys(server, Bone) == [1]

    async def test_a_subclass_is_purged_alone(self, db: Database) -> None:
        """Its rows and those below it; other rows of the table stay."""
        await fill(db, {Animal: [animal(1), animal(2, "animal")], Dog: [{"id": 1}], Bone: [dead(id=1, dog_id=1)]})

        found = await run(db, Dog)

        assert await keys(db, Animal) == [2]
        assert await keys(db, Bone) == []
        assert list(found) == ["purge_bone", "purge_animal"]

    async def test_a_mark_on_half_of_the_row_is_refused(self) -> None:
        """A row that begins in a table without the mark is found through that one all the time."""

        class Other(sqlkeel.Base):
            pass

        class Plain(IntKeyMixin, Other):
            __tablename__ = "purge_plain"

        class Marked(SoftDeleteMixin, Plain):
            __tablename__ = "purge_marked"
            id: Mapped[int] = mapped_column(ForeignKey("purge_plain.id"), primary_key=True)

        with pytest.raises(NotSupported, match="The mark of Marked is in purge_marked"):
            purge(Database("sqlite+aiosqlite://"), Marked, older_than=MONTH)


class TestKeys:
    async def test_keys_of_several_columns(self, db: Database) -> None:
        """Rows are found, compared and removed by all of them."""
        cells = [dead(row_no=row, column_no=column) for row in range(3) for column in "abc"]
        await fill(db, {Cell: cells, Mark: [{"row_no": 1, "column_no": "b"}]})

        found = await run(db, Cell, batch=2)

        assert await keys(db, Cell) == [(1, "b")]
        assert found["purge_cell"] == Purged("purge_cell", removed=8, kept=1)

    async def test_keys_that_are_no_numbers(self, every_driver: Database) -> None:
        """UUIDs go there and back in the form of each database."""
        await fill(every_driver, {Token: [dead(id=uuid.UUID(int=n)) for n in range(5)]})

        found = await run(every_driver, Token, batch=2)

        assert found["purge_token"].removed == 5

    @pytest.mark.parametrize("at_once", [1, 2, 3, 100])
    async def test_keys_are_looked_for_in_pages(
        self, db: Database, at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rows that were deleted at the same moment, and rows that stay, are met once."""
        monkeypatch.setattr(purge_run, "_KEYS_AT_ONCE", at_once)
        later = itertools.cycle([OLD, OLD.replace(year=2001)])
        await fill(
            db,
            {User: [dead(next(later), id=n) for n in range(1, 9)], Post: [{"id": n, "user_id": n} for n in (1, 2, 7)]},
        )

        found = await run(db, User)

        assert await keys(db, User) == [1, 2, 7]
        assert found["purge_user"] == Purged("purge_user", removed=5, kept=3)

    async def test_a_batch_may_be_larger_than_a_statement(self, db: Database) -> None:
        """Statements have at most 500 keys; a batch has what was asked for."""
        async with db.transaction() as session:
            session.add_all([Node(**dead(id=n)) for n in range(1, 1101)])

        async with queries(db) as log:
            found = await run(db, Node, batch=10_000)

        assert found["purge_node"].removed == 1100
        assert [statement.split()[0] for statement in log].count("DELETE") == 3

    async def test_the_index_on_the_mark_is_used(self, sqlite: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        """A few old rows in a large table are found without reading it, on the first page and the next."""
        monkeypatch.setattr(purge_run, "_KEYS_AT_ONCE", 1)
        async with queries(sqlite) as log:
            await fill(sqlite, {Node: [dead(id=1)]})
            await run(sqlite, Node)

        finds = [statement for statement in log if "ORDER BY" in statement]
        async with sqlite.engine.connect() as connection:
            plans = [await _plan(connection, statement) for statement in finds]
        assert all("INDEX purge_node_deleted_at_idx (deleted_at" in plan for plan in plans), plans
        assert "(deleted_at>? AND deleted_at<?)" in plans[1]


async def _plan(connection: Any, statement: str) -> str:
    marks = tuple(["2000-01-01"] * statement.count("?"))
    rows = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", marks)
    return "; ".join(str(row[3]) for row in rows)


class TestWhatIsBelow:
    async def test_a_live_row_behind_a_row_that_would_go_along(self, db: Database) -> None:
        """A shelf goes with its user, but not with a box on it that must not go."""
        await fill(
            db,
            {
                User: [dead(id=1), dead(id=2), dead(id=3)],
                Shelf: [{"id": n, "user_id": n} for n in (1, 2, 3)],
                Box: [{"id": 1, "shelf_id": 1}, dead(id=2, shelf_id=2)],
            },
        )

        found = await run(db, User)

        assert [await keys(db, model) for model in (User, Shelf, Box)] == [[1], [1], [1]]
        assert found["purge_user"] == Purged("purge_user", removed=2, kept=1)
        assert found["purge_box"] == Purged("purge_box", removed=1, kept=0)

    async def test_a_tree_that_would_go_along(self, db: Database) -> None:
        """A box keeps the user however deep it is; so do more than two levels of shelves, whatever is on them."""
        depths = {1: 1, 2: 2, 3: 3, 4: 4, 5: 3, 6: 2}
        shelves = [
            {"id": 10 * user + n, "user_id": None if n else user, "shelf_id": 10 * user + n - 1 if n else None}
            for user, depth in depths.items()
            for n in range(depth)
        ]
        boxes = [{"id": user, "shelf_id": 10 * user + depths[user] - 1} for user in (1, 2, 3, 4)]
        await fill(db, {User: [dead(id=user) for user in depths], Shelf: shelves, Box: boxes})

        found = await run(db, User)

        assert await keys(db, Box) == [1, 2, 3, 4]
        assert await keys(db, User) == [1, 2, 3, 4, 5]
        assert found["purge_user"] == Purged("purge_user", removed=1, kept=5)

    @pytest.mark.parametrize("shelf", [1, 2])
    async def test_what_begins_to_point_to_a_row_that_would_go_along(self, server: Database, shelf: int) -> None:
        """A box that is being inserted locks the shelf and not the user; it is waited for, and never taken along."""
        await fill(server, {User: [dead(id=1)], Shelf: [{"id": 1, "user_id": 1}, {"id": 2, "shelf_id": 1}]})
        async with server.transaction() as session:
            session.add(Box(id=1, shelf_id=shelf))
            await session.flush()
            purging = asyncio.create_task(run(server, User))
            waits = await soon(lambda: statements_running(server))

        found = await purging

        assert waits
        assert found["purge_user"] == Purged("purge_user", removed=0, kept=1)
        assert await keys(server, Box) == [1]

    async def test_a_table_that_the_models_do_not_know(self, db: Database) -> None:
        """Its rows keep what they point to, found by halves; the rest of the batch goes."""
        async with db.engine.begin() as connection:
            await connection.run_sync(Strange.create)
        try:
            await fill(
                db,
                {
                    User: [dead(id=n) for n in range(1, 21)],
                    Strange: [{"id": 1, "user_id": 3}, {"id": 2, "user_id": 17}],
                    Post: [{"id": 1, "user_id": 5}],
                },
            )

            found = await run(db, User)
        finally:
            async with db.engine.begin() as connection:
                await connection.run_sync(Strange.drop)

        assert await keys(db, User) == [3, 5, 17]
        assert found["purge_user"] == Purged("purge_user", removed=17, kept=3)
