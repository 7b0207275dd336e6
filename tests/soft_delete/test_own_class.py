"""Tests of sqlkeel.soft_delete._own_class: any() and has() between rows of one class see the living ones."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import Column, ForeignKey, Integer, ScalarSelect, String, Table, func, or_, select, update
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    RelationshipProperty,
    aliased,
    backref,
    foreign,
    mapped_column,
    relationship,
    remote,
)

from sqlkeel import children, parent
from sqlkeel.models import Base as Keel
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


class Base(Keel):
    pass


pytestmark = pytest.mark.tables(Base.metadata)


class Named(RelationshipProperty.Comparator[Any]):
    """A comparator of the user's own."""

    def named(self, name: str) -> Any:
        """Match by the name of the other row."""
        return self._criterion_exists(Page.name == name)


page_link = Table(
    "page_link",
    Base.metadata,
    Column("from_id", ForeignKey("page.id"), primary_key=True),
    Column("to_id", ForeignKey("page.id"), primary_key=True),
    Column("weight", Integer, nullable=False, default=1),
)


class Page(SoftDeleteMixin, Base):
    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(10))
    kind: Mapped[str] = mapped_column(String(10), default="page")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("page.id"))
    above: Mapped[Page | None] = parent(back_populates="below", remote_side="Page.id", foreign_keys="Page.above_id")
    below: Mapped[list[Page]] = children(back_populates="above", foreign_keys="Page.above_id")
    links: Mapped[list[Page]] = relationship(
        secondary=page_link,
        primaryjoin=lambda: Page.id == page_link.c.from_id,
        secondaryjoin=lambda: Page.id == page_link.c.to_id,
        backref=backref("linked"),
    )
    first: Mapped[Page | None] = relationship(
        foreign_keys=above_id, remote_side=above_id, uselist=False, viewonly=True, comparator_factory=Named
    )
    names_below: AssociationProxy[list[str]] = association_proxy("below", "name")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "page"}


class Chapter(Page):
    __mapper_args__ = {"polymorphic_identity": "chapter"}


# A relation that is made behind its class, and one that is no column of it.
Page.late = relationship(Page, primaryjoin=foreign(Page.above_id) == remote(Page.id), viewonly=True)


class Node(Base):
    """Only some of its rows have a mark."""

    __tablename__ = "node"
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), default="node")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("node.id"))
    below: Mapped[list[Node]] = relationship(foreign_keys=above_id, viewonly=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "node"}


