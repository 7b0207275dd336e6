"""A purge from beginning to end: what goes, what stays, in which transactions, and beside others."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from sqlkeel.errors import InvalidValue, NestedTransaction, NoTransaction, NotSupported, ReadOnlySession
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import Purged, count_old, purge, purge_in
from tests.soft_delete.purge_models import MONTH, Badge, Base, Comment, Invoice, Node, Org, Post, User, dead, fill, keys

pytestmark = pytest.mark.tables(Base.metadata)

SHOWN = {"include_deleted": True}


async def run(db: Database, models: Any = User, **options: Any) -> dict[str, Purged]:
    """Purge what is older than a month, and return how it ended for each table."""
    found = purge(db, models, **{"older_than": MONTH, **options})
    return {progress.table: progress async for progress in found}


async def users(db: Database, number: int) -> None:
    """Commit old deleted users, each with two posts."""
    await fill(
        db,
        {
            User: [dead(id=n) for n in range(1, number + 1)],
            Post: [dead(id=10 * n + m, user_id=n) for n in range(1, number + 1) for m in (1, 2)],
        },
    )


@contextmanager
def cancelled_at(db: Database, verb: str, *, time: int) -> Iterator[None]:
    """Cancel the task that sends the statement with this verb for the n-th time."""
    sent = itertools.count(1)

    def cancel(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        task = asyncio.current_task()
        if task is not None and statement.startswith(verb) and next(sent) == time:
            task.cancel()

    event.listen(db.engine.sync_engine, "before_cursor_execute", cancel)
    yield
    event.remove(db.engine.sync_engine, "before_cursor_execute", cancel)


class TestAge:
    async def test_old_deleted_rows_go(self, every_driver: Database) -> None:
        """What was deleted longer ago goes for good; live rows and what was deleted since stay."""
        now = datetime.now(UTC)
        await fill(
            every_driver,
            {
                User: [
                    {"id": 1},
                    dead(id=2),
                    dead(now - timedelta(days=29), id=3),
                    dead(now - timedelta(days=31), id=4),
                ]
            },
        )

        found = await run(every_driver)

        assert await keys(every_driver, User) == [1, 3]
        assert found["purge_user"] == Purged("purge_user", removed=2, kept=0)

    async def test_what_is_below_goes_first(self, db: Database) -> None:
        """The models below are purged too, whatever they point to, each before what it points to."""
        await fill(
            db,
            {
                Org: [dead(id=1), {"id": 2}],
                User: [dead(id=1, org_id=1), dead(id=2, org_id=2), {"id": 3, "org_id": 2}],
                Post: [dead(id=1, user_id=1), dead(id=2, user_id=3)],
            },
        )

        found = await run(db, Org)

        assert [await keys(db, model) for model in (Org, User, Post)] == [[2], [3], []]
        order = list(found)
        assert order.index("purge_post") < order.index("purge_user") < order.index("purge_org")

    async def test_what_is_above_stays(self, sqlite: Database) -> None:
        """Only the model and what is below it are looked at."""
        await fill(sqlite, {Org: [dead(id=1)], User: [dead(id=1)]})

        await run(sqlite, User)

        assert await keys(sqlite, Org) == [1]

    async def test_a_base_stands_for_all_its_models(self, db: Database) -> None:
        """Every soft-deletable model of the base is purged."""
        await fill(db, {Org: [dead(id=1)], Node: [dead(id=1)]})

        found = await run(db, Base)

        assert await keys(db, Org) == await keys(db, Node) == []
        assert {"purge_org", "purge_node", "purge_cell", "purge_token"} <= found.keys()

    @pytest.mark.parametrize("wrong", [timedelta(0), timedelta(days=-1), 30, None, timedelta.max])
    def test_an_age_is_a_length_of_time(self, wrong: Any) -> None:
        """Anything else is refused at the call, before a connection is made."""
        with pytest.raises(InvalidValue, match="older_than="):
            purge(Database("sqlite+aiosqlite://"), User, older_than=wrong)

    @pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "1"])
    def test_a_batch_is_a_number_of_rows(self, wrong: Any) -> None:
        """Anything else is refused at the call."""
        with pytest.raises(InvalidValue, match="batch="):
            purge(Database("sqlite+aiosqlite://"), User, older_than=MONTH, batch=wrong)

    def test_a_model_without_soft_delete_is_refused(self) -> None:
        """It has no rows that are marked."""
        with pytest.raises(NotSupported, match="Badge has no soft delete"):
            purge(Database("sqlite+aiosqlite://"), Badge, older_than=MONTH)


class TestBatches:
    async def test_each_batch_is_a_transaction(self, db: Database) -> None:
        """After each progress another connection sees what is gone; leaving the loop leaves the rest for later."""
        await users(db, 5)

        async with aclosing(purge(db, User, older_than=MONTH, batch=3)) as found:
            box, post, first = [await anext(found), await anext(found), await anext(found)]
            left = await keys(db, Post)
        rest = await run(db)

        assert [box, post] == [Purged("purge_box", 0, 0), Purged("purge_post", 0, 0)]
        assert first == Purged("purge_post", removed=3, kept=0)
        assert len(left) == 7
        assert rest["purge_post"].removed == 7
        assert await keys(db, User) == []

    async def test_a_batch_is_a_few_statements(self, db: Database) -> None:
        """The clock once, a look for the keys of each table, and two statements for each batch."""
        await users(db, 10)

        async with queries(db) as log:
            await run(db, Post, batch=10)

        statements = [statement.split()[0] for statement in log]
        assert statements == ["SELECT", "SELECT", "SELECT", "DELETE", "SELECT", "DELETE"]

    async def test_a_batch_locks_no_gaps(self, mariadb: Database) -> None:
        """At MariaDB's usual level it would lock what is not there, too, and every new deletion would wait for it."""
        await users(mariadb, 2)
        sent: list[str] = []

        def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
            sent.append(statement)

        event.listen(mariadb.engine.sync_engine, "before_cursor_execute", note)
        await run(mariadb, Post)
        event.remove(mariadb.engine.sync_engine, "before_cursor_execute", note)

        assert sent[0] == "SET TRANSACTION ISOLATION LEVEL READ COMMITTED"
        assert "FOR UPDATE SKIP LOCKED" in sent[1]

    async def test_a_killed_purge_leaves_whole_batches(self, every_driver: Database) -> None:
        """Cancelled while it deletes its second batch, that one is undone; the next run goes on with what is there."""
        await users(every_driver, 5)

        with cancelled_at(every_driver, "DELETE", time=2):
            [error] = await asyncio.gather(asyncio.create_task(run(every_driver, batch=4)), return_exceptions=True)
        left = await keys(every_driver, Post)
        await run(every_driver)

        assert isinstance(error, asyncio.CancelledError)
        assert len(left) == 6
        assert await keys(every_driver, User) == await keys(every_driver, Post) == []

    async def test_it_is_no_part_of_a_transaction(self, sqlite: Database) -> None:
        """Inside a block of the same task its batches could not commit, which is said."""
        await users(sqlite, 1)

        async with sqlite.transaction():
            with pytest.raises(NestedTransaction):
                await run(sqlite)


