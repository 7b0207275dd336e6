"""Tests of soft_delete._deletion: marked with what belongs to it, in a few statements, and brought back exactly."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from asyncmy.errors import OperationalError
from sqlalchemy import String, event, insert, select, text, update
from sqlalchemy.ext.declarative import ConcreteBase
from sqlalchemy.orm import Mapped, mapped_column, selectinload
from sqlalchemy.orm.exc import UnmappedInstanceError

import sqlkeel
from sqlkeel.errors import (
    Deadlock,
    ForeignKeyViolation,
    LockTimeout,
    NotFound,
    ReadOnlySession,
    RestoreConflict,
    SerializationFailure,
    UniqueViolation,
    UsageError,
    VersionConflict,
)
from sqlkeel.models import IntKeyMixin
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin, include_deleted, restore
from tests.soft_delete.library import (
    DEAD,
    SHOWN,
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
    Profile,
    Tag,
    add,
    author,
    bring_back,
    count,
    delete,
    everything,
)

pytestmark = pytest.mark.tables(Base.metadata)

AUTHOR = Base.metadata.tables["author"]


class TestDelete:
    async def test_the_row_stays_and_is_hidden(self, every_driver: Database) -> None:
        """A deleted row is in the table, marked with the time, and found by nobody."""
        key = await add(every_driver, author())

        await delete(every_driver, Author, key)

        [row] = await everything(every_driver, Author)
        assert await count(every_driver, Author) == 0
        assert row.is_deleted
        assert abs(datetime.now(UTC) - row.deleted_at) < timedelta(minutes=1)

    async def test_what_belongs_to_it_goes_along(self, every_driver: Database) -> None:
        """Children and their children are marked with one deletion and one time."""
        key = await add(every_driver, author(), author("Bob"))

        deleted = await delete(every_driver, Author, key)

        books, chapters = await everything(every_driver, Book), await everything(every_driver, Chapter)
        dead = [row for row in (*books, *chapters) if row.is_deleted]
        assert await count(every_driver, Book) == 2
        assert await count(every_driver, Chapter) == 4
        assert len(dead) == 2 + 4
        assert {(row.deletion_id, row.deleted_at) for row in dead} == {(deleted.deletion_id, deleted.deleted_at)}

    async def test_statements_do_not_grow_with_the_rows(self, db: Database) -> None:
        """Twenty books with twenty chapters each take as many statements as one with one."""
        small = await add(db, author(books=1, chapters=1))
        large = await add(db, author("Bob", books=20, chapters=20))

        async with queries(db) as few:
            await delete(db, Author, small)
        async with queries(db) as many:
            await delete(db, Author, large)

        assert len(many) == len(few)
        assert await count(db, Chapter) == 0

    async def test_one_statement_marks_a_level(self, db: Database) -> None:
        """Each relation of the tree is marked by one UPDATE."""
        key = await add(db, author(books=3, chapters=3))

        async with queries(db) as log:
            await delete(db, Author, key)

        marked = [statement.split()[1].strip("`") for statement in log if statement.startswith("UPDATE")]
        assert marked == ["author", "book", "profile", "chapter"]

    async def test_what_is_not_loaded_is_not_read_back(self, db: Database) -> None:
        """Of the classes below only those are asked for of which the session holds an object."""
        key = await add(db, author(books=3, chapters=3))

        async with queries(db) as log:
            await delete(db, Author, key)

        assert [one for one in log if one.startswith("SELECT") and "chapter" in one] == []

    async def test_versions_and_times_of_change_move(self, every_driver: Database) -> None:
        """A deletion is a change: the version counts and updated_at moves, in the object too."""
        key = await add(every_driver, author())
        async with every_driver.transaction() as session:
            await session.execute(update(AUTHOR).values(updated_at=DEAD["deleted_at"]))

        deleted = await delete(every_driver, Author, key)

        [row] = await everything(every_driver, Author)
        assert row.version == deleted.version == 2
        assert row.updated_at == deleted.updated_at > DEAD["deleted_at"]
        assert {book.version for book in await everything(every_driver, Book)} == {2}

    async def test_what_was_deleted_before_keeps_its_mark(self, every_driver: Database) -> None:
        """A child that was deleted on its own keeps its own deletion."""
        key = await add(every_driver, author())
        [first, second] = await everything(every_driver, Book)
        before = await delete(every_driver, Book, first.id)

        after = await delete(every_driver, Author, key)

        [first, second] = await everything(every_driver, Book)
        assert first.deletion_id == before.deletion_id
        assert second.deletion_id == after.deletion_id != before.deletion_id

    async def test_pending_changes_are_written_first(self, every_driver: Database) -> None:
        """What was changed before the deletion is saved with the row."""
        key = await add(every_driver, author())

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key)
            row.name = "renamed"
            await session.delete(row)

        assert [row.name for row in await everything(every_driver, Author)] == ["renamed"]

    async def test_a_rollback_undoes_it(self, every_driver: Database) -> None:
        """A deletion that is not committed has not happened."""
        key = await add(every_driver, author())

        async with every_driver.session() as session:
            await session.delete(await session.get_one(Author, key))
            await session.rollback()

        assert await count(every_driver, Author) == 1
        assert await count(every_driver, Chapter) == 4

    async def test_a_second_deletion_finds_nothing(self, every_driver: Database) -> None:
        """Deleting a deleted row is an error, and leaves its mark alone."""
        key = await add(every_driver, author())
        deleted = await delete(every_driver, Author, key)

        with pytest.raises(NotFound):
            async with every_driver.transaction() as session:
                await session.delete(deleted)

        [row] = await everything(every_driver, Author)
        assert row.deletion_id == deleted.deletion_id

    async def test_a_row_that_is_gone_is_not_found(self, every_driver: Database) -> None:
        """A row that was really deleted meanwhile is an error too."""
        key = await add(every_driver, Tag(name="t"), Node(name="n"))
        [node] = await everything(every_driver, Node)
        async with every_driver.transaction() as session:
            await session.execute(text("delete from node"))

        with pytest.raises(NotFound):
            async with every_driver.transaction() as session:
                await session.delete(node)

        assert key is not None

    async def test_a_detached_object_knows_that_it_is_deleted(self, every_driver: Database) -> None:
        """An object of another session can be deleted, and carries the mark."""
        await add(every_driver, author())
        [row] = await everything(every_driver, Author)

        async with every_driver.transaction() as session:
            await session.delete(row)

        assert row.is_deleted
        assert row.version == 2

    async def test_an_unsaved_object_is_refused(self, sqlite: Database) -> None:
        """What was never saved cannot be deleted."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match="never saved"):
                await session.delete(author())

    async def test_a_reading_session_refuses(self, db: Database) -> None:
        """A session that only reads deletes nothing."""
        key = await add(db, author())

        async with db.read() as session:
            row = await session.get_one(Author, key)
            with pytest.raises(ReadOnlySession):
                await session.delete(row)

    async def test_a_stale_object_is_a_conflict(self, every_driver: Database) -> None:
        """A row that somebody else changed since it was read is not deleted."""
        key = await add(every_driver, author())
        [row] = await everything(every_driver, Author)
        async with every_driver.transaction() as session:
            (await session.get_one(Author, key)).name = "theirs"

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                await session.delete(row)

        conflict = caught.value
        assert (conflict.expected, conflict.current, conflict.key) == (1, 2, key)
        assert conflict.current_row["name"] == "theirs"  # type: ignore[index]  # a dict
        assert await count(every_driver, Book) == 2

    async def test_an_expired_object_is_read_again(self, every_driver: Database) -> None:
        """Nobody has seen another version of it, so that there is no conflict."""
        key = await add(every_driver, author())

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key)
            session.expire(row)
            await session.delete(row)

        assert await count(every_driver, Author) == 0
        assert row.version == 2

    async def test_an_expired_object_whose_row_is_gone_is_not_found(self, db: Database) -> None:
        """As one that has not expired."""
        key = await add(db, Author(name="Ann"))

        async with db.transaction() as session:
            row = await session.get_one(Author, key)
            await session.execute(AUTHOR.delete())
            session.expire(row)
            with pytest.raises(NotFound):
                await session.delete(row)

    async def test_a_version_that_is_no_number(self, every_driver: Database) -> None:
        """It becomes another one by the model's own function, is checked, and is known to the object."""
        key = await add(every_driver, Draft())
        [stale] = await everything(every_driver, Draft)

        row = await delete(every_driver, Draft, key)
        deleted = row.revision
        row = await bring_back(every_driver, Draft, key)

        assert len({stale.revision, deleted, row.revision}) == 3
        assert [one.revision for one in await everything(every_driver, Draft)] == [row.revision]
        with pytest.raises(VersionConflict):
            async with every_driver.transaction() as session:
                await session.delete(stale)

    async def test_a_unique_value_is_free_again(self, every_driver: Database) -> None:
        """unique_live lets a new row take the name of a deleted one, and no second living one."""
        key = await add(every_driver, author())
        await delete(every_driver, Author, key)

        await add(every_driver, author())

        with pytest.raises(UniqueViolation):
            await add(every_driver, author())


