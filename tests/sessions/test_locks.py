"""Locks: rows as they are now, names that one transaction has to itself, and an end with the transaction."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, String, event, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Mapped, mapped_column, relationship, selectinload

import sqlkeel
from sqlkeel.engines._backend import READ_ONLY
from sqlkeel.errors import (
    CheckViolation,
    DatabaseBusy,
    Deadlock,
    InvalidKey,
    InvalidValue,
    KeelError,
    LockTimeout,
    NoTransaction,
    ReadOnlySession,
    UnloadedAttribute,
    UsageError,
)
from sqlkeel.models import IntKeyMixin, UUIDKeyMixin, children, parent
from sqlkeel.observe import queries
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._locks import advisory_lock, lock_rows
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.versions import VersionMixin
from tests.engines.peers import SLOW, soon, statements_running
from tests.fixtures.databases import OpenDatabase


class Base(sqlkeel.Base):
    pass


class Account(IntKeyMixin, Base):
    __tablename__ = "account"
    __table_args__ = (CheckConstraint("balance >= 0", name="account_balance_check"),)
    balance: Mapped[int] = mapped_column(default=0)
    entries: Mapped[list[Entry]] = children(back_populates="account", on_delete="set null")


class Entry(IntKeyMixin, Base):
    """Has its account loaded with it, by a join, and by another one."""

    __tablename__ = "entry"
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), index=True)
    account: Mapped[Account | None] = parent(back_populates="entries", lazy="joined", on_delete="set null")
    payer: Mapped[Account | None] = relationship(viewonly=True, lazy=False)


class Document(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "document"
    title: Mapped[str] = mapped_column(String(50))


class Seat(Base):
    __tablename__ = "seat"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    number: Mapped[int] = mapped_column("seat_no", primary_key=True, autoincrement=False)
    guest: Mapped[str | None] = mapped_column(String(50))


class Parcel(UUIDKeyMixin, Base):
    __tablename__ = "parcel"
    weight: Mapped[int] = mapped_column(default=0)


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Vehicle(IntKeyMixin, Base):
    """Joins the tables of all kinds into each query."""

    __tablename__ = "vehicle"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "vehicle", "with_polymorphic": "*"}


class Car(Vehicle):
    __tablename__ = "car"
    __mapper_args__ = {"polymorphic_identity": "car"}
    id: Mapped[int] = mapped_column(ForeignKey("vehicle.id", ondelete="CASCADE"), primary_key=True)
    doors: Mapped[int] = mapped_column(default=4)


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    tricks: Mapped[int] = mapped_column(default=0)


pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


@pytest.fixture
def other(server: Database, open_database: OpenDatabase) -> Database:
    """Somebody else on the same database: a transaction of `server` inside one of this is one of its own."""
    return open_database(server)


async def add(db: Database, *rows: Any) -> None:
    """Commit rows."""
    async with db.transaction() as session:
        session.add_all(rows)


async def accounts(db: Database, *balances: int) -> None:
    """Commit accounts with the keys 1, 2, …."""
    await add(db, *(Account(id=key, balance=balance) for key, balance in enumerate(balances, 1)))


async def pay_in(db: Database, key: int, amount: int) -> None:
    """Change an account from outside."""
    async with db.transaction() as session:
        await session.execute(update(Account).where(Account.id == key).values(balance=Account.balance + amount))


async def balances(db: Database) -> list[int]:
    """Read what is committed."""
    async with db.read() as session:
        return list(await session.scalars(select(Account.balance).order_by(Account.id)))


async def deposit(db: Database, key: int) -> None:
    """Add one under the lock."""
    async with db.transaction() as session:
        [account] = await session.lock_rows(Account, [key])
        account.balance += 1


async def free(db: Database, keys: Iterable[Any], *, model: type[Any] = Account) -> bool:
    """Tell whether nobody has locked these rows."""
    async with db.transaction() as session:
        try:
            await session.lock_rows(model, keys, nowait=True)
        except LockTimeout:
            await session.rollback()
            return False
    return True


async def name_is_free(db: Database, name: str) -> bool:
    """Tell whether nobody has locked the name."""
    async with db.transaction() as session:
        try:
            await session.advisory_lock(name, nowait=True)
        except LockTimeout:
            return False
    return True


@asynccontextmanager
async def locked(db: Database, keys: Iterable[int]) -> AsyncIterator[Session]:
    """Hold accounts."""
    async with db.transaction() as session:
        await session.lock_rows(Account, keys)
        yield session


@asynccontextmanager
async def named(db: Database, name: str) -> AsyncIterator[Session]:
    """Hold a name."""
    async with db.transaction() as session:
        await session.advisory_lock(name)
        yield session


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


class TestWaiting:
    async def test_nothing_is_lost(self, every_driver: Database) -> None:
        """Twenty workers that read and write back add up."""
        await accounts(every_driver, 0)

        await asyncio.gather(*(deposit(every_driver, 1) for _ in range(20)))

        assert await balances(every_driver) == [20]

    async def test_who_waits_sees_what_was_written(self, server: Database, other: Database) -> None:
        """The lock is granted when the other transaction has ended, with its values."""
        await accounts(server, 10)

        async with locked(other, [1]) as session:
            waiting = asyncio.create_task(deposit(server, 1))
            assert await soon(lambda: statements_running(other))
            (await session.get_one(Account, 1)).balance = 50
        await waiting

        assert await balances(server) == [51]

    async def test_who_waits_does_not_get_what_was_deleted(self, server: Database, other: Database) -> None:
        """A row that is marked as deleted meanwhile is left out."""
        await add(server, Document(id=1, title="first"))

        async def lock() -> list[Document]:
            async with server.transaction() as session:
                return await session.lock_rows(Document, [1])

        async with other.transaction() as session:
            [document] = await session.lock_rows(Document, [1])
            waiting = asyncio.create_task(lock())
            assert await soon(lambda: statements_running(other))
            await session.delete(document)

        assert await waiting == []

    async def test_opposite_orders_do_not_deadlock(self, server: Database) -> None:
        """Workers that name the same rows in opposite orders wait for each other."""
        await accounts(server, *(0 for _ in range(10)))

        async def work(keys: list[int]) -> None:
            async with server.transaction() as session:
                for account in await session.lock_rows(Account, keys):
                    account.balance += 1

        forwards = list(range(1, 11))

        await asyncio.gather(*(work(keys) for keys in [forwards, forwards[::-1]] * 15))

        assert await balances(server) == [30] * 10

    async def test_only_these_rows_are_locked(self, server: Database, other: Database) -> None:
        """Their neighbours are free, those of a composite key too."""
        await accounts(server, 0, 0, 0)
        await add(server, *(Seat(row=row, number=number) for row in (1, 2) for number in (1, 2)))

        async with locked(other, [1, 3]) as session:
            await session.lock_rows(Seat, [(1, 1), (2, 2)])

            assert await free(server, [2])
            assert not await free(server, [1])
            assert not await free(server, [3])
            assert await free(server, [(1, 2), (2, 1)], model=Seat)
            assert not await free(server, [(2, 1), (2, 2)], model=Seat)

    async def test_the_table_of_a_subclass_is_locked_too(self, server: Database, other: Database) -> None:
        """Whoever locks the animal has the dog."""
        await add(server, Dog(id=1))

        async with other.transaction() as session:
            await session.lock_rows(Animal, [1])

            assert not await free(server, [1], model=Dog)

    async def test_it_waits_as_long_as_it_may(self, server: Database, other: Database) -> None:
        """Then the error says that it was a lock."""
        await accounts(server, 0)

        async with locked(other, [1]):
            with pytest.raises(LockTimeout):
                async with server.transaction(lock_timeout=0.1) as session:
                    await session.lock_rows(Account, [1])

    async def test_nowait_does_not_wait(self, server: Database, other: Database) -> None:
        """A locked row is an error at once, though the limit is far away."""
        await accounts(server, 0, 0)

        async with locked(other, [1]), asyncio.timeout(2):
            with pytest.raises(LockTimeout):
                async with server.transaction(lock_timeout=60) as session:
                    await session.lock_rows(Account, [1, 2], nowait=True)

    async def test_what_is_loaded_with_them_is_free(self, server: Database, other: Database) -> None:
        """Rows that an eager load finds are not locked with those that were named."""
        await accounts(server, 0)
        await add(server, Entry(id=1, account_id=1))

        async with other.transaction() as session:
            await session.lock_rows(Entry, [1])

            assert await free(server, [1])

    async def test_skip_locked_takes_the_others(self, server: Database, other: Database) -> None:
        """Two workers share a queue."""
        await accounts(server, 0, 0, 0)

        async with locked(other, [2]), server.transaction() as session:
            rows = await session.lock_rows(Account, [1, 2, 3], skip_locked=True)

        assert [row.id for row in rows] == [1, 3]

    async def test_a_savepoint_keeps_the_transaction(self, server: Database, other: Database) -> None:
        """Around a lock that may not be granted, it lets the rest go on."""
        await accounts(server, 0, 0)

        async with locked(other, [1]), server.transaction() as session:
            with pytest.raises(LockTimeout):
                async with session.savepoint():
                    await session.lock_rows(Account, [1], nowait=True)
            [account] = await session.lock_rows(Account, [2], nowait=True)
            account.balance = 7

        assert await balances(server) == [0, 7]

    async def test_sqlite_locks_the_database(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """Another writer waits when it begins, whichever rows it wants, and there is nothing left to skip."""
        await accounts(sqlite, 0, 0)
        hasty = open_database(sqlite, lock_timeout=0.01)

        async with sqlite.transaction() as session:
            rows = await session.lock_rows(Account, [1], skip_locked=True)
            with pytest.raises(DatabaseBusy):
                await free(hasty, [2])

        assert len(rows) == 1
        assert await free(hasty, [1, 2])


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
        with pytest.raises(UsageError, match=r"takes a name, which is a text, and not"):
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
            with pytest.raises(InvalidKey, match="whole number"):
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


async def commit(db: Database, name: str) -> None:
    """End well."""
    async with named(db, name):
        pass


async def fail(db: Database, name: str) -> None:
    """End with an error of the program."""
    with suppress(Failure):
        async with named(db, name):
            raise Failure


async def fail_on_the_server(db: Database, name: str) -> None:
    """End with an error of the database, after which PostgreSQL refuses every statement."""
    with suppress(KeelError):
        async with named(db, name) as session:
            await session.execute(text("select * from nowhere"))


async def fail_in_a_savepoint(db: Database, name: str) -> None:
    """Take the name inside a savepoint that is rolled back, and go on."""
    async with db.transaction() as session:
        with suppress(Failure):
            async with session.savepoint():
                await session.advisory_lock(name)
                raise Failure


async def roll_back(db: Database, name: str) -> None:
    """Give it up."""
    async with db.session() as session:
        await session.advisory_lock(name)
        await session.rollback()


async def take_at_once(db: Database, name: str) -> None:
    """Take it without waiting."""
    async with db.transaction() as session:
        await session.advisory_lock(name, nowait=True)


async def take_twice(db: Database, name: str) -> None:
    """Take it again inside."""
    async with named(db, name) as session:
        await session.advisory_lock(name)


async def be_cancelled(db: Database, name: str) -> None:
    """Be cancelled between two statements."""
    begun = asyncio.Event()

    async def work() -> None:
        async with named(db, name):
            begun.set()
            await asyncio.sleep(60)

    await cancel(work(), begun.wait())


async def be_cancelled_in_a_statement(db: Database, name: str) -> None:
    """Be cancelled while the server works."""
    begun = asyncio.Event()

    async def work() -> None:
        async with named(db, name) as session:
            begun.set()
            await session.execute(text(SLOW[db.dialect]))

    await cancel(work(), begun.wait())


async def cancel(work: Coroutine[Any, Any, None], begun: Coroutine[Any, Any, Any]) -> None:
    """Cancel *work* when it has begun."""
    task = asyncio.create_task(work)
    await begun
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def is_given_up(session: Session, name: str) -> bool:
    """Tell whether the wait for the name ends in a deadlock; if so, make way."""
    try:
        await session.advisory_lock(name)
    except Deadlock:
        await session.rollback()
        return True
    return False


ENDS = [
    commit,
    fail,
    fail_on_the_server,
    fail_in_a_savepoint,
    roll_back,
    take_at_once,
    take_twice,
    be_cancelled,
    be_cancelled_in_a_statement,
]


async def count_up(db: Database) -> None:
    """Add one with a plain read, under a name."""
    async with named(db, "counter") as session:
        balance = (await session.scalars(select(Account.balance).where(Account.id == 1))).one()
        await session.execute(update(Account).values(balance=balance + 1))


class TestNames:
    async def test_one_transaction_at_a_time(self, every_driver: Database) -> None:
        """Twenty workers that read and write back without locking a row add up."""
        await accounts(every_driver, 0)

        await asyncio.gather(*(count_up(every_driver) for _ in range(20)))

        assert await balances(every_driver) == [20]

    async def test_it_is_an_error_at_once(self, server: Database, other: Database) -> None:
        """With nowait the name is named, and the transaction can go on."""
        await accounts(server, 10)

        async with named(other, "report"), server.transaction(lock_timeout=60) as session:
            with pytest.raises(LockTimeout, match="'report'"):
                async with asyncio.timeout(5):
                    await session.advisory_lock("report", nowait=True)
            [account] = await session.lock_rows(Account, [1])

        assert account.balance == 10

    async def test_it_waits_as_long_as_it_may(self, server: Database, other: Database) -> None:
        """Then the error says that it was a lock."""
        async with named(other, "report"):
            with pytest.raises(LockTimeout):
                async with asyncio.timeout(5), server.transaction(lock_timeout=0.1) as session:
                    await session.advisory_lock("report")

    @pytest.mark.parametrize("end", ENDS)
    async def test_it_ends_with_the_transaction(
        self, server: Database, other: Database, open_database: OpenDatabase, end: Callable[..., Any]
    ) -> None:
        """However that ends, the name is free, though the connection lives on in the pool."""
        one = open_database(server, pool_size=1, max_overflow=0)

        await end(one, "report")

        assert await soon(lambda: name_is_free(other, "report"))

    @pytest.mark.parametrize("end", ENDS)
    async def test_on_sqlite_too(self, sqlite: Database, open_database: OpenDatabase, end: Callable[..., Any]) -> None:
        """The next writer gets its turn."""
        hasty = open_database(sqlite, lock_timeout=0.5)

        await end(sqlite, "report")

        assert await name_is_free(hasty, "report")

    async def test_sqlite_has_every_writer_wait(self, sqlite: Database, open_database: OpenDatabase) -> None:
        """The name makes no difference there."""
        hasty = open_database(sqlite, lock_timeout=0.01)

        async with named(sqlite, "one"):
            with pytest.raises(DatabaseBusy):
                await name_is_free(hasty, "another")

    async def test_the_next_user_of_the_connection_holds_nothing(
        self, server: Database, other: Database, open_database: OpenDatabase
    ) -> None:
        """After an error inside, the same connection is lent again, and the name is free meanwhile."""
        one = open_database(server, pool_size=1, max_overflow=0)
        await fail_on_the_server(one, "report")

        async with one.transaction() as session:
            await session.execute(text("select 1"))

            assert await name_is_free(other, "report")

    async def test_who_gives_up_waiting_holds_nothing(self, server: Database, other: Database) -> None:
        """A waiter that is cancelled does not get the lock later."""
        async with named(other, "report"):
            await cancel(commit(server, "report"), soon(lambda: statements_running(other)))

        assert await soon(lambda: name_is_free(other, "report"))

    async def test_it_is_free_before_the_hooks_run(self, server: Database, other: Database) -> None:
        """A hook after the commit may tell somebody who takes the name next."""
        seen: list[bool] = []

        async def look() -> None:
            seen.append(await name_is_free(other, "report"))

        async with named(server, "report") as session:
            session.on_commit(look)

        assert seen == [True]

    async def test_a_kept_connection_lets_it_go(self, server: Database, other: Database) -> None:
        """A connection that is not given back in between lets the name go when it begins again."""
        async with server.engine.connect() as connection:
            async with Session(connection) as session:
                await session.advisory_lock("report")
                await session.commit()
            await connection.execute(text("select 1"))

            assert await name_is_free(other, "report")

    @pytest.mark.parametrize("name", ["", "Report", "report ", "répört", "r" * 192, "r" * 193, "50%", ":name", "'"])
    async def test_any_name_is_one_of_its_own(self, server: Database, other: Database, name: str) -> None:
        """Long or empty, in capitals or with accents."""
        async with named(other, "report"), named(server, name):
            assert not await name_is_free(other, name)

    async def test_several_names(self, server: Database, other: Database) -> None:
        """A transaction may hold more than one, and lets all of them go."""
        async with named(server, "one") as session:
            await session.advisory_lock("two")
            held = [await name_is_free(other, name) for name in ("one", "two")]

        assert held == [False, False]
        assert [await name_is_free(other, name) for name in ("one", "two")] == [True, True]

    async def test_it_is_of_one_database(self, mariadb: Database, open_database: OpenDatabase) -> None:
        """MariaDB has one set of names for the whole server; ours are kept apart."""
        elsewhere = mariadb.url.set(database="information_schema").render_as_string(hide_password=False)

        async with named(mariadb, "report"):
            assert await name_is_free(open_database(elsewhere), "report")

    async def test_crossed_names_are_a_deadlock(self, server: Database, other: Database) -> None:
        """One of the two is given up, and the other one goes on; MariaDB may give up both that look at one time."""
        async with server.session() as one, other.session() as two:
            await one.advisory_lock("one")
            await two.advisory_lock("two")

            given_up = await asyncio.gather(is_given_up(one, "two"), is_given_up(two, "one"))

        assert any(given_up)

    async def test_a_transaction_without_a_name_pays_nothing(self, mariadb: Database) -> None:
        """The name is released only where there was one."""
        sent: list[str] = []
        event.listen(mariadb.engine.sync_engine, "before_cursor_execute", lambda *args: sent.append(args[2]))

        async with mariadb.transaction() as session:
            await session.execute(text("select 1"))

        assert sent == ["select 1"]


class TestBinds:
    async def test_each_model_may_have_a_database_of_its_own(self, db: Database) -> None:
        """A session that is bound by the model locks where the model is."""
        await accounts(db, 10)

        async with Session(binds={Account: db.engine}) as session:
            rows = await session.lock_rows(Account, [1])
            await session.commit()

        assert [row.balance for row in rows] == [10]


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