class TestKept:
    async def test_a_live_child_keeps_its_parent(self, db: Database) -> None:
        """A foreign key with CASCADE would take the live row along; its parent stays, is counted, and goes later."""
        await fill(
            db,
            {User: [dead(id=1), dead(id=2)], Post: [{"id": 1, "user_id": 1}, dead(id=2, user_id=2)]},
        )

        first = await run(db)
        left = await keys(db, User)
        async with db.transaction() as session:
            await session.execute(update(Post).values(dead()))
        second = await run(db)

        assert first["purge_user"] == Purged("purge_user", removed=1, kept=1)
        assert left == [1]
        assert second["purge_user"] == Purged("purge_user", removed=1, kept=0)

    async def test_a_child_that_was_deleted_later_keeps_its_parent(self, db: Database) -> None:
        """It has its own time, and can be restored until then."""
        await fill(db, {User: [dead(id=1)], Post: [dead(datetime.now(UTC), id=1, user_id=1)]})

        found = await run(db)

        assert await keys(db, Post) == await keys(db, User) == [1]
        assert found["purge_user"].kept == 1

    async def test_restrict_keeps_the_row(self, db: Database) -> None:
        """A row of any kind under ON DELETE RESTRICT keeps its parent, and fails nothing."""
        await fill(db, {User: [dead(id=1), dead(id=2)], Invoice: [{"id": 1, "user_id": 1}]})

        found = await run(db)

        assert await keys(db, User) == [1]
        assert found["purge_user"] == Purged("purge_user", removed=1, kept=1)

    async def test_cascade_and_set_null_are_left_to_the_database(self, every_driver: Database) -> None:
        """Rows without soft delete go along with CASCADE; rows under SET NULL stay, and point nowhere."""
        await fill(
            every_driver,
            {User: [dead(id=1)], Badge: [{"id": 1, "user_id": 1}], Comment: [{"id": 1, "user_id": 1}]},
        )

        await run(every_driver)

        assert await keys(every_driver, User) == await keys(every_driver, Badge) == []
        async with every_driver.read() as session:
            assert (await session.scalars(select(Comment.user_id))).all() == [None]


