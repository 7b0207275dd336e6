"""Names that one transaction has to itself, until it ends in whatever way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from sqlkeel.errors import DatabaseBusy, Deadlock, KeelError, LockTimeout
from sqlkeel.sessions import Database, Session
from tests.engines.peers import SLOW, soon, statements_running
from tests.fixtures.databases import OpenDatabase
from tests.sessions.lock_models import Account, Base, accounts, balances, name_is_free

pytestmark = pytest.mark.tables(Base.metadata)


class Failure(Exception):
    """What goes wrong in a test."""


@asynccontextmanager
async def named(db: Database, name: str) -> AsyncIterator[Session]:
    """Hold a name."""
    async with db.transaction() as session:
        await session.advisory_lock(name)
        yield session


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
