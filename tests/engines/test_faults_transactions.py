"""Transactions that the database has given up, on the real server through each driver."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy import insert, text, update

from sqlkeel.errors import Deadlock, SchemaMissing, StatementTimeout, TransactionAborted, ValueRefused
from sqlkeel.sessions import Database
from tests.engines.fault_tables import VALUES, count_people, fill, metadata, person, pet
from tests.engines.peers import SLOW
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.tables(metadata)


def chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    current: BaseException | None = error
    while current is not None:
        yield current
        current = current.__cause__


class TestAbortedTransactions:
    async def test_a_swallowed_error_cannot_be_committed(self, postgresql: Database) -> None:
        """PostgreSQL turns the COMMIT of a failed transaction into a ROLLBACK, silently; we say so."""
        with pytest.raises(TransactionAborted) as caught:
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        assert [type(error) for error in chain(caught.value)][:2] == [TransactionAborted, SchemaMissing]
        assert await count_people(postgresql) == 0

    async def test_the_first_failure_is_named(self, postgresql: Database) -> None:
        """Of several errors that were swallowed, it is the first that explains all others."""
        with pytest.raises(TransactionAborted) as caught:
            async with postgresql.transaction() as session:
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))
                with pytest.raises(TransactionAborted, match="select 1 from nowhere"):
                    await session.execute(text("select 2"))

        assert caught.value.statement == "select 1 from nowhere"
        assert "SQL: select 1 from nowhere" in str(caught.value)

    async def test_what_was_not_sent_aborts_nothing(self, postgres: Database) -> None:
        """An argument that asyncpg cannot encode never reached the server: the transaction is whole."""
        async with postgres.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            with pytest.raises(ValueRefused):
                await session.execute(VALUES["of the wrong type"])

        assert await count_people(postgres) == 1

    async def test_a_savepoint_keeps_the_transaction_usable(self, every_driver: Database) -> None:
        """An error inside a savepoint costs only what was done inside."""
        async with every_driver.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))
            with pytest.raises(SchemaMissing):
                async with session.savepoint():
                    await session.execute(insert(person).values(id=2, email="b"))
                    await session.execute(text("select 1 from nowhere"))
            await session.execute(insert(person).values(id=3, email="c"))

        assert await count_people(every_driver) == 2

    async def test_an_error_after_a_savepoint_counts(self, postgresql: Database) -> None:
        """That two savepoints contained theirs does not excuse the third one, which none contained."""
        with pytest.raises(TransactionAborted):
            async with postgresql.transaction() as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    async with session.savepoint():
                        await session.execute(text("select 1 from nowhere"))
                with pytest.raises(SchemaMissing):
                    async with session.savepoint():
                        await session.execute(text("select 1 from nowhere"))
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        assert await count_people(postgresql) == 0

    async def test_a_rollback_ends_it(self, postgresql: Database) -> None:
        """What is done on the same connection afterwards is a transaction that may be committed."""
        async with postgresql.engine.connect() as connection:
            with pytest.raises(SchemaMissing):
                await connection.execute(text("select 1 from nowhere"))
            await connection.rollback()
            await connection.execute(insert(person).values(id=1, email="a"))
            await connection.commit()

        assert await count_people(postgresql) == 1

    async def test_the_next_borrower_has_nothing_to_do_with_it(
        self, postgresql: Database, open_database: OpenDatabase
    ) -> None:
        """On the same connection, the next transaction is committed."""
        database = open_database(postgresql, pool_size=1, max_overflow=0)
        with pytest.raises(TransactionAborted):
            async with database.transaction() as session:
                with pytest.raises(SchemaMissing):
                    await session.execute(text("select 1 from nowhere"))

        async with database.transaction() as session:
            await session.execute(insert(person).values(id=1, email="a"))

        assert await count_people(postgresql) == 1

    async def test_a_connection_of_an_engine_is_held_to_it(self, postgresql: Database) -> None:
        """Who works without a session is not told that it is committed either."""
        with pytest.raises(TransactionAborted):
            async with postgresql.engine.begin() as connection:
                await connection.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(SchemaMissing):
                    await connection.execute(text("select 1 from nowhere"))

        assert await count_people(postgresql) == 0

    async def test_a_swallowed_deadlock_cannot_be_continued(self, mariadb: Database) -> None:
        """MariaDB rolls all back; what followed would be committed alone."""
        await fill(mariadb)
        here = asyncio.Barrier(2)
        seen: list[BaseException] = []

        async def careless(first: int, second: int) -> None:
            async with mariadb.transaction() as session:
                await session.execute(update(person).where(person.c.id == first).values(age=50))
                await here.wait()
                try:
                    await session.execute(update(person).where(person.c.id == second).values(age=60))
                except Deadlock as error:
                    seen.append(error)
                await session.execute(insert(pet).values(id=first + 100, owner_id=first))

        results = await asyncio.gather(careless(1, 3), careless(3, 1), return_exceptions=True)

        assert len(seen) == 1
        assert sorted(type(result).__name__ for result in results) == ["NoneType", "TransactionAborted"]
        assert await count_people(mariadb, pet) == 2

    async def test_a_deadlock_in_a_savepoint_is_not_masked(self, server: Database) -> None:
        """MariaDB forgets the savepoint with the transaction; the error is the deadlock, not its absence."""
        await fill(server)
        here = asyncio.Barrier(2)

        async def careful(first: int, second: int) -> None:
            async with server.transaction() as session:
                await session.execute(update(person).where(person.c.id == first).values(age=50))
                await here.wait()
                async with session.savepoint():
                    await session.execute(update(person).where(person.c.id == second).values(age=60))

        results = await asyncio.gather(careful(1, 3), careful(3, 1), return_exceptions=True)

        assert sorted(type(result).__name__ for result in results) == ["Deadlock", "NoneType"]

    async def test_an_interrupted_write_cannot_be_continued(self, sqlite: Database) -> None:
        """SQLite rolls back the transaction of an interrupted write; what followed would be committed at once."""
        endless = SLOW["sqlite"].replace("select count(*) from n", "select -i, i from n")

        with pytest.raises(TransactionAborted):
            async with sqlite.transaction(statement_timeout=0.1) as session:
                await session.execute(insert(person).values(id=1, email="a"))
                with pytest.raises(StatementTimeout):
                    await session.execute(text(f"insert into person (id, email) {endless}"))
                await session.execute(insert(person).values(id=2, email="b"))

        assert await count_people(sqlite) == 0

    async def test_an_error_in_autocommit_aborts_nothing(self, every_driver: Database) -> None:
        """Where each statement is on its own, the next one may go on."""
        async with every_driver.engine.connect() as connection:
            await connection.execution_options(isolation_level="AUTOCOMMIT")
            with pytest.raises(SchemaMissing):
                await connection.execute(text("select 1 from nowhere"))
            await connection.execute(insert(person).values(id=1, email="a"))
            await connection.commit()

        assert await count_people(every_driver) == 1