class TestShapesOfTrees:
    async def test_a_tree_in_one_table_goes_level_by_level(self, every_driver: Database) -> None:
        """A self-referencing tree goes to the last leaf; its other branches stay."""
        leaf = Node(name="leaf")
        key = await add(
            every_driver, Node(name="branch", below=[Node(name="twig", below=[leaf]), Node(name="bud")]), Node(name="x")
        )

        await delete(every_driver, Node, key)

        assert [node.name for node in await everything(every_driver, Node) if not node.is_deleted] == ["x"]

    async def test_a_tree_in_one_table_comes_back(self, every_driver: Database) -> None:
        """A self-referencing tree is restored without the twig that was deleted before."""
        key = await add(every_driver, Node(name="branch", below=[Node(name="twig"), Node(name="bud")]))
        [twig] = [node.id for node in await everything(every_driver, Node) if node.name == "twig"]
        await delete(every_driver, Node, twig)
        await delete(every_driver, Node, key)

        await bring_back(every_driver, Node, key)

        alive = [node.name for node in await everything(every_driver, Node) if not node.is_deleted]
        assert sorted(alive) == ["branch", "bud"]

    async def test_a_tree_a_thousand_deep(self, db: Database) -> None:
        """A thousand levels of one table go, and come back, in a few statements."""
        table: Any = Node.__table__
        rows = [{"id": n, "name": "n", "parent_id": n - 1 or None} for n in range(1, 1001)]
        async with db.transaction() as session:
            await session.execute(insert(table), rows)

        async with queries(db, at_most=12) as deleting:
            await delete(db, Node, 1)
        gone = await count(db, Node)
        async with queries(db, at_most=12):
            await bring_back(db, Node, 1)

        assert gone == 0
        assert await count(db, Node) == 1000
        assert len([statement for statement in deleting if statement.startswith("UPDATE")]) == 4

    async def test_dead_rows_end_a_branch(self, every_driver: Database) -> None:
        """What lies below a row that was deleted before is not reached through it."""
        twig = Node(name="twig", below=[Node(name="leaf")])
        key = await add(every_driver, Node(name="branch", below=[twig]))
        async with every_driver.transaction() as session:
            table: Any = Node.__table__
            await session.execute(table.update().where(table.c.name == "twig").values(**DEAD))

        await delete(every_driver, Node, key)

        assert [node.name for node in await everything(every_driver, Node) if not node.is_deleted] == ["leaf"]

    async def test_a_circle_ends(self, every_driver: Database) -> None:
        """Rows that are each below the other are marked once."""
        async with every_driver.transaction() as session:
            table: Any = Node.__table__
            await session.execute(
                insert(table), [{"id": 1, "name": "a", "parent_id": None}, {"id": 2, "name": "b", "parent_id": 1}]
            )
            await session.execute(table.update().where(table.c.id == 1).values(parent_id=2))

        await delete(every_driver, Node, 1)

        assert [node.is_deleted for node in await everything(every_driver, Node)] == [True, True]

    async def test_keys_of_several_columns(self, every_driver: Database) -> None:
        """A composite key is followed column by column, and only its own children go."""
        key = await add(every_driver, Cell(row=1, column=2, marks=[Mark()]), Cell(row=2, column=1, marks=[Mark()]))

        deleted = await delete(every_driver, Cell, key)
        gone = await count(every_driver, Mark)
        await bring_back(every_driver, Cell, key)

        assert deleted.version == 2
        assert gone == 1
        assert await count(every_driver, Mark) == 2

    async def test_a_subclass_with_a_table_of_its_own(self, every_driver: Database) -> None:
        """The mark of a subclass stands in the base table, and its own children go along."""
        key = await add(every_driver, Dog(name="Rex", bones=[Bone(), Bone()]), Dog(name="Max", bones=[Bone()]))

        deleted = await delete(every_driver, Dog, key)
        gone = await count(every_driver, Bone)
        await bring_back(every_driver, Dog, key)

        assert deleted.version == 2
        assert gone == 1
        assert await count(every_driver, Bone) == 3

    async def test_children_of_a_subclass_go_with_the_base(self, every_driver: Database) -> None:
        """A cascade to a base class goes on along the relations of its subclasses."""
        key = await add(every_driver, Keeper(animals=[Cat(mice=[Mouse()]), Creature()]))

        await delete(every_driver, Keeper, key)

        assert await count(every_driver, Creature) == 0
        assert await count(every_driver, Mouse) == 0

    async def test_one_child_instead_of_many(self, every_driver: Database) -> None:
        """A one-to-one child goes along and comes back."""
        key = await add(every_driver, Author(name="Ann", profile=Profile()))

        await delete(every_driver, Author, key)
        gone = await count(every_driver, Profile)
        await bring_back(every_driver, Author, key)

        assert gone == 0
        assert await count(every_driver, Profile) == 1


