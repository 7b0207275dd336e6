"""Random rows, deletions, restorations and queries, compared with a few lists in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from sqlalchemy import exists, func, select, union_all
from sqlalchemy.orm import aliased, immediateload, joinedload, selectinload, subqueryload

from sqlkeel import Database, Session, include_deleted
from tests.properties.examples import tried
from tests.properties.soft_delete_world import EDGES, MODELS, Base, Edge, Label, Play, Post, World

pytestmark = pytest.mark.tables(Base.metadata)


def listed(statement: Any) -> Any:
    """Return a function that runs a statement and sorts its rows."""

    async def run(session: Session) -> list[Any]:
        found = (await session.execute(statement)).all()
        return sorted((tuple(row) for row in found), key=lambda row: [(v is not None, v) for v in row])

    return run


def eager(edge: Edge, strategy: Any) -> Any:
    """Return a function that loads rows with what is below them."""
    model = MODELS[edge.above]

    async def run(session: Session) -> list[Any]:
        found = await session.scalars(select(model).options(strategy(getattr(model, edge.name))))
        return sorted((row.id, sorted(one.id for one in getattr(row, edge.name))) for row in found.unique())

    return run


def lazy(edge: Edge) -> Any:
    """Return a function that loads rows, and then what is below each."""

    async def run(session: Session) -> list[Any]:
        found = (await session.scalars(select(MODELS[edge.above]))).all()
        loaded = [(row.id, await getattr(row.awaitable_attrs, edge.name)) for row in found]
        return sorted((key, sorted(one.id for one in below)) for key, below in loaded)

    return run


def upward(edge: Edge, *, joined: bool) -> Any:
    """Return a function that loads rows, and the one above each."""
    model = MODELS[edge.below]

    async def run(session: Session) -> list[Any]:
        options = [joinedload(getattr(model, edge.back))] if joined else []
        found = (await session.scalars(select(model).options(*options))).all()
        loaded = [(row.id, await getattr(row.awaitable_attrs, edge.back)) for row in found]
        return sorted((key, None if above is None else above.id) for key, above in loaded)

    return run


def each(kind: str, world: World) -> Any:
    """Return a function that asks for every key."""
    keys = sorted(row.id for row in world.all_of(kind))

    async def run(session: Session) -> list[int]:
        found = [await session.get(MODELS[kind], key) for key in keys]
        return [row.id for row in found if row is not None]

    return run


def key_of(row: tuple[Any, ...]) -> list[Any]:
    """Sort missing values first."""
    return [(value is not None, value) for value in row]


def pairs(world: World, edge: Edge) -> list[tuple[Any, ...]]:
    """Return who is above whom."""
    return sorted((above.id, below.id) for above in world.of(edge.above) for below in world.below(above, edge))


def trees(world: World, edge: Edge) -> list[Any]:
    """Return each row with those below it."""
    return sorted((row.id, sorted(one.id for one in world.below(row, edge))) for row in world.of(edge.above))


def parents(world: World, edge: Edge) -> list[Any]:
    """Return each row with the one above it, if that is there."""
    there = {row.id for row in world.of(edge.above)}
    return sorted(
        (row.id, row.values[edge.key] if row.values[edge.key] in there else None) for row in world.of(edge.below)
    )


def with_none(world: World, edge: Edge) -> list[tuple[Any, ...]]:
    """Return what an outer join returns."""
    found: list[tuple[int, int | None]] = []
    for row in world.of(edge.above):
        below = world.below(row, edge)
        found.extend((row.id, one.id) for one in below)
        if not below:
            found.append((row.id, None))
    return sorted(found, key=key_of)


def questions(world: World, edge: Edge, value: int) -> Iterator[tuple[str, Any, Callable[[World], Any]]]:
    """Yield queries about a relation, and how the oracle answers them."""
    top, plain = MODELS[edge.above], MODELS[edge.below]
    low: Any = aliased(plain) if plain is top else plain
    relation, key, back = getattr(top, edge.name), getattr(low, edge.key), getattr(low, edge.back)
    step = relation.of_type(low) if plain is top else relation
    other = aliased(plain)
    same = other.value == low.value
    yield (
        "rows",
        listed(select(low.id).where(low.value == value)),
        lambda w: sorted((row.id,) for row in w.of(edge.below) if row.values["value"] == value),
    )
    yield "join", listed(select(top.id, low.id).join(step)), lambda w: pairs(w, edge)
    yield "join upwards", listed(select(top.id, low.id).select_from(low).join(back)), lambda w: pairs(w, edge)
    yield "outer join", listed(select(top.id, low.id).outerjoin(step)), lambda w: with_none(w, edge)
    yield "implicit join", listed(select(top.id, low.id).where(key == top.id)), lambda w: pairs(w, edge)
    yield (
        "alias",
        listed(select(low.id, other.id).join(other, same & (low.id < other.id))),
        lambda w: sorted(
            (one.id, two.id)
            for one in w.of(edge.below)
            for two in w.of(edge.below)
            if one.values["value"] == two.values["value"] and one.id < two.id
        ),
    )
    yield (
        "any",
        listed(select(top.id).where(relation.any(plain.value == value))),
        lambda w: sorted(
            (row.id,) for row in w.of(edge.above) if any(b.values["value"] == value for b in w.below(row, edge))
        ),
    )
    yield (
        "not any",
        listed(select(top.id).where(~relation.any())),
        lambda w: sorted((row.id,) for row in w.of(edge.above) if not w.below(row, edge)),
    )
    yield (
        "has",
        listed(select(low.id).where(back.has())),
        lambda w: sorted((key,) for key, above in parents(w, edge) if above is not None),
    )
    yield (
        "in",
        listed(select(top.id).where(top.id.in_(select(key)))),
        lambda w: sorted((row.id,) for row in w.of(edge.above) if w.below(row, edge)),
    )
    yield (
        "exists",
        listed(select(top.id).where(exists().where(aliased(plain).id == top.id))),
        lambda w: sorted((row.id,) for row in w.of(edge.above) if row.id in {one.id for one in w.of(edge.below)}),
    )
    yield (
        "count",
        listed(select(key, func.count(low.id)).group_by(key)),
        lambda w: sorted(
            {
                (row.values[edge.key], sum(one.values[edge.key] == row.values[edge.key] for one in w.of(edge.below)))
                for row in w.of(edge.below)
            },
            key=key_of,
        ),
    )
    yield (
        "union",
        listed(union_all(select(low.id), select(top.id))),
        lambda w: sorted((row.id,) for row in (*w.of(edge.below), *w.of(edge.above))),
    )
    yield (
        "cte",
        listed(select(select(low.id, low.value).cte().c.id)),
        lambda w: sorted((row.id,) for row in w.of(edge.below)),
    )
    yield "get", each(edge.below, world), lambda w: sorted(row.id for row in w.of(edge.below))
    for strategy in (selectinload, joinedload, subqueryload, immediateload):
        yield strategy.__name__, eager(edge, strategy), lambda w: trees(w, edge)
    yield "lazy", lazy(edge), lambda w: trees(w, edge)
    yield "lazy upwards", upward(edge, joined=False), lambda w: parents(w, edge)
    yield "joined upwards", upward(edge, joined=True), lambda w: parents(w, edge)


async def labels_of_posts(session: Session) -> list[Any]:
    """Return the posts of each label, by three ways that must agree."""
    joined: list[Any] = await listed(select(Label.id, Post.id).join(Label.posts))(session)
    eager_ones = (await session.scalars(select(Label).options(selectinload(Label.posts)))).all()
    upwards = (await session.scalars(select(Post).options(selectinload(Post.labels)))).all()
    assert sorted((label.id, post.id) for label in eager_ones for post in label.posts) == joined
    assert sorted((label.id, post.id) for post in upwards for label in post.labels) == joined
    return joined


NUMBERS = st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
STEPS = st.sampled_from(
    ["upsert", "create", "create", "create", "create", "delete", "delete", "restore", "move", "change", "link"]
)


class TestOracle:
    @given(
        people=st.integers(1, 3),
        first=st.lists(NUMBERS, min_size=8, max_size=8),
        steps=st.lists(st.tuples(STEPS, NUMBERS), min_size=4, max_size=16),
        asked=st.lists(st.tuples(st.sampled_from(EDGES), st.integers(0, 2), st.integers(0, 40)), max_size=12),
    )
    @tried(10)
    async def test_a_deleted_row_is_never_seen_and_a_living_one_always(
        self, db: Database, people: int, first: list[Any], steps: list[Any], asked: list[Any]
    ) -> None:
        """Whatever is done to a graph of rows, every query finds exactly what a list in memory would."""
        async with db.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                await session.execute(table.delete())
        play = Play(db)

        for number in range(people):
            await play.step("upsert", number, 0, 0)
        for kind, (_, b, c) in enumerate(first):
            await play.step("create", kind, b, c)
        for name, numbers in steps:
            await play.step(name, *numbers)

        for shown in (False, True):
            play.world.shown = shown
            await compare(db, play.world, asked, shown=shown)


async def compare(db: Database, world: World, asked: list[Any], *, shown: bool) -> None:
    """Ask the database; where deleted rows are shown, once by an option of the session and once in a block."""
    if shown:
        async with Session(db.engine, execution_options={"include_deleted": True}) as session:
            await ask(session, world, asked)
    async with db.session() as session:
        with include_deleted(session) if shown else nullcontext():
            await ask(session, world, asked)


async def ask(session: Session, world: World, asked: list[Any]) -> None:
    """Ask everything, and compare with what the oracle says."""
    for edge, value, number in asked:
        choices = list(questions(world, edge, value))
        label, query, answer = choices[number % len(choices)]
        event(label)
        assert await query(session) == answer(world), label
    there = {row.id for row in world.of("Post")}
    assert await labels_of_posts(session) == sorted((label, post) for post, label in world.links if post in there)
