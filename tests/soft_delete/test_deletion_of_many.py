"""Tests of soft_delete._deletion for many keys: `delete_many` marks what ``session.delete`` would, as one deletion."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import func, select

from sqlkeel.bulk import delete_many
from sqlkeel.errors import ForeignKeyViolation, InvalidKey, InvalidValue, NoTransaction, ReadOnlySession
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import restore
from tests.soft_delete.library import (
    SHOWN,
    Animal,
    Author,
    Base,
    Bone,
    Book,
    Cat,
    Cell,
    Chapter,
    Creature,
    Dog,
    Draft,
    Keeper,
    Loan,
    Mark,
    Mouse,
    Node,
    author,
)

pytestmark = pytest.mark.tables(Base.metadata)


async def add(db: Database, *rows: Any) -> Any:
    """Commit rows, and return them."""
    async with db.transaction() as session:
        session.add_all(rows)
    return rows if len(rows) > 1 else rows[0]


async def count(session: Any, model: type[Any]) -> int:
    """Count the living rows of a model."""
    return int(await session.scalar(select(func.count()).select_from(model)) or 0)


async def marks_of(session: Any, model: type[Any]) -> set[Any]:
    """Return the time and the id of each deleted row."""
    found = await session.execute(
        select(model.deleted_at, model.deletion_id).where(model.is_deleted), execution_options=SHOWN
    )
    return {tuple(row) for row in found}


async def keys(*given: Any) -> AsyncIterator[Any]:
    """Give keys one after the other."""
    for key in given:
        yield key


class TestMarked:
    async def test_rows_and_what_belongs_to_them(self, every_driver: Database) -> None:
        """The rows of the keys are marked with all below them, once; other rows stay, and what was there is counted."""
        first, second, third = await add(every_driver, author("a"), author("b"), author("c"))

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Author, [second.id, first.id, first.id, 404_404])
            marks = [await marks_of(session, model) for model in (Author, Book, Chapter)]
            left = [await count(session, model) for model in (Author, Book, Chapter)]

        assert deleted == 2
        assert {len(one) for one in marks} == {1}
        assert len({mark for one in marks for mark in one}) == 1
        assert left == [1, len(third.books), sum(len(book.chapters) for book in third.books)]

    async def test_versions_and_times_move_once(self, every_driver: Database) -> None:
        """A marked row is at its next version, and was changed when it was deleted."""
        one = await add(every_driver, author("a"))

        async with every_driver.transaction() as session:
            await delete_many(session, Author, [one.id])
            found = await session.get_one(Author, one.id, execution_options={"include_deleted": True})

        assert found.version == one.version + 1
        assert found.updated_at > one.updated_at

    async def test_what_is_deleted_already_does_not_count(self, every_driver: Database) -> None:
        """A row keeps the deletion that it has."""
        one, other = await add(every_driver, author("a"), author("b"))
        async with every_driver.transaction() as session:
            await delete_many(session, Author, [one.id])
            before = await marks_of(session, Author)

            assert await delete_many(session, Author, [one.id, other.id]) == 1
            assert before < await marks_of(session, Author)

    async def test_a_version_made_by_a_function(self, every_driver: Database) -> None:
        """What a function makes for a changed row, each row has for itself."""
        one, other = await add(every_driver, Draft(), Draft())

        async with every_driver.transaction() as session:
            await delete_many(session, Draft, [one.id, other.id])
            after = set(await session.scalars(select(Draft.revision), execution_options=SHOWN))

        assert len(after - {one.revision, other.revision}) == 2

    async def test_a_tree_of_many_levels(self, every_driver: Database) -> None:
        """Of a tree that lies in one table, a key and a key below it are both counted, and all below goes."""
        node = leaf = Node(name="0")
        for level in range(1, 7):
            leaf.below = [Node(name=str(level))]
            (leaf,) = leaf.below
        await add(every_driver, node)

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Node, [node.id, node.below[0].id])

            assert (deleted, await count(session, Node)) == (2, 0)

    async def test_a_composite_key(self, every_driver: Database) -> None:
        """A key of two columns is a tuple or a mapping."""
        cells = [Cell(row=1, column=n, marks=[Mark()]) for n in range(3)]
        await add(every_driver, *cells)

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Cell, [(1, 0), {"row": 1, "column": 1}])

            assert (deleted, await count(session, Cell), await count(session, Mark)) == (2, 1, 1)

    async def test_a_model_in_two_tables(self, every_driver: Database) -> None:
        """The mark stands in the table of the base; a row that is not of the class is not there."""
        dog, animal = await add(every_driver, Dog(name="a", bones=[Bone()]), Animal(name="b"))

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Dog, [dog.id, animal.id])

            assert (deleted, await count(session, Animal), await count(session, Bone)) == (1, 1, 0)

    async def test_the_base_takes_what_classes_below_have(self, every_driver: Database) -> None:
        """A key given to the base class deletes what belongs to the row by its own class."""
        dog, animal = await add(every_driver, Dog(name="a", bones=[Bone()]), Animal(name="b"))

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Animal, [dog.id, animal.id])

            assert (deleted, await count(session, Animal), await count(session, Bone)) == (2, 0, 0)

    async def test_a_class_of_one_table(self, every_driver: Database) -> None:
        """A row of another class in the table is not there."""
        keeper = await add(every_driver, Keeper(animals=[Cat(mice=[Mouse()]), Creature()]))
        cat, creature = sorted(keeper.animals, key=lambda one: one.kind)

        async with every_driver.transaction() as session:
            deleted = await delete_many(session, Cat, [cat.id, creature.id])

            assert (deleted, await count(session, Creature), await count(session, Mouse)) == (1, 1, 0)

    async def test_any_number_in_few_statements(self, every_driver: Database) -> None:
        """Keys go by 500 to a statement, and what is below them takes one for each level, however many rows."""
        rows = await add(every_driver, *(Book(title="x", author=Author(name=str(n))) for n in range(1_001)))
        async with every_driver.transaction() as session:
            await session.scalar(select(func.count(Author.id)))

            async with queries(every_driver, at_most=13) as seen:
                deleted = await delete_many(session, Author, keys(*(book.author_id for book in rows)))

            assert (deleted, await count(session, Book)) == (1_001, 0)
        assert len([one for one in seen.statements if one.startswith("UPDATE author")]) == 3

    async def test_no_keys_send_nothing(self, every_driver: Database) -> None:
        """An empty source is zero rows and no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            assert await delete_many(session, Author, []) == 0


