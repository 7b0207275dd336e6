"""Shapes of what a session does: rows by their keys, relations that are loaded, statements that write."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import aliased, immediateload, joinedload, selectinload, subqueryload, undefer

from sqlkeel.sessions import Session
from tests.soft_delete.library import DEAD, Author, Book, Dog, Tag
from tests.soft_delete.shapes import ALL, ALL_PAIRS, LIVE, PAIRS, SHOWN, loaded, scalars, shape, titles


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