class TestManyAtOnce:
    async def test_several_share_the_work(self, every_driver: Database) -> None:
        """Four at once remove each row once, count it once, and fail nowhere."""
        await users(every_driver, 60)

        runs = await asyncio.gather(*(run(every_driver, batch=7) for _ in range(4)))
        last = await run(every_driver)

        removed = [sum(found[table].removed for found in (*runs, last)) for table in ("purge_post", "purge_user")]
        assert removed == [120, 60]
        assert await keys(every_driver, User) == await keys(every_driver, Post) == []

    async def test_locked_rows_are_skipped(self, server: Database) -> None:
        """A row that somebody else has locked is neither waited for nor counted; the next run takes it."""
        await users(server, 2)
        async with server.transaction() as other:
            await other.execute(select(User).where(User.id == 1).with_for_update(), execution_options=SHOWN)
            beside = await asyncio.create_task(run(server))

        after = await run(server)

        assert beside["purge_user"] == Purged("purge_user", removed=1, kept=0)
        assert after["purge_user"].removed == 1

    async def test_a_child_that_is_being_inserted_keeps_its_parent(self, server: Database) -> None:
        """A live row under an old deleted one is never taken along, however late it comes."""
        await users(server, 1)
        async with server.transaction() as other:
            other.add(Post(id=99, user_id=1))
            await other.flush()
            await asyncio.create_task(run(server))

        after = await run(server)

        assert await keys(server, Post) == [99]
        assert after["purge_user"] == Purged("purge_user", removed=0, kept=1)


class TestInATransaction:
    async def test_nothing_is_committed(self, every_driver: Database) -> None:
        """The caller decides: rolled back, all is there again."""
        await users(every_driver, 3)

        with pytest.raises(ZeroDivisionError):
            async with every_driver.transaction() as session:
                found = await Repository(session, User).purge(older_than=MONTH, batch=2)
                raise ZeroDivisionError

        assert found == [
            Purged("purge_box", 0, 0),
            Purged("purge_post", removed=6, kept=0),
            Purged("purge_user", removed=3, kept=0),
        ]
        assert len(await keys(every_driver, User)) == 3

    async def test_it_goes_with_the_caller(self, db: Database) -> None:
        """What the caller deleted and changed before is seen; committed, the rows are gone."""
        await users(db, 2)

        async with db.transaction() as session:
            user = await session.get_one(User, 1, execution_options=SHOWN)
            user.deleted_at = None
            await Repository(session, User).purge(older_than=MONTH)

        assert await keys(db, User) == [1]

    async def test_objects_of_removed_rows_leave_the_session(self, db: Database) -> None:
        """They stand for nothing any more; the others stay."""
        await fill(db, {User: [dead(id=1), {"id": 2}]})

        async with db.transaction() as session:
            gone = await session.get_one(User, 1, execution_options=SHOWN)
            there = await session.get_one(User, 2)
            await Repository(session, User).purge(older_than=MONTH)

            assert gone not in session
            assert there in session

    async def test_a_reading_session_is_refused(self, db: Database) -> None:
        """Before anything is sent."""
        async with db.read() as session:
            with pytest.raises(ReadOnlySession):
                await Repository(session, User).purge(older_than=MONTH)

    async def test_a_model_without_soft_delete_is_refused(self, sqlite: Database) -> None:
        """As `restore` refuses it."""
        async with sqlite.transaction() as session:
            with pytest.raises(NotSupported):
                await Repository(session, Badge).purge(older_than=MONTH)

    async def test_a_connection_without_a_transaction_is_refused(self, postgres: Database) -> None:
        """A lock that ends with each statement protects nothing."""
        engine = postgres.engine.execution_options(isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine, sync_session_class=SyncSession) as session:
            with pytest.raises(NoTransaction):
                await purge_in(session, User, older_than=MONTH)

    async def test_a_session_of_sqlalchemy_will_do(self, server: Database) -> None:
        """It needs no session and no engine of ours."""
        await fill(server, {User: [dead(id=1), dead(id=2)], Invoice: [{"id": 1, "user_id": 1}]})
        engine = create_async_engine(server.url)

        async with async_sessionmaker(engine).begin() as session:
            found = await purge_in(session, User, older_than=MONTH)
        await engine.dispose()

        assert found[-1] == Purged("purge_user", removed=1, kept=1)


class TestCountOld:
    async def test_it_counts_and_removes_nothing(self, db: Database) -> None:
        """Each table, with the rows that are old enough; what keeps them is not asked for."""
        await users(db, 2)

        found = await count_old(db, User, older_than=MONTH)

        assert found == {"purge_box": 0, "purge_post": 4, "purge_user": 2}
        assert len(await keys(db, User)) == 2

    async def test_an_age_is_a_length_of_time(self, sqlite: Database) -> None:
        """As for the purge itself."""
        with pytest.raises(InvalidValue):
            await count_old(sqlite, User, older_than=timedelta(0))
