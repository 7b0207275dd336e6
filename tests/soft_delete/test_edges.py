"""Tests of sqlkeel.soft_delete._edges: a deletion goes along each relation to its rows, and to no others."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, inspect, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, TimestampMixin, VersionMixin, children, parent
from sqlkeel.errors import ForeignKeyViolation, UsageError, VersionConflict
from sqlkeel.sessions import Database
from tests.soft_delete.library import add, bring_back, delete, everything


class Base(sqlkeel.Base):
    pass


class Party(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "party"
    contracts: Mapped[list[Contract]] = relationship(back_populates="party", cascade="all", passive_deletes=True)
    pledges: Mapped[list[Pledge]] = children(back_populates="party", on_delete="restrict")
    cats: Mapped[list[Cat]] = relationship(cascade="all", passive_deletes=True)
    drafts: Mapped[list[Paper]] = relationship(
        primaryjoin="and_(Party.id == Paper.party_id, Paper.state == 'draft')", cascade="all", passive_deletes=True
    )


class Document(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "document"
    kind: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "document"}


class Contract(VersionMixin, TimestampMixin, Document):
    """In a table of its own, with the foreign keys, a version and times there, and the mark in the base table."""

    __tablename__ = "contract"
    id: Mapped[int] = mapped_column("document_no", ForeignKey("document.id", ondelete="CASCADE"), primary_key=True)
    party_id: Mapped[int | None] = mapped_column(ForeignKey("party.id", ondelete="CASCADE"), index=True)
    party: Mapped[Party | None] = relationship(back_populates="contracts")
    above_id: Mapped[int | None] = mapped_column(ForeignKey("contract.document_no", ondelete="CASCADE"), index=True)
    parts: Mapped[list[Contract]] = relationship(
        cascade="all", passive_deletes=True, foreign_keys=above_id, remote_side=above_id
    )
    clauses: Mapped[list[Clause]] = children()
    __mapper_args__ = {"polymorphic_identity": "contract"}


class Clause(SoftDeleteMixin, Base):
    """Below a subclass, with a key of two columns."""

    __tablename__ = "clause"
    contract_no: Mapped[int] = mapped_column(ForeignKey("contract.document_no"), primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)


class Pledge(Document):
    """Its living rows keep their party."""

    __tablename__ = "pledge"
    id: Mapped[int] = mapped_column(ForeignKey("document.id", ondelete="CASCADE"), primary_key=True)
    party_id: Mapped[int] = mapped_column(ForeignKey("party.id"), index=True)
    party: Mapped[Party] = parent(back_populates="pledges")
    __mapper_args__ = {"polymorphic_identity": "pledge"}


class Animal(IntKeyMixin, Base):
    """All kinds in one table; cats are marked, and the others removed."""

    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    party_id: Mapped[int | None] = mapped_column(ForeignKey("party.id", ondelete="CASCADE"), index=True)
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Cat(SoftDeleteMixin, Animal):
    __mapper_args__ = {"polymorphic_identity": "cat"}


class Dog(SoftDeleteMixin, Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Paper(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "paper"
    state: Mapped[str] = mapped_column(String(10))
    party_id: Mapped[int] = mapped_column(ForeignKey("party.id", ondelete="CASCADE"), index=True)


pytestmark = pytest.mark.tables(Base.metadata)


async def living(db: Database, model: Any) -> list[Any]:
    """Return the keys of the rows that are not deleted."""
    async with db.session() as session:
        key = model.__mapper__.primary_key[0]
        return list(await session.scalars(select(key).select_from(model).order_by(key)))


class TestSubclassWithTheForeignKey:
    async def test_only_its_own_rows_are_marked(self, every_driver: Database) -> None:
        """A foreign key in the table of a subclass reaches the rows of that party, and no other document."""
        await add(every_driver, Party(id=1), Party(id=2))
        await add(every_driver, Document(id=10), Contract(id=11, party_id=1), Contract(id=12, party_id=2))

        await delete(every_driver, Party, 1)

        assert await living(every_driver, Document) == [10, 12]

    async def test_they_come_back(self, every_driver: Database) -> None:
        """Restoring the party brings its contracts back, and not what was deleted before."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Contract(id=11, party_id=1), Contract(id=12, party_id=1))
        await delete(every_driver, Contract, 12)
        await delete(every_driver, Party, 1)

        await bring_back(every_driver, Party, 1)

        assert await living(every_driver, Document) == [11]

    async def test_below_a_deleted_party_none_comes_back(self, every_driver: Database) -> None:
        """A contract whose party is deleted is not restored alone."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Contract(id=11, party_id=1))
        await delete(every_driver, Party, 1)

        with pytest.raises(UsageError, match="belongs to a Party that is deleted"):
            await bring_back(every_driver, Contract, 11)

    async def test_a_restricting_relation_looks_at_its_own_rows(self, every_driver: Database) -> None:
        """The living rows of another party refuse nothing."""
        await add(every_driver, Party(id=1), Party(id=2))
        await add(every_driver, Pledge(id=11, party_id=2), Document(id=12))

        await delete(every_driver, Party, 1)

        assert await living(every_driver, Party) == [2]

    async def test_a_restricting_relation_refuses(self, every_driver: Database) -> None:
        """A living row of the party refuses, and names the table with the key."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Pledge(id=11, party_id=1))

        with pytest.raises(ForeignKeyViolation) as caught:
            await delete(every_driver, Party, 1)

        assert (caught.value.table, caught.value.columns) == ("pledge", ("party_id",))

    async def test_a_deleted_row_refuses_nothing(self, every_driver: Database) -> None:
        """A row that is deleted does not keep its party."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Pledge(id=11, party_id=1))
        await delete(every_driver, Pledge, 11)

        await delete(every_driver, Party, 1)

        assert await living(every_driver, Party) == []

    async def test_a_tree_in_the_table_of_a_subclass(self, every_driver: Database) -> None:
        """A tree whose key is in the table of a subclass goes to its leaves, and what hangs on them with it."""
        await add(every_driver, Contract(id=1), Document(id=9))
        await add(every_driver, Contract(id=2, above_id=1), Contract(id=3))
        await add(every_driver, Contract(id=4, above_id=2), Clause(contract_no=3, number=1))
        await add(every_driver, Clause(contract_no=4, number=1), Clause(contract_no=4, number=2))

        await delete(every_driver, Contract, 1)

        assert await living(every_driver, Document) == [3, 9]
        assert await living(every_driver, Clause) == [3]


class TestOtherTablesOfTheRow:
    async def test_the_version_counts(self, every_driver: Database) -> None:
        """A version in another table than the mark is counted by a deletion and by what takes the row along."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Contract(id=11, party_id=1), Contract(id=12))

        deleted = await delete(every_driver, Contract, 12)
        await delete(every_driver, Party, 1)

        assert deleted.version == 2
        assert [row.version for row in await everything(every_driver, Contract)] == [2, 2]

    async def test_the_time_moves(self, every_driver: Database) -> None:
        """So does the time of the last change."""
        await add(every_driver, Contract(id=11))
        (before,) = await everything(every_driver, Contract)

        deleted = await delete(every_driver, Contract, 11)

        assert deleted.updated_at > before.updated_at

    async def test_a_stale_version_is_a_conflict(self, every_driver: Database) -> None:
        """Who read an older version deletes nothing."""
        await add(every_driver, Contract(id=11))
        async with every_driver.session() as session:
            seen = await session.get_one(Contract, 11)
            await session.commit()
            async with every_driver.transaction() as other:
                (await other.get_one(Contract, 11)).above_id = 11

            with pytest.raises(VersionConflict):
                await session.delete(seen)

            await session.rollback()
        assert await living(every_driver, Document) == [11]


