"""Random programs of the ORM on plain models: each ends as with a session of SQLAlchemy's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Engine, ForeignKey, String, Table, create_engine, delete, event, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.pool import StaticPool

from sqlkeel import Repository, SyncSession  # noqa: F401 - with all listeners of ours
from tests.properties.examples import tried


class Base(DeclarativeBase):
    """A project's own."""


marked = Table(
    "marked",
    Base.metadata,
    Column("leaf_id", ForeignKey("leaf.id"), primary_key=True),
    Column("mark_id", ForeignKey("mark.id"), primary_key=True),
)


class Tree(Base):
    """What owns leaves, and counts its versions."""

    __tablename__ = "tree"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(5), unique=True)
    version: Mapped[int] = mapped_column(default=1)
    leaves: Mapped[list[Leaf]] = relationship(back_populates="tree", cascade="all, delete-orphan", order_by="Leaf.id")
    __mapper_args__ = {"version_id_col": version}


class Leaf(Base):
    """What belongs to a tree, or to none."""

    __tablename__ = "leaf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str | None] = mapped_column(String(5))
    tree_id: Mapped[int | None] = mapped_column(ForeignKey("tree.id"))
    tree: Mapped[Tree | None] = relationship(back_populates="leaves")
    marks: Mapped[list[Mark]] = relationship(secondary=marked, back_populates="leaves", order_by="Mark.id")


class Mark(Base):
    """What many leaves have."""

    __tablename__ = "mark"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(5))
    leaves: Mapped[list[Leaf]] = relationship(secondary=marked, back_populates="marks", order_by="Leaf.id")