class TestRestrict:
    async def test_a_live_row_refuses(self, every_driver: Database) -> None:
        """A row with a child that restricts is not deleted; the error names the table and column."""
        key = await add(every_driver, Author(name="Ann", books=[Book(title="b")], loans=[Loan()]))

        with pytest.raises(ForeignKeyViolation) as caught:
            await delete(every_driver, Author, key)

        assert (caught.value.table, caught.value.columns) == ("loan", ("author_id",))
        assert await count(every_driver, Author) == 1

    async def test_nothing_is_marked_when_it_refuses(self, every_driver: Database) -> None:
        """Who catches the refusal and commits has deleted nothing."""
        key = await add(every_driver, Author(name="Ann", books=[Book(title="b")], loans=[Loan()]))

        async with every_driver.transaction() as session:
            row = await session.get_one(Author, key)
            with pytest.raises(ForeignKeyViolation):
                await session.delete(row)

        assert await count(every_driver, Author) == 1
        assert await count(every_driver, Book) == 1

    async def test_a_deleted_row_does_not_refuse(self, every_driver: Database) -> None:
        """A child that is deleted itself restricts nothing."""
        key = await add(every_driver, Author(name="Ann", loans=[Loan()]))
        [loan] = await everything(every_driver, Loan)
        await delete(every_driver, Loan, loan.id)

        await delete(every_driver, Author, key)

        assert await count(every_driver, Author) == 0


