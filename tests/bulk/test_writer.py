"""Tests of sqlkeel.bulk._writer: what the files of the databases have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import pytest

from sqlkeel.bulk import delete_many, insert_many, update_many, upsert, upsert_many
from sqlkeel.bulk._binder import Binder, BoundRows
from sqlkeel.bulk._rows import Batch
from sqlkeel.bulk._target import Target
from sqlkeel.bulk._writer import Bound, named_stage
from sqlkeel.errors import NotSupported
from sqlkeel.sessions import Database, Session
from tests.bulk.models import Base, Guest, Seat, values_of

pytestmark = pytest.mark.tables(Base.metadata)
NUMBERS = count(100)
CALLS: dict[str, Callable[[Session], Awaitable[Any]]] = {
    "insert_many": lambda session: insert_many(session, Guest, [{"first": "x", "last": str(next(NUMBERS))}]),
    "update_many": lambda session: update_many(session, Guest, [{"id": 1, "age": 2}]),
    "upsert_many": lambda session: upsert_many(
        session, Guest, [{"first": "a", "last": "b", "age": 3}], on=[Guest.first, Guest.last]
    ),
    "upsert": lambda session: upsert(session, Guest, {"first": "a", "last": "b"}, on=[Guest.first, Guest.last]),
    "delete_many": lambda session: delete_many(session, Guest, [404_404]),
}


def rows_of(database: Database, *fields: str) -> BoundRows:
    return Binder(Target(Seat), database.engine.dialect).bind(Batch(fields, []))


class TestStages:
    async def test_the_name_tells_the_columns(self, every_driver: Database) -> None:
        """Drivers remember the types of a statement by its text: other columns, another name."""
        table = Seat.__table__
        narrow, wide = rows_of(every_driver, "hall"), rows_of(every_driver, "hall", "guest")

        async with every_driver.engine.connect() as connection:
            with named_stage(connection, table, narrow) as first, named_stage(connection, table, wide) as second:
                assert first.name != second.name
            with named_stage(connection, table, narrow) as again:
                assert again.name == first.name

    async def test_no_two_have_one_name(self, every_driver: Database) -> None:
        """A stage that is made while another one of the same columns is in use gets another name."""
        rows = rows_of(every_driver, "hall")

        async with every_driver.engine.connect() as connection:
            with (
                named_stage(connection, Seat.__table__, rows) as first,
                named_stage(connection, Seat.__table__, rows) as second,
            ):
                assert first.name != second.name

    def test_a_bound_value_is_no_column(self) -> None:
        """The type of parameters cannot be used for a table by mistake."""
        with pytest.raises(NotSupported):
            Bound().get_col_spec()


class TestNested:
    async def test_a_call_inside_a_source(self, every_driver: Database) -> None:
        """A source of rows may itself write rows of the same kind, in the same session."""
        on = [Guest.first, Guest.last]
        async with every_driver.transaction() as session:

            async def source() -> Any:
                yield {"first": "a", "last": "outer"}
                await upsert_many(session, Guest, [{"first": "a", "last": "inner"}], on=on)
                yield {"first": "b", "last": "outer"}

            await upsert_many(session, Guest, source(), on=on)

            assert await values_of(session, Guest.first, Guest.last) == [
                ("a", "inner"),
                ("a", "outer"),
                ("b", "outer"),
            ]


class TestCompiledStatements:
    @pytest.mark.parametrize("verb", CALLS)
    async def test_a_call_leaves_nothing_new(self, every_driver: Database, verb: str) -> None:
        """The second call finds the statements of the first: it does not push out what the application compiled."""
        async with every_driver.transaction() as session:
            await insert_many(session, Guest, [{"id": 1, "first": "a", "last": "b"}])
            await CALLS[verb](session)
            cache: Any = every_driver.engine.sync_engine._compiled_cache
            before = len(cache)

            await CALLS[verb](session)
            await CALLS[verb](session)

            assert len(cache) == before
