"""Conditions: a question to one table names no other, unless inside of EXISTS."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, exists, func, select, true
from sqlalchemy.orm import Load, Mapped, aliased, contains_eager, joinedload, mapped_column

import sqlkeel
from sqlkeel.errors import UsageError
from sqlkeel.models import IntKeyMixin, children, parent
from sqlkeel.models._conditions import refuse_other_tables
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database


class Base(sqlkeel.Base):
    pass


class Author(IntKeyMixin, Base):
    __tablename__ = "author"
    name: Mapped[str] = mapped_column(String(20))
    books: Mapped[list[Book]] = children(back_populates="author")


class Book(IntKeyMixin, Base):
    __tablename__ = "book"
    author_id: Mapped[int] = mapped_column(ForeignKey("author.id"), index=True)
    author: Mapped[Author] = parent(back_populates="books")


class Loose(IntKeyMixin, Base):
    __tablename__ = "loose"


class Animal(IntKeyMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    breed: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_identity": "dog"}


class Cat(Animal):
    lives: Mapped[int | None] = mapped_column()
    __mapper_args__ = {"polymorphic_identity": "cat"}


pytestmark = pytest.mark.tables(Base.metadata)
QUESTIONS: dict[str, Callable[[Repository[Author], Any], Awaitable[Any]]] = {
    "get_all": lambda authors, where: authors.get_all(where),
    "one_or_none": lambda authors, where: authors.one_or_none(where),
    "page": lambda authors, where: authors.page(where),
    "count": lambda authors, where: authors.count(where),
    "exists": lambda authors, where: authors.exists(where),
}


class TestWhatIsNoCondition:
    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
    @pytest.mark.parametrize(
        "where",
        [Author.name is None, Author.name is not None, "name = 'a'", {"name": "a"}, 1, None, [Author.name == "a"]],
        ids=["is", "is not", "text", "mapping", "number", "none", "list"],
    )
    async def test_it_is_refused(self, sqlite: Database, question: Any, where: Any) -> None:
        """What Python has decided before SQL is asked would bring no rows or all, and is refused."""
        async with sqlite.read() as session:
            with pytest.raises(UsageError, match=r"Author\.field == value; \.is_\(None\)"):
                await question(Repository(session, Author), where)

    @pytest.mark.parametrize("question", QUESTIONS.values(), ids=QUESTIONS)
    async def test_a_constant_of_sql_is_one(self, sqlite: Database, question: Any) -> None:
        """``true()`` is a condition that every row has."""
        async with sqlite.read() as session:
            await question(Repository(session, Author), true())


async def _iterate(repository: Repository[Any], *where: Any) -> list[Any]:
    return [row async for row in repository.iterate(*where, batch=2)]


QUESTIONS: dict[str, Callable[..., Awaitable[Any]]] = {
    "get_all": lambda repository, *where: repository.get_all(*where),
    "limit": lambda repository, *where: repository.get_all(*where, limit=2),
    "page": lambda repository, *where: repository.page(*where, size=2),
    "iterate": _iterate,
    "count": lambda repository, *where: repository.count(*where),
    "exists": lambda repository, *where: repository.exists(*where),
    "one_or_none": lambda repository, *where: repository.one_or_none(*where),
}
LOADING: dict[str, Callable[..., Awaitable[Any]]] = {
    "get": lambda repository, load: repository.get(1, load=load),
    "get_many": lambda repository, load: repository.get_many([1, 2], load=load),
    "one_or_none": lambda repository, load: repository.one_or_none(Author.id == 1, load=load),
    "get_all": lambda repository, load: repository.get_all(load=load),
    "page": lambda repository, load: repository.page(size=2, load=load),
    "iterate": lambda repository, load: anext(repository.iterate(load=load)),
}
JOINING: dict[str, Callable[[], Any]] = {
    "column": lambda: Author.id == Book.author_id,
    "table": lambda: Author.__table__.c.id == Book.__table__.c.author_id,
    "alias": lambda: Author.id == aliased(Book).author_id,
    "itself": lambda: Author.id < aliased(Author).id,
    "subquery": lambda: Author.id == select(Book.author_id).subquery().c.author_id,
    "cte": lambda: Author.id == select(Book.author_id).cte().c.author_id,
    "function": lambda: Author.id == func.coalesce(Book.author_id, 1),
    "nested": lambda: (Author.name == "x") | ~((Author.id > 1) & (Book.id > 0)),
}


async def fill(db: Database) -> None:
    """Commit five authors with three books each."""
    async with db.transaction() as session:
        session.add_all(Author(name=str(n), books=[Book(), Book(), Book()]) for n in range(5))


class TestRefused:
    @pytest.mark.parametrize("question", QUESTIONS)
    async def test_another_table_is_refused(self, every_driver: Database, question: str) -> None:
        """A condition that joins another table is refused by every question, with what to write instead."""
        await fill(every_driver)

        async with every_driver.session() as session:
            with pytest.raises(UsageError, match=r"another table, book[\s\S]*Author\.books\.any\("):
                await QUESTIONS[question](Repository(session, Author), Author.id == Book.author_id)

    @pytest.mark.parametrize("joining", JOINING)
    async def test_in_whatever_form(self, sqlite: Database, joining: str) -> None:
        """Columns, tables, aliases, subqueries in FROM, and what is nested deep join alike."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match="names another table"):
                await Repository(session, Author).count(JOINING[joining]())

    @pytest.mark.parametrize(
        ("joining", "table"), [("alias", "Anonymous alias of book"), ("itself", "Anonymous alias of author")]
    )
    async def test_an_alias_is_told_by_its_table(self, sqlite: Database, joining: str, table: str) -> None:
        """An alias without a name is told by the table that it stands for."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match=f"another table, {table}:"):
                await Repository(session, Author).count(JOINING[joining]())

    @pytest.mark.parametrize("question", LOADING)
    async def test_an_option_that_takes_a_join_is_refused(self, every_driver: Database, question: str) -> None:
        """contains_eager() would read the other table beside the model's, each row with each."""
        await fill(every_driver)

        async with every_driver.session() as session:
            with pytest.raises(UsageError, match="needs a join"):
                await LOADING[question](Repository(session, Author), [contains_eager(Author.books)])

    def test_without_a_relation_the_hint_is_general(self) -> None:
        """Where nothing leads to the other table, the hint names the forms."""
        with pytest.raises(UsageError, match=r"exists\(\)\.where"):
            refuse_other_tables(Author.__mapper__, Author.id == Loose.id)

    async def test_a_table_of_a_subclass_is_another(self, sqlite: Database) -> None:
        """A column that only a subclass has stands in a table that the base class does not read."""
        async with sqlite.session() as session:
            with pytest.raises(UsageError, match="another table, dog"):
                await Repository(session, Animal).get_all(Dog.breed == "pug")


