"""Fields by name: what a flush would not write is refused, and a mutable value that is given again is written."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, String, select
from sqlalchemy.ext.associationproxy import AssociationProxy, association_proxy
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import (
    Mapped,
    column_property,
    composite,
    mapped_column,
    query_expression,
    relationship,
    synonym,
)

import sqlkeel
from sqlkeel.errors import InvalidValue, UnknownField
from sqlkeel.models import IntKeyMixin, children, parent
from sqlkeel.models._fields import refusal_of_field, refuse_fields
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.versions import VersionMixin
from tests.authors import Author, Book


class Base(sqlkeel.Base):
    pass


class Letter(IntKeyMixin, Base):
    __tablename__ = "fields_letter"
    subject: Mapped[str] = mapped_column(String(20))
    length = column_property(1 + 1)


class TestMeant:
    @pytest.mark.parametrize(
        ("field", "hint"),
        [
            ("subjct", "Did you mean 'subject'?"),
            ("Subject", "Did you mean 'subject'?"),
            ("zzz", "It has id, subject."),
            ("length", ""),
        ],
    )
    def test_hint(self, field: str, hint: str) -> None:
        """A field that there is not is answered with the one that was meant, or with those that there are."""
        with pytest.raises(UnknownField) as caught:
            refuse_fields(Letter, [field])

        assert caught.value.hint == hint


class Size:
    """Two columns in one value."""

    def __init__(self, width: int | None, height: int | None) -> None:
        self.width, self.height = width, height

    def __composite_values__(self) -> tuple[int | None, int | None]:
        return self.width, self.height


class Paper(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "paper"
    title: Mapped[str] = mapped_column("paper_title", String(50))
    loud: Mapped[str] = column_property(title.column + "!")  # type: ignore[assignment]
    extra: Mapped[str | None] = query_expression()
    heading: Mapped[str] = synonym("title")
    data: Mapped[Any] = mapped_column(JSON(), nullable=True)
    width: Mapped[int | None] = mapped_column()
    height: Mapped[int | None] = mapped_column()
    size: Mapped[Size] = composite("width", "height")
    lines: Mapped[list[Line]] = children(back_populates="paper")
    shown: Mapped[list[Line]] = relationship(viewonly=True)
    words: AssociationProxy[list[str]] = association_proxy("lines", "word", creator=lambda word: Line(word=word))

    @hybrid_property
    def short(self) -> str:
        """The beginning, which nobody sets."""
        return self.title[:3]

    @hybrid_property
    def name(self) -> str:
        """Another name of the title."""
        return self.title

    @name.inplace.setter
    def _name(self, value: str) -> None:
        self.title = value


class Line(IntKeyMixin, Base):
    __tablename__ = "line"
    word: Mapped[str] = mapped_column(String(20))
    paper_id: Mapped[int] = mapped_column(ForeignKey("paper.id"), index=True)
    paper: Mapped[Paper] = parent(back_populates="lines")


pytestmark = pytest.mark.tables(Base.metadata)


class TestRefusal:
    @pytest.mark.parametrize("field", ["title", "heading", "data", "size", "lines", "words", "name"])
    def test_what_is_written_is_a_field(self, field: str) -> None:
        """Columns, synonyms, composites, relationships, proxies and hybrids with a setter take a value."""
        assert refusal_of_field(Paper, field) is None

    @pytest.mark.parametrize("field", ["loud", "extra", "shown", "short"])
    async def test_what_is_computed_is_refused(self, sqlite: Database, field: str) -> None:
        """An expression, a relationship that is only read, and a hybrid without a setter would not be written."""
        async with sqlite.transaction() as session:
            papers = Repository(session, Paper)
            paper = await papers.create(title="t")
            with pytest.raises(UnknownField, match="computes"):
                await papers.update(paper, {"title": "new", field: "x"})
            with pytest.raises(UnknownField, match="computes"):
                await papers.create(title="t", **{field: "x"})

            assert paper.title == "t"

    @pytest.mark.parametrize("field", ["paper_title", "nothing", "metadata", "awaitable_attrs"])
    def test_what_is_not_there_is_refused(self, field: str) -> None:
        """The name of a column that the model calls otherwise is no field."""
        assert refusal_of_field(Paper, field) == f"has no field {field!r}"


class TestMutable:
    @pytest.mark.parametrize("data", [{"a": [1]}, [1, 2], {"a": {"b": 1}}])
    async def test_a_value_changed_in_place_is_written(self, every_driver: Database, data: Any) -> None:
        """A mapping or list that was changed in place and is given again reaches the table, and counts."""
        async with every_driver.transaction() as session:
            key = (await Repository(session, Paper).create(title="t", data=data)).id

        async with every_driver.transaction() as session:
            papers = Repository(session, Paper)
            paper = await papers.get_one(key)
            changed = paper.data
            changed.clear()
            await papers.update(paper, {"data": changed})

        async with every_driver.read() as session:
            assert (await session.execute(select(Paper.data, Paper.version))).one() == (type(data)(), 2)

    async def test_an_equal_value_is_no_change(self, every_driver: Database) -> None:
        """A value that is equal and not the same object counts nothing."""
        async with every_driver.transaction() as session:
            papers = Repository(session, Paper)
            paper = await papers.create(title="t", data={"a": 1})
            await papers.update(paper, {"data": {"a": 1}, "title": "t"})

            assert paper.version == 1


class TestRelations:
    @pytest.mark.parametrize("given", [1, "ann", {"id": 1}, [], [1]], ids=str)
    async def test_no_object_for_a_parent(self, db: Database, given: Any) -> None:
        """What a client has sent in the place of an object is its mistake, and says which column takes the key."""
        with pytest.raises(InvalidValue, match=r"Book\.author takes a Author") as caught:
            async with db.transaction() as session:
                await Repository(session, Book).create(title="a", author=given)

        assert caught.value.column == "author"
        assert caught.value.hint == "author_id=…, or author=author, the object"

    @pytest.mark.parametrize("given", [1, None, "ann", [1], ["ann"], {"id": 1}, [{"id": 1}]], ids=str)
    async def test_no_objects_for_children(self, db: Database, given: Any) -> None:
        """The same of a collection, of which one that is no object is enough."""
        with pytest.raises(InvalidValue, match=r"Author\.books takes a list of Book"):
            async with db.transaction() as session:
                await Repository(session, Author).create(name="a", books=given)

    async def test_one_object_for_children(self, db: Database) -> None:
        """An object without the brackets around it is refused with them."""
        with pytest.raises(InvalidValue) as caught:
            async with db.transaction() as session:
                await Repository(session, Author).create(name="a", books=Book(title="b"))

        assert caught.value.hint == "books=[Book(...)]"

    @pytest.mark.parametrize("given", [None, 1], ids=str)
    def test_objects_and_nothing(self, given: Any) -> None:
        """Objects are taken, and nothing for a parent that may be missing; a collection is always one."""
        author = Author(name="a", books=[Book(title="b")])

        refuse_fields(Book, {"author": author})
        refuse_fields(Author, {"books": author.books})
        refuse_fields(Book, {"author": None})
        with pytest.raises(InvalidValue):
            refuse_fields(Author, {"books": given})
