"""Tests of sqlkeel.bulk._databases.sqlite: exact answers without help from the database."""

from __future__ import annotations

import pytest
from sqlalchemy import String, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel import IntKeyMixin
from sqlkeel.bulk import UpsertResult, upsert, upsert_many
from sqlkeel.sessions import Database
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Tag(IntKeyMixin, Base):
    """A text that is the same in any case."""

    __tablename__ = "bulk_tag"

    name: Mapped[str] = mapped_column(String(20, collation="NOCASE"), unique=True)
    color: Mapped[str] = mapped_column(String(20, collation="NOCASE"))


pytestmark = pytest.mark.tables(Base.metadata)


class TestConflicts:
    async def test_a_collation_decides(self, sqlite: Database) -> None:
        """What the column's collation calls equal is the same row."""
        async with sqlite.transaction() as session:
            _, first = await upsert(session, Tag, {"name": "A", "color": "red"}, on=[Tag.name])
            _, second = await upsert(session, Tag, {"name": "a", "color": "blue"}, on=[Tag.name])

            assert (first, second) == (True, False)
            assert await values_of(session, Tag.name, Tag.color) == [("A", "blue")]

    async def test_a_change_of_case_is_one(self, sqlite: Database) -> None:
        """Whether a row changes is decided byte by byte."""
        async with sqlite.transaction() as session:
            await upsert_many(session, Tag, [{"name": "a", "color": "red"}], on=[Tag.name])
            result = await upsert_many(session, Tag, [{"name": "a", "color": "RED"}], on=[Tag.name])

        assert result == UpsertResult(0, 1, 0)

    async def test_every_connection_learns_to_tell(self, sqlite: Database) -> None:
        """The function is there on a connection that has never done it."""
        async with sqlite.session() as first, sqlite.session() as second:
            await upsert(first, Tag, {"name": "a", "color": "red"}, on=[Tag.name])
            await first.commit()
            _, is_new = await upsert(second, Tag, {"name": "a", "color": "blue"}, on=[Tag.name])
            await second.commit()

        assert not is_new


class TestStage:
    async def test_nothing_is_left(self, sqlite: Database) -> None:
        """The temporary table is gone when the call ends."""
        async with sqlite.transaction() as session:
            await upsert_many(session, Tag, [{"name": "a", "color": "red"}], on=[Tag.name])

            assert (await session.scalars(text("SELECT name FROM sqlite_temp_master"))).all() == []