MODELS: list[Any] = [Tree, Leaf, Mark]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A database in memory with real transactions, as SQLAlchemy's manual has it, and foreign keys."""
    engine = create_engine("sqlite://", poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def leave_transactions(raw: Any, record: Any) -> None:
        raw.isolation_level = None
        raw.execute("PRAGMA foreign_keys=ON")

    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


class Run:
    """One program in one kind of session, and what its steps answered."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.objects: list[Any] = []
        self.savepoints: list[Any] = []
        self.log: list[Any] = []

    def one(self, number: int, kind: Any = None) -> Any:
        """Return the object that a step means, of a kind where that matters."""
        among = [obj for obj in self.objects if kind is None or isinstance(obj, kind)]
        return among[number % len(among)] if among else None

    def step(self, function: Callable[..., Any], numbers: tuple[int, int]) -> None:
        """Do one step, and note its answer or its error.

        When a flush has failed, only what ends that is done: what is loaded by then, and need not ask the database,
        is more in a stock session, which keeps the relations that were loaded in a savepoint.
        """
        if not self.session.is_active and function not in ENDS:
            return
        try:
            self.log.append((function.__name__, function(self, *numbers)))
        except (SQLAlchemyError, AttributeError, ValueError) as error:
            self.log.append((function.__name__, error))


def make(run: Run, number: int, other: int) -> None:
    obj = MODELS[number % 3](id=other + len(run.objects) // 6 + 1, name="abcdef"[other % 6])
    run.objects.append(obj)
    run.session.add(obj)


def make_without_adding(run: Run, number: int, other: int) -> None:
    run.objects.append(MODELS[number % 3](id=other + 1, name="abcdef"[number % 6]))


def rename(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        obj.name = "abcdef"[other % 6]


def grow(run: Run, number: int, other: int) -> None:
    if (tree := run.one(number, Tree)) is not None and (leaf := run.one(other, Leaf)) is not None:
        tree.leaves.append(leaf)


def move(run: Run, number: int, other: int) -> None:
    if (leaf := run.one(number, Leaf)) is not None:
        leaf.tree = run.one(other, Tree)


def drop(run: Run, number: int, other: int) -> None:
    if (tree := run.one(number, Tree)) is not None and tree.leaves:
        tree.leaves.pop()


def mark(run: Run, number: int, other: int) -> None:
    if (leaf := run.one(number, Leaf)) is not None and (one := run.one(other, Mark)) is not None:
        leaf.marks.append(one)


def unmark(run: Run, number: int, other: int) -> None:
    if (leaf := run.one(number, Leaf)) is not None:
        leaf.marks.clear()


def remove(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        run.session.delete(obj)


def remove_all(run: Run, number: int, other: int) -> None:
    run.session.delete_all([obj for obj in run.objects[:2] if obj in run.session])


def put_back(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        run.session.add(obj)


def let_go(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        run.session.expunge(obj)


def merge(run: Run, number: int, other: int) -> Any:
    run.objects.append(run.session.merge(MODELS[number % 3](id=other + 1, name="abcdef"[other % 6])))


def expire(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        run.session.expire(obj, ["name"] if other % 2 else None)


def refresh(run: Run, number: int, other: int) -> None:
    if (obj := run.one(number)) is not None:
        run.session.refresh(obj)


def flush(run: Run, number: int, other: int) -> None:
    run.session.flush()


def commit(run: Run, number: int, other: int) -> None:
    run.session.commit()
    run.savepoints.clear()


def roll_back(run: Run, number: int, other: int) -> None:
    run.session.rollback()
    run.savepoints.clear()


def open_savepoint(run: Run, number: int, other: int) -> None:
    run.savepoints.append(run.session.begin_nested())


def release(run: Run, number: int, other: int) -> None:
    if run.savepoints:
        run.savepoints.pop().commit()


def roll_back_savepoint(run: Run, number: int, other: int) -> None:
    if run.savepoints:
        run.savepoints.pop().rollback()
        # A stock session goes on showing what was loaded inside.
        run.session.expire_all()


def get(run: Run, number: int, other: int) -> Any:
    found = run.session.get(MODELS[number % 3], other + 1)
    return None if found is None else (found.id, found.name, any(found is obj for obj in run.objects))


def ask(run: Run, number: int, other: int) -> Any:
    model = MODELS[number % 3]
    return [(obj.id, obj.name) for obj in run.session.scalars(select(model).order_by(model.id))]


def read(run: Run, number: int, other: int) -> Any:
    obj = run.one(number)
    return None if obj is None else (obj.id, obj.name, [leaf.id for leaf in getattr(obj, "leaves", [])])


def by_update(run: Run, number: int, other: int) -> int:
    statement = update(Leaf).where(Leaf.id == number + 1).values(name="abcdef"[other % 6])
    return run.session.execute(statement).rowcount  # type: ignore[attr-defined,no-any-return]


def by_delete(run: Run, number: int, other: int) -> int:
    return run.session.execute(delete(marked)).rowcount  # type: ignore[attr-defined,no-any-return]


def by_insert(run: Run, number: int, other: int) -> None:
    run.session.execute(insert(Leaf), [{"id": other + 1, "name": "abcdef"[number % 6]}])


def in_bulk(run: Run, number: int, other: int) -> None:
    run.session.bulk_save_objects([Leaf(id=other + 1, name="bulk")])


def look(run: Run, number: int, other: int) -> Any:
    session = run.session
    states = [(obj in session, obj in session.new, obj in session.deleted) for obj in run.objects]
    return states, session.in_transaction(), session.in_nested_transaction(), session.is_active


ENDS = [flush, commit, roll_back, roll_back_savepoint, look]
STEPS: list[Callable[..., Any]] = [
    make, make, make, make_without_adding, rename, grow, grow, move, drop, mark, unmark, remove, remove_all, put_back,
    let_go, merge, expire, refresh, flush, flush, commit, roll_back, open_savepoint, open_savepoint, release,
    roll_back_savepoint, get, ask, read, by_update, by_delete, by_insert, in_bulk, look,
]  # fmt: skip

BEGINNING = [
    *((make, numbers) for numbers in [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2), (2, 0)]),
    *((grow, numbers) for numbers in [(0, 0), (0, 1), (1, 2)]),
    (mark, (0, 0)),
    (commit, (0, 0)),
]
"""Two trees, three leaves and a mark, without which most steps would find nothing to do."""

programs = st.lists(
    st.tuples(st.sampled_from(STEPS), st.tuples(st.integers(0, 5), st.integers(0, 5))), min_size=3, max_size=25
)


RUNS = 200
"""In how many runs of a stock session its answers are looked for.

It walks sets of objects, in the order of their addresses: where two with one key are deleted and made in one flush,
what is loaded by then, and so what a later step answers, differs from run to run.
"""


def outcome(engine: Engine, kind: type[Session], program: list[Any], *, keep: bool) -> tuple[list[Any], list[Any]]:
    """Run a program on empty tables; return its answers, and what is committed."""
    with engine.begin() as connection:
        for table in reversed(Base.metadata.sorted_tables):
            connection.execute(table.delete())
    with kind(engine, expire_on_commit=not keep) as session:
        run = Run(session)
        for function, numbers in [*BEGINNING, *program]:
            run.step(function, numbers)
        run.step(commit, (0, 0))
        run.step(look, (0, 0))
    with engine.connect() as connection:
        tables = [connection.execute(select(table)).all() for table in Base.metadata.sorted_tables]
    return run.log, [sorted(map(tuple, rows)) for rows in tables]


def alike(stock: tuple[str, Any], ours: tuple[str, Any]) -> bool:
    """Tell whether two answers are the same; an error of ours may be a subclass of SQLAlchemy's."""
    if isinstance(stock[1], Exception):
        return isinstance(ours[1], type(stock[1]))
    return stock == ours


def is_one_of(ours: tuple[list[Any], list[Any]], runs: Iterator[tuple[list[Any], list[Any]]]) -> bool:
    """Tell whether one of the runs ended like ours; the first one does, where the order of a set decides nothing."""
    log, rows = ours
    return any(
        rows == expected and all(alike(*both) for both in zip(stock, log, strict=True)) for stock, expected in runs
    )


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
class TestPrograms:
    @tried(60)
    @given(program=programs, keep=st.booleans())
    def test_each_ends_as_with_a_stock_session(self, engine: Engine, program: list[Any], keep: bool) -> None:
        """The same answers, the same errors, the same rows, as one of the runs of a stock session has them."""
        ours = outcome(engine, SyncSession, program, keep=keep)

        assert is_one_of(ours, (outcome(engine, Session, program, keep=keep) for _ in range(RUNS)))
