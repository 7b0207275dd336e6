"""Deleted trees of each shape, and models that are read from several tables."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String, insert
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.models import IntKeyMixin
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin, include_deleted
from tests.soft_delete.library import (
    DEAD,
    Author,
    Base,
    Bone,
    Cat,
    Cell,
    Creature,
    Dog,
    Keeper,
    Mark,
    Mouse,
    Node,
    Profile,
    add,
    bring_back,
    count,
    delete,
    everything,
)

pytestmark = pytest.mark.tables(Base.metadata)


class TestShapesOfTrees:
    async def test_a_tree_in_one_table_goes_level_by_level(self, every_driver: Database) -> None:
        """A self-referencing tree goes to the last leaf; its other branches stay."""
        leaf = Node(name="leaf")
        key = await add(
            every_driver, Node(name="branch", below=[Node(name="twig", below=[leaf]), Node(name="bud")]), Node(name="x")
        )

        await delete(every_driver, Node, key)

        assert [node.name for node in await everything(every_driver, Node) if not node.is_deleted] == ["x"]

    async def test_a_tree_in_one_table_comes_back(self, every_driver: Database) -> None:
        """A self-referencing tree is restored without the twig that was deleted before."""
        key = await add(every_driver, Node(name="branch", below=[Node(name="twig"), Node(name="bud")]))
        [twig] = [node.id for node in await everything(every_driver, Node) if node.name == "twig"]
        await delete(every_driver, Node, twig)
        await delete(every_driver, Node, key)

        await bring_back(every_driver, Node, key)

        alive = [node.name for node in await everything(every_driver, Node) if not node.is_deleted]
        assert sorted(alive) == ["branch", "bud"]

    async def test_a_tree_a_thousand_deep(self, db: Database) -> None:
        """A thousand levels of one table go, and come back, in a few statements."""
        table: Any = Node.__table__
        rows = [{"id": n, "name": "n", "parent_id": n - 1 or None} for n in range(1, 1001)]
        async with db.transaction() as session:
            await session.execute(insert(table), rows)

        async with queries(db, at_most=12) as deleting:
            await delete(db, Node, 1)
        gone = await count(db, Node)
        async with queries(db, at_most=12):
            await bring_back(db, Node, 1)

        assert gone == 0
        assert await count(db, Node) == 1000
        assert len([statement for statement in deleting if statement.startswith("UPDATE")]) == 4

    async def test_dead_rows_end_a_branch(self, every_driver: Database) -> None:
        """What lies below a row that was deleted before is not reached through it."""
        twig = Node(name="twig", below=[Node(name="leaf")])
        key = await add(every_driver, Node(name="branch", below=[twig]))
        async with every_driver.transaction() as session:
            table: Any = Node.__table__
            await session.execute(table.update().where(table.c.name == "twig").values(**DEAD))

        await delete(every_driver, Node, key)

        assert [node.name for node in await everything(every_driver, Node) if not node.is_deleted] == ["leaf"]

    async def test_a_circle_ends(self, every_driver: Database) -> None:
        """Rows that are each below the other are marked once."""
        async with every_driver.transaction() as session:
            table: Any = Node.__table__
            await session.execute(
                insert(table), [{"id": 1, "name": "a", "parent_id": None}, {"id": 2, "name": "b", "parent_id": 1}]
            )
            await session.execute(table.update().where(table.c.id == 1).values(parent_id=2))

        await delete(every_driver, Node, 1)

        assert [node.is_deleted for node in await everything(every_driver, Node)] == [True, True]

    async def test_keys_of_several_columns(self, every_driver: Database) -> None:
        """A composite key is followed column by column, and only its own children go."""
        key = await add(every_driver, Cell(row=1, column=2, marks=[Mark()]), Cell(row=2, column=1, marks=[Mark()]))

        deleted = await delete(every_driver, Cell, key)
        gone = await count(every_driver, Mark)
        await bring_back(every_driver, Cell, key)

        assert deleted.version == 2
        assert gone == 1
        assert await count(every_driver, Mark) == 2

    async def test_a_subclass_with_a_table_of_its_own(self, every_driver: Database) -> None:
        """The mark of a subclass stands in the base table, and its own children go along."""
        key = await add(every_driver, Dog(name="Rex", bones=[Bone(), Bone()]), Dog(name="Max", bones=[Bone()]))

        deleted = await delete(every_driver, Dog, key)
        gone = await count(every_driver, Bone)
        await bring_back(every_driver, Dog, key)

        assert deleted.version == 2
        assert gone == 1
        assert await count(every_driver, Bone) == 3

    async def test_children_of_a_subclass_go_with_the_base(self, every_driver: Database) -> None:
        """A cascade to a base class goes on along the relations of its subclasses."""
        key = await add(every_driver, Keeper(animals=[Cat(mice=[Mouse()]), Creature()]))

        await delete(every_driver, Keeper, key)

        assert await count(every_driver, Creature) == 0
        assert await count(every_driver, Mouse) == 0

    async def test_one_child_instead_of_many(self, every_driver: Database) -> None:
        """A one-to-one child goes along and comes back."""
        key = await add(every_driver, Author(name="Ann", profile=Profile()))

        await delete(every_driver, Author, key)
        gone = await count(every_driver, Profile)
        await bring_back(every_driver, Author, key)

        assert gone == 0
        assert await count(every_driver, Profile) == 1


class OwnBase(sqlkeel.Base):
    pass


class Paper(IntKeyMixin, SoftDeleteMixin, ConcreteBase, OwnBase):
    """Read from a union of tables, which has a column for the name of the class."""

    __tablename__ = "paper"
    __mapper_args__ = {"polymorphic_identity": "paper", "concrete": True}
    title: Mapped[str] = mapped_column(String(50))


@pytest.mark.tables(OwnBase.metadata)
class TestUnionOfTables:
    async def test_a_loaded_row_is_restored(self, every_driver: Database) -> None:
        """The columns of the union that no attribute has are not read again."""
        async with every_driver.transaction() as session:
            paper = await Repository(session, Paper).create(title="a")
            await Repository(session, Paper).delete(paper)

        async with every_driver.transaction() as session:
            with include_deleted(session):
                [paper] = await Repository(session, Paper).get_all()
            await Repository(session, Paper).restore(paper)

            assert paper.deleted_at is None
            assert await Repository(session, Paper).count() == 1
