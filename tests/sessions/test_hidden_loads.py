"""Attributes that are read before they are loaded: refused by name where that would have to wait."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import (
    Session,
    lazyload,
    load_only,
    selectinload,
    sessionmaker,
)

from sqlkeel.errors import UnloadedAttribute
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from tests.authors import Author, Base, Book, Country, fill

pytestmark = pytest.mark.tables(Base.metadata)


class TestUnloaded:
    async def test_a_plain_read_names_model_and_attribute(self, every_driver: Database) -> None:
        """A read that would have to wait says what is missing and how to load it."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            with pytest.raises(UnloadedAttribute) as caught:
                _ = author.books

        assert (caught.value.model, caught.value.attribute) == ("Author", "books")
        assert "load=[Author.books]" in str(caught.value)

    async def test_a_single_row_is_refused_too(self, every_driver: Database) -> None:
        """A parent that is not loaded is refused as a collection is."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            book = (await session.scalars(select(Book).limit(1))).one()
            with pytest.raises(UnloadedAttribute, match=r"Book\.author is not loaded"):
                _ = book.author

    async def test_an_expired_column_is_named(self, every_driver: Database) -> None:
        """After a rollback by hand every column has expired, and none can be read without waiting."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            await session.rollback()
            with pytest.raises(UnloadedAttribute, match=r"Author\..*\bname are not loaded") as caught:
                _ = author.name

            assert "session.refresh(obj)" in str(caught.value)
            assert await author.awaitable_attrs.name == "author 0"

    async def test_a_deferred_column_is_named(self, every_driver: Database) -> None:
        """A column that the query left out is refused by its name."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author).options(load_only(Author.id)))).one()
            with pytest.raises(UnloadedAttribute, match=r"Author\.name is not loaded") as caught:
                _ = author.name

            assert 'session.refresh(obj, ["name"])' in caught.value.hint
            await session.refresh(author, ["name"])
            assert author.name == "author 0"

    async def test_deeper_down_the_step_is_named(self, db: Database) -> None:
        """The attribute that is missing is named, not the one that was loaded."""
        await fill(db, 1)

        async with db.session() as session:
            author = (await session.scalars(select(Author).options(selectinload(Author.books)))).one()
            with pytest.raises(UnloadedAttribute, match=r"Book\.chapters is not loaded"):
                _ = author.books[0].chapters

    async def test_it_sends_nothing(self, db: Database) -> None:
        """The refusal comes before any statement, so that nothing half-sent is left."""
        await fill(db, 1)

        async with db.session() as session:
            author = (await session.scalars(select(Author))).one()
            async with queries(db, exactly=0):
                with pytest.raises(UnloadedAttribute):
                    _ = author.books

    async def test_the_session_stays_usable(self, every_driver: Database) -> None:
        """After the refusal the session goes on: it writes, reads and commits."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            author.name = "changed"
            with pytest.raises(UnloadedAttribute):
                _ = author.books
            assert len(await author.awaitable_attrs.books) == 2
            await session.commit()

        async with every_driver.session() as session:
            assert await session.scalar(select(Author.name)) == "changed"

    async def test_awaiting_loads(self, every_driver: Database) -> None:
        """awaitable_attrs waits for what is not loaded."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            books = await author.awaitable_attrs.books

        assert [book.title for book in books] == ["book 0.0", "book 0.1"]

    async def test_run_sync_loads(self, every_driver: Database) -> None:
        """Synchronous code in run_sync may read what is not loaded."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author))).one()
            count = await session.run_sync(lambda _: len(author.books))

        assert count == 2

    async def test_what_is_loaded_is_read(self, every_driver: Database) -> None:
        """A back reference of what was loaded, a parent in the session, and no parent at all need no statement."""
        await fill(every_driver, 1)
        async with every_driver.transaction() as session:
            session.add(Author(name="stateless"))

        async with every_driver.session() as session:
            authors = (await session.scalars(select(Author).options(selectinload(Author.books)))).all()
            countries = (await session.scalars(select(Country))).all()
            async with queries(every_driver, exactly=0):
                assert authors[0].books[0].author is authors[0]
                assert [author.country for author in authors] == [countries[0], None]

    async def test_a_new_object_has_empty_collections(self, sqlite: Database) -> None:
        """An object that was never saved has nothing to load."""
        async with sqlite.session() as session:
            author = Author(name="new")
            session.add(author)

            assert author.books == []

    async def test_code_that_catches_sqlalchemys_error_goes_on(self, every_driver: Database) -> None:
        """Libraries take MissingGreenlet for "not loaded"; a column and a relation are told so alike."""
        await fill(every_driver, 1)

        async with every_driver.session() as session:
            author = (await session.scalars(select(Author).options(load_only(Author.id)))).one()
            for name in ("name", "books"):
                with pytest.raises(MissingGreenlet, match=f"Author.{name} is not loaded"):
                    getattr(author, name)

    async def test_the_error_pickles(self, sqlite: Database) -> None:
        """The error reaches another process with its attributes."""
        error = pickle.loads(pickle.dumps(UnloadedAttribute("Author", "name", is_column=True)))

        assert (error.model, error.attribute, error.is_column) == ("Author", "name", True)

    async def test_an_explicit_lazy_option_is_refused_all_the_same(self, sqlite: Database) -> None:
        """lazyload() does not make waiting possible."""
        await fill(sqlite, 1)

        async with sqlite.session() as session:
            author = (await session.scalars(select(Author).options(lazyload(Author.books)))).one()
            with pytest.raises(UnloadedAttribute):
                _ = author.books


class TestSynchronous:
    @pytest.mark.parametrize("kind", [SyncSession, Session])
    def test_lazy_loads_work(self, kind: Any) -> None:
        """A synchronous session waits, and so may load when an attribute is read."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)

        with sessionmaker(engine, class_=kind)() as session:
            session.add(Author(name="a", books=[Book(title="b")]))
            session.commit()
            found = session.scalars(select(Author)).one()
            count = len(found.books)

        engine.dispose()
        assert count == 1

    def test_counting_is_not_loading(self) -> None:
        """A synchronous SyncSession runs other statements unhindered."""
        engine = create_engine("sqlite://")
        Base.metadata.create_all(engine)

        with sessionmaker(engine, class_=SyncSession)() as session:
            count = session.scalar(select(func.count()).select_from(Author))

        engine.dispose()
        assert count == 0
