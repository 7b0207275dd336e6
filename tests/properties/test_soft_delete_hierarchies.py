"""Random rows of every form of inheritance, marked, restored and written, compared with a list in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, exists, func, select, union_all, update
from sqlalchemy.orm import aliased, joinedload, selectinload

from sqlkeel import Database, Session, include_deleted
from sqlkeel.errors import UsageError
from sqlkeel.soft_delete import restore
from tests.properties.examples import tried
from tests.soft_delete.hierarchies import FAMILIES, Base, Family

pytestmark = [
    pytest.mark.tables(Base.metadata),
    # SQLAlchemy's own union of the tables of concrete classes.
    pytest.mark.filterwarnings("ignore:Datatype UUID does not support CAST"),
]

SHOWN: Final = {"include_deleted": True}
Question = Callable[[Session], Awaitable[Any]]


@dataclass
class Row:
    id: int
    kind: str
    party: int | None
    own: int = 0
    deletion: int | None = None


@dataclass
class World:
    """What the database should hold."""

    family: Family
    rows: dict[int, Row] = field(default_factory=dict)
    parties: dict[int, int | None] = field(default_factory=dict)
    deletions: int = 0
    shown: bool = False

    def living(self, kind: str, *, written: bool = False) -> list[Row]:
        """The rows that a query of a class finds; a statement that writes reaches those of its own table."""
        return [row for row in self.rows.values() if self.counts(row, kind, written) and self.alive(row)]

    def alive(self, row: Row) -> bool:
        """Tell whether a query finds the row, as deleted rows are shown or not."""
        return self.shown or row.deletion is None

    def counts(self, row: Row, kind: str, written: bool) -> bool:
        """Tell whether a statement of the class reads, or writes, the table with the row."""
        # A class under an AbstractConcreteBase reads its own table only, one under a ConcreteBase those below it, too.
        own = {"concrete": written, "abstract": written or kind != "Item"}
        if own.get(self.family.shape, False):
            return row.kind == kind
        return self.family.is_a(row.kind, kind)

    def below(self, party: int) -> list[Row]:
        """The rows of a party, deleted or not."""
        return [row for row in self.rows.values() if row.party == party]


class Play:
    """Does each step to the database and to the oracle."""

    def __init__(self, db: Database, family: Family) -> None:
        self.db, self.family, self.world = db, family, World(family)

        self.created = 0

    def _next(self) -> int:
        self.created += 1
        return self.created

    async def step(self, name: str, a: int, b: int) -> None:
        """Do one of the steps below."""
        async with self.db.transaction() as session:
            await getattr(self, f"_{name}")(session, a, b)

    async def _create(self, session: Session, a: int, b: int) -> None:
        kind, number = self.family.created[a % len(self.family.created)], self._next()
        living = [key for key, deletion in self.world.parties.items() if deletion is None]
        party = living[b % len(living)] if living and kind in self.family.holders else None
        self.world.rows[number] = Row(number, kind, party)
        values = {"party_id": party} if kind in self.family.holders else {}
        session.add(self.family.models[kind](id=number, name=f"n{number % 3}", **values))

    async def _party(self, session: Session, a: int, b: int) -> None:
        number = len(self.world.parties) + 1
        self.world.parties[number] = None
        session.add(self.family.party(id=number))

    async def _delete(self, session: Session, a: int, b: int) -> None:
        rows = [row for row in self.world.rows.values() if row.deletion is None]
        if not rows:
            return
        row = rows[a % len(rows)]
        await session.delete(await session.get_one(self.family.models[row.kind], row.id))
        if row.kind in self.family.soft:
            self.world.deletions += 1
            row.deletion = self.world.deletions
        else:
            del self.world.rows[row.id]

    async def _delete_party(self, session: Session, a: int, b: int) -> None:
        living = [key for key, deletion in self.world.parties.items() if deletion is None]
        if not living:
            return
        key = living[a % len(living)]
        await session.delete(await session.get_one(self.family.party, key))
        self.world.deletions += 1
        self.world.parties[key] = self.world.deletions
        for row in self.world.below(key):
            if row.kind in self.family.soft and row.deletion is None:
                row.deletion = self.world.deletions

    async def _restore(self, session: Session, a: int, b: int) -> None:
        dead = [row for row in self.world.rows.values() if row.deletion is not None]
        if not dead:
            return
        row = dead[a % len(dead)]
        obj = await session.get_one(self.family.models[row.kind], row.id, execution_options=SHOWN)
        if row.party is not None and self.world.parties[row.party] is not None:
            with pytest.raises(UsageError):
                await session.run_sync(restore, obj)
            return
        await session.run_sync(restore, obj)
        self._take_back(row.deletion)

    async def _restore_party(self, session: Session, a: int, b: int) -> None:
        dead = [key for key, deletion in self.world.parties.items() if deletion is not None]
        if not dead:
            return
        key = dead[a % len(dead)]
        await session.run_sync(restore, await session.get_one(self.family.party, key, execution_options=SHOWN))
        deletion, self.world.parties[key] = self.world.parties[key], None
        self._take_back(deletion)

    def _take_back(self, deletion: int | None) -> None:
        for row in self.world.rows.values():
            row.deletion = None if row.deletion == deletion else row.deletion

    async def _write(self, session: Session, a: int, b: int) -> None:
        """An update() statement of a column that the class adds, by its own table."""
        if self.family.shape == "concrete":
            return  # SQLAlchemy writes no class that reads a union of tables
        kind = self.family.created[a % len(self.family.created)]
        statement = update(self.family.models[kind]).values({f"own_{kind.lower()}": b})
        await session.execute(statement)
        for row in self.world.living(kind, written=True):
            row.own = b if row.kind == kind else row.own

    async def _erase(self, session: Session, a: int, b: int) -> None:
        """A delete() statement; of a class in several tables, of the base, which takes the others along."""
        if self.family.shape == "concrete":
            return
        kind = "Item" if self.family.shape == "joined" else self.family.created[a % len(self.family.created)]
        model = self.family.models[kind]
        await session.execute(delete(model).where(model.name == f"n{b % 3}"))
        for row in self.world.living(kind, written=True):
            if row.id % 3 == b % 3:
                del self.world.rows[row.id]


def ordered(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Sort rows that hold numbers and None."""
    return sorted(rows, key=str)


