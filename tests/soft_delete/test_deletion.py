"""Tests of soft_delete._deletion: marked with what belongs to it, in a few statements, and brought back exactly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import selectinload
from sqlalchemy.orm.exc import UnmappedInstanceError

from sqlkeel.errors import ForeignKeyViolation, NotFound, ReadOnlySession, UniqueViolation, UsageError, VersionConflict
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from tests.soft_delete.library import (
    DEAD,
    Author,
    Base,
    Book,
    Chapter,
    Draft,
    Loan,
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
