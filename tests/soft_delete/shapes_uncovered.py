"""Shapes that are not covered: each with what happens then, and what to write instead."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select, text, update

from sqlkeel.errors import UniqueViolation
from sqlkeel.sessions import Session
from sqlkeel.soft_delete import include_deleted
from tests.soft_delete.library import Author, Base, Book, book_tag
from tests.soft_delete.shapes import ALL, PAIRS, SHOWN, rows, scalars, titles, uncovered

BOOK = Base.metadata.tables["book"]


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