class TestHeld:
    async def test_objects_leave_the_session_with_their_marks(self, every_driver: Database) -> None:
        """What the session holds of marked rows leaves it, shows the mark, and is in no loaded collection any more."""
        await add(every_driver, author("a"), author("b"))
        async with every_driver.transaction() as session:
            authors = await Repository(session, Author).get_all(load=[(Author.books, Book.chapters)])
            first, *books = authors[0], *authors[0].books
            second = authors[1]
            gone, *left = second.books

            deleted = await Repository(session, Book).delete_many([*(book.id for book in books), gone.id])

            assert deleted == len(books) + 1
            assert all(book not in session and book.is_deleted for book in (*books, gone))
            assert not any(chapter in session for book in (*books, gone) for chapter in book.chapters)
            assert (first.books, second.books) == ([], left)

    async def test_what_waits_to_be_written_is_written_before(self, every_driver: Database) -> None:
        """A row that is new in the session is among those that are marked."""
        async with every_driver.transaction() as session:
            one = author("a")
            session.add(one)
            await session.flush()
            session.add(Book(title="late", author_id=one.id))

            await delete_many(session, Author, [one.id])

            assert await count(session, Book) == 0

    async def test_restore_brings_the_call_back(self, every_driver: Database) -> None:
        """One call is one deletion: a restored row comes back with all that was deleted in the call, and no more."""
        earlier, one, other = await add(every_driver, author("a"), author("b"), author("c"))
        async with every_driver.transaction() as session:
            await delete_many(session, Author, [earlier.id])
            await delete_many(session, Author, [one.id, other.id])

            gone = await session.get_one(Author, one.id, execution_options=SHOWN)
            await session.run_sync(restore, gone)

            found = {row.id for row in await Repository(session, Author).get_all(load=[Author.books])}
            assert found == {one.id, other.id}
            assert await count(session, Book) == len(one.books) + len(other.books)


class TestRefused:
    async def test_rows_that_must_not_be_orphaned(self, every_driver: Database) -> None:
        """A relation that restricts refuses the whole call; nothing is marked, and the transaction goes on."""
        one, other = await add(every_driver, author("a"), author("b"))
        await add(every_driver, Loan(author_id=other.id))

        async with every_driver.transaction() as session:
            with pytest.raises(ForeignKeyViolation):
                await delete_many(session, Author, [one.id, other.id])

            assert await count(session, Author) == 2

    @pytest.mark.parametrize("key", ["1", (1, 2), {"name": 1}], ids=["text", "tuple", "mapping"])
    async def test_a_key_of_another_shape(self, every_driver: Database, key: Any) -> None:
        """A key that the model cannot have is refused before anything is sent."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidKey):
                await delete_many(session, Author, [1, key])

    async def test_one_key_alone(self, every_driver: Database) -> None:
        """Keys come as a list."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidValue, match=r"delete_many\(session, Author, \[key\]\)"):
                await delete_many(session, Author, 1)

    async def test_a_session_that_reads(self, every_driver: Database) -> None:
        """A read-only session is refused before anything is sent."""
        async with every_driver.read() as session, queries(every_driver, exactly=0):
            with pytest.raises(ReadOnlySession):
                await delete_many(session, Author, [1])

    async def test_where_each_statement_commits(self, postgres: Database) -> None:
        """Several statements that commit one by one could mark half of the rows."""
        async with postgres.session() as session:
            await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})

            with pytest.raises(NoTransaction):
                await delete_many(session, Author, [1])