class TestSession:
    async def test_deleting_several_marks_each(self, db: Database) -> None:
        """session.delete_all() does as delete() does: a deletion for each, and what is below a row goes with it."""
        keys = [await add(db, author("Ann")), await add(db, author("Bob", books=1))]

        async with db.transaction() as session:
            await session.delete_all([await session.get_one(Author, key) for key in keys])

        ann, bob = await everything(db, Author)
        deletions = [book.deletion_id for book in await everything(db, Book)]
        assert ann.is_deleted
        assert bob.is_deleted
        assert deletions == [ann.deletion_id, ann.deletion_id, bob.deletion_id]
        assert ann.deletion_id != bob.deletion_id

    @pytest.mark.parametrize("given", [Author, None, 5, []], ids=str)
    async def test_what_is_no_object(self, sqlite: Database, given: Any) -> None:
        """The class, which has our method too, and whatever else is no object of a model get SQLAlchemy's own error."""
        async with sqlite.session() as session:
            with pytest.raises(UnmappedInstanceError):
                await session.delete(given)
            with pytest.raises(UnmappedInstanceError):
                await session.delete_all([given])

    async def test_deleted_objects_leave_the_session(self, db: Database) -> None:
        """The object and its loaded children are detached, readable, and carry the mark."""
        key = await add(db, author())

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.books)])
            book = row.books[0]
            await session.delete(row)

            assert row not in session
            assert book not in session
            assert (row.is_deleted, book.is_deleted) == (True, True)
            assert (row.version, book.version) == (2, 2)
            assert await session.get(Author, key) is None
            assert await session.get(Book, book.id) is None

    async def test_loaded_collections_lose_the_row(self, db: Database) -> None:
        """A loaded list, set or dict that held the row does not hold it any more."""
        tag = Tag(name="t")
        [first, second] = books = [Book(title="a", tags={tag}), Book(title="b", tags={tag})]
        first.chapters = [Chapter(title="1"), Chapter(title="2")]
        key = await add(db, Author(name="Ann", books=books))

        async with db.transaction() as session:
            options = [selectinload(Author.books).options(selectinload(Book.chapters), selectinload(Book.named))]
            row = await session.get_one(Author, key, options=options)
            tag = await session.get_one(Tag, tag.id, options=[selectinload(Tag.books)])
            await session.delete(row.books[0].chapters[0])
            await session.delete(row.books[1])

            assert [book.title for book in row.books] == ["a"]
            assert [book.title for book in tag.books] == ["a"]
            assert [chapter.title for chapter in row.books[0].chapters] == ["2"]
            assert list(row.books[0].named) == ["2"]
        assert second.id not in {book.id for book in row.books}

    async def test_a_collection_without_the_row_is_no_change(self, db: Database) -> None:
        """Taking the row out of a collection writes nothing: the link stays for the restoration."""
        key = await add(db, author())

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.books)])
            await session.delete(row.books[0])
            async with queries(db, exactly=0):
                await session.flush()

    async def test_the_collection_takes_new_rows(self, db: Database) -> None:
        """A collection that lost a row works as before."""
        key = await add(db, author())

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.books)])
            await session.delete(row.books[0])
            row.books.append(Book(title="new"))

        assert await count(db, Book) == 2

    async def test_a_one_to_one_child_leaves_its_parent(self, db: Database) -> None:
        """A loaded attribute that held the row holds None."""
        key = await add(db, Author(name="Ann", profile=Profile()))

        async with db.transaction() as session:
            row = await session.get_one(Author, key, options=[selectinload(Author.profile)])
            await session.delete(row.profile)

            assert row.profile is None

    async def test_other_objects_stay(self, db: Database) -> None:
        """What does not belong to the row stays in the session."""
        key = await add(db, author(), author("Bob"))

        async with db.transaction() as session:
            bob = (await session.scalars(select(Author).where(Author.name == "Bob"))).one()
            await session.delete(await session.get_one(Author, key))
            bob.name = "Bert"

        assert [row.name for row in await everything(db, Author)] == ["Ann", "Bert"]


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


class OwnBase(sqlkeel.Base):
    pass


class Paper(IntKeyMixin, SoftDeleteMixin, ConcreteBase, OwnBase):
    """Read from a union of tables, which has a column for the name of the class."""

    __tablename__ = "paper"
    __mapper_args__ = {"polymorphic_identity": "paper", "concrete": True}
    title: Mapped[str] = mapped_column(String(50))


@pytest.mark.tables(OwnBase.metadata)
class TestUnionOfTables:
    async def test_a_loaded_row_is_restored(self, every_driver: Database) -> None:
        """The columns of the union that no attribute has are not read again."""
        async with every_driver.transaction() as session:
            paper = await Repository(session, Paper).create(title="a")
            await Repository(session, Paper).delete(paper)

        async with every_driver.transaction() as session:
            with include_deleted(session):
                [paper] = await Repository(session, Paper).get_all()
            await Repository(session, Paper).restore(paper)

            assert paper.deleted_at is None
            assert await Repository(session, Paper).count() == 1


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