class Leaf(SoftDeleteMixin, Node):
    __tablename__ = "leaf"
    id: Mapped[int] = mapped_column(ForeignKey("node.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "leaf"}


class Twig(Node):
    """Mapped after the class with the mark."""

    leaves: Mapped[list[Leaf]] = relationship(
        primaryjoin=lambda: foreign(remote(Node.above_id)) == Node.id, viewonly=True
    )
    __mapper_args__ = {"polymorphic_identity": "twig"}


@pytest.fixture
async def pages(db: Database) -> Database:
    """1 has 4 below it and a link to it, 2 the same with 5, which is deleted, as 3 is, which is above 6."""
    async with db.transaction() as session:
        for key, above, kind in [(1, None, "page"), (2, None, "page"), (3, None, "page")]:
            session.add(Page(id=key, name=f"n{key}", above_id=above, kind=kind))
        await session.flush()
        session.add_all(
            [
                Page(id=4, name="n4", above_id=1),
                Chapter(id=5, name="n5", above_id=2),
                Page(id=6, name="n6", above_id=3),
            ]
        )
        await session.flush()
        await session.execute(page_link.insert(), [{"from_id": 1, "to_id": 4}, {"from_id": 2, "to_id": 5}])
        await session.execute(update(Page).where(Page.id.in_([3, 5])).values(deleted_at=LONG_AGO))
    return db


async def asked(database: Database, condition: Any, **options: Any) -> list[int]:
    async with database.read() as session:
        return sorted(await session.scalars(select(Page.id).where(condition), execution_options=options))


def last_before(key: int) -> ScalarSelect[Any]:
    """Return the subquery for the highest key below one."""
    return select(func.max(Page.id)).where(Page.id < key).scalar_subquery()


def how_many() -> ScalarSelect[int]:
    """Return the subquery for the number of pages, which names no column of theirs."""
    return select(func.count()).select_from(Page).scalar_subquery()


CASES: dict[str, tuple[Callable[[], Any], list[int], list[int]]] = {
    "any": (lambda: Page.below.any(), [1], [1, 2, 3]),
    "not any": (lambda: ~Page.below.any(), [2, 4, 6], [4, 5, 6]),
    "any of a condition": (lambda: Page.below.any(Page.name == "n5"), [], [2]),
    "any of values": (lambda: Page.below.any(name="n4", kind="page"), [1], [1]),
    "any and its own condition": (lambda: Page.below.any(Page.id > 0) & (Page.name != "n1"), [], [2, 3]),
    "any of a subclass": (lambda: Page.below.of_type(Chapter).any(), [], [2]),
    "not any of a subclass": (lambda: ~Page.below.of_type(Chapter).any(), [1, 2, 4, 6], [1, 3, 4, 5, 6]),
    "any of an alias": (lambda: Page.below.of_type(aliased(Page)).any(), [1], [1, 2, 3]),
    "any in any": (lambda: Page.below.any(~Page.below.any()), [1], [1, 2, 3]),
    "has": (lambda: Page.above.has(), [4], [4, 5, 6]),
    "not has": (lambda: ~Page.above.has(), [1, 2, 6], [1, 2, 3]),
    "has of a condition": (lambda: Page.above.has(Page.name == "n3"), [], [6]),
    "without an object": (lambda: ~Page.links.contains(Page(id=5)), [1, 2, 4, 6], [1, 3, 4, 5, 6]),
    "many to many": (lambda: Page.links.any(), [1], [1, 2]),
    "many to many with its table": (lambda: Page.links.any(page_link.c.weight == 1), [1], [1, 2]),
    "the other side, which SQLAlchemy makes": (lambda: Page.linked.any(), [4], [4, 5]),  # type: ignore[attr-defined]
    "not the other side": (lambda: ~Page.linked.any(), [1, 2, 6], [1, 2, 3, 6]),  # type: ignore[attr-defined]
    "made behind the class": (lambda: Page.late.has(), [4], [4, 5, 6]),  # type: ignore[attr-defined]
    "another comparator": (lambda: Page.first.comparator.named("n5"), [], [2]),  # type: ignore[attr-defined]
    "a proxy": (lambda: Page.names_below.contains("n5"), [], [2]),
    "any of a subquery": (lambda: Page.below.any(Page.id == last_before(6)), [1], [2]),
    "not any of a subquery": (lambda: ~Page.below.any(Page.id == last_before(6)), [2, 4, 6], [1, 3, 4, 5, 6]),
    "has of a subquery in or": (
        lambda: Page.above.has(or_(Page.name == "", Page.id < last_before(3), Page.id == last_before(4))),
        [4],
        [4, 6],
    ),
    "any of a subquery and more": (lambda: Page.below.any((Page.id == last_before(6)) & (Page.id > 0)), [1], [2]),
    "any of a count": (lambda: Page.below.any(Page.id == how_many()), [1], [3]),
    "many to many of a subquery": (lambda: Page.links.any(Page.id == last_before(6)), [1], [2]),
    "with a criterion": (lambda: Page.below.and_(Page.id > 0).any(), [1], [1, 2, 3]),
}


class TestPages:
    @pytest.mark.parametrize("name", CASES)
    async def test_the_living_ones_are_seen(self, pages: Database, name: str) -> None:
        """A deleted row is below nothing, above nothing and linked to nothing; with include_deleted it is."""
        condition, living, every = CASES[name]

        assert await asked(pages, condition()) == living
        assert await asked(pages, condition(), include_deleted=True) == every

    async def test_of_an_alias(self, pages: Database) -> None:
        """Asked of an alias, the inner rows are those of the class."""
        low = aliased(Page)
        async with pages.read() as session:
            found = (await session.scalars(select(low.id).where(~low.below.any()).order_by(low.id))).all()
            assert found == [2, 4, 6]

    async def test_in_a_write(self, pages: Database) -> None:
        """UPDATE and DELETE choose by the same rows."""
        async with pages.transaction() as session:
            await session.execute(update(Page).where(~Page.linked.any(), Page.id > 3).values(name="free"))  # type: ignore[attr-defined]

        assert await asked(pages, Page.name == "free", include_deleted=True) == [6]


class TestHierarchies:
    """A class without the mark, above one and beside one that has it."""

    @pytest.fixture
    async def nodes(self, db: Database) -> Database:
        """A node above a deleted leaf, a twig above another one, and a node above a node."""
        async with db.transaction() as session:
            session.add_all([Node(id=1), Twig(id=2), Node(id=3)])
            await session.flush()
            session.add_all([Leaf(id=4, above_id=1), Leaf(id=5, above_id=2), Node(id=6, above_id=3)])
            await session.flush()
            await session.execute(update(Leaf).values(deleted_at=LONG_AGO))
        return db

    async def test_above_the_mark(self, nodes: Database) -> None:
        """Its relation leads to rows of both kinds."""
        async with nodes.read() as session:
            assert (await session.scalars(select(Node.id).where(Node.below.any()))).all() == [3]
            shown = select(Node.id).where(Node.below.any()).order_by(Node.id)
            assert (await session.scalars(shown, execution_options={"include_deleted": True})).all() == [1, 2, 3]

    async def test_beside_the_mark(self, nodes: Database) -> None:
        """A class that was mapped later, with a relation to the one that has it."""
        async with nodes.read() as session:
            assert (await session.scalars(select(Twig.id).where(Twig.leaves.any()))).all() == []
            shown = select(Twig.id).where(Twig.leaves.any())
            assert (await session.scalars(shown, execution_options={"include_deleted": True})).all() == [2]


def test_other_classes_are_left_alone() -> None:
    """A relation of a class that has nothing of ours is SQLAlchemy's own."""

    class Other(DeclarativeBase):
        pass

    class Thing(Other):
        __tablename__ = "thing"
        id: Mapped[int] = mapped_column(primary_key=True)
        above_id: Mapped[int | None] = mapped_column(ForeignKey("thing.id"))
        below: Mapped[list[Thing]] = relationship(foreign_keys=above_id)

    assert type(Thing.below.comparator) is RelationshipProperty.Comparator
