"""Counting what is sent, and holding it to a budget."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import QueryBudgetExceeded
from sqlkeel.observe import queries, record
from sqlkeel.sessions import Database
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Row(Base):
    """A number."""

    __tablename__ = "row"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    value: Mapped[int] = mapped_column(default=0)


pytestmark = pytest.mark.tables(Base.metadata)


async def read(database: Database, times: int) -> None:
    """Send that many queries."""
    async with database.session() as session:
        for _ in range(times):
            await session.execute(select(Row))


class Failure(Exception):
    """What goes wrong in a test."""


class TestQueries:
    async def test_statements_are_listed_in_order(self, every_driver: Database) -> None:
        """The log has what was sent, as it was sent."""
        async with queries(every_driver) as seen, every_driver.transaction() as session:
            session.add(Row(id=1))
            await session.flush()
            await session.execute(select(Row))

        assert [statement.split()[0] for statement in seen] == ["INSERT", "SELECT"]
        assert len(seen) == 2
        assert list(seen) == seen.statements

    async def test_transactions_are_not_counted(self, every_driver: Database) -> None:
        """BEGIN, COMMIT, savepoints and settings of the connection are no queries."""
        async with queries(every_driver) as seen:
            async with every_driver.transaction(read_only=True, lock_timeout=1, statement_timeout=9):
                pass
            async with every_driver.transaction() as session, session.savepoint():
                await session.execute(select(Row))

        assert [statement.split()[0] for statement in seen] == ["SELECT"]

    async def test_reads_are_counted(self, every_driver: Database, open_database: OpenDatabase) -> None:
        """The pool that only reads is heard too, also when its first use is inside the block."""
        database = open_database(every_driver)

        async with queries(database) as seen, database.read() as session:
            await session.execute(select(Row))

        assert len(seen) == 1

    async def test_many_rows_are_one_statement(self, db: Database) -> None:
        """An executemany counts once."""
        async with queries(db) as seen, db.engine.begin() as connection:
            await connection.execute(insert(Base.metadata.tables["row"]), [{"id": 1}, {"id": 2}, {"id": 3}])

        assert len(seen) == 1

    async def test_what_came_before_and_after_is_not_counted(self, db: Database) -> None:
        """A block counts its own statements only."""
        await read(db, 1)
        async with queries(db) as seen:
            await read(db, 2)
        await read(db, 3)

        assert len(seen) == 2

    async def test_blocks_nest(self, db: Database) -> None:
        """An inner block counts for both."""
        async with queries(db) as outer:
            await read(db, 1)
            async with queries(db) as inner:
                await read(db, 2)

        assert (len(outer), len(inner)) == (3, 2)

    async def test_an_engine_will_do(self, db: Database) -> None:
        """A project without our Database passes its engine."""
        async with queries(db.engine) as seen:
            await read(db, 1)

        assert len(seen) == 1

    async def test_other_ways_in_are_recorded(self, db: Database) -> None:
        """What does not pass through SQLAlchemy, such as COPY, is noted by name."""
        async with queries(db) as seen:
            record(db.engine.sync_engine, "COPY row FROM STDIN")

        assert seen.statements == ["COPY row FROM STDIN"]

    async def test_a_text_that_begins_like_a_setting_is_counted(self, db: Database) -> None:
        """Only statements about the transaction are left out."""
        async with queries(db) as seen, db.transaction() as session:
            await session.execute(text("select 1"))

        assert len(seen) == 1


class TestBudget:
    @pytest.mark.parametrize("sent", [0, 1, 2])
    async def test_within_the_budget(self, db: Database, sent: int) -> None:
        """The limit itself passes."""
        async with queries(db, at_most=2) as seen:
            await read(db, sent)

        assert len(seen) == sent

    async def test_one_more_is_too_many(self, db: Database) -> None:
        """The error lists what was sent."""
        with pytest.raises(QueryBudgetExceeded) as caught:
            async with queries(db, at_most=2):
                await read(db, 3)

        assert caught.value.limit == 2
        assert len(caught.value.statements) == 3
        assert "3. SELECT" in str(caught.value)

    async def test_a_budget_of_nothing(self, db: Database) -> None:
        """Zero is a budget."""
        with pytest.raises(QueryBudgetExceeded):
            async with queries(db, at_most=0):
                await read(db, 1)

    @pytest.mark.parametrize("sent", [1, 3])
    async def test_exactly_has_two_sides(self, db: Database, sent: int) -> None:
        """One fewer and one more are refused."""
        with pytest.raises(QueryBudgetExceeded, match="exactly 2"):
            async with queries(db, exactly=2):
                await read(db, sent)

    async def test_exactly_that_many(self, db: Database) -> None:
        """The number itself passes."""
        async with queries(db, exactly=2):
            await read(db, 2)

    async def test_an_error_of_the_block_comes_first(self, db: Database) -> None:
        """A budget never hides what went wrong."""
        with pytest.raises(Failure):
            async with queries(db, at_most=0):
                await read(db, 1)
                raise Failure

    async def test_nothing_is_counted_after_an_error(self, db: Database) -> None:
        """A block that failed listens no more."""
        with pytest.raises(Failure):
            async with queries(db) as seen:
                raise Failure

        await read(db, 1)

        assert len(seen) == 0
