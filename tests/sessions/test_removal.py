"""A row that is gone when it is deleted: the caller is told, whatever else the same flush removes."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, delete, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.errors import NotFound
from sqlkeel.models import IntKeyMixin
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Plain(IntKeyMixin, Base):
    __tablename__ = "plain"
    name: Mapped[str] = mapped_column(String(20))


class Pair(Base):
    __tablename__ = "pair"
    left: Mapped[int] = mapped_column("left_no", primary_key=True, autoincrement=False)
    right: Mapped[str] = mapped_column("right_no", String(20), primary_key=True)


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Robot(Animal):
    __tablename__ = "robot"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_identity": "robot", "concrete": True}


class Tree(IntKeyMixin, Base):
    __tablename__ = "tree"
    above_id: Mapped[int | None] = mapped_column(ForeignKey("tree.id", ondelete="CASCADE"), index=True)
    below: Mapped[list[Tree]] = relationship(cascade="all, delete-orphan")


class Printed(IntKeyMixin, Base):
    __tablename__ = "printed"
    note: Mapped[str] = mapped_column(String(20), default="n", deferred=True)

    def __repr__(self) -> str:
        return f"Printed({self.note})"


class Unconfirmed(IntKeyMixin, Base):
    __tablename__ = "unconfirmed"
    __mapper_args__ = {"confirm_deleted_rows": False}


pytestmark = pytest.mark.tables(Base.metadata)

MADE: dict[type[Any], dict[str, Any]] = {
    Plain: {"name": "n"},
    Pair: {"left": 1, "right": "r"},
    Dog: {},
    Robot: {"id": 1, "kind": "robot"},
    Tree: {},
}


async def make(db: Database, model: type[Any], **values: Any) -> Any:
    """Commit a row, and return its object, which no session holds any more."""
    async with db.transaction() as session:
        return await Repository(session, model).create(**values)


async def remove(db: Database, model: type[Any]) -> None:
    """Remove all rows of the model, as another program does."""
    async with db.engine.begin() as connection:
        for table in reversed([model.__table__] if model is not Dog else [Animal.__table__, Dog.__table__]):
            await connection.execute(delete(table))


async def remove_one(db: Database, obj: Plain) -> None:
    """Remove the row of *obj*."""
    async with db.engine.begin() as connection:
        await connection.execute(delete(Plain.__table__).where(Plain.__table__.c.id == obj.id))


class TestRow:
    @pytest.mark.parametrize("model", MADE)
    async def test_one_that_is_gone_is_not_found(self, every_driver: Database, model: type[Any]) -> None:
        """Another transaction removed the row after it was read."""
        obj = await make(every_driver, model, **MADE[model])
        await remove(every_driver, model)

        with pytest.raises(NotFound) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, model).delete(obj)

        assert caught.value.model == model.__name__

    @pytest.mark.parametrize("model", MADE)
    async def test_one_that_is_there_is_removed(self, every_driver: Database, model: type[Any]) -> None:
        """A row that is there is removed."""
        obj = await make(every_driver, model, **MADE[model])

        async with every_driver.transaction() as session:
            await Repository(session, model).delete(obj)

        async with every_driver.session() as session:
            assert await session.scalar(select(func.count()).select_from(model)) == 0

    async def test_it_costs_no_statement(self, db: Database) -> None:
        """The DELETE itself tells whether there was a row."""
        obj = await make(db, Plain, name="n")

        async with db.transaction() as session, queries(db, exactly=1):
            await Repository(session, Plain).delete(obj)

    async def test_an_object_that_loads_to_be_printed(self, every_driver: Database) -> None:
        """Nobody asks for the repr of the object, as that of a dataclass, which may load a deferred column."""
        await make(every_driver, Printed)

        async with every_driver.transaction() as session, queries(every_driver, exactly=2):
            obj = await session.scalar(select(Printed))
            await Repository(session, Printed).delete(obj)

        async with every_driver.session() as session:
            assert await Repository(session, Printed).count() == 0

    async def test_the_transaction_is_not_committed(self, every_driver: Database) -> None:
        """What was written before in the same transaction is taken back, as after each flush that fails."""
        obj = await make(every_driver, Plain, name="n")
        await remove(every_driver, Plain)

        with pytest.raises(NotFound):
            async with every_driver.transaction() as session:
                session.add(Pair(left=1, right="r"))
                await Repository(session, Plain).delete(obj)

        async with every_driver.session() as session:
            assert await Repository(session, Pair).count() == 0

    async def test_a_model_that_confirms_nothing_is_left_alone(self, every_driver: Database) -> None:
        """Where triggers change what a DELETE counts, confirm_deleted_rows=False says so."""
        obj = await make(every_driver, Unconfirmed)
        await remove(every_driver, Unconfirmed)

        async with every_driver.transaction() as session:
            await Repository(session, Unconfirmed).delete(obj)


class TestCascade:
    @pytest.mark.filterwarnings("ignore:DELETE statement")
    async def test_a_root_whose_rows_below_are_held(self, every_driver: Database) -> None:
        """The rows below are gone with their root, and the root is what is not found."""
        root = await make(every_driver, Tree, below=[Tree(), Tree()])
        await remove(every_driver, Tree)

        with pytest.raises(NotFound) as caught:
            async with every_driver.transaction() as session:
                await Repository(session, Tree).delete(root)

        assert caught.value.key == root.id

    async def test_rows_below_that_are_kept(self, every_driver: Database) -> None:
        """What was moved to another root meanwhile, and is held below the old one still, is not removed with it."""
        root = await make(every_driver, Tree, below=[Tree()])
        other = await make(every_driver, Tree)
        async with every_driver.transaction() as session:
            held = await Repository(session, Tree).get_one(root.below[0].id)
            held.above_id = other.id
            await session.flush()
            await session.execute(delete(Tree.__table__).where(Tree.id == root.id))

        with pytest.raises(NotFound):
            async with every_driver.transaction() as session:
                await Repository(session, Tree).delete(root)

        async with every_driver.session() as session:
            assert await Repository(session, Tree).count() == 2

    async def test_one_of_several_rows_of_a_statement(self, every_driver: Database) -> None:
        """A row that is removed in one statement with others is found missing among them."""
        first, second = await make(every_driver, Plain, name="a"), await make(every_driver, Plain, name="b")
        await remove_one(every_driver, first)

        with pytest.raises(NotFound) as caught:
            async with every_driver.transaction() as session:
                await session.delete(second)
                await Repository(session, Plain).delete(first)

        assert caught.value.key == first.id

    @pytest.mark.filterwarnings("ignore:DELETE statement")
    async def test_another_of_several_rows_of_a_statement(self, every_driver: Database) -> None:
        """A missing row that only went along is no error, as in SQLAlchemy."""
        first, second = await make(every_driver, Plain, name="a"), await make(every_driver, Plain, name="b")
        await remove_one(every_driver, second)

        async with every_driver.transaction() as session:
            await session.delete(second)
            await Repository(session, Plain).delete(first)

        async with every_driver.session() as session:
            assert await Repository(session, Plain).count() == 0
