"""Tests of sqlkeel.soft_delete._written_values: SELECTs in the attributes of objects, and as defaults of columns.

What they find stands in `test_soft_delete_coverage`.
"""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, configure_mappers, mapped_column

import sqlkeel
from sqlkeel.errors import NotSupported
from sqlkeel.models import IntKeyMixin
from sqlkeel.sessions import Database
from sqlkeel.soft_delete import SoftDeleteMixin, include_deleted
from tests.soft_delete.library import Author, Base, Book, Dog, fill

pytestmark = pytest.mark.tables(Base.metadata)


async def price_of(db: Database, price: Any) -> int:
    """Add a book at a price, and return what it costs."""
    await fill(db)
    async with db.session() as session:
        book = Book(id=90, title="counts", author_id=1, price=price)
        session.add(book)
        await session.flush()
        await session.refresh(book)
        return book.price


class TestValues:
    async def test_correlated(self, db: Database) -> None:
        """A SELECT about the row itself, in a function, is one as well."""
        await fill(db)
        newest: Any = select(func.max(Book.title)).where(Book.author_id == Author.id).scalar_subquery()

        async with db.session() as session:
            bob = await session.get_one(Author, 2)
            bob.name = func.coalesce(newest, "none")
            await session.flush()
            await session.refresh(bob)

        assert bob.name == "none"

    async def test_not_made_scalar(self, db: Database) -> None:
        """A SELECT that is no scalar subquery is taken for one, as by SQLAlchemy."""
        assert await price_of(db, select(func.count(Author.id))) == 2

    async def test_an_inherited_class(self, db: Database) -> None:
        """A class whose mark is in another table leaves its deleted rows out."""
        assert await price_of(db, select(func.count(Dog.id)).scalar_subquery()) == 1

    async def test_without_a_select(self, db: Database) -> None:
        """Another expression is written as it is."""
        assert await price_of(db, func.length("four")) == 4

    async def test_one_expression_in_a_block_and_behind_it(self, db: Database) -> None:
        """Whether deleted rows count is a matter of the flush, not of the expression."""
        await fill(db)
        authors: Any = select(func.count(Author.id)).scalar_subquery()

        async with db.session() as session:
            book = await session.get_one(Book, 1)
            book.price = authors
            with include_deleted(session):
                await session.flush()
                await session.refresh(book)
            shown = book.price
            book.price = authors
            await session.flush()
            await session.refresh(book)

        assert (shown, book.price) == (3, 2)

    async def test_after_a_flush_that_failed(self, sqlite: Database) -> None:
        """An object whose flush has failed may be written in a block: deleted rows count there."""
        await fill(sqlite)
        authors: Any = select(func.count(Author.id)).scalar_subquery()
        book = Book(id=1, title="counts", author_id=1, price=authors)
        async with sqlite.session() as session:
            session.add(book)
            with pytest.raises(sqlkeel.errors.UniqueViolation):
                await session.flush()
            await session.rollback()

        async with sqlite.session() as session:
            book.id = 90
            session.add(book)
            with include_deleted(session):
                await session.flush()
                await session.refresh(book)

        assert book.price == 3


class TestDefaults:
    @pytest.mark.parametrize("which", ["default", "onupdate"])
    def test_a_select_over_a_class_is_refused(self, which: Any) -> None:
        """A default that counts rows of a soft-deletable class is refused when the mappers are configured."""

        class Own(sqlkeel.Base):
            pass

        class Part(IntKeyMixin, SoftDeleteMixin, Own):
            __tablename__ = "part"

        counted: dict[str, Any] = {which: select(func.count(Part.id)).scalar_subquery()}

        class Whole(IntKeyMixin, Own):
            __tablename__ = "whole"
            parts: Mapped[int] = mapped_column(**counted)

        with pytest.raises(NotSupported, match=rf"{which}= of Whole\.parts is a SELECT over Part"):
            configure_mappers()
        Own.registry.dispose()

    def test_a_select_over_a_table_is_taken(self) -> None:
        """One that reads the table says itself what it counts."""

        class Own(sqlkeel.Base):
            pass

        class Part(IntKeyMixin, SoftDeleteMixin, Own):
            __tablename__ = "part"

        class Whole(IntKeyMixin, Own):
            __tablename__ = "whole"
            parts: Mapped[int] = mapped_column(default=select(func.count(Part.__table__.c.id)).scalar_subquery())

        configure_mappers()
        assert Whole.__mapper__.configured
        Own.registry.dispose()
