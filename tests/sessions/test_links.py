"""Tests of sqlkeel.sessions._links: a loaded relation follows its foreign key, whoever changed that."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.orm import sessionmaker

from sqlkeel import Repository, SyncSession
from sqlkeel.bulk import upsert
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from tests.sessions.link_models import Author, Base, Book, Cell, City, Country, Essay, Folder, Lease, Mark

pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture
async def rows(every_driver: Database) -> Database:
    """Two authors, the first with two books and an essay."""
    async with every_driver.transaction() as session:
        session.add_all([Author(id=1, name="Ann"), Author(id=2, name="Bob"), Author(id=3, name="Cid")])
        session.add_all([Cell(row=1, column=1), Cell(row=1, column=2)])
        await session.flush()
        session.add_all([Book(id=1, author_id=1), Book(id=2, author_id=1), Essay(id=1, author_id=1)])
        session.add_all([Mark(id=1, row=1, column=1), Lease(id=1, author_id=1)])
    return every_driver


async def held(session: Any) -> tuple[Book, Author, Author]:
    """Load the first book with its author, and the first two authors with their books."""
    book = await Repository(session, Book).get_one(1, load=[Book.author])
    ann, bob = await Repository(session, Author).get_all(Author.id < 3, load=[Author.books], order_by=Author.id)
    return book, ann, bob


def ids(objects: Any) -> list[int]:
    return [one.id for one in objects]


class TestFlush:
    async def test_the_parent_is_the_new_one(self, rows: Database) -> None:
        """After the flush of another key, the loaded parent is the row that it names."""
        async with rows.transaction() as session:
            book, _, bob = await held(session)

            await Repository(session, Book).update(book, {"author_id": 2})

            assert book.author is bob

    async def test_a_parent_that_is_not_loaded(self, rows: Database) -> None:
        """A parent that the session does not hold is loaded."""
        async with rows.transaction() as session:
            book = await Repository(session, Book).get_one(1, load=[Book.author])

            book.author_id = 3
            await session.flush()

            assert book.author.name == "Cid"

    async def test_the_collections_of_both(self, rows: Database) -> None:
        """The loaded collections of the old and the new parent are what they are in the database, in their order."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            book.author_id = 2
            await session.flush()

            assert (ids(ann.books), ids(bob.books)) == ([2], [1])

    async def test_a_collection_without_a_way_back(self, rows: Database) -> None:
        """A collection is right also where the child has no relation to its parent."""
        async with rows.transaction() as session:
            ann = await Repository(session, Author).get_one(1, load=[Author.essays])
            essay = await session.get_one(Essay, 1)

            essay.author_id = None
            await session.flush()

            assert ann.essays == []

    async def test_no_parent(self, rows: Database) -> None:
        """Without a key there is no parent."""
        async with rows.transaction() as session:
            lease = await Repository(session, Lease).get_one(1, load=[Lease.author])

            lease.author_id = None
            await session.flush()

            assert lease.author is None

    async def test_a_deleted_parent(self, rows: Database) -> None:
        """A parent that is marked as deleted is not shown."""
        async with rows.transaction() as session:
            await session.delete(await session.get_one(Author, 3))
        async with rows.transaction() as session:
            lease = await Repository(session, Lease).get_one(1, load=[Lease.author])

            lease.author_id = 3
            await session.flush()

            assert lease.author is None

    async def test_a_key_of_two_columns(self, rows: Database) -> None:
        """One column of a composite key is enough to change the parent."""
        async with rows.transaction() as session:
            mark = await Repository(session, Mark).get_one(1, load=[Mark.cell])
            other = await session.get_one(Cell, (1, 2))

            mark.column = 2
            await session.flush()

            assert mark.cell is other

    async def test_an_assigned_parent_costs_nothing(self, rows: Database) -> None:
        """A parent that is assigned as an object is there already: the UPDATE is the only statement."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            async with queries(rows) as log:
                book.author = bob
                await session.flush()

            assert len(log) == 1
            assert (ids(ann.books), ids(bob.books)) == ([2], [1])

    async def test_what_is_not_loaded_costs_nothing(self, rows: Database) -> None:
        """A key whose relations are not loaded is written with one statement."""
        async with rows.transaction() as session:
            book = await session.get_one(Book, 1)

            async with queries(rows) as log:
                book.author_id = 2
                await session.flush()

            assert len(log) == 1

    async def test_many_parents_come_with_a_few_statements(self, rows: Database) -> None:
        """The new parents of many rows are loaded together."""
        async with rows.transaction() as session:
            session.add_all([Author(id=100 + n) for n in range(20)])
            session.add_all([Book(id=100 + n, author_id=1) for n in range(20)])
        async with rows.transaction() as session:
            books = await Repository(session, Book).get_all(Book.id >= 100, load=[Book.author])

            async with queries(rows, at_most=30) as log:
                for book in books:
                    book.author_id = book.id
                await session.flush()

            assert [book.author.id for book in books] == [book.id for book in books]
            assert len([statement for statement in log if statement.startswith("SELECT")]) <= 2


class TestStatements:
    @pytest.mark.parametrize("synchronize", ["auto", "fetch", "evaluate"])
    async def test_update(self, rows: Database, synchronize: Any) -> None:
        """An update() statement of the key is followed, too."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            statement = update(Book).where(Book.id == 1).values(author_id=2)
            await session.execute(statement, execution_options={"synchronize_session": synchronize})

            assert book.author is bob
            assert (ids(ann.books), ids(bob.books)) == ([2], [1])

    async def test_update_by_column(self, rows: Database) -> None:
        """A statement may name the column instead of the attribute, and compute its value."""
        async with rows.transaction() as session:
            book, _, bob = await held(session)

            await session.execute(update(Book).where(Book.id == 1).values({Book.author_id: Book.author_id + 1}))

            assert book.author is bob

    async def test_update_by_key(self, rows: Database) -> None:
        """A list of rows by key is followed."""
        async with rows.transaction() as session:
            book, _, bob = await held(session)

            await session.execute(update(Book), [{"id": 1, "author_id": 2}])

            assert book.author is bob

    async def test_update_many(self, rows: Database) -> None:
        """update_many() of the key is followed."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            await Repository(session, Book).update_many([{"id": 1, "author_id": 2}])

            assert book.author is bob
            assert (ids(ann.books), ids(bob.books)) == ([2], [1])

    async def test_upsert_many(self, rows: Database) -> None:
        """upsert_many() of the key is followed."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            await Repository(session, Book).upsert_many([{"id": 1, "author_id": 2}], on=[Book.id])

            assert book.author is bob
            assert (ids(ann.books), ids(bob.books)) == ([2], [1])

    async def test_upsert(self, rows: Database) -> None:
        """upsert() of the key is followed."""
        async with rows.transaction() as session:
            book, ann, bob = await held(session)

            await Repository(session, Book).upsert({"id": 1, "author_id": 2}, on=[Book.id])

            assert book.author is bob
            assert (ids(ann.books), ids(bob.books)) == ([2], [1])


