"""Tests of soft_delete._unmarked: what SQLAlchemy takes for no statement of the ORM, and where it forgets the class.

The shapes of queries stand in `test_soft_delete_coverage`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, Select, String, create_engine, exists, func, insert, or_, select, update
from sqlalchemy.orm import (
    Mapped,
    aliased,
    column_property,
    joinedload,
    mapped_column,
    query_expression,
    selectinload,
    undefer,
    with_expression,
    with_loader_criteria,
)

import sqlkeel
from sqlkeel.errors import NotSupported
from sqlkeel.models import children, parent
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.soft_delete._unmarked import mark, parts_of


class Base(sqlkeel.Base):
    pass


pytestmark = pytest.mark.tables(Base.metadata)


class Shelf(SoftDeleteMixin, Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    boxes: Mapped[list[Box]] = children(back_populates="shelf")
    labels: Mapped[list[Label]] = children(back_populates="shelf")
    count: Mapped[int | None] = query_expression()


class Box(SoftDeleteMixin, Base):
    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id"))
    shelf: Mapped[Shelf] = parent(back_populates="boxes")


class Crate(Box):
    """Has a table of its own, and its mark in that of the other."""

    __tablename__ = "crate"
    id: Mapped[int] = mapped_column(ForeignKey("box.id"), primary_key=True)
    weight: Mapped[int] = mapped_column(default=1)
    count: Mapped[int | None] = query_expression()


class Label(Base):
    """Has no mark."""

    __tablename__ = "label"
    id: Mapped[int] = mapped_column(primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelf.id"))
    shelf: Mapped[Shelf] = parent(back_populates="labels")


class Party(SoftDeleteMixin, Base):
    __tablename__ = "party"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "party"}


class Firm(Party):
    __tablename__ = "firm"
    id: Mapped[int] = mapped_column(ForeignKey("party.id", ondelete="CASCADE"), primary_key=True)
    tax: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "firm"}


class Guild(Party):
    __tablename__ = "guild"
    id: Mapped[int] = mapped_column(ForeignKey("party.id", ondelete="CASCADE"), primary_key=True)
    fee: Mapped[int]
    __mapper_args__ = {"polymorphic_identity": "guild"}


class Memo(Base):
    """Stands beside others in a join."""

    __tablename__ = "memo"
    id: Mapped[int] = mapped_column(primary_key=True)


class Bill(Base):
    __tablename__ = "bill"
    id: Mapped[int] = mapped_column(primary_key=True)
    tax: Mapped[int]


@pytest.fixture
async def shelves(sqlite: Database) -> Database:
    """A shelf with a living box, a deleted one, and two labels."""
    async with sqlite.transaction() as session:
        session.add(Shelf(id=1, boxes=[Box(id=1), Box(id=2)], labels=[Label(id=1), Label(id=2)]))
        await session.flush()
        await session.delete(await session.get_one(Box, 2))
    return sqlite


def either() -> Select[Any]:
    return select(func.count()).where(or_(Box.id > 0, Box.shelf_id > 0))


Shelf.highest = column_property(select(func.max(Box.id).over()).limit(1).scalar_subquery(), deferred=True)
Label.boxes = column_property(
    select(func.count()).where(or_(Box.shelf_id == Label.shelf_id, Box.id < 0)).scalar_subquery(), deferred=True
)


class TestMarking:
    async def test_the_same_statement_shows_them_when_asked(self, shelves: Database) -> None:
        """A statement that was marked is no other one afterwards."""
        statement = either()
        async with shelves.read() as session:
            assert await session.scalar(statement) == 1
            assert await session.scalar(statement, execution_options={"include_deleted": True}) == 2
            assert await session.scalar(statement) == 1

    async def test_what_waits_is_written_first(self, shelves: Database) -> None:
        """As before every other statement about a class."""
        async with shelves.transaction() as session:
            session.add(Box(id=3, shelf_id=1))

            assert await session.scalar(either()) == 2

    async def test_in_a_property(self, shelves: Database) -> None:
        """Of a class with the mark, and of one without."""
        async with shelves.read() as session:
            shelf = await session.scalar(select(Shelf).options(undefer(Shelf.highest)))  # type: ignore[attr-defined]
            label = await session.scalar(select(Label).options(undefer(Label.boxes)))  # type: ignore[attr-defined]

            assert (shelf.highest, label.boxes) == (1, 1)  # type: ignore[union-attr]

    def test_in_a_synchronous_session(self) -> None:
        """On an engine of SQLAlchemy's own, too."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        with SyncSession(engine) as session:
            session.add(Shelf(id=1, boxes=[Box(id=1), Box(id=2)]))
            session.flush()
            session.delete(session.get_one(Box, 2))

            assert session.scalar(either()) == 1
            assert session.scalar(select(either().scalar_subquery())) == 1
            assert session.query(func.count()).where(or_(Box.id > 0, Box.shelf_id > 0)).scalar() == 1

    def test_it_is_marked_once(self) -> None:
        """What has been marked stays as it is."""
        statement = select(func.count()).where(func.abs(Box.id) > 0)
        mark(statement)
        before = statement._where_criteria

        assert mark(statement)
        assert statement._where_criteria == before

    def test_what_is_read_twice_is_looked_through_once(self) -> None:
        """A report of CTEs, each of which reads the one before twice, names its class on more than a million ways."""
        level = select(Box.id).where(or_(Box.id > 0, Box.id < 0)).cte()
        for _ in range(20):
            level = select(level.c.id).join(again := level.alias(), again.c.id == level.c.id).cte()

        assert mark(select(func.count()).select_from(level))
        assert sum(1 for _ in parts_of(level)) < 1000

    async def test_in_the_values_of_an_insert(self, shelves: Database) -> None:
        """Of a class, and of its table."""
        async with shelves.transaction() as session:
            await session.execute(insert(Label).values(id=either().scalar_subquery() + 2, shelf_id=1))
            await session.execute(insert(Label.__table__).values(id=either().scalar_subquery() + 3, shelf_id=1))

            assert list(await session.scalars(select(Label.id).order_by(Label.id))) == [1, 2, 3, 4]

    async def test_an_insert_that_gives_objects(self, shelves: Database) -> None:
        """A statement in from_statement() is one of the ORM in any case."""
        made = insert(Box).values(id=3, shelf_id=1).returning(Box)
        async with shelves.transaction() as session:
            assert [box.id for box in await session.scalars(select(Box).from_statement(made))] == [3]

    async def test_a_function_by_itself(self, shelves: Database) -> None:
        """It is a SELECT once it runs; one without a class is left alone."""
        async with shelves.read() as session:
            assert await session.scalar(func.count(Box.id)) == 1
            assert await session.scalar(func.abs(-1)) == 1

    @pytest.mark.parametrize(
        "option",
        [
            lambda found: with_loader_criteria(Label, Label.id.in_(found)),
            lambda found: with_loader_criteria(Label, lambda label: label.id.in_(found)),
            lambda found: selectinload(Shelf.labels.and_(Label.id.in_(found))),
            lambda found: joinedload(Shelf.labels.and_(Label.id.in_(found))),
        ],
    )
    async def test_in_the_condition_of_an_option(self, shelves: Database, option: Any) -> None:
        """Also the second time, when the statement comes from the cache and the option is new."""
        async with shelves.read() as session:
            for _ in range(2):
                loads = option(select(func.max(Box.id).over(partition_by=Box.id)))
                statement = select(Shelf).options(loads)
                shelf = (await session.scalars(statement)).unique().one()
                labels = await shelf.awaitable_attrs.labels

                assert [label.id for label in labels] == [1]
                session.expunge_all()

    @pytest.mark.parametrize("join", [lambda on: {"target": on}, lambda on: {"target": Label, "onclause": on}])
    async def test_in_the_condition_of_a_join(self, shelves: Database, join: Any) -> None:
        """That a relation has by and_()."""
        highest = select(func.max(Box.id).over()).limit(1).scalar_subquery()
        statement = select(Label.id).select_from(Shelf).join(**join(Shelf.labels.and_(Label.id == highest)))
        async with shelves.read() as session:
            assert (await session.scalars(statement)).all() == [1]

    async def test_one_or_another_of_a_lambda(self, shelves: Database) -> None:
        """SQLAlchemy writes no parentheses around them."""
        box = Box
        statement = select(Box.id).where(lambda: or_(box.id > 0, box.shelf_id > 0))
        async with shelves.transaction() as session:
            assert (await session.scalars(statement)).all() == [1]
            changed = update(Box).where(lambda: or_(box.id > 0, box.shelf_id > 0)).values(shelf_id=1)
            assert (await session.scalars(changed.returning(Box.id))).all() == [1]

    def test_tables_are_left_alone(self) -> None:
        """A statement that names no class is no business of ours."""
        statement = select(func.count()).select_from(Box.__table__)

        assert not mark(statement)


