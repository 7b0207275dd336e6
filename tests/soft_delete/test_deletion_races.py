"""Rows that are deleted while others write, and what they have committed since the snapshot."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from asyncmy.errors import OperationalError
from sqlalchemy import event, update

from sqlkeel.errors import (
    Deadlock,
    ForeignKeyViolation,
    LockTimeout,
    NotFound,
    SerializationFailure,
    UsageError,
    VersionConflict,
)
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import restore
from tests.soft_delete.library import (
    SHOWN,
    Author,
    Base,
    Book,
    Loan,
    Node,
    add,
    author,
    bring_back,
    count,
    delete,
    everything,
)

pytestmark = pytest.mark.tables(Base.metadata)


class TestConcurrency:
    async def test_of_many_deleters_one_wins(self, every_driver: Database) -> None:
        """Of six concurrent deletions one happens, and the others find nothing."""
        key = await add(every_driver, author())
        everyone_has_read = asyncio.Barrier(6)

        async def remove() -> Any:
            async with every_driver.session() as session:
                row = await session.get_one(Author, key)
                await session.commit()
                await everyone_has_read.wait()
                await session.delete(row)
                await session.commit()
            return row.deletion_id

        results = await asyncio.gather(*(remove() for _ in range(6)), return_exceptions=True)

        won = [result for result in results if not isinstance(result, BaseException)]
        rows = [*await everything(every_driver, Author), *await everything(every_driver, Book)]
        assert len(won) == 1
        assert [type(result) for result in results if isinstance(result, BaseException)] == [NotFound] * 5
        assert {row.deletion_id for row in rows} == set(won)

    @pytest.mark.parametrize("verb", ["delete", "restore"])
    async def test_a_deadlock_is_one(self, mariadb: Database, verb: str) -> None:
        """MariaDB rolls the savepoint back with the transaction; an error about that does not hide the deadlock."""
        key = await add(mariadb, author())
        if verb == "restore":
            await delete(mariadb, Author, key)

        def fail(_: Any, __: Any, statement: str, *rest: Any) -> None:
            if statement.startswith("UPDATE book"):
                raise OperationalError(1213, "Deadlock found when trying to get lock")

        event.listen(mariadb.engine.sync_engine, "before_cursor_execute", fail)
        try:
            with pytest.raises(Deadlock):
                await (delete if verb == "delete" else bring_back)(mariadb, Author, key)
        finally:
            event.remove(mariadb.engine.sync_engine, "before_cursor_execute", fail)

    async def test_a_deletion_overtakes_an_edit(self, every_driver: Database) -> None:
        """Who edits a row that was deleted meanwhile is told."""
        key = await add(every_driver, author())

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                row = await session.get_one(Author, key)
                await session.commit()
                await delete(every_driver, Author, key)
                row.name = "mine"
                await session.commit()

        assert caught.value.current_row["deleted_at"] is not None  # type: ignore[index]  # a dict


@pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg", "mariadb"], indirect=True)
class TestSinceTheSnapshot:
    """What others have committed since the transaction's first read, which MariaDB's plain reads do not show."""

    async def test_a_live_row_that_came_refuses(self, every_driver: Database) -> None:
        """A row that restricts is regarded, though the transaction has read that there was none."""
        key = await add(every_driver, author())

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key)
            await _meanwhile(add(every_driver, Loan(author_id=key)))
            with pytest.raises(ForeignKeyViolation):
                await Repository(session, Author).delete(row)

        assert await count(every_driver, Book) == 2

    async def test_a_live_row_that_is_gone_does_not_refuse(self, every_driver: Database) -> None:
        """A row that restricted is deleted by now."""
        key = await add(every_driver, author())
        loan = await add(every_driver, Loan(author_id=key))

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key)
            await _meanwhile(delete(every_driver, Loan, loan))
            await Repository(session, Author).delete(row)

        assert await count(every_driver, Author) == 0

    async def test_below_a_row_that_was_deleted_none_comes_back(self, every_driver: Database) -> None:
        """A child that went before its parent is refused, though the transaction has seen the parent alive."""
        key = await add(every_driver, author())
        book = (await everything(every_driver, Book))[0]
        await delete(every_driver, Book, book.id)

        async with every_driver.transaction() as session:
            row = await session.get_one(Book, book.id, execution_options=SHOWN)
            await _meanwhile(delete(every_driver, Author, key))
            with pytest.raises(UsageError, match="belongs to a Author that is deleted"):
                await session.run_sync(restore, row)

        assert await count(every_driver, Book) == 0

    async def test_below_a_row_that_is_back_it_comes_back(self, every_driver: Database) -> None:
        """The parent is alive again, though the transaction has seen it deleted."""
        key = await add(every_driver, author())
        book = (await everything(every_driver, Book))[0]
        await delete(every_driver, Book, book.id)
        await delete(every_driver, Author, key)

        async with every_driver.transaction() as session:
            row = await session.get_one(Book, book.id, execution_options=SHOWN)
            await _meanwhile(bring_back(every_driver, Author, key))
            await session.run_sync(restore, row)

        assert await count(every_driver, Book) == 2

    async def test_the_row_above_cannot_be_deleted_until_the_end(self, every_driver: Database) -> None:
        """It is locked: marked a moment later, it would leave a living row below it."""
        key = await add(every_driver, author())
        book = (await everything(every_driver, Book))[0]
        await delete(every_driver, Book, book.id)

        async with every_driver.transaction() as session, every_driver.session() as other:
            row = await session.get_one(Book, book.id, execution_options=SHOWN)
            await session.run_sync(restore, row)
            with pytest.raises(LockTimeout):
                await other.lock_rows(Author, [key], nowait=True)

    async def test_a_row_that_was_moved_below_a_deleted_one_stays(self, every_driver: Database) -> None:
        """The object still says that it is a child of another row."""
        await add(every_driver, Node(id=1, name="deleted"), Node(id=2, name="alive"))
        await delete(every_driver, Node, await add(every_driver, Node(id=3, name="child", parent_id=2)))
        await delete(every_driver, Node, 1)

        async with every_driver.transaction() as session:
            row = await session.get_one(Node, 3, execution_options=SHOWN)
            moved = update(Node.__table__).where(Node.__table__.c.id == 3).values(parent_id=1)
            await _meanwhile(_execute(every_driver, moved))
            with pytest.raises(UsageError, match="belongs to a Node that is deleted"):
                await session.run_sync(restore, row)

        assert await count(every_driver, Node) == 1

    async def test_a_row_that_is_moved_by_the_one_who_restores_it_comes_back(self, every_driver: Database) -> None:
        """The new parent is asked for, not the old one, which is deleted."""
        await add(every_driver, Node(id=1, name="deleted"), Node(id=2, name="alive"))
        await delete(every_driver, Node, await add(every_driver, Node(id=3, name="child", parent_id=1)))
        await delete(every_driver, Node, 1)

        async with every_driver.transaction() as session:
            row = await session.get_one(Node, 3, execution_options=SHOWN)
            row.parent_id = 2
            await session.run_sync(restore, row)

        assert await count(every_driver, Node) == 2


class TestRepeatableRead:
    async def test_below_a_row_that_was_deleted_since_none_comes_back(self, postgres: Database) -> None:
        """PostgreSQL locks nothing at REPEATABLE READ that was changed since: the work is to be run again."""
        key = await add(postgres, author())
        book = (await everything(postgres, Book))[0]
        await delete(postgres, Book, book.id)

        with pytest.raises(SerializationFailure):
            async with postgres.transaction(isolation="repeatable read") as session:
                row = await session.get_one(Book, book.id, execution_options=SHOWN)
                await _meanwhile(delete(postgres, Author, key))
                await session.run_sync(restore, row)

        assert await count(postgres, Book) == 0


async def _meanwhile(work: Coroutine[Any, Any, Any]) -> None:
    """Do something in a transaction of its own: in another task."""
    await asyncio.create_task(work)


async def _execute(db: Database, statement: Any) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(statement)
