"""Whatever hangs on a row, and whatever of it is loaded: the ORM and a DELETE by hand leave the same rows."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, ForeignKey, String, Table, delete, insert, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.orm import Mapped, mapped_column, selectinload

import sqlkeel
from sqlkeel import Database, IntKeyMixin, Session, association, children, parent
from sqlkeel.errors import ForeignKeyViolation
from tests.properties.examples import tried


class Base(sqlkeel.Base):
    pass


firm_label = Table(
    "firm_label",
    Base.metadata,
    Column("firm_id", ForeignKey("firm.id"), primary_key=True),
    Column("label_id", ForeignKey("label.id"), primary_key=True),
)


class Firm(IntKeyMixin, Base):
    __tablename__ = "firm"
    teams: Mapped[list[Team]] = children(back_populates="firm")
    partners: Mapped[list[Partner]] = children(back_populates="firm", on_delete="set null")
    bills: Mapped[list[Bill]] = children(back_populates="firm", on_delete="restrict")
    assets: Mapped[list[Asset]] = children(back_populates="firm")
    labels: Mapped[list[Label]] = association(firm_label, back_populates="firms")


class Label(IntKeyMixin, Base):
    __tablename__ = "label"
    firms: Mapped[list[Firm]] = association(firm_label, back_populates="labels")


class Team(IntKeyMixin, Base):
    __tablename__ = "team"
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"), index=True)
    firm: Mapped[Firm] = parent(back_populates="teams")
    tasks: Mapped[list[Task]] = children(back_populates="team", delete_orphan=True)
    audits: Mapped[list[Audit]] = children(back_populates="team", on_delete="restrict")


class Partner(IntKeyMixin, Base):
    __tablename__ = "partner"
    firm_id: Mapped[int | None] = mapped_column(ForeignKey("firm.id"), index=True)
    firm: Mapped[Firm | None] = parent(back_populates="partners")


class Bill(IntKeyMixin, Base):
    __tablename__ = "bill"
    firm_id: Mapped[int | None] = mapped_column(ForeignKey("firm.id"), index=True)
    firm: Mapped[Firm | None] = parent(back_populates="bills")


class Audit(IntKeyMixin, Base):
    __tablename__ = "audit"
    team_id: Mapped[int] = mapped_column(ForeignKey("team.id"), index=True)
    team: Mapped[Team] = parent(back_populates="audits")


class Task(IntKeyMixin, Base):
    """A tree in one table, and below another one."""

    __tablename__ = "task"
    team_id: Mapped[int] = mapped_column(ForeignKey("team.id"), index=True)
    team: Mapped[Team] = parent(back_populates="tasks")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("task.id"), index=True)
    above: Mapped[Task | None] = parent(back_populates="below", remote_side="Task.id")
    below: Mapped[list[Task]] = children(back_populates="above")
    notes: Mapped[list[Note]] = children(back_populates="task", on_delete="set null")


class Note(IntKeyMixin, Base):
    __tablename__ = "note"
    task_id: Mapped[int | None] = mapped_column(ForeignKey("task.id"), index=True)
    task: Mapped[Task | None] = parent(back_populates="notes")


class Asset(IntKeyMixin, Base):
    """One model in two tables."""

    __tablename__ = "asset"
    kind: Mapped[str] = mapped_column(String(10))
    firm_id: Mapped[int] = mapped_column(ForeignKey("firm.id"), index=True)
    firm: Mapped[Firm] = parent(back_populates="assets")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "asset"}


class Car(Asset):
    __tablename__ = "car"
    __mapper_args__ = {"polymorphic_identity": "car"}
    id: Mapped[int] = mapped_column(ForeignKey("asset.id"), primary_key=True)
    trips: Mapped[list[Trip]] = children(back_populates="car")


class Trip(IntKeyMixin, Base):
    __tablename__ = "trip"
    car_id: Mapped[int] = mapped_column(ForeignKey("car.id"), index=True)
    car: Mapped[Car] = parent(back_populates="trips")


Base.registry.configure()
pytestmark = pytest.mark.tables(Base.metadata)

Rows = dict[str, list[dict[str, Any]]]
TABLES = Base.metadata.tables
DOOMED: list[type[Any]] = [Firm, Label, Team, Partner, Bill, Task, Note, Asset, Audit, Trip]
MODELS: list[type[Any]] = [*DOOMED, Car]


@st.composite
def worlds(draw: st.DrawFn) -> Rows:
    """Draw rows of every table that refer to each other at random."""
    rows: Rows = {name: [] for name in TABLES}

    def some(table: str, most: int, **columns: st.SearchStrategy[Any]) -> list[int]:
        count = draw(st.integers(0, most))
        for key in range(1, count + 1):
            rows[table].append({"id": key, **{name: draw(values) for name, values in columns.items()}})
        return [row["id"] for row in rows[table]]

    def one_of(keys: list[int]) -> st.SearchStrategy[int]:
        return st.sampled_from(keys) if keys else st.nothing()

    def maybe(keys: list[int]) -> st.SearchStrategy[int | None]:
        return st.sampled_from([None, *keys])

    firms = some("firm", 3)
    labels = some("label", 2)
    some("partner", 3, firm_id=maybe(firms))
    some("bill", 1, firm_id=maybe(firms))
    if firms:
        pairs = draw(st.sets(st.tuples(one_of(firms), one_of(labels)), max_size=4)) if labels else set()
        rows["firm_label"] = [{"firm_id": firm, "label_id": label} for firm, label in sorted(pairs)]
        teams = some("team", 3, firm_id=one_of(firms))
        assets = some("asset", 3, firm_id=one_of(firms), kind=st.sampled_from(["asset", "car"]))
        rows["car"] = [{"id": key} for key in assets if rows["asset"][key - 1]["kind"] == "car"]
        cars = [row["id"] for row in rows["car"]]
        if cars:
            some("trip", 3, car_id=one_of(cars))
        if teams:
            some("audit", 1, team_id=one_of(teams))
            tasks = some("task", 5, team_id=one_of(teams))
            for row in rows["task"]:
                row["above_id"] = draw(maybe(list(range(1, row["id"]))))
            some("note", 3, task_id=maybe(tasks))
    return rows


async def plant(session: Session, rows: Rows) -> None:
    """Store these rows in place of all there is."""
    for table in reversed(Base.metadata.sorted_tables):
        await session.execute(delete(table))
    for table in Base.metadata.sorted_tables:
        if rows[table.name]:
            await session.execute(insert(table), rows[table.name])


async def state(session: Session) -> dict[str, list[Any]]:
    """Return all rows, past the ORM."""
    found = {}
    for name, table in TABLES.items():
        found[name] = [tuple(row) for row in await session.execute(select(table).order_by(*table.primary_key))]
    return found


async def outcome(session: Session, work: Any) -> Any:
    """Return what the work leaves behind, or the error with which it was refused."""
    try:
        async with session.savepoint():
            await work()
    except ForeignKeyViolation as error:
        return type(error)
    return await state(session)


async def load_all(session: Session) -> list[Any]:
    """Load every row with all of its relations."""
    held: list[Any] = []
    for model in MODELS:
        options = [selectinload(getattr(model, relation.key)) for relation in sa_inspect(model).relationships]
        held.extend(await session.scalars(select(model).options(*options)))
    return held


class TestSameState:
    @given(rows=worlds(), data=st.data(), loaded=st.booleans())
    @tried(40)
    async def test_orm_and_sql_agree(self, db: Database, rows: Rows, data: st.DataObject, loaded: bool) -> None:
        """session.delete() leaves what DELETE leaves, or is refused where that is."""
        there = [model for model in DOOMED if rows[model.__tablename__]]
        model = data.draw(st.sampled_from(there or [Firm]))
        keys = [row["id"] for row in rows[model.__tablename__]]
        key = data.draw(st.sampled_from(keys or [0]))

        async with db.transaction() as session:
            await plant(session, rows)
            held = await load_all(session) if loaded else []
            doomed = await session.get(model, key)

            async def by_orm() -> None:
                if doomed is not None:
                    await session.delete(doomed)
                    await session.flush()

            left_by_orm = await outcome(session, by_orm)
            del held
        async with db.transaction() as session:
            await plant(session, rows)
            table = TABLES[model.__tablename__]
            left_by_sql = await outcome(session, lambda: session.execute(delete(table).where(table.c.id == key)))

        assert left_by_orm == left_by_sql