class TestOneTableForSeveralClasses:
    async def test_a_relation_to_one_class_takes_only_that(self, every_driver: Database) -> None:
        """A relation to one class of a table does not mark rows of another one with the same foreign key."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Cat(id=1, party_id=1), Dog(id=2, party_id=1), Animal(id=3, party_id=1))

        await delete(every_driver, Party, 1)

        assert await living(every_driver, Animal) == [2, 3]


class TestConditionOfItsOwn:
    async def test_only_what_the_relation_holds_goes(self, every_driver: Database) -> None:
        """A relation with a condition takes along the rows that meet it."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Paper(id=1, state="draft", party_id=1), Paper(id=2, state="final", party_id=1))

        await delete(every_driver, Party, 1)

        assert await living(every_driver, Paper) == [2]

    async def test_what_the_relation_does_not_hold_comes_back_alone(self, every_driver: Database) -> None:
        """A row that would not go along is not kept from coming back."""
        await add(every_driver, Party(id=1))
        await add(every_driver, Paper(id=2, state="final", party_id=1))
        await delete(every_driver, Paper, 2)
        await delete(every_driver, Party, 1)

        await bring_back(every_driver, Paper, 2)

        assert await living(every_driver, Paper) == [2]


class TestSQLAlchemy:
    def test_a_subquery_says_of_which_class_it_is(self) -> None:
        """Canary of `_propagate_attrs`: by it an UPDATE around a relation of its own would be of the class above."""
        subquery: Any = select(Party.id).subquery()

        assert subquery._propagate_attrs["plugin_subject"] is inspect(Party)
