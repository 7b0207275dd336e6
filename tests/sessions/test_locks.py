"""Locks: rows as they are now, and what cannot be locked."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import selectinload

from sqlkeel.engines._backend import READ_ONLY
from sqlkeel.errors import (
    CheckViolation,
    InvalidKey,
    InvalidValue,
    NoTransaction,
    ReadOnlySession,
    UnloadedAttribute,
    UsageError,
)
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.sessions._locks import advisory_lock, lock_rows
from sqlkeel.sessions._session import SyncSession
from tests.sessions.lock_models import (
    Account,
    Animal,
    Base,
    Car,
    Document,
    Dog,
    Entry,
    Parcel,
    Seat,
    Vehicle,
    accounts,
    add,
    balances,
    free,
    name_is_free,
)

pytestmark = pytest.mark.tables(Base.metadata)


async def pay_in(db: Database, key: int, amount: int) -> None:
    """Change an account from outside."""
    async with db.transaction() as session:
        await session.execute(update(Account).where(Account.id == key).values(balance=Account.balance + amount))


class TestRows:
    async def test_they_come_in_the_order_of_their_keys(self, every_driver: Database) -> None:
        """However the keys were given, and each once."""
        await accounts(every_driver, 10, 20, 30)

        async with every_driver.transaction() as session:
            rows = await session.lock_rows(Account, [3, 1, 2, 1])

        assert [(row.id, row.balance) for row in rows] == [(1, 10), (2, 20), (3, 30)]

    async def test_keys_without_a_row_are_left_out(self, every_driver: Database) -> None:
        """Nobody can lock what is not there."""
        await accounts(every_driver, 10)

        async with every_driver.transaction() as session:
            rows = await session.lock_rows(Account, iter([1, 2]))

        assert [row.id for row in rows] == [1]

    async def test_a_key_that_is_repeated_is_one(self, db: Database) -> None:
        """However often it is named, it is asked for once."""
        await accounts(db, 10)

        async with queries(db, exactly=1), db.transaction() as session:
            rows = await session.lock_rows(Account, [1] * 501)

        assert [row.id for row in rows] == [1]

    async def test_no_keys_are_no_statement(self, db: Database) -> None:
        """An empty list asks for nothing."""
        async with queries(db, exactly=0), db.transaction() as session:
            assert await session.lock_rows(Account, []) == []

    async def test_keys_of_two_columns(self, every_driver: Database) -> None:
        """They are tuples, and sorted by their columns."""
        await add(every_driver, *(Seat(row=row, number=number) for row in (1, 2) for number in (1, 2)))

        async with every_driver.transaction() as session:
            rows = await session.lock_rows(Seat, [(2, 1), (1, 2), (9, 9)])

        assert [(row.row, row.number) for row in rows] == [(1, 2), (2, 1)]

    async def test_keys_that_are_uuids(self, every_driver: Database) -> None:
        """Any type of key will do."""
        keys = [uuid.UUID(int=number) for number in (1, 2, 3)]
        await add(every_driver, *(Parcel(id=key) for key in keys))

        async with every_driver.transaction() as session:
            rows = await session.lock_rows(Parcel, reversed(keys))

        assert [row.id for row in rows] == keys

    @pytest.mark.parametrize(("count", "statements"), [(500, 1), (501, 2)])
    async def test_many_keys_are_few_statements(self, db: Database, count: int, statements: int) -> None:
        """One for each 500, and the order goes on from one to the next."""
        await accounts(db, *(0 for _ in range(count)))

        async with queries(db, exactly=statements), db.transaction() as session:
            rows = await session.lock_rows(Account, range(count, 0, -1))

        assert [row.id for row in rows] == list(range(1, count + 1))

    @pytest.mark.parametrize(("count", "statements"), [(250, 1), (251, 2)])
    async def test_many_keys_of_two_columns(self, db: Database, count: int, statements: int) -> None:
        """The bound is on values, of which such a key has two."""
        await add(db, *(Seat(row=1, number=number) for number in range(count)))

        async with queries(db, exactly=statements), db.transaction() as session:
            rows = await session.lock_rows(Seat, [(1, number) for number in range(count)])

        assert len(rows) == count

    async def test_deleted_rows_are_left_out(self, db: Database) -> None:
        """A row that is marked as deleted is not there."""
        live, dead = Document(id=1, title="live"), Document(id=2, title="dead")
        await add(db, live, dead)
        async with db.transaction() as session:
            await session.delete(await session.get_one(Document, 2))

        async with db.transaction() as session:
            rows = await session.lock_rows(Document, [1, 2])

        assert [row.title for row in rows] == ["live"]

    async def test_rows_of_subclasses_are_whole(self, every_driver: Database) -> None:
        """A subclass with a table of its own is locked and loaded by one more statement."""
        await add(every_driver, Animal(id=1), Dog(id=2, tricks=7))

        async with queries(every_driver, exactly=2), every_driver.transaction() as session:
            rows = await session.lock_rows(Animal, [1, 2])

            assert [type(row) for row in rows] == [Animal, Dog]
            assert isinstance(rows[1], Dog)
            assert rows[1].tricks == 7

    async def test_subclasses_that_are_joined_into_each_query(self, every_driver: Database) -> None:
        """An outer join does not stand in the way."""
        await add(every_driver, Vehicle(id=1), Car(id=2))

        async with every_driver.transaction() as session:
            rows = await session.lock_rows(Vehicle, [1, 2])

        assert [type(row) for row in rows] == [Vehicle, Car]

    async def test_what_is_loaded_with_them_is_loaded(self, every_driver: Database) -> None:
        """What a query would join comes with a statement of its own, whether there is something or not."""
        await accounts(every_driver, 10)
        await add(every_driver, Entry(id=1, account_id=1), Entry(id=2))

        async with queries(every_driver, exactly=3), every_driver.transaction() as session:
            with_account, without = await session.lock_rows(Entry, [1, 2])

            assert with_account.account is not None
            assert with_account.account.balance == 10
            assert without.account is None


class TestFreshValues:
    async def test_a_loaded_object_gets_the_values_of_now(self, every_driver: Database) -> None:
        """What the session read before does not count under the lock."""
        await accounts(every_driver, 10)

        async with every_driver.session() as session:
            account = await session.get_one(Account, 1)
            await session.commit()
            await pay_in(every_driver, 1, 5)
            rows = await session.lock_rows(Account, [1])
            await session.commit()

        assert rows == [account]
        assert account.balance == 15

    async def test_a_snapshot_does_not_hide_them(self, server: Database, other: Database) -> None:
        """MariaDB goes on showing what was there at the first read; a lock shows what is there."""
        await accounts(server, 10)

        async with server.transaction() as session:
            account = await session.get_one(Account, 1)
            await pay_in(other, 1, 5)
            await session.lock_rows(Account, [1])

            assert account.balance == 15

    async def test_a_version_moves_along(self, server: Database, other: Database) -> None:
        """After the lock a versioned row can be written, although somebody was faster before it."""
        await add(server, Document(id=1, title="first"))

        async with server.transaction() as session:
            document = await session.get_one(Document, 1)
            async with other.transaction() as peer:
                (await peer.get_one(Document, 1)).title = "second"
            await session.lock_rows(Document, [1])
            read = document.title
            document.title = "third"

        assert (read, document.version) == ("second", 3)

    async def test_changes_of_the_session_are_not_lost(self, db: Database) -> None:
        """What was set and not yet written is written first."""
        await accounts(db, 10)

        async with db.transaction() as session:
            account = await session.get_one(Account, 1)
            with session.no_autoflush:
                account.balance = 11
                await session.lock_rows(Account, [1])

            assert account.balance == 11

        assert await balances(db) == [11]

    async def test_relationships_are_forgotten(self, db: Database) -> None:
        """What was loaded before the lock may be old; a read says how to load it again."""
        await accounts(db, 10)

        async with db.transaction() as session:
            account = await session.get_one(Account, 1, options=[selectinload(Account.entries)])
            await session.lock_rows(Account, [1])

            with pytest.raises(UnloadedAttribute):
                _ = account.entries

    async def test_a_row_of_a_subclass(self, server: Database, other: Database) -> None:
        """The columns of its own table are of now as well."""
        await add(server, Dog(id=1, tricks=1))

        async with server.transaction() as session:
            dog = await session.get_one(Dog, 1)
            async with other.transaction() as peer:
                (await peer.get_one(Dog, 1)).tricks = 2
            await session.lock_rows(Animal, [1])

            assert dog.tricks == 2

    async def test_a_savepoint_restores_values_of_under_the_lock(self, server: Database, other: Database) -> None:
        """The former values of a locked row are those it was locked with, not those of an older snapshot."""
        await accounts(server, 10)

        async with server.transaction() as session:
            account = await session.get_one(Account, 1)
            await pay_in(other, 1, 5)
            await session.lock_rows(Account, [1])
            with pytest.raises(CheckViolation):
                async with session.savepoint():
                    account.balance -= 100
            restored = account.balance
            account.balance += 1

        assert restored == 15
        assert await balances(server) == [16]


class TestRefusals:
    async def test_a_session_for_reading(self, db: Database) -> None:
        """It has no transaction that could keep a lock."""
        async with db.read() as session:
            with pytest.raises(ReadOnlySession):
                await session.lock_rows(Account, [1])
            with pytest.raises(ReadOnlySession):
                await session.advisory_lock("a")

    async def test_a_transaction_for_reading(self, db: Database) -> None:
        """Who locks wants to write, and cannot."""
        async with db.transaction(read_only=True) as session:
            with pytest.raises(ReadOnlySession):
                await session.lock_rows(Account, [1])
            with pytest.raises(ReadOnlySession):
                await session.advisory_lock("a")

    async def test_statements_that_commit_by_themselves(self, every_driver: Database) -> None:
        """The lock would be gone before the answer is there."""
        async with every_driver.session() as session:
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})

            with pytest.raises(NoTransaction):
                await session.lock_rows(Account, [1])
            with pytest.raises(NoTransaction):
                await session.advisory_lock("a")

    @pytest.mark.parametrize("name", [3, None, b"stock", ["stock"]], ids=repr)
    async def test_a_name_that_is_no_text(self, every_driver: Database, name: Any) -> None:
        """SQLite took it, MariaDB locked another name for it, and PostgreSQL refused the statement."""
        with pytest.raises(UsageError, match=r"takes a string as name, not"):
            async with every_driver.transaction() as session:
                await session.advisory_lock(name)

    async def test_a_session_that_was_not_begun(self, db: Database) -> None:
        """A session that begins only when told to has nothing to end the lock with."""
        async with db.session(autobegin=False) as session:
            with pytest.raises(NoTransaction):
                await session.lock_rows(Account, [1])
            async with session.begin():
                assert await session.lock_rows(Account, [1]) == []

    async def test_an_engine_that_begins_without_the_lock(self, sqlite: Database) -> None:
        """SQLite as its driver begins it lets two transactions read the same and write it back."""
        engine = create_async_engine(sqlite.url)

        async with async_sessionmaker(engine, sync_session_class=SyncSession)() as session:
            with pytest.raises(NoTransaction):
                await session.run_sync(lock_rows, Account, [1])
        await engine.dispose()

    async def test_a_connection_for_reading(self, sqlite: Database) -> None:
        """A session that is not ours may have a connection that begins without the write lock."""
        async with AsyncSession(sqlite.engine) as session:
            await session.connection(execution_options={READ_ONLY: True})

            with pytest.raises(NoTransaction):
                await session.run_sync(lock_rows, Account, [1])

    @pytest.mark.parametrize(("model", "key"), [(Account, (1, 2)), (Seat, 1), (Seat, (1,)), (Seat, (1, 2, 3))])
    async def test_a_key_of_another_shape(self, sqlite: Database, model: type[Any], key: Any) -> None:
        """A key that cannot be one is named."""
        async with sqlite.transaction() as session:
            with pytest.raises(InvalidKey, match=f"{model.__name__} has"):
                await session.lock_rows(model, [key])

    @pytest.mark.parametrize("key", ["1", "1abc", 1.0, [1], b"1"])
    async def test_a_key_of_another_type(self, db: Database, key: Any) -> None:
        """A text that MariaDB would take for the number locks no row of it."""
        async with db.transaction() as session:
            with pytest.raises(InvalidKey, match="is an integer"):
                await session.lock_rows(Account, [key])

    async def test_a_key_that_no_row_can_have(self, db: Database) -> None:
        """A number without room in the column, and NULL, lock nothing."""
        async with db.transaction() as session:
            assert await session.lock_rows(Account, [2**63, None]) == []

    async def test_two_answers_to_one_question(self, db: Database) -> None:
        """A locked row cannot be skipped and an error."""
        async with db.transaction() as session:
            with pytest.raises(InvalidValue):
                await session.lock_rows(Account, [1], nowait=True, skip_locked=True)


class TestOtherSessions:
    async def test_a_session_of_sqlalchemy(self, server: Database, other: Database) -> None:
        """Any session on a server has the functions, and any engine of ours lets the name go."""
        await accounts(server, 10)

        async with AsyncSession(server.engine) as session:
            rows = await session.run_sync(lock_rows, Account, [1])
            await session.run_sync(advisory_lock, "stock")
            held = (not await free(other, [1]), not await name_is_free(other, "stock"))

        assert [row.balance for row in rows] == [10]
        assert held == (True, True)
        assert await name_is_free(other, "stock")


class TestSQL:
    @pytest.mark.parametrize(
        ("options", "clause"),
        [
            ({}, "FOR UPDATE OF account"),
            ({"nowait": True}, "FOR UPDATE OF account NOWAIT"),
            ({"skip_locked": True}, "FOR UPDATE OF account SKIP LOCKED"),
        ],
    )
    async def test_postgresql(self, postgres: Database, options: dict[str, bool], clause: str) -> None:
        """The rows of the model's own table are locked, in the order of the key."""
        async with queries(postgres) as seen, postgres.transaction() as session:
            await session.lock_rows(Account, [1], **options)

        assert str(seen.statements[0]).endswith(f"ORDER BY account.id {clause}")
