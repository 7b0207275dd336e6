"""Composite types of PostgreSQL, which SQLAlchemy knows only by the name that the model gives."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import UserDefinedType

import sqlkeel
from sqlkeel import IntKeyMixin
from sqlkeel.bulk import insert_many_returning
from sqlkeel.database import Database
from sqlkeel.errors import ValueRefused
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
