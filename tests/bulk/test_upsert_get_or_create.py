"""Get or create: one row for a key, however many ask for it."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from sqlkeel import queries
from sqlkeel.bulk import get_or_create, insert_many
from sqlkeel.errors import InvalidValue, NotSupported, TransientFault, UniqueViolation, UnknownField
from sqlkeel.sessions import Database
from tests.bulk.models import Base, User

pytestmark = pytest.mark.tables(Base.metadata)


class TestGetOrCreate:
    async def test_it_makes_then_finds(self, every_driver: Database) -> None:
        """The first call makes the row, the second returns it as it is."""
        async with every_driver.transaction() as session:
            made, is_new = await get_or_create(session, User, {"email": "a"}, {"city": "Bern"})
            found, is_new_again = await get_or_create(session, User, {"email": "a"}, {"city": "Rome"})

            assert (is_new, is_new_again) == (True, False)
            assert found is made
            assert (found.city, found.version) == ("Bern", 1)

    async def test_finding_is_one_statement(self, every_driver: Database) -> None:
        """The usual case costs one SELECT."""
        async with every_driver.transaction() as session:
            await get_or_create(session, User, {"email": "a"}, {})
            async with queries(every_driver, exactly=1) as seen:
                await get_or_create(session, User, {"email": "a"}, {})

        assert seen.statements[0].startswith("SELECT")

    async def test_concurrent_callers_share_one_row(self, every_driver: Database) -> None:
        """Twenty concurrent calls for one key make one row and raise nothing."""

        async def call() -> tuple[int, bool]:
            async with every_driver.transaction() as session:
                user, is_new = await get_or_create(session, User, {"email": "a"}, {"city": "Bern"})
                return user.id, is_new

        answers = await asyncio.gather(*(call() for _ in range(20)))

        assert [is_new for _, is_new in answers].count(True) == 1
        assert len({key for key, _ in answers}) == 1

    async def test_a_row_that_came_after_the_snapshot(self, mariadb: Database) -> None:
        """At REPEATABLE READ the row of another transaction is returned, though the snapshot does not have it."""
        async with mariadb.transaction() as session, mariadb.session() as other:
            await session.execute(select(User))
            await insert_many(other, User, [{"email": "a"}])
            await other.commit()

            user, is_new = await get_or_create(session, User, {"email": "a"}, {})

            assert (user.email, is_new) == ("a", False)

    async def test_a_row_that_came_after_a_serializable_snapshot(self, postgres: Database) -> None:
        """Where PostgreSQL cannot show the row, the transaction is one to run again."""
        async with postgres.session() as session, postgres.transaction() as other:
            await session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            await session.execute(select(User))
            await insert_many(other, User, [{"email": "a"}])
            await other.commit()

            with pytest.raises(TransientFault):
                await get_or_create(session, User, {"email": "a"}, {})

    async def test_another_violation_is_raised(self, every_driver: Database) -> None:
        """A value of another unique column that is taken is not taken for the row."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "nick": "n"}])

            with pytest.raises(UniqueViolation) as caught:
                async with session.savepoint():
                    await get_or_create(session, User, {"email": "b"}, {"nick": "n"})

        assert caught.value.columns == ("nick",)

    async def test_what_is_not_unique(self, every_driver: Database) -> None:
        """Without a unique constraint nothing could prevent a second row."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(NotSupported, match=r"User\.email"):
                await get_or_create(session, User, {"city": "Bern"}, {"email": "a"})

    async def test_none_is_no_key(self, every_driver: Database) -> None:
        """NULL equals nothing."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidValue):
                await get_or_create(session, User, {"nick": None}, {"email": "a"})

    async def test_an_unknown_field(self, every_driver: Database) -> None:
        """A default that the model does not have is refused."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(UnknownField):
                await get_or_create(session, User, {"email": "a"}, {"town": "x"})
