"""Loading: relationships come with the query, in few statements."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import (
    defer,
    joinedload,
    lazyload,
    load_only,
    selectinload,
    undefer,
)

from sqlkeel.errors import UnknownField, UsageError
from sqlkeel.observe import queries
from sqlkeel.reading import loader_options
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.authors import Author, Base, Book, fill

pytestmark = pytest.mark.tables(Base.metadata)


def chapters_of(authors: Any) -> list[str]:
    """List the titles of all chapters, through what is loaded."""
    return [chapter.title for author in authors for book in author.books for chapter in book.chapters]


@pytest.mark.parametrize("authors", [1, 10])
class TestStatements:
    """However many rows there are, the number of statements is that of the steps."""

    async def test_a_collection_takes_one_more(self, db: Database, authors: int) -> None:
        """A collection is a second statement."""
        await fill(db, authors)

        async with db.session() as session, queries(db, exactly=2):
            found = (await session.scalars(select(Author).options(*loader_options([Author.books])))).all()

        assert sum(len(author.books) for author in found) == 2 * authors

    async def test_a_single_row_takes_none(self, db: Database, authors: int) -> None:
        """A parent comes in the same statement."""
        await fill(db, authors)

        async with db.session() as session, queries(db, exactly=1):
            found = (await session.scalars(select(Author).options(*loader_options([Author.country])))).all()

        assert {author.country.name for author in found} == {f"country {a}" for a in range(authors)}

    async def test_a_path_takes_one_for_each_collection(self, db: Database, authors: int) -> None:
        """A path of collections is one statement for each step."""
        await fill(db, authors)

        async with db.session() as session, queries(db, exactly=3):
            options = loader_options([(Author.books, Book.chapters), Author.country])
            found = (await session.scalars(select(Author).options(*options))).all()

        assert len(chapters_of(found)) == 4 * authors

    async def test_a_path_may_go_through_a_single_row(self, db: Database, authors: int) -> None:
        """A collection of a parent is one statement more."""
        await fill(db, authors)

        async with db.session() as session, queries(db, exactly=2):
            options = loader_options([(Book.author, Author.books)])
            found = (await session.scalars(select(Book).options(*options))).unique().all()

        assert {len(book.author.books) for book in found} == {2}

    async def test_the_limit_counts_rows_of_the_model(self, db: Database, authors: int) -> None:
        """A limit is one of authors, not of authors times their books."""
        await fill(db, authors)

        async with db.session() as session:
            options = loader_options([Author.books, Author.country])
            found = (await session.scalars(select(Author).options(*options).limit(1))).all()

        assert [len(author.books) for author in found] == [2]


class TestLoaderOptions:
    def test_an_option_of_sqlalchemy_passes(self) -> None:
        """What is an option already stays as it is."""
        option = selectinload(Author.books)

        assert loader_options([option]) == [option]

    @pytest.mark.parametrize("element", [Author.name, "books", ("books",), (Author.books, Book.title), (), None])
    def test_what_is_no_relationship_is_refused(self, element: Any) -> None:
        """A column, a name or nothing at all is refused before a statement is sent."""
        with pytest.raises(UnknownField, match="is not a relationship"):
            loader_options([element])

    @pytest.mark.parametrize(
        ("load", "hint"),
        [
            ("books", "load=[Model.books]"),
            (["books"], "load=[Model.books], the attribute itself."),
            (Author.books, "load=[Author.books]"),
            ([Author.name], "Columns are loaded with their row; load a deferred one by load=[undefer(Model.column)]."),
            ([Author], "load=[Model.relationship]"),
        ],
        ids=["text", "list of texts", "without brackets", "column", "class"],
    )
    def test_it_says_how_it_is_written(self, load: Any, hint: str) -> None:
        """The hint is what was most likely meant."""
        with pytest.raises(UnknownField) as caught:
            loader_options(load)

        assert caught.value.hint == hint

    async def test_a_condition_on_the_relationship_is_kept(self, db: Database) -> None:
        """Relationship.and_() loads a part of the collection."""
        await fill(db, 1)
        [option] = loader_options([Author.books.and_(Book.title == "book 0.1")])

        async with db.session() as session:
            author = (await session.scalars(select(Author).options(option))).one()

        assert [book.title for book in author.books] == ["book 0.1"]


READS: dict[str, Callable[[Repository[Author], list[Any]], Awaitable[object]]] = {
    "get": lambda authors, load: authors.get(1, load=load),
    "get_one": lambda authors, load: authors.get_one(1, load=load),
    "get_many": lambda authors, load: authors.get_many([1], load=load),
    "get_all": lambda authors, load: authors.get_all(load=load),
    "one_or_none": lambda authors, load: authors.one_or_none(load=load),
    "page": lambda authors, load: authors.page(load=load),
    "iterate": lambda authors, load: anext(authors.iterate(load=load)),
}
CONTRADICTIONS: dict[str, list[Any]] = {
    "two options": [selectinload(Author.books), joinedload(Author.books)],
    "relationship and option": [Author.books, lazyload(Author.books)],
    "path and option": [(Author.books, Book.chapters), selectinload(Author.books).joinedload(Book.chapters)],
    "columns": [defer(Author.name), undefer(Author.name)],
}
STRANGERS: dict[str, list[Any]] = {"relationship": [selectinload(Book.chapters)], "column": [load_only(Book.title)]}


class TestRefusedOptions:
    @pytest.mark.parametrize("read", READS)
    @pytest.mark.parametrize("load", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
    async def test_two_ways_to_load_the_same(self, db: Database, load: list[Any], read: str) -> None:
        """What SQLAlchemy finds when it compiles the query is an error of ours that says what to write."""
        async with db.read() as session:
            with pytest.raises(UsageError, match="load= has two ways") as caught:
                await READS[read](Repository(session, Author), load)

        assert "Name each relationship" in str(caught.value)

    @pytest.mark.parametrize("read", READS)
    @pytest.mark.parametrize("load", STRANGERS.values(), ids=STRANGERS)
    async def test_an_option_of_another_model(self, db: Database, load: list[Any], read: str) -> None:
        """It is refused as a relationship of another model is."""
        async with db.read() as session:
            with pytest.raises(UnknownField, match="Mapped class Book") as caught:
                await READS[read](Repository(session, Author), load)

        assert "load=[selectinload(Model.relationship)" in str(caught.value)

    async def test_the_same_twice_is_one(self, db: Database) -> None:
        """A relationship that two callers ask for is no contradiction."""
        await fill(db, authors=1)

        async with db.read() as session:
            [author] = await Repository(session, Author).get_all(load=[Author.books, selectinload(Author.books)])

        assert len(author.books) == 2

    async def test_another_error_stays_what_it_is(self, db: Database) -> None:
        """An error that has nothing to do with the options is not taken for one of them."""
        async with db.session() as session:
            await session.close()

            with pytest.raises(InvalidRequestError, match="permanently closed"):
                await Repository(session, Author).get_all(load=[Author.books])
