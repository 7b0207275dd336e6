"""Composite types of PostgreSQL, which SQLAlchemy knows only by the name that the model gives."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Text, cast, event, select
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

import sqlkeel
from sqlkeel import IntKeyMixin
from sqlkeel.bulk import insert_many, insert_many_returning, update_many, upsert, upsert_many
from sqlkeel.errors import NotSupported, ValueRefused
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.bulk.models import values_of


class Base(sqlkeel.Base):
    pass


class Pair(UserDefinedType[Any]):
    """A number and a text."""

    cache_ok = True

    def get_col_spec(self, **kw: Any) -> str:
        """Return the name of the type."""
        return "composite_pair"


class Holder(IntKeyMixin, Base):
    __tablename__ = "composite_holder"

    pair: Mapped[Any] = mapped_column(Pair)


@event.listens_for(Base.metadata, "before_create")
def _make_type(target: Any, connection: Any, **kw: Any) -> None:
    connection.exec_driver_sql("CREATE TYPE composite_pair AS (n int, t text)")


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["asyncpg", "psycopg"])
def database(request: pytest.FixtureRequest) -> Database:
    """PostgreSQL through each of its drivers."""
    found: Database = request.getfixturevalue({"asyncpg": "postgres"}.get(request.param, request.param))
    return found


class TestInsertManyReturning:
    async def test_the_objects_come_back(self, postgres: Database) -> None:
        """Several rows are inserted, and their objects come back in order."""
        async with postgres.transaction() as session:
            made = await insert_many_returning(session, Holder, [{"pair": (2, "b")}, {"pair": (1, "it's")}])

            assert [tuple(one.pair) for one in made] == [(2, "b"), (1, "it's")]

    async def test_a_wrong_value(self, postgres: Database) -> None:
        """A value that is none of the type is refused, and nothing is inserted."""
        async with postgres.transaction() as session:
            with pytest.raises(ValueRefused):
                await insert_many_returning(session, Holder, [{"pair": (2, "b")}, {"pair": 5}])

            assert await values_of(session, Holder.id) == []


class TestUpdates:
    async def test_every_verb_writes_them(self, database: Database) -> None:
        """Each verb that updates stores the value as the ORM does, and tells an equal one."""
        async with database.transaction() as session:
            await insert_many(session, Holder, [{"id": 1, "pair": (1, "a")}, {"id": 2, "pair": (1, "a")}])
            await update_many(session, Holder, [{"id": 1, "pair": (2, 'q"')}, {"id": 2, "pair": (3, "it's")}])
            rows = [{"id": 1, "pair": (2, 'q"')}, {"id": 2, "pair": (4, "b")}, {"id": 3, "pair": (5, "c")}]
            done = await upsert_many(session, Holder, rows, on=[Holder.id])
            await upsert(session, Holder, {"id": 3, "pair": (6, "d")}, on=[Holder.id])

            assert done[:3] == (1, 1, 1)
            stored = select(cast(Holder.pair, Text)).order_by(Holder.id)
            assert [*(await session.scalars(stored))] == ['(2,"q""")', "(4,b)", "(6,d)"]


class TestPages:
    async def test_an_order_by_it(self, psycopg: Database) -> None:
        """A page begins behind a value that the driver reads, and sends, as text."""
        async with psycopg.transaction() as session:
            holders = Repository(session, Holder)
            first, second = await insert_many_returning(session, Holder, [{"pair": (1, "it's")}, {"pair": (2, "b")}])

            page = await holders.page(order_by=[Holder.pair], size=1)
            after = await holders.page(order_by=[Holder.pair], size=1, after=page.next)

            assert (page.items, after.items) == ([first], [second])

    async def test_a_value_of_a_class_of_the_driver(self, postgres: Database) -> None:
        """A value that cannot be written in a cursor is refused."""
        async with postgres.transaction() as session:
            await insert_many_returning(session, Holder, [{"pair": (1, "a")}, {"pair": (2, "b")}])

            with pytest.raises(NotSupported, match="cannot be stored in a cursor"):
                await Repository(session, Holder).page(order_by=[Holder.pair], size=1)