async def to_bob(session: Any) -> None:
    await session.execute(update(Book).where(Book.id == 1).values(author_id=2))


async def to_bob_by_column(session: Any) -> None:
    await session.execute(update(Book).where(Book.id == 1).values({Book.author_id: Book.author_id + 1}))


async def to_bob_by_parameter(session: Any) -> None:
    await session.execute(update(Book).where(Book.id == 1), {"written_by": 2})


async def to_bob_by_key(session: Any) -> None:
    await session.execute(update(Book), [{"id": 1, "author_id": 2}])


async def to_bob_among_many(session: Any) -> None:
    await Repository(session, Book).update_many([{"id": 2, "title": "two"}, {"id": 1, "author_id": 2}])


async def to_bob_by_function(session: Any) -> None:
    await session.execute(update(Book).where(Book.id == 1).values(author_id=func.length("ab")))


async def to_bob_by_upsert(session: Any) -> None:
    await Repository(session, Book).upsert({"id": 1, "author_id": 2}, on=[Book.id])


async def to_bob_by_upserts(session: Any) -> None:
    await Repository(session, Book).upsert_many([{"id": 1, "author_id": 2}], on=[Book.id])


every_move = pytest.mark.parametrize(
    "move",
    [
        to_bob,
        to_bob_by_column,
        to_bob_by_parameter,
        to_bob_by_key,
        to_bob_among_many,
        to_bob_by_function,
        to_bob_by_upsert,
        to_bob_by_upserts,
    ],
)


