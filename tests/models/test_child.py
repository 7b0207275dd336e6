"""Tests of models._relations for one child: a unique foreign key, and the same rules as for several."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import ForeignKey, ForeignKeyConstraint, UniqueConstraint, delete
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel.errors import CascadeMismatch, ForeignKeyViolation, UniqueViolation, UnloadedAttribute
from sqlkeel.models import IntKeyMixin, child, children, parent, unique_live
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin


class Base(sqlkeel.Base):
    pass


class Owner(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "owner"
    account: Mapped[Account | None] = child(back_populates="owner")
    house: Mapped[House | None] = child(back_populates="owner", on_delete="set null")
    passport: Mapped[Passport | None] = child(back_populates="owner", on_delete="restrict")


class Account(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "account"
    __table_args__ = (unique_live("owner_id"),)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"), index=True)
    owner: Mapped[Owner] = parent(back_populates="account")


class House(IntKeyMixin, Base):
    __tablename__ = "house"
    owner_id: Mapped[int | None] = mapped_column(ForeignKey("owner.id"), unique=True)
    owner: Mapped[Owner | None] = parent(back_populates="house")


class Passport(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "passport"
    __table_args__ = (unique_live("owner_id"),)
    owner_id: Mapped[int] = mapped_column(ForeignKey("owner.id"), index=True)
    owner: Mapped[Owner] = parent(back_populates="passport")


class Ship(IntKeyMixin, Base):
    """Is really deleted, and its log with it."""

    __tablename__ = "ship"
    log: Mapped[Log | None] = child(back_populates="ship", delete_orphan=True)
    bell: Mapped[Bell] = child(back_populates="ship")


class Log(IntKeyMixin, Base):
    __tablename__ = "log"
    ship_id: Mapped[int] = mapped_column(ForeignKey("ship.id"), unique=True)
    ship: Mapped[Ship] = parent(back_populates="log")


class Bell(Base):
    """Its key is that of its ship."""

    __tablename__ = "bell"
    ship_id: Mapped[int] = mapped_column(ForeignKey("ship.id"), primary_key=True)
    ship: Mapped[Ship] = parent(back_populates="bell")


Base.registry.configure()
pytestmark = pytest.mark.tables(Base.metadata)


class Marked(IntKeyMixin, SoftDeleteMixin):
    pass


def refusal(base: type[sqlkeel.Base]) -> str:
    """Return the error of models that cannot be configured, and forget them: they would be refused again."""
    with pytest.raises(CascadeMismatch) as caught:
        base.registry.configure()
    base.registry.dispose()
    return str(caught.value)


def refused(relation: Any, *args: Any, mixin: type = IntKeyMixin, note: Any = None) -> str:
    """Return the error of a model with this relation to another one, whose table has *args*; *note* is its type."""

    class Fresh(sqlkeel.Base):
        pass

    class Down(mixin, Fresh):  # type: ignore[misc,valid-type]
        __tablename__ = "down"
        __table_args__ = args
        up_id: Mapped[int] = mapped_column(ForeignKey("up.id"), index=True)

    body = {
        "__tablename__": "up",
        "down": relation,
        "__annotations__": {"down": Mapped[Down | None] if note is None else note(Down)},
    }
    type("Up", (mixin, Fresh), body)
    return refusal(Fresh)


class TestDelete:
    async def test_a_soft_deleted_row_takes_it_along(self, every_driver: Database) -> None:
        """The child is marked with its parent, and comes back with it."""
        async with every_driver.transaction() as session:
            session.add(Owner(id=1, account=Account(id=1)))
        async with every_driver.transaction() as session:
            owners, accounts = Repository(session, Owner), Repository(session, Account)
            owner = await owners.get_one(1, load=[Owner.account])

            await owners.delete(owner)
            gone = await accounts.count()
            await owners.restore(owner)

            assert (gone, await accounts.count()) == (0, 1)

    async def test_another_one_may_take_its_place(self, every_driver: Database) -> None:
        """A deleted child keeps nothing taken, and two living ones are refused by the database."""
        async with every_driver.transaction() as session:
            accounts = Repository(session, Account)
            session.add(Owner(id=1, account=Account(id=1)))
            await session.flush()
            await accounts.delete(await accounts.get_one(1))
            await accounts.create(id=2, owner_id=1)

            with pytest.raises(UniqueViolation):
                async with session.begin_nested():
                    await accounts.create(id=3, owner_id=1)

    @pytest.mark.parametrize("loaded", [True, False])
    async def test_the_database_deletes_it(self, every_driver: Database, loaded: bool) -> None:
        """A row that is removed takes it along by ON DELETE, whether it is loaded or not."""
        async with every_driver.transaction() as session:
            session.add(Ship(id=1, log=Log(), bell=Bell()))
        async with every_driver.transaction() as session:
            ships = Repository(session, Ship)
            await ships.delete(await ships.get_one(1, load=[Ship.log, Ship.bell] if loaded else []))

            assert await Repository(session, Log).count() == await Repository(session, Bell).count() == 0

    async def test_by_sql_as_well(self, every_driver: Database) -> None:
        """A DELETE by hand leaves the same."""
        async with every_driver.transaction() as session:
            session.add(Ship(id=1, log=Log(), bell=Bell()))
            await session.flush()
            await session.execute(delete(Ship.__table__))

            assert await Repository(session, Log).count() == 0

    async def test_restrict_keeps_the_parent(self, every_driver: Database) -> None:
        """A row with a child that restricts is not deleted."""
        async with every_driver.transaction() as session:
            session.add(Owner(id=1, passport=Passport()))
            await session.flush()
            owner = await Repository(session, Owner).get_one(1)

            with pytest.raises(ForeignKeyViolation):
                await Repository(session, Owner).delete(owner)

    async def test_an_orphan_goes(self, every_driver: Database) -> None:
        """With delete_orphan a child that is taken out of its place is removed."""
        async with every_driver.transaction() as session:
            session.add(Ship(id=1, log=Log(), bell=Bell()))
        async with every_driver.transaction() as session:
            ship = await Repository(session, Ship).get_one(1, load=[Ship.log])
            ship.log = None
            await session.flush()
            ship.log = Log()
            await session.flush()

            assert await Repository(session, Log).count() == 1


class TestLoad:
    async def test_one_statement_for_all(self, every_driver: Database) -> None:
        """It comes with the query by a join, and not by a statement for each row."""
        async with every_driver.transaction() as session:
            session.add_all(Owner(id=n, account=Account() if n % 2 else None) for n in range(1, 9))
        async with every_driver.read() as session, queries(every_driver, exactly=1):
            owners = await Repository(session, Owner).get_all(load=[Owner.account])

            assert [owner.account is not None for owner in owners] == [True, False] * 4

    async def test_what_is_not_loaded_is_an_error(self, every_driver: Database) -> None:
        """Reading it without having loaded it is refused, as of any relationship."""
        async with every_driver.transaction() as session:
            session.add(Owner(id=1, account=Account()))
        async with every_driver.read() as session:
            owner = await Repository(session, Owner).get_one(1)

            with pytest.raises(UnloadedAttribute):
                _ = owner.account


class TestRefused:
    def test_a_key_that_is_not_unique(self) -> None:
        """The message holds what to write, for a model of soft delete what counts living rows."""
        assert "down(up_id) lets several point to it" in (told := refused(child()))
        assert "unique=True on the column, in Down" in told
        assert 'unique_live("up_id"), in Down' in refused(child(), mixin=Marked)

    def test_a_wider_constraint_is_not_enough(self) -> None:
        """A constraint over more columns lets several rows in."""
        assert "lets several" in refused(child(), UniqueConstraint("up_id", "id"))

    def test_a_composite_key(self) -> None:
        """Of a key of two columns, a constraint over both is named."""

        class Fresh(sqlkeel.Base):
            pass

        class Cell(Fresh):
            __tablename__ = "cell"
            row: Mapped[int] = mapped_column(primary_key=True)
            column: Mapped[int] = mapped_column(primary_key=True)
            mark: Mapped[Mark | None] = child()

        class Mark(IntKeyMixin, Fresh):
            __tablename__ = "mark"
            __table_args__ = (ForeignKeyConstraint(["row", "column"], ["cell.row", "cell.column"]),)
            row: Mapped[int]
            column: Mapped[int]

        assert 'UniqueConstraint("row", "column"), in Mark' in refusal(Fresh)

    def test_children_of_one(self) -> None:
        """One row has its own word, whether the call or the annotation says that it is one."""
        with pytest.raises(CascadeMismatch, match=r"child\(\.\.\.\)"):
            children(uselist=False)
        assert "Up.down = child(...), or Mapped[list[Down]]" in refused(children(), UniqueConstraint("up_id"))

    def test_a_child_of_several(self) -> None:
        """A list is not one row."""
        told = refused(child(), UniqueConstraint("up_id"), note=lambda down: Mapped[list[down]])

        assert "annotated as several" in told
        assert "Mapped[Down | None], or children(...)" in told

    @pytest.mark.parametrize("option", ["cascade", "passive_deletes", "secondary", "viewonly", "uselist", "order_by"])
    def test_it_sets_its_options_itself(self, option: str) -> None:
        """What it says in one word is not said again."""
        with pytest.raises(CascadeMismatch, match=rf"child\(\) sets {option} itself"):
            child(**{option: None})

    def test_contradictions(self) -> None:
        """A rule that is none, an orphan that is kept, and a restriction without the other side."""
        with pytest.raises(CascadeMismatch, match="not a rule"):
            child(on_delete="cascad")  # type: ignore[arg-type]
        with pytest.raises(CascadeMismatch, match=r'child\(on_delete="set null", delete_orphan=True\)'):
            child(on_delete="set null", delete_orphan=True)
        with pytest.raises(CascadeMismatch, match=r'child\(on_delete="restrict", back_populates="\.\.\."\)'):
            child(on_delete="restrict")

    def test_the_side_of_the_key(self) -> None:
        """The row that holds the foreign key is the child, and not its parent."""

        class Fresh(sqlkeel.Base):
            pass

        class Up(IntKeyMixin, Fresh):
            __tablename__ = "up"

        class Down(IntKeyMixin, Fresh):
            __tablename__ = "down"
            up_id: Mapped[int] = mapped_column(ForeignKey("up.id"), unique=True)
            up: Mapped[Up] = child()

        assert "Down.up holds the foreign key itself" in refusal(Fresh)

    def test_the_other_side_is_told_the_word(self) -> None:
        """Where the two sides disagree, the message names child()."""

        class Fresh(sqlkeel.Base):
            pass

        class Up(IntKeyMixin, Fresh):
            __tablename__ = "up"
            down: Mapped[Down | None] = relationship(back_populates="up")

        class Down(IntKeyMixin, Fresh):
            __tablename__ = "down"
            up_id: Mapped[int] = mapped_column(ForeignKey("up.id", ondelete="CASCADE"), unique=True)
            up: Mapped[Up] = parent(back_populates="down")

        assert 'Up.down = child(on_delete="cascade", back_populates="up")' in refusal(Fresh)