FORGOTTEN = [
    lambda shelf: shelf.boxes.any(),
    lambda shelf: select(func.count(Box.id)).where(Box.shelf_id == shelf.id).scalar_subquery(),
    lambda shelf: select(func.count()).where(or_(Box.shelf_id == shelf.id, Box.id < 0)).scalar_subquery(),
    lambda shelf: select(func.count(Box.id).over()).limit(1).scalar_subquery(),
    lambda shelf: exists().where(Box.shelf_id == shelf.id),
]


def shelves_of(crate: Any) -> Any:
    return select(func.count(Shelf.id)).where(Shelf.id == crate.weight).scalar_subquery()


class TestExpressions:
    @pytest.mark.parametrize("expression", FORGOTTEN)
    async def test_one_over_rows_with_a_mark_is_refused(self, shelves: Database, expression: Any) -> None:
        """SQLAlchemy takes the class out of it, and its deleted rows would count."""
        other = aliased(Shelf)
        async with shelves.read() as session:
            for shelf in (Shelf, other):
                with pytest.raises(NotSupported, match="deleted rows of Box"):
                    await session.scalars(select(shelf).options(with_expression(shelf.count, expression(shelf))))

    async def test_one_over_the_table_itself_is_refused(self, shelves: Database) -> None:
        """A SELECT of one table is correlated with nothing."""
        counted = select(func.count(Shelf.id)).where(Shelf.id > 0).scalar_subquery()
        async with shelves.read() as session:
            with pytest.raises(NotSupported, match="deleted rows of Shelf"):
                await session.scalars(select(Shelf).options(with_expression(Shelf.count, counted)))

    async def test_of_a_loaded_relation(self, shelves: Database) -> None:
        """Wherever the option stands."""
        option = selectinload(Label.shelf).with_expression(Shelf.count, FORGOTTEN[1](Shelf))
        async with shelves.read() as session:
            with pytest.raises(NotSupported, match="select\\(Model, expression\\)"):
                await session.scalars(select(Label).options(option))

    async def test_one_with_deleted_rows_is_asked_for(self, shelves: Database) -> None:
        """Nothing is hidden then."""
        statement = select(Shelf).options(with_expression(Shelf.count, FORGOTTEN[1](Shelf)))
        async with shelves.read() as session:
            shelf = (await session.scalars(statement, execution_options={"include_deleted": True})).one()

            assert shelf.count == 2

    @pytest.mark.parametrize("shelf", [Shelf, aliased(Shelf)])
    async def test_others_are_left_alone(self, shelves: Database, shelf: Any) -> None:
        """Rows without a mark, and no rows at all."""
        labels = select(func.count(Label.id)).where(Label.shelf_id == shelf.id).scalar_subquery()
        async with shelves.read() as session:
            for expression, value in ((labels, 2), (shelf.id + 1, 2)):
                found = await session.scalars(select(shelf).options(with_expression(shelf.count, expression)))

                assert found.one().count == value
                session.expunge_all()

    @pytest.mark.parametrize("crate", [Crate, aliased(Crate), aliased(Crate, flat=True)])
    async def test_of_an_inherited_class(self, shelves: Database, crate: Any) -> None:
        """The tables of the class itself are no rows that the expression finds; those of another one are."""
        found = select(func.count(Label.id)).where(Label.id <= crate.weight).scalar_subquery()
        async with shelves.transaction() as session:
            session.add(Crate(id=3, shelf_id=1))
            await session.flush()
            session.expunge_all()

            loaded = await session.scalars(select(crate).options(with_expression(crate.count, found)))
            assert loaded.one().count == 1
            with pytest.raises(NotSupported, match="deleted rows of Shelf"):
                await session.scalars(select(crate).options(with_expression(crate.count, shelves_of(crate))))

    async def test_what_the_hint_says(self, shelves: Database) -> None:
        """Beside the object the class is known."""
        async with shelves.read() as session:
            assert [n for _, n in await session.execute(select(Shelf, FORGOTTEN[1](Shelf)))] == [1]