class TestAllowed:
    @pytest.mark.parametrize(
        "condition",
        [
            Author.books.any(Book.id > 0),
            exists().where(Book.author_id == Author.id),
            Author.id.in_(select(Book.author_id)),
            Author.id == select(func.min(Book.author_id)).scalar_subquery(),
            Author.__table__.c.id > 0,
            true(),
        ],
    )
    async def test_a_row_comes_once(self, every_driver: Database, condition: Any) -> None:
        """What is inside of EXISTS or IN multiplies nothing."""
        await fill(every_driver)

        async with every_driver.session() as session:
            authors = Repository(session, Author)
            walked = await _iterate(authors, condition)

            assert len(walked) == len(set(walked)) == await authors.count(condition) > 0

    async def test_a_parent_by_its_object(self, every_driver: Database) -> None:
        """A relationship compared with an object is a condition on the key."""
        await fill(every_driver)

        async with every_driver.session() as session:
            author = (await Repository(session, Author).get_all(limit=1))[0]

            assert await Repository(session, Book).count(Book.author == author) == 3
            assert await Repository(session, Book).count(Book.author.has(Author.name == "1")) == 3

    async def test_the_tables_of_a_model_are_one(self, every_driver: Database) -> None:
        """A model that is joined from several tables is asked about all of them."""
        async with every_driver.transaction() as session:
            session.add_all([Dog(name="a", breed="pug"), Dog(name="b", breed="pug"), Cat(name="c", lives=9)])

        async with every_driver.session() as session:
            dogs = Repository(session, Dog)

            assert [dog.name for dog in await dogs.get_all(Animal.name == "a", Dog.breed == "pug")] == ["a"]
            assert (await dogs.page(Dog.breed == "pug", order_by=Animal.name.desc(), size=1)).items[0].name == "b"
            assert await Repository(session, Cat).count(Cat.lives == 9, Animal.name == "c") == 1
            assert await Repository(session, Animal).count(Cat.lives == 9) == 1


class TestSQLAlchemy:
    def test_a_condition_knows_what_it_selects_from(self) -> None:
        """SQLAlchemy's private `_from_objects` names the tables of a condition, without those inside of EXISTS."""
        joined = Author.id == Book.author_id

        assert set(joined._from_objects) == {Author.__table__, Book.__table__}
        assert Author.books.any()._from_objects == []

    @pytest.mark.parametrize("option", [contains_eager(Author.books), Load(Author).contains_eager(Author.books)])
    def test_an_option_knows_that_it_takes_a_join(self, option: Any) -> None:
        """SQLAlchemy's private `context` of an option has the steps, and `local_opts` what contains_eager() says."""
        assert "eager_from_alias" in option.context[0].local_opts
        assert "eager_from_alias" not in joinedload(Author.books).context[0].local_opts  # type: ignore[attr-defined]