class TestRowsNotHeld:
    @every_move
    async def test_they_come_to_a_loaded_collection(self, rows: Database, move: Any) -> None:
        """A row that the session does not hold stands in the collection of its new parent."""
        async with rows.transaction() as session:
            bob = await Repository(session, Author).get_one(2, load=[Author.books])

            await move(session)

            assert ids(bob.books) == [1]

    @every_move
    async def test_collections_that_are_not_loaded_cost_nothing(self, rows: Database, move: Any) -> None:
        """Where no parent has its collection loaded, nothing of parents and children is read."""
        async with rows.transaction() as session:
            await session.get_one(Author, 2)

            async with queries(rows) as log:
                await move(session)

            assert [one for one in log if "SELECT" in one and "FROM author" in one] == []

    @pytest.mark.parametrize(
        "again",
        [
            lambda session: session.execute(update(Book), [{"id": 1, "author_id": 1}]),
            lambda session: Repository(session, Book).update_many([{"id": 1, "author_id": 1}]),
            lambda session: Repository(session, Book).upsert_many([{"id": 1, "author_id": 1}], on=[Book.id]),
        ],
        ids=["rows", "update_many", "upsert_many"],
    )
    async def test_members_cost_nothing(self, rows: Database, again: Any) -> None:
        """Rows that are in the collection already do not load it again."""
        async with rows.transaction() as session:
            ann = await Repository(session, Author).get_one(1, load=[Author.books])
            before = ann.books

            async with queries(rows) as log:
                await again(session)

            assert [one for one in log if "SELECT" in one and "FROM author" in one] == []
            assert ann.books is before

    async def test_another_parent_costs_nothing(self, rows: Database) -> None:
        """A collection of which no row is told stays as it is."""
        async with rows.transaction() as session:
            cid = await Repository(session, Author).get_one(3, load=[Author.books])
            before = cid.books

            await session.execute(update(Book).where(Book.id == 1).values(author_id=2))

            assert cid.books is before

    @pytest.mark.parametrize(
        "move",
        [
            lambda session: Repository(session, City).update_many([{"id": 1, "code": "no"}]),
            lambda session: session.execute(update(City), [{"id": 1, "code": "no"}]),
            lambda session: session.execute(update(City).values(code="no")),
        ],
        ids=["update_many", "rows", "statement"],
    )
    async def test_a_column_that_is_not_the_key(self, every_driver: Database, move: Any) -> None:
        """A row comes to its parent also by another unique column than the key."""
        async with every_driver.transaction() as session:
            session.add_all([Country(id=1, code="se", cities=[City(id=1)]), Country(id=2, code="no")])

        async with every_driver.transaction() as session:
            norway = await Repository(session, Country).get_one(2, load=[Country.cities])
            await move(session)

            assert ids(norway.cities) == [1]

    async def test_a_part_of_a_key(self, rows: Database) -> None:
        """One column of a composite key is enough to bring a row."""
        async with rows.transaction() as session:
            cell = await Repository(session, Cell).get_one((1, 2), load=[Cell.marks])

            await session.execute(update(Mark), [{"id": 1, "column": 2}])

            assert ids(cell.marks) == [1]

    async def test_a_part_of_a_key_that_is_computed(self, rows: Database) -> None:
        """Of a composite key one column may be computed, and the other be left as it is."""
        async with rows.transaction() as session:
            cell = await Repository(session, Cell).get_one((1, 2), load=[Cell.marks])

            await session.execute(update(Mark).values(column=Mark.column + 1))

            assert ids(cell.marks) == [1]

    async def test_no_parent(self, rows: Database) -> None:
        """Rows that are given no parent come to no collection."""
        async with rows.transaction() as session:
            bob = await Repository(session, Author).get_one(2, load=[Author.essays])
            before = bob.essays

            await session.execute(update(Essay).values(author_id=None))

            assert bob.essays is before

    async def test_a_change_that_is_not_flushed_stays(self, rows: Database) -> None:
        """What is added to the collection, and not flushed, is not lost."""
        async with rows.transaction() as session:
            bob = await Repository(session, Author).get_one(2, load=[Author.books])
            with session.no_autoflush:
                bob.books.append(Book(id=7))

                await session.execute(update(Book).where(Book.id == 1).values(author_id=2))

            assert 7 in ids(bob.books)


class TestSynchronous:
    def test_it_is_loaded_at_the_next_read(self) -> None:
        """A synchronous session forgets the old parent, and loads the new one when it is read."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)
        with sessionmaker(engine, class_=SyncSession)() as session:
            session.add_all([Author(id=1), Author(id=2), Book(id=1, author_id=1)])
            session.flush()
            book = session.scalars(select(Book)).one()
            assert book.author.id == 1

            book.author_id = 2
            session.flush()

            assert book.author.id == 2


class TestDataclasses:
    async def test_they_have_no_hash(self, every_driver: Database) -> None:
        """Objects that are dataclasses, which cannot be members of a set, follow their keys like others."""
        async with every_driver.transaction() as session:
            session.add_all([Folder(id=1, name="a"), Folder(id=2, name="b"), Folder(id=3, name="c", above_id=1)])
            await session.flush()
            folder = await Repository(session, Folder).get_one(3, load=[Folder.above])
            await Repository(session, Folder).update(folder, {"above_id": 2})
            names = [folder.above.name if folder.above else None]
            found, _ = await upsert(session, Folder, {"id": 3, "name": "c", "above_id": 1}, on=[Folder.name])
            names.append(found.above.name if found.above else None)
            await session.execute(update(Folder).where(Folder.id == 3).values(above_id=2))

            assert [*names, folder.above.name if folder.above else None] == ["b", "a", "b"]


@pytest.mark.parametrize(
    "move",
    [
        lambda repository, city: repository.update(city, {"code": "no"}),
        lambda repository, city: repository.update_many([{"id": city.id, "code": "no"}]),
        lambda repository, city: repository.session.execute(update(City).values(code="no")),
    ],
    ids=["flush", "bulk", "statement"],
)
class TestOtherColumns:
    async def test_both_collections_follow(self, every_driver: Database, move: Any) -> None:
        """A foreign key to a unique column that is not the key moves a row from one collection to the other."""
        async with every_driver.transaction() as session:
            session.add_all([Country(code="se", cities=[City()]), Country(code="no")])

        async with every_driver.transaction() as session:
            new, old = await Repository(session, Country).get_all(load=[Country.cities], order_by=Country.code)
            [city] = old.cities
            await move(Repository(session, City), city)

            assert (old.cities, new.cities) == ([], [city])