JOINED: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "count": (lambda: select(func.count()).where(Firm.tax > 0), [2]),
    "count by a function": (lambda: select(func.count()).where(func.abs(Firm.tax) > 0), [2]),
    "count of one or another": (lambda: select(func.count()).where(or_(Firm.tax > 0, Firm.id > 9)), [2]),
    "implicit join": (lambda: select(Bill.id).where(Firm.tax == Bill.tax), [1]),
    "implicit join by a function": (lambda: select(Bill.id).where(func.abs(Firm.tax) == Bill.tax), [1]),
    "exists": (lambda: select(Bill.id).where(exists().where(Firm.tax == Bill.tax)), [1]),
    "correlated": (lambda: select(Firm.id).where(exists().where(Bill.tax == Firm.tax)), [1]),
    "correlated by a function": (
        lambda: select(Firm.id).where(exists().where(func.abs(Bill.tax) == func.abs(Firm.tax))),
        [1],
    ),
    "beside its base": (lambda: select(Party.id).where(Firm.tax > 0, Firm.id == Party.id), [1, 2]),
    "as a column": (lambda: select(func.count(Firm.tax)), [2]),
    "beside two of the hierarchy": (lambda: select(func.count()).where(Firm.tax == Guild.fee), [1]),
    "beside a join": (lambda: select(Bill.id).join(Memo, Memo.id == Bill.id).where(Firm.tax == Bill.tax), [1]),
    "by its base, correlated": (
        lambda: select(Party.id).where(
            select(func.count()).where(func.abs(Firm.id) == Party.id).scalar_subquery() == 1, Party.id > 0
        ),
        [1, 2],
    ),
    "in a join": (lambda: select(func.count()).select_from(Bill).join(Firm, func.abs(Firm.tax) == Bill.tax), [1]),
}


class TestJoinedInheritance:
    """The mark stands in the table of the base, and only the other one is named."""

    @pytest.mark.parametrize("name", JOINED)
    async def test_each_row_counts_once(self, db: Database, name: str) -> None:
        """Not once for each row of the base, and not where it is deleted."""
        statement, found = JOINED[name]
        async with db.transaction() as session:
            session.add_all([Firm(id=1, tax=1), Firm(id=2, tax=2), Firm(id=3, tax=3), Party(id=4)])
            session.add_all([Bill(id=1, tax=1), Bill(id=3, tax=3), Memo(id=1), Memo(id=3), Guild(id=5, fee=1)])
            await session.flush()
            await session.delete(await session.get_one(Firm, 3))

        async with db.read() as session:
            assert sorted(await session.scalars(statement())) == found
