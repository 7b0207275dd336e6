"""Tests of sqlkeel.sessions._by_key: objects know what an ``update()`` with a list of rows has made of theirs."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Computed, ForeignKey, String, select, update
from sqlalchemy.orm import Mapped, mapped_column, selectinload

import sqlkeel
from sqlkeel import Database, IntKeyMixin, TimestampMixin, VersionMixin, children, parent, queries


class Base(sqlkeel.Base):
    pass


class Draft(IntKeyMixin, VersionMixin, TimestampMixin, Base):
    __tablename__ = "draft"
    kind: Mapped[str] = mapped_column(default="draft")
    words: Mapped[int] = mapped_column(default=0)
    pages: Mapped[int] = mapped_column(Computed("words / 100", persisted=True))
    saved: Mapped[int] = mapped_column(default=0, onupdate=lambda: 42)
    note: Mapped[str] = mapped_column(default="")
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "draft"}


class Letter(Draft):
    __tablename__ = "letter"
    id: Mapped[int] = mapped_column(ForeignKey("draft.id", ondelete="CASCADE"), primary_key=True)
    __mapper_args__ = {"polymorphic_identity": "letter"}


class Tag(Base):
    __tablename__ = "tag"
    name: Mapped[str] = mapped_column(String(20), primary_key=True)
    uses: Mapped[int] = mapped_column(default=0)
    used: Mapped[list[Use]] = children(back_populates="tag")


class Use(IntKeyMixin, Base):
    __tablename__ = "use_of_tag"
    tag_name: Mapped[str] = mapped_column(ForeignKey("tag.name"), index=True)
    tag: Mapped[Tag] = parent(back_populates="used")


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=[Draft, Letter])
def model(request: pytest.FixtureRequest) -> Any:
    return request.param


class TestHeld:
    async def test_it_has_what_the_database_filled_in(self, every_driver: Database, model: Any) -> None:
        """The version, the time, a generated column and what a function made are those of the row."""
        async with every_driver.transaction() as session:
            session.add(model(id=1))
        async with every_driver.transaction() as session:
            draft = await session.get_one(Draft, 1)

            await session.execute(update(Draft), [{"id": 1, "version": 1, "words": 700}])

            columns = (Draft.version, Draft.pages, Draft.saved, Draft.updated_at)
            row = (await session.execute(select(*columns))).one()
            assert (draft.version, draft.pages, draft.saved, draft.updated_at) == tuple(row)
            assert row[:3] == (2, 7, 42)

    async def test_it_can_be_changed_afterwards(self, every_driver: Database, model: Any) -> None:
        """A later change is made on the version that the statement has counted."""
        async with every_driver.transaction() as session:
            session.add(model(id=1))
        async with every_driver.transaction() as session:
            draft = await session.get_one(Draft, 1)
            await session.execute(update(Draft), [{"id": 1, "version": 1, "words": 700}])
            draft.words = 800

        async with every_driver.read() as session:
            assert (await session.execute(select(Draft.version, Draft.words))).one() == (3, 800)

    async def test_what_is_not_flushed_stays(self, every_driver: Database) -> None:
        """A change of another attribute that waits is neither lost nor written early."""
        async with every_driver.transaction() as session:
            session.add(Draft(id=1))
        async with every_driver.transaction() as session:
            draft = await session.get_one(Draft, 1)
            with session.no_autoflush:
                draft.note = "mine"
                await session.execute(update(Draft), [{"id": 1, "version": 1, "words": 700}])

                assert (draft.note, draft.version) == ("mine", 2)

        async with every_driver.read() as session:
            assert (await session.execute(select(Draft.note, Draft.words))).one() == ("mine", 700)

    async def test_a_key_that_the_database_alone_calls_equal(self, mariadb: Database) -> None:
        """An object shows its row also where the key is in another case, and others keep what is not flushed."""
        async with mariadb.transaction() as session:
            session.add_all([Tag(name="ann"), Tag(name="bob")])
        async with mariadb.transaction() as session:
            ann, bob = [await session.get_one(Tag, name) for name in ("ann", "bob")]
            with session.no_autoflush:
                bob.uses = 5
                await session.execute(update(Tag), [{"name": "ANN", "uses": 7}])

                assert (ann.uses, bob.uses) == (7, 5)

    async def test_a_number_given_as_text(self, sqlite: Database) -> None:
        """SQLite finds the row of a number by a text."""
        async with sqlite.transaction() as session:
            session.add_all([Tag(name="ann"), Tag(name="bob")])
            session.add_all([Use(id=1, tag_name="ann")])
        async with sqlite.transaction() as session:
            use = await session.get_one(Use, 1)
            ann, bob = await self._tags(session)

            await session.execute(update(Use), [{"id": "1", "tag_name": "bob"}])

            assert use.tag_name == "bob"
            assert (ann.used, bob.used) == ([], [use])

    async def _tags(self, session: Any) -> list[Tag]:
        found = await session.scalars(select(Tag).order_by(Tag.name).options(selectinload(Tag.used)))
        return [*found]

    async def test_keys_that_are_found_read_no_other(self, sqlite: Database) -> None:
        """Where the session holds the objects of all the keys, others are not read."""
        async with sqlite.transaction() as session:
            session.add_all([Tag(name="ann"), Tag(name="bob")])
        async with sqlite.transaction() as session:
            held = [await session.get_one(Tag, name) for name in ("ann", "bob")]

            async with queries(sqlite) as log:
                await session.execute(update(Tag), [{"name": "ann", "uses": 7}])

            assert [held[0].uses, len(log)] == [7, 1]

    async def test_not_where_it_is_not_synchronized(self, every_driver: Database) -> None:
        """With ``synchronize_session=False`` an object stays as it was."""
        async with every_driver.transaction() as session:
            session.add(Draft(id=1))
        async with every_driver.transaction() as session:
            draft = await session.get_one(Draft, 1)
            options = {"synchronize_session": False}

            await session.execute(update(Draft), [{"id": 1, "version": 1, "words": 700}], execution_options=options)

            assert (draft.version, draft.saved) == (1, 0)
