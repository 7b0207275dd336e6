"""Every shape of query leaves deleted rows out, and shows them when it is asked to; those that do not are named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, exists, func, insert, literal, or_, orm, outerjoin, select, text, union_all, update
from sqlalchemy.orm import (
    Bundle,
    aliased,
    immediateload,
    joinedload,
    selectinload,
    subqueryload,
    undefer,
    with_polymorphic,
)

from sqlkeel.errors import UniqueViolation
from sqlkeel.sessions import Database, Session
from sqlkeel.soft_delete import include_deleted
from tests.soft_delete.library import DEAD, Animal, Author, Base, Book, Dog, Tag, book_tag, fill

pytestmark = pytest.mark.tables(Base.metadata)

Shape = Callable[[Session], Awaitable[list[Any]]]
LIVE = ["live 1", "live 2", "stray"]
ALL = ["dead", "gone", "live 1", "live 2", "stray"]
PAIRS = [("Ann", "live 1"), ("Ann", "live 2")]
ALL_PAIRS = [("Ann", "dead"), ("Ann", "live 1"), ("Ann", "live 2"), ("Bob", "gone"), ("Cid", "stray")]
SHAPES: dict[str, tuple[Shape, Any, Any]] = {}
UNCOVERED: dict[str, tuple[Shape, Any, str, str]] = {}
BOOK = Base.metadata.tables["book"]
SHOWN = {"include_deleted": True}
PAGE = Path(__file__).parents[2] / "docs" / "patterns" / "soft-delete.md"


def shape(live: Any, all_rows: Any) -> Callable[[Shape], Shape]:
    """Register a query with what it finds, without and with the deleted rows."""

    def register(function: Shape) -> Shape:
        SHAPES[function.__name__] = function, live, all_rows
        return function

    return register


def uncovered(found: Any, *, then: str, instead: str) -> Callable[[Shape], Shape]:
    """Register what no filter reaches, with what it finds, what that means, and what to do instead."""

    def register(function: Shape) -> Shape:
        UNCOVERED[function.__name__] = function, found, then, instead
        return function

    return register


def render_coverage() -> str:
    """Return the tables of the documentation."""
    covered = [f"| {name.replace('_', ' ')} | left out |" for name in SHAPES]
    rest = [f"| {name.replace('_', ' ')} | {then} | {instead} |" for name, (_, _, then, instead) in UNCOVERED.items()]
    return "\n".join(
        [
            "| query | deleted rows |",
            "|---|---|",
            *covered,
            "",
            "| not covered | what happens | instead |",
            "|---|---|---|",
            *rest,
            "",
        ]
    )


async def scalars(session: Session, statement: Any) -> list[Any]:
    """Run the statement and sort what it finds."""
    return sorted((await session.scalars(statement)).all())


async def rows(session: Session, statement: Any) -> list[Any]:
    """Run the statement and sort the rows that it finds, missing values first."""
    found = (await session.execute(statement)).unique().all()
    return sorted((tuple(row) for row in found), key=lambda row: [(value is not None, value) for value in row])


def titles(books: Any) -> list[str]:
    """Sort the titles of some books."""
    return sorted(book.title for book in books)


async def loaded(session: Session, option: Any) -> list[Any]:
    """Load the authors with their books, and tell who has which."""
    authors = (await session.scalars(select(Author).options(option))).unique().all()
    return sorted((author.name, book.title) for author in authors for book in author.books)


@shape(LIVE, ALL)
async def entity(session: Session) -> list[Any]:
    return titles(await session.scalars(select(Book)))


@shape(LIVE, ALL)
async def column(session: Session) -> list[Any]:
    return await scalars(session, select(Book.title))


@shape(LIVE, ALL)
async def bundle(session: Session) -> list[Any]:
    found: Any = await session.scalars(select(Bundle("b", Book.title, Book.id)))
    return sorted(book.title for book in found)


@shape([3], [5])
async def count_rows(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).select_from(Book))


@shape([3], [5])
async def count_column(session: Session) -> list[Any]:
    return await scalars(session, select(func.count(Book.id)))


@shape([3], [5])
async def count_subquery(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).select_from(select(Book).subquery()))


@shape([(1, 2), (3, 1)], [(1, 3), (2, 1), (3, 1)])
async def group_by(session: Session) -> list[Any]:
    return await rows(session, select(Book.author_id, func.count()).group_by(Book.author_id))


@shape(["live 1"], ["dead"])
async def order_and_limit(session: Session) -> list[Any]:
    return await scalars(session, select(Book.title).order_by(Book.title).limit(1))


@shape(LIVE, ALL)
async def alias(session: Session) -> list[Any]:
    return await scalars(session, select(aliased(Book).title))


@shape([("live 1", "live 2")], [("dead", "live 1"), ("dead", "live 2"), ("live 1", "live 2")])
async def self_join(session: Session) -> list[Any]:
    other = aliased(Book)
    pair = (other.author_id == Book.author_id) & (Book.title < other.title)
    return await rows(session, select(Book.title, other.title).join(other, pair))


@shape(PAIRS, ALL_PAIRS)
async def join(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, Book.title).join(Author.books))


@shape(PAIRS, ALL_PAIRS)
async def join_from_child(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, Book.title).select_from(Book).join(Book.author))


@shape([*PAIRS, ("Bob", None)], ALL_PAIRS)
async def outer_join(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, Book.title).outerjoin(Author.books))


@shape([*PAIRS, ("Bob", None)], ALL_PAIRS)
async def outer_join_by_a_function(session: Session) -> list[Any]:
    """Given to select_from(), a join is no step of the SELECT."""
    return await rows(session, select(Author.name, Book.title).select_from(outerjoin(Author, Book)))


@shape([2], [5])
async def count_of_a_join_by_a_function(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).select_from(orm.join(Author, Book)))


@shape([3], [5])
async def count_of_what_a_function_joins_with_a_table(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).select_from(outerjoin(Book, book_tag.alias())))


@shape([3], [5])
async def count_of_an_outer_join_of_the_orm(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).select_from(orm.outerjoin(Author, Book)))


@shape([*PAIRS, ("Bob", None)], ALL_PAIRS)
async def outer_join_alias(session: Session) -> list[Any]:
    book = aliased(Book)
    return await rows(session, select(Author.name, book.title).outerjoin(Author.books.of_type(book)))


@shape([(None, "stray"), *PAIRS], ALL_PAIRS)
async def outer_join_parent(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, Book.title).select_from(Book).outerjoin(Book.author))


@shape(PAIRS, ALL_PAIRS)
async def implicit_join(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, Book.title).where(Author.id == Book.author_id))


@shape(["live 1"], ["dead", "live 1"])
async def join_many_to_many(session: Session) -> list[Any]:
    return await scalars(session, select(Book.title).join(Book.tags))


@shape([("new", "live 1")], [("new", "dead"), ("new", "live 1")])
async def join_from_model_without(session: Session) -> list[Any]:
    return await rows(session, select(Tag.name, Book.title).join(Tag.books))


@shape(["Ann"], ["Ann", "Bob", "Cid"])
async def any_of_children(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(Author.books.any()))


@shape(["Bob"], [])
async def without_children(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(~Author.books.any()))


@shape(["live 1", "live 2"], ALL)
async def has_parent(session: Session) -> list[Any]:
    return await scalars(session, select(Book.title).where(Book.author.has()))


@shape(["Ann"], ["Ann", "Bob", "Cid"])
async def in_subquery(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(Author.id.in_(select(Book.author_id))))


@shape(["Bob"], [])
async def not_in_subquery(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(Author.id.not_in(select(Book.author_id))))


@shape([("Ann", 2), ("Bob", 0)], [("Ann", 3), ("Bob", 1), ("Cid", 1)])
async def scalar_subquery(session: Session) -> list[Any]:
    books = select(func.count(Book.id)).where(Book.author_id == Author.id).scalar_subquery()
    return await rows(session, select(Author.name, books))


@shape(["Ann"], ["Ann", "Bob", "Cid"])
async def exists_subquery(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(exists().where(Book.author_id == Author.id)))


@shape([False], [True])
async def exists_alone(session: Session) -> list[Any]:
    return [bool(await session.scalar(select(select(Book).where(Book.title == "dead").exists())))]


@shape([1, 1, 1], [1, 1, 1, 1, 1])
async def literal_column(session: Session) -> list[Any]:
    return await scalars(session, select(literal(1)).select_from(Book))


@shape(LIVE, ALL)
async def subquery(session: Session) -> list[Any]:
    return await scalars(session, select(select(Book.title).subquery().c.title))


@shape(LIVE, ALL)
async def alias_of_subquery(session: Session) -> list[Any]:
    return await scalars(session, select(aliased(Book, select(Book).subquery()).title))


@shape([1, 2, 5], [1, 2, 3, 4, 5])
async def alias_of_a_subquery_without_the_mark(session: Session) -> list[Any]:
    return await scalars(session, select(aliased(Book, select(Book.id).subquery()).id))


@shape(LIVE, ALL)
async def cte(session: Session) -> list[Any]:
    return await scalars(session, select(select(Book.title).cte().c.title))


@shape(LIVE, ALL)
async def alias_of_cte(session: Session) -> list[Any]:
    return await scalars(session, select(aliased(Book, select(Book).cte()).title))


@shape([3], [5])
async def count_of_one_condition_or_another(session: Session) -> list[Any]:
    """SQLAlchemy does not look behind or_() for the class."""
    return await scalars(session, select(func.count()).where(or_(Book.id > 0, Book.title == "")))


@shape([3], [5])
async def count_of_a_condition_in_a_function(session: Session) -> list[Any]:
    return await scalars(session, select(func.count()).where(func.coalesce(Book.title, "") != ""))


@shape([1, 2, 3], [1, 2, 3, 4, 5])
async def window(session: Session) -> list[Any]:
    return await scalars(session, select(func.row_number().over(order_by=Book.id)))


@shape([3], [5])
async def window_in_a_subquery(session: Session) -> list[Any]:
    counted = select(func.count(Book.id).over().label("n")).subquery()
    return await scalars(session, select(func.max(counted.c.n)))


@shape([3, 3, 3, 3], [3, 5, 5, 5, 5, 5])
async def union_of_a_window(session: Session) -> list[Any]:
    counted = select(func.count(Book.id).over())
    return await scalars(session, union_all(counted, select(Author.id + 2 * Author.id).where(Author.id == 1)))


@shape(["Bob"], ["Cid"])
async def window_in_a_condition(session: Session) -> list[Any]:
    return await scalars(session, select(Author.name).where(Author.id.in_(select(func.count(Author.id).over()))))


@shape(LIVE, [])
async def update_with_a_window(session: Session) -> list[Any]:
    """MariaDB takes no SELECT of the table that is updated, but one inside of another."""
    counted = select(select(func.count(Book.id).over().label("n")).subquery().c.n)
    await session.execute(update(Book).where(literal(len(LIVE)).in_(counted)).values(price=7))
    return sorted(await session.scalars(select(Book.title).where(Book.price == 7), execution_options=SHOWN))


@shape(LIVE, ALL)
async def union(session: Session) -> list[Any]:
    first, rest = select(Book.title).where(Book.id < 3), select(Book.title).where(Book.id >= 3)
    return await scalars(session, union_all(first, rest))


@shape(LIVE, ALL)
async def from_statement(session: Session) -> list[Any]:
    return titles(await session.scalars(select(Book).from_statement(select(Book))))


@shape(LIVE, ALL)
async def from_statement_union(session: Session) -> list[Any]:
    both = union_all(select(Book).where(Book.id < 3), select(Book).where(Book.id >= 3))
    return titles(await session.scalars(select(Book).from_statement(both)))


@shape(["Rex", "Tom"], ["Old", "Rex", "Tom"])
async def inheritance_base(session: Session) -> list[Any]:
    return sorted(animal.name for animal in await session.scalars(select(Animal)))


@shape(["Rex"], ["Old", "Rex"])
async def inheritance_subclass(session: Session) -> list[Any]:
    return sorted(dog.name for dog in await session.scalars(select(Dog)))


@shape([1], [1, 2])
async def inheritance_subclass_column(session: Session) -> list[Any]:
    return await scalars(session, select(Dog.tricks))


@shape(["Rex", "Tom"], ["Old", "Rex", "Tom"])
async def inheritance_polymorphic(session: Session) -> list[Any]:
    found = await session.scalars(select(with_polymorphic(Animal, "*")))
    return sorted(animal.name for animal in found)


@shape([None], ["dead"])
async def get(session: Session) -> list[Any]:
    return [getattr(await session.get(Book, 3), "title", None)]


@shape([None], ["Old"])
async def get_subclass(session: Session) -> list[Any]:
    return [getattr(await session.get(Dog, 2), "name", None)]


@shape([None], ["dead"])
async def get_again(session: Session) -> list[Any]:
    kept = (await session.scalars(select(Book), execution_options={"include_deleted": True})).all()
    return [getattr(await session.get(Book, 3), "title", None)] if kept else []


@shape([None], ["live 1"])
async def get_after_update_statement(session: Session) -> list[Any]:
    book = await session.get(Book, 1)
    await session.execute(update(Book).where(Book.id == 1).values(deleted_at=func.now()))
    return [getattr(await session.get(Book, 1), "title", None)] if book else []


@shape(["live 1", "live 2"], ["dead", "live 1", "live 2"])
async def lazy_load(session: Session) -> list[Any]:
    author = await session.get_one(Author, 1)
    return titles(await author.awaitable_attrs.books)


@shape(["live"], ["dead", "live"])
async def lazy_load_of_an_added_object(session: Session) -> list[Any]:
    author = Author(id=50, name="Dan")
    session.add(author)
    await session.flush()
    await session.execute(insert(Book).values(id=50, title="live", author_id=author.id))
    await session.execute(insert(Book).values(id=51, title="dead", author_id=author.id, **DEAD))
    session.expire(author, ["books"])
    return titles(await author.awaitable_attrs.books)


@shape(["live 1"], ["dead", "live 1"])
async def lazy_load_many_to_many(session: Session) -> list[Any]:
    tag = await session.get_one(Tag, 100)
    return titles(await tag.awaitable_attrs.books)


@shape([None], ["Cid"])
async def lazy_load_parent(session: Session) -> list[Any]:
    book = await session.get_one(Book, 5)
    return [getattr(await book.awaitable_attrs.author, "name", None)]


@shape(PAIRS, ALL_PAIRS)
async def select_in_load(session: Session) -> list[Any]:
    return await loaded(session, selectinload(Author.books))


@shape(PAIRS, ALL_PAIRS)
async def joined_load(session: Session) -> list[Any]:
    return await loaded(session, joinedload(Author.books))


@shape(PAIRS, ALL_PAIRS)
async def subquery_load(session: Session) -> list[Any]:
    return await loaded(session, subqueryload(Author.books))


@shape(PAIRS, ALL_PAIRS)
async def immediate_load(session: Session) -> list[Any]:
    return await loaded(session, immediateload(Author.books))


@shape([None], ["Cid"])
async def joined_load_parent(session: Session) -> list[Any]:
    statement = select(Book).where(Book.id == 5).options(joinedload(Book.author))
    return [getattr((await session.scalars(statement)).one().author, "name", None)]


@shape([None], ["Cid"])
async def select_in_load_parent(session: Session) -> list[Any]:
    statement = select(Book).where(Book.id == 5).options(selectinload(Book.author))
    return [getattr((await session.scalars(statement)).one().author, "name", None)]


@shape(["live 1", "live 2"], ["dead", "live 1", "live 2"])
async def write_only_collection(session: Session) -> list[Any]:
    author = await session.get_one(Author, 1)
    return titles(await session.scalars(author.shelf.select()))


@shape([("Ann", 2), ("Bob", 0)], [("Ann", 3), ("Bob", 1), ("Cid", 1)])
async def column_property(session: Session) -> list[Any]:
    book_count: Any = Author.__mapper__.attrs.book_count.class_attribute
    found: Any = await session.scalars(select(Author).options(undefer(book_count)))
    return sorted((author.name, author.book_count) for author in found)


@shape(LIVE, ALL)
async def stream(session: Session) -> list[Any]:
    return titles([book async for book in await session.stream_scalars(select(Book))])


@shape(LIVE, ALL)
async def in_batches(session: Session) -> list[Any]:
    options = {"yield_per": 2}
    return titles([book async for book in await session.stream_scalars(select(Book), execution_options=options)])


@shape(LIVE, ALL)
async def legacy_query(session: Session) -> list[Any]:
    return titles(await session.run_sync(lambda sync: sync.query(Book).all()))


@shape([3], [5])
async def legacy_count(session: Session) -> list[Any]:
    return [await session.run_sync(lambda sync: sync.query(Book).count())]


@shape(LIVE, ALL)
async def update_statement(session: Session) -> list[Any]:
    await session.execute(update(Book).values(price=7))
    shown = {"include_deleted": True}
    return sorted(await session.scalars(select(Book.title).where(Book.price == 7), execution_options=shown))


@shape(["live 1", "live 2"], ALL)
async def update_with_subquery(session: Session) -> list[Any]:
    await session.execute(update(Book).where(Book.author_id.in_(select(Author.id))).values(price=7))
    shown = {"include_deleted": True}
    return sorted(await session.scalars(select(Book.title).where(Book.price == 7), execution_options=shown))


@shape(["live 1", "live 2"], ALL)
async def update_with_another_class(session: Session) -> list[Any]:
    await session.execute(update(Book).where(Book.author_id == Author.id).values(price=7))
    return sorted(await session.scalars(select(Book.title).where(Book.price == 7), execution_options=SHOWN))


@shape([7, 7], [7, 7, 7, 8, 9])
async def update_to_a_value_of_another_class(session: Session) -> list[Any]:
    await session.execute(update(Book).where(Book.author_id == Author.id).values(price=Author.id + 6))
    return sorted(await session.scalars(select(Book.price).where(Book.price > 0), execution_options=SHOWN))


@shape(["new"], ["changed"])
async def update_with_an_alias_of_another_class(session: Session) -> list[Any]:
    book = aliased(Book)
    await session.execute(update(Tag).where(book.id == 3, Tag.id == book.id + 97).values(name="changed"))
    return await scalars(session, select(Tag.name))


@shape(["new"], ["changed"])
async def update_with_another_inherited_class(session: Session) -> list[Any]:
    await session.execute(update(Tag).where(Dog.tricks == 2, Tag.id == Dog.id + 98).values(name="changed"))
    return await scalars(session, select(Tag.name))


@shape(["dead", "gone"], [])
async def delete_statement(session: Session) -> list[Any]:
    await session.execute(delete(Tag))
    await session.execute(delete(Book))
    return sorted(await session.scalars(select(Book.title), execution_options={"include_deleted": True}))


@shape(LIVE, ALL)
async def insert_from_select(session: Session) -> list[Any]:
    await session.execute(insert(Tag).from_select(["name"], select(Book.title)))
    return await scalars(session, select(Tag.name).where(Tag.name != "new"))


@shape([2, 3], [3, 4])
async def insert_of_several_rows(session: Session) -> list[Any]:
    authors = select(func.count()).where(or_(Author.id > 0, Author.name == "")).scalar_subquery()
    prices = {90: authors, 91: authors + 1}
    new = [{"id": key, "title": "new", "author_id": 1, "version": 1, "price": price} for key, price in prices.items()]
    await session.execute(insert(Book).values(new))
    return await scalars(session, select(Book.price).where(Book.id >= 90))


@shape([2, 3], [3, 4])
async def value_of_an_added_object(session: Session) -> list[Any]:
    authors = select(func.count(Author.id)).scalar_subquery()
    prices = {90: authors, 91: authors + 1}
    session.add_all(Book(id=key, title="new", author_id=1, price=price) for key, price in prices.items())
    return await scalars(session, select(Book.price).where(Book.id >= 90))


@shape([2], [3])
async def value_of_a_changed_object(session: Session) -> list[Any]:
    book: Any = await session.get_one(Book, 1)
    book.price = select(func.count()).where(or_(Author.id > 0, Author.name == "")).scalar_subquery()
    return await scalars(session, select(Book.price).where(Book.id == 1))


@shape([], ["Cid"])
async def lazy_load_of_a_held_parent(session: Session) -> list[Any]:
    held = await session.get_one(Author, 3, execution_options=SHOWN)
    book = await session.get_one(Book, 5)
    author = await book.awaitable_attrs.author
    return [author.name] if held and author else []


@uncovered(ALL, then="deleted rows are found", instead="`select(Book.title)`, or write the condition")
async def text_statement(session: Session) -> list[Any]:
    return await scalars(session, text("select title from book"))


@uncovered(ALL, then="deleted rows are found", instead="`from_statement()` of a `select()`")
async def text_from_statement(session: Session) -> list[Any]:
    return titles(await session.scalars(select(Book).from_statement(text("select * from book"))))


@uncovered(ALL, then="deleted rows are found", instead="select from the class, not from its table")
async def core_table(session: Session) -> list[Any]:
    return await scalars(session, select(BOOK.c.title))


@uncovered(
    [("Ann", "dead"), *PAIRS, ("Bob", "gone")],
    then="deleted rows of the table are found, of the class not",
    instead="join the class",
)
async def join_to_core_table(session: Session) -> list[Any]:
    return await rows(session, select(Author.name, BOOK.c.title).join(BOOK, BOOK.c.author_id == Author.id))


@uncovered(ALL, then="deleted rows are found", instead="`session.execute()`")
async def statement_on_the_connection(session: Session) -> list[Any]:
    connection = await session.connection()
    return sorted((await connection.execute(select(Book.title))).scalars())


@uncovered([1, 3], then="the link of a deleted row is found", instead="join the class at its end")
async def row_of_an_association(session: Session) -> list[Any]:
    return await scalars(session, select(book_tag.c.book_id))


@uncovered([7], then="the deleted row is updated", instead="`update_many()`, which raises `NotFound`")
async def update_by_key(session: Session) -> list[Any]:
    await session.execute(update(Book), [{"id": 3, "price": 7, "version": 1}])
    return [await session.scalar(select(Book.price).where(Book.id == 3), execution_options=SHOWN)]


@uncovered(["dead"], then="deleted rows are updated", instead="`update(Book)`")
async def update_of_the_table(session: Session) -> list[Any]:
    await session.execute(update(BOOK).where(BOOK.c.id == 3).values(price=7))
    return await scalars(session, select(Book.title).where(Book.price == 7).execution_options(**SHOWN))


@uncovered(["taken"], then="`UniqueViolation`, never a silent revival", instead="`with include_deleted(session)`")
async def merge_over_a_deleted_row(session: Session) -> list[Any]:
    await session.merge(Book(id=3, title="again", author_id=1))
    with pytest.raises(UniqueViolation):
        await session.flush()
    return ["taken"]


@uncovered(["dead", "live 1", "live 2"], then="it keeps what it has", instead="`session.refresh(author, ['books'])`")
async def loaded_collection(session: Session) -> list[Any]:
    with include_deleted(session):
        author = await session.get_one(Author, 1)
        await author.awaitable_attrs.books
    return titles(author.books)


@uncovered(["live 1"], then="the object is returned as it is", instead="`update(Book)`, which the session notices")
async def get_after_update_of_the_table(session: Session) -> list[Any]:
    book = await session.get(Book, 1)
    await session.execute(update(BOOK).values(deleted_at=func.now()))
    return [getattr(await session.get(Book, 1), "title", None)] if book else []


@pytest.mark.parametrize("name", SHAPES)
class TestShapes:
    async def test_deleted_rows_are_left_out(self, db: Database, name: str) -> None:
        """No shape of query finds a deleted row."""
        query, expected, _ = SHAPES[name]
        await fill(db)

        async with db.session() as session:
            found = await query(session)

        assert found == expected

    async def test_deleted_rows_are_shown_on_request(self, db: Database, name: str) -> None:
        """include_deleted, here for a whole session, shows them in every shape of query."""
        query, _, expected = SHAPES[name]
        await fill(db)

        async with Session(db.engine, execution_options={"include_deleted": True}) as session:
            found = await query(session)

        assert found == expected

    async def test_deleted_rows_are_shown_in_a_block(self, db: Database, name: str) -> None:
        """So does include_deleted(session), in its block."""
        query, _, expected = SHAPES[name]
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await query(session)

        assert found == expected


class TestUncovered:
    @pytest.mark.parametrize("name", UNCOVERED)
    async def test_what_happens(self, db: Database, name: str) -> None:
        """What cannot be filtered does what the documentation says."""
        query, expected, _, _ = UNCOVERED[name]
        await fill(db)

        async with db.session() as session:
            found = await query(session)

        assert found == expected

    def test_the_documentation_says_so(self) -> None:
        """The tables in docs/patterns/soft-delete.md are those of this file."""
        assert render_coverage() in PAGE.read_text()


class TestOnRequest:
    async def test_for_one_statement(self, db: Database) -> None:
        """The option of one statement holds for that statement."""
        await fill(db)

        async with db.session() as session:
            shown = await session.scalars(select(Book).execution_options(include_deleted=True))
            hidden = await session.scalars(select(Book))

            assert titles(shown) == ALL
            assert titles(hidden) == LIVE

    async def test_eager_loads_follow_their_statement(self, db: Database) -> None:
        """What is loaded with a statement shows what the statement shows."""
        await fill(db)
        statement = select(Author).where(Author.id == 1).options(selectinload(Author.books))

        async with db.session() as session:
            author = (await session.scalars(statement, execution_options={"include_deleted": True})).one()

        assert titles(author.books) == ["dead", "live 1", "live 2"]

    async def test_lazy_loads_follow_their_statement(self, db: Database) -> None:
        """What is loaded later, from an object found with include_deleted, shows deleted rows too."""
        await fill(db)

        async with db.session() as session:
            author = await session.get_one(Author, 1, execution_options={"include_deleted": True})
            books = await author.awaitable_attrs.books

        assert titles(books) == ["dead", "live 1", "live 2"]

    async def test_false_asks_for_nothing(self, db: Database) -> None:
        """include_deleted=False is the same as nothing."""
        await fill(db)

        async with db.session() as session:
            found = await session.scalars(select(Book), execution_options={"include_deleted": False})

        assert titles(found) == LIVE
