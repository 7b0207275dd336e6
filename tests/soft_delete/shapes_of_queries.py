"""Shapes of queries: what one selects from, joins, counts and puts together."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, func, literal, or_, orm, outerjoin, select, union_all, update
from sqlalchemy.orm import Bundle, aliased, with_polymorphic

from sqlkeel.sessions import Session
from tests.soft_delete.library import Animal, Author, Book, Dog, Tag, book_tag
from tests.soft_delete.shapes import ALL, ALL_PAIRS, LIVE, PAIRS, SHOWN, rows, scalars, shape, titles


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
