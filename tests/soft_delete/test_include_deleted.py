"""Tests of soft_delete._soft_delete: ``include_deleted`` is a truth value, and nothing that looks like one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import select

from sqlkeel.errors import InvalidValue
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.soft_delete.library import Author, Base, author

pytestmark = pytest.mark.tables(Base.metadata)

READERS: dict[str, Callable[[Repository[Author], Any], Awaitable[Any]]] = {
    "get": lambda authors, shown: authors.get(1, include_deleted=shown),
    "get_one": lambda authors, shown: authors.get_one(1, include_deleted=shown),
    "one": lambda authors, shown: authors.one(Author.id == 1, include_deleted=shown),
    "one_or_none": lambda authors, shown: authors.one_or_none(Author.id == 1, include_deleted=shown),
    "get_many": lambda authors, shown: authors.get_many([1], include_deleted=shown),
    "get_all": lambda authors, shown: authors.get_all(include_deleted=shown),
    "page": lambda authors, shown: authors.page(include_deleted=shown),
    "iterate": lambda authors, shown: anext(authors.iterate(include_deleted=shown)),
    "count": lambda authors, shown: authors.count(include_deleted=shown),
    "exists": lambda authors, shown: authors.exists(include_deleted=shown),
}


class TestInclude:
    @pytest.mark.parametrize("shown", ["false", 1, None])
    @pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
    async def test_a_reader_refuses_what_is_no_truth_value(self, sqlite: Database, reader: Any, shown: Any) -> None:
        """A text of a URL, such as "false", would be true in Python."""
        async with sqlite.transaction() as session:
            with pytest.raises(InvalidValue, match="include_deleted= is True or False"):
                await reader(Repository(session, Author), shown)

    async def test_the_option_of_a_statement_does_so_too(self, sqlite: Database) -> None:
        """Where deleted rows would be shown, the value is looked at."""
        async with sqlite.transaction() as session:
            session.add(author())
            await session.flush()

            with pytest.raises(InvalidValue, match="The execution option include_deleted is True or False"):
                await session.execute(select(Author), execution_options={"include_deleted": "false"})
            with pytest.raises(InvalidValue, match="The execution option include_deleted is True or False"):
                await session.scalars(select(Author).execution_options(include_deleted="yes"))
