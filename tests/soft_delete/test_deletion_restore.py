"""A deleted row comes back with what was deleted with it."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update
from sqlalchemy.orm import selectinload

from sqlkeel.errors import NotFound, RestoreConflict, UsageError
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import restore
from tests.soft_delete.library import (
    SHOWN,
    Author,
    Base,
    Book,
    Chapter,
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


class TestRestore:
    async def test_it_brings_back_exactly_what_went(self, every_driver: Database) -> None:
        """The row and what was deleted with it are back; what was deleted before is not."""
        key = await add(every_driver, author())
        [first, _] = await everything(every_driver, Book)
        await delete(every_driver, Book, first.id)
        await delete(every_driver, Author, key)

        row = await bring_back(every_driver, Author, key)

        assert not row.is_deleted
        assert row.deletion_id is None
        assert row.version == 3
        assert [book.is_deleted for book in await everything(every_driver, Book)] == [True, False]
        assert await count(every_driver, Chapter) == 2

    async def test_the_deleted_object_comes_back_with_its_children(self, db: Database) -> None:
        """An object that was deleted in this session is in it again, with its loaded children, and can be written."""
        key = await add(db, author())

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.books)])
            await session.delete(row)
            await session.run_sync(restore, row)
            row.name = "back"
            row.books[0].title = "back"

        assert [row.name for row in await everything(db, Author)] == ["back"]
        assert [book.title for book in await everything(db, Book)] == ["back", "Ann 1"]
        assert (row.is_deleted, row.books[1].is_deleted, row.books[1].version) == (False, False, 3)

    async def test_loaded_children_know(self, db: Database) -> None:
        """Children that were loaded as deleted rows are alive afterwards, and can be written."""
        key = await add(db, author())
        await delete(db, Author, key)

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.books)], execution_options=SHOWN)
            await session.run_sync(restore, row)
            row.books[0].title = "back"

            assert [book.is_deleted for book in row.books] == [False, False]

    async def test_statements_do_not_grow_with_the_rows(self, db: Database) -> None:
        """Twenty books with twenty chapters come back with as many statements as one with one."""
        small = await add(db, author(books=1, chapters=1))
        large = await add(db, author("Bob", books=20, chapters=20))
        await delete(db, Author, small)
        await delete(db, Author, large)

        async with queries(db) as few:
            await bring_back(db, Author, small)
        async with queries(db) as many:
            await bring_back(db, Author, large)

        assert len(many) == len(few)
        assert await count(db, Chapter) == 401

    async def test_a_taken_value_is_a_conflict(self, every_driver: Database) -> None:
        """Nothing is restored when a live row has the unique value; the transaction goes on."""
        key = await add(every_driver, author())
        await delete(every_driver, Author, key)
        await add(every_driver, author(books=0))

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key, execution_options=SHOWN)
            with pytest.raises(RestoreConflict) as caught:
                await session.run_sync(restore, row)
            session.add(author("Bob", books=0))

        assert caught.value.table == "author"
        assert await count(every_driver, Author) == 2
        assert await count(every_driver, Book) == 0

    async def test_a_conflict_further_down_restores_nothing(self, every_driver: Database) -> None:
        """All or nothing: a child's conflict keeps its parent deleted."""
        key = await add(every_driver, Author(name="Ann", books=[Book(title="b", chapters=[Chapter(title="c")])]))
        await delete(every_driver, Author, key)
        [book] = await everything(every_driver, Book)
        async with every_driver.transaction() as session:
            await session.execute(insert(Chapter).values(title="c", book_id=book.id))

        with pytest.raises(RestoreConflict):
            await bring_back(every_driver, Author, key)

        assert await count(every_driver, Author) == 0
        assert await count(every_driver, Book) == 0

    async def test_a_child_is_not_restored_below_a_deleted_parent(self, every_driver: Database) -> None:
        """A child that was deleted with its parent comes back with it, not alone."""
        key = await add(every_driver, author())
        [book, _] = await everything(every_driver, Book)
        await delete(every_driver, Author, key)

        with pytest.raises(UsageError, match="belongs to a Author that is deleted"):
            await bring_back(every_driver, Book, book.id)

        assert await count(every_driver, Book) == 0

    async def test_a_child_that_restricts_is_not_restored_below_a_deleted_parent(self, every_driver: Database) -> None:
        """It would be what would have kept its parent from being deleted."""
        key = await add(every_driver, Author(name="Ann", loans=[Loan()]))
        [loan] = await everything(every_driver, Loan)
        await delete(every_driver, Loan, loan.id)
        await delete(every_driver, Author, key)

        with pytest.raises(UsageError, match="belongs to a Author that is deleted"):
            await bring_back(every_driver, Loan, loan.id)

        assert await count(every_driver, Loan) == 0

    async def test_a_row_that_points_to_itself_comes_back(self, db: Database) -> None:
        """It is not below another one."""
        key = await add(db, Node(id=1, name="root"))
        async with db.transaction() as session:
            await session.execute(update(Node).values(parent_id=1))
        await delete(db, Node, key)

        await bring_back(db, Node, key)

        assert await count(db, Node) == 1

    async def test_a_child_that_went_before_waits_for_its_parent(self, every_driver: Database) -> None:
        """A child that was deleted on its own comes back on its own, once its parent is there."""
        key = await add(every_driver, author())
        [book, _] = await everything(every_driver, Book)
        await delete(every_driver, Book, book.id)
        await delete(every_driver, Author, key)

        with pytest.raises(UsageError):
            await bring_back(every_driver, Book, book.id)
        await bring_back(every_driver, Author, key)
        await bring_back(every_driver, Book, book.id)

        assert await count(every_driver, Book) == 2
        assert await count(every_driver, Chapter) == 4

    async def test_a_living_row_is_not_found(self, db: Database) -> None:
        """What is not deleted cannot be restored."""
        key = await add(db, author())

        with pytest.raises(NotFound):
            await bring_back(db, Author, key)

    async def test_a_row_that_somebody_else_restored_is_not_found(self, db: Database) -> None:
        """The second of two restorations finds nothing to do, and says so."""
        key = await add(db, author())
        deleted = await delete(db, Author, key)
        await bring_back(db, Author, key)

        with pytest.raises(NotFound):
            async with db.transaction() as session:
                await session.run_sync(restore, deleted)
