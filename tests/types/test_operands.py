"""The check of operands: for the engines of a Database, and for no other engine of the process."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, create_engine, func, null, select, type_coerce

from sqlkeel.errors import NotSupported
from sqlkeel.sessions import Database
from sqlkeel.types import Money

sample = Table("sample", MetaData(), Column("id", Integer(), primary_key=True), Column("price", Money()))


class TestCheckOperands:
    async def test_a_plain_column_on_the_left(self, every_driver: Database) -> None:
        """A number of pieces is not compared with an amount, whichever stands first."""
        async with every_driver.session() as session:
            with pytest.raises(NotSupported):
                await session.execute(select(sample).where(sample.c.id == sample.c.price))

    async def test_a_value_beside_a_column_is_of_its_type(self, every_driver: Database) -> None:
        """In COALESCE a value is bound as the column's type has it: in cents on SQLite."""
        nothing = type_coerce(null(), Money())

        async with every_driver.session() as session:
            found = await session.scalar(select(func.coalesce(nothing, Decimal("1.50"))))

        assert str(found) == "1.50"

    def test_other_engines_are_left_alone(self) -> None:
        """What is compiled for an engine that is not ours is SQLAlchemy's as ever."""
        statement = select(sample).where(sample.c.id < sample.c.price)

        assert "sample.id < sample.price" in str(statement.compile(create_engine("sqlite://")))
