"""Models that load a relation with every SELECT: the verbs that bring objects bring each of them once."""

from __future__ import annotations

import pytest
from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.orm import Mapped, mapped_column, relationship

import sqlkeel
from sqlkeel import IntKeyMixin, SoftDeleteMixin, unique_live
from sqlkeel.bulk import get_or_create, insert_many_returning, upsert
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Shelf(IntKeyMixin, Base):
    __tablename__ = "eager_shelf"
    name: Mapped[str] = mapped_column(String(20), unique=True)
    room: Mapped[str | None] = mapped_column(String(20))
    kind: Mapped[str] = mapped_column(String(10))
    books: Mapped[list[Book]] = relationship(lazy="joined")

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "shelf"}


class Cabinet(Shelf):
    __mapper_args__ = {"polymorphic_identity": "cabinet"}


class Book(IntKeyMixin, Base):
    __tablename__ = "eager_book"
    shelf_id: Mapped[int] = mapped_column(ForeignKey("eager_shelf.id"), index=True)


class Box(Base):
    """A key that only SQLAlchemy's own INSERT brings in order."""

    __tablename__ = "eager_box"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    lids: Mapped[list[Lid]] = relationship(lazy="joined")


class Lid(IntKeyMixin, Base):
    __tablename__ = "eager_lid"
    box: Mapped[str] = mapped_column(ForeignKey("eager_box.name"), index=True)


class Member(IntKeyMixin, SoftDeleteMixin, Base):
    __tablename__ = "eager_member"
    __table_args__ = (unique_live("email"),)
    email: Mapped[str] = mapped_column(String(20))
    posts: Mapped[list[Post]] = relationship(lazy="joined")


class Post(IntKeyMixin, Base):
    __tablename__ = "eager_post"
    member_id: Mapped[int] = mapped_column(ForeignKey("eager_member.id"), index=True)


pytestmark = pytest.mark.tables(Base.metadata)


class TestInsertManyReturning:
    @pytest.mark.parametrize("second", [{"name": "b"}, {"name": "b", "room": "hall"}])
    async def test_each_object_comes_once(self, every_driver: Database, second: dict[str, str]) -> None:
        """Rows with the same fields and with others bring their objects in order."""
        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Shelf, [{"name": "a"}, second])

        assert [shelf.name for shelf in made] == ["a", "b"]

    async def test_a_key_that_is_given(self, every_driver: Database) -> None:
        """A text for the key goes by SQLAlchemy's own statement."""
        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Box, [{"name": "b"}, {"name": "a"}])

        assert [box.name for box in made] == ["b", "a"]


class TestUpsert:
    @pytest.mark.parametrize("model", [Shelf, Cabinet])
    async def test_a_row_is_met_again(self, every_driver: Database, model: type[Shelf]) -> None:
        """The first call inserts, and the second updates the row, with several books on it."""
        async with every_driver.transaction() as session:
            shelf, created = await upsert(session, model, {"name": "a"}, on=[Shelf.name])
            session.add_all([Book(shelf_id=shelf.id), Book(shelf_id=shelf.id)])
            await session.flush()
            session.expunge_all()
            again, created_again = await upsert(session, model, {"name": "a", "room": "hall"}, on=[Shelf.name])

            assert (created, created_again) == (True, False)
            assert (again.id, again.room, type(again)) == (shelf.id, "hall", model)
            assert await session.scalar(select(func.count()).select_from(Shelf)) == 1

    async def test_a_row_comes_back(self, every_driver: Database) -> None:
        """A deleted row is revived, with several posts below it."""
        async with every_driver.transaction() as session:
            member = Member(email="a", posts=[Post(), Post()])
            session.add(member)
            await session.flush()
            await session.delete(member)
            await session.flush()
            session.expunge_all()
            result = await upsert(session, Member, {"email": "a"}, on=[Member.email], revive=True)

        assert (result[0].id, result.revived) == (member.id, True)


class TestGetOrCreate:
    async def test_a_row_is_found(self, every_driver: Database) -> None:
        """The first call makes the row, and the second finds it, with several books on it."""
        async with every_driver.transaction() as session:
            shelf, created = await get_or_create(session, Shelf, {"name": "a"}, {})
            session.add_all([Book(shelf_id=shelf.id), Book(shelf_id=shelf.id)])
            await session.flush()
            session.expunge_all()
            found, made = await get_or_create(session, Shelf, {"name": "a"}, {})

        assert (created, made, found.id, len(found.books)) == (True, False, shelf.id, 2)
