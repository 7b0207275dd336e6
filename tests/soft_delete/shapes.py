"""The shapes of queries that the tests of coverage go through, by their names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sqlalchemy import select

from sqlkeel.sessions import Session
from tests.soft_delete.library import Author

Shape = Callable[[Session], Awaitable[list[Any]]]
LIVE = ["live 1", "live 2", "stray"]
ALL = ["dead", "gone", "live 1", "live 2", "stray"]
PAIRS = [("Ann", "live 1"), ("Ann", "live 2")]
ALL_PAIRS = [("Ann", "dead"), ("Ann", "live 1"), ("Ann", "live 2"), ("Bob", "gone"), ("Cid", "stray")]
SHAPES: dict[str, tuple[Shape, Any, Any]] = {}
UNCOVERED: dict[str, tuple[Shape, Any, str, str]] = {}
SHOWN = {"include_deleted": True}


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