def listed(statement: Any) -> Question:
    async def ask(session: Session) -> list[Any]:
        return ordered(tuple(row) for row in await session.execute(statement))

    return ask


def questions(world: World, kind: str) -> Iterator[tuple[str, Question, Any]]:
    """Yield queries of a class, and what the oracle answers."""
    model = world.family.models[kind]
    ids = sorted(row.id for row in world.living(kind))
    keys = ordered((number,) for number in ids)
    other = aliased(model)

    async def entities(session: Session) -> list[Any]:
        found = (await session.scalars(select(model))).unique().all()
        return sorted(((one.id, type(one)) for one in found), key=str)

    async def get(session: Session) -> list[int]:
        found = [await session.get(model, number) for number in world.rows]
        return sorted(one.id for one in found if one is not None)

    async def legacy(session: Session) -> int:
        return await session.run_sync(lambda sync: sync.query(model).count())

    yield (
        "entities",
        entities,
        ordered((row.id, world.family.models[row.kind]) for row in world.living(kind)),
    )
    yield "column", listed(select(model.id)), keys
    yield "count", listed(select(func.count()).select_from(model)), [(len(ids),)]
    yield "count column", listed(select(func.count(model.id))), [(len(ids),)]
    yield "alias", listed(select(other.id)), keys
    yield "self join", listed(select(model.id).join(other, other.id == model.id)), keys
    yield (
        "outer join",
        listed(select(model.id, other.id).outerjoin(other, other.id == model.id + 1)),
        ordered((number, number + 1 if number + 1 in ids else None) for number in ids),
    )
    yield "in", listed(select(model.id).where(model.id.in_(select(other.id)))), keys
    yield "exists", listed(select(model.id).where(exists().where(other.id == model.id))), keys
    yield "scalar", listed(select(select(func.count(model.id)).scalar_subquery())), [(len(ids),)]
    yield "subquery", listed(select(select(model).subquery().c.id)), keys
    yield "alias of subquery", listed(select(aliased(model, select(model).subquery()).id)), keys
    yield "cte", listed(select(select(model.id).cte().c.id)), keys
    yield "union", listed(union_all(select(model.id), select(other.id))), ordered(keys * 2)
    yield "legacy", legacy, len(ids)
    if not world.shown or kind in world.family.created:
        yield "get", get, ids
    if world.family.shape in {"single", "joined"}:
        yield from _related(world)


def _related(world: World) -> Iterator[tuple[str, Question, Any]]:
    party, target = world.family.party, party_target(world)
    parties = [key for key, deletion in world.parties.items() if world.shown or deletion is None]
    pairs = ordered((key, row.id) for key in parties for row in world.below(key) if world.alive(row))
    low = world.family.models[target]

    def loaded(option: Any) -> Question:
        async def ask(session: Session) -> list[Any]:
            found = (
                await session.scalars(select(party).options(option).execution_options(populate_existing=True))
            ).unique()
            return ordered((one.id, row.id) for one in found for row in one.rows)

        return ask

    yield "join", listed(select(party.id, low.id).join(party.rows)), pairs
    yield "any", listed(select(party.id).where(party.rows.any())), ordered({(key,) for key, _ in pairs})
    yield "select in", loaded(selectinload(party.rows)), pairs
    yield "joined", loaded(joinedload(party.rows)), pairs


def party_target(world: World) -> str:
    return "Lease" if world.family.pointing == "lease" else "Item"


STEPS = st.sampled_from(
    ["create", "create", "create", "delete", "delete", "delete_party", "restore", "restore_party", "write", "erase"]
)
NUMBERS = st.integers(0, 20)


class TestHierarchies:
    @given(
        family=st.sampled_from(FAMILIES),
        first=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=3, max_size=6),
        steps=st.lists(st.tuples(STEPS, NUMBERS, NUMBERS), min_size=3, max_size=10),
    )
    @tried(30)
    async def test_every_form_of_inheritance_is_filtered_and_marked(
        self, db: Database, family: Family, first: list[Any], steps: list[Any]
    ) -> None:
        """Whichever classes carry the mark, and wherever it stands, each query finds what a list in memory holds."""
        async with db.transaction() as session:
            for table in reversed(Base.metadata.sorted_tables):
                if table.name.startswith(family.name + "_"):
                    await session.execute(table.delete())
        play = Play(db, family)

        for name, a, b in [("party", 0, 0), ("party", 0, 0), *(("create", *numbers) for numbers in first), *steps]:
            await play.step(name, a, b)

        for shown in (False, True):
            play.world.shown = shown
            await compare(db, play.world)


async def compare(db: Database, world: World) -> None:
    """Ask everything of every class, and look at what is stored."""
    for kind in ("Item", "Lease", "Sublease", "Note"):
        for label, query, answer in questions(world, kind):
            async with db.session() as session:
                with include_deleted(session) if world.shown else nullcontext():
                    assert await query(session) == answer, (world.family, kind, label)
    async with db.session() as session:
        for row in world.rows.values():
            obj = await session.get_one(world.family.models[row.kind], row.id, execution_options=SHOWN)
            assert getattr(obj, f"own_{row.kind.lower()}") == row.own, (world.family, row)
