"""What a caller may get wrong: refused by every verb, in any row, and nothing is written."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import String, func, text
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from sqlkeel.bulk import (
    delete_many,
    get_or_create,
    insert_many,
    insert_many_returning,
    update_many,
    upsert,
    upsert_many,
)
from sqlkeel.errors import InvalidValue, ValueRefused
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from tests.bulk.models import Base, Guest, values_of

pytestmark = pytest.mark.tables(Base.metadata)
ON = [Guest.first, Guest.last]
EXPRESSIONS = {"operation": Guest.age + 1, "column": Guest.age, "function": func.abs(-3), "text": text("1")}
PLACES = {"first": 0, "second": 1, "in_the_last_block": 1_200}
Verb = Callable[[Session, list[Any]], Awaitable[Any]]
MANY: dict[str, Verb] = {
    "insert_many": lambda session, rows: insert_many(session, Guest, rows),
    "insert_many_returning": lambda session, rows: insert_many_returning(session, Guest, rows),
    "upsert_many": lambda session, rows: upsert_many(session, Guest, rows, on=ON),
    "update_many": lambda session, rows: update_many(session, Guest, rows),
}


def rows_with(bad: Any, place: int) -> list[Any]:
    """Return rows of which one is *bad*; one that is a mapping completes what the others have."""
    rows: list[Any] = [{"id": n + 10, "first": "x", "last": str(n), "age": n} for n in range(place + 2)]
    rows[place] = rows[place] | bad if isinstance(bad, dict) else bad
    return rows


@pytest.mark.parametrize("verb", MANY.values(), ids=MANY)
class TestManyRows:
    @pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
    async def test_an_expression(self, every_driver: Database, verb: Verb, place: int) -> None:
        """An expression of SQL as a value is InvalidValue that names the field, whichever row has it."""
        async with every_driver.transaction() as session:
            await insert_many(session, Guest, [{"id": 1, "first": "a", "last": "b", "age": 1}])

            with pytest.raises(InvalidValue, match=r"Guest\.age"):
                await verb(session, rows_with({"age": Guest.age + 1}, place))

            assert await values_of(session, Guest.first, Guest.age) == [("a", 1)]

    @pytest.mark.parametrize(
        "bad", [None, 5, "text", ("a", "b", 1, 2), ["id", "first", "last", "age"], Guest(first="g")]
    )
    @pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
    async def test_what_is_not_a_mapping(self, sqlite: Database, verb: Verb, bad: Any, place: int) -> None:
        """Anything but a mapping is InvalidValue, whichever row it is."""
        async with sqlite.transaction() as session:
            with pytest.raises(InvalidValue, match=type(bad).__name__):
                await verb(session, rows_with(bad, place))

            assert await values_of(session, Guest.first) == []


ONE: dict[str, Callable[[Session, Any], Awaitable[Any]]] = {
    "upsert": lambda session, value: upsert(session, Guest, {"first": "a", "last": "b", "age": value}, on=ON),
    "get_or_create": lambda session, value: get_or_create(session, Guest, {"first": "a", "last": "c"}, {"age": value}),
    "key_of_upsert": lambda session, value: upsert(session, Guest, {"first": value, "last": "b"}, on=ON),
    "key_of_get_or_create": lambda session, value: get_or_create(session, Guest, {"first": value, "last": "b"}, {}),
}


class Strict(TypeDecorator[str]):
    """A type whose own code fails for what is no text."""

    impl = String(20)
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Any) -> Any:
        """Return the text without spaces."""
        return None if value is None else value.strip()


class Label(Base):
    __tablename__ = "bulk_label"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str | None] = mapped_column(Strict)


LABELS: dict[str, Verb] = {
    "insert_many": lambda session, rows: insert_many(session, Label, rows),
    "insert_many_returning": lambda session, rows: insert_many_returning(session, Label, rows),
    "upsert_many": lambda session, rows: upsert_many(session, Label, rows, on=[Label.id]),
    "upsert": lambda session, rows: upsert(session, Label, rows[-1], on=[Label.id]),
    "update_many": lambda session, rows: update_many(session, Label, rows),
    "create": lambda session, rows: Repository(session, Label).create(**rows[-1]),
}


class TestTypesThatFail:
    @pytest.mark.parametrize("verb", LABELS.values(), ids=LABELS)
    async def test_the_error_is_typed(self, every_driver: Database, verb: Verb) -> None:
        """What a type of the user's raises for a value becomes ValueRefused, and nothing is written."""
        async with every_driver.transaction() as session:
            await insert_many(session, Label, [{"id": 1, "text": "a"}])

            with pytest.raises(ValueRefused) as caught:
                async with session.savepoint():
                    await verb(session, [{"id": 1, "text": "b"}, {"id": 2, "text": 5}])

            assert isinstance(caught.value.orig, AttributeError)
            assert await values_of(session, Label.id, Label.text) == [(1, "a")]

    async def test_the_column_is_named(self, sqlite: Database) -> None:
        """The error says of which column the type has failed, and not for which value."""
        async with sqlite.transaction() as session:
            with pytest.raises(ValueRefused, match=r"bulk_label\.text") as caught:
                await insert_many(session, Label, [{"id": 1, "text": 123_456}])

        assert "123456" not in str(caught.value)


class TestOneRow:
    @pytest.mark.parametrize("value", EXPRESSIONS.values(), ids=EXPRESSIONS)
    @pytest.mark.parametrize("verb", ONE.values(), ids=ONE)
    async def test_an_expression(
        self, every_driver: Database, verb: Callable[[Session, Any], Awaitable[Any]], value: Any
    ) -> None:
        """An expression of SQL is refused before anything is sent: a row that is new has nothing to compute from."""
        async with every_driver.transaction() as session:
            await insert_many(session, Guest, [{"first": "a", "last": "b", "age": 41}])

            with pytest.raises(InvalidValue):
                await verb(session, value)

            assert await values_of(session, Guest.first, Guest.age) == [("a", 41)]


class TestKeys:
    @pytest.mark.parametrize("keys", [[func.abs(-1)], [1, Guest.id]])
    async def test_an_expression(self, every_driver: Database, keys: list[Any]) -> None:
        """An expression among the keys to delete is InvalidValue, and no row is deleted."""
        async with every_driver.transaction() as session:
            await insert_many(session, Guest, [{"id": 1, "first": "a", "last": "b"}])

            with pytest.raises(InvalidValue):
                await delete_many(session, Guest, keys)

            assert await values_of(session, Guest.id) == [(1,)]

    @pytest.mark.parametrize("keys", [None, 5, [Guest(first="a")]])
    async def test_what_is_no_key(self, every_driver: Database, keys: Any) -> None:
        """Something else than keys, and an object in place of its key, is InvalidValue."""
        async with every_driver.transaction() as session:
            with pytest.raises(InvalidValue):
                await delete_many(session, Guest, keys)


class TestSources:
    @pytest.mark.parametrize("rows", [None, 5, {"first": "a"}, "rows"])
    @pytest.mark.parametrize("verb", MANY.values(), ids=MANY)
    async def test_what_holds_no_rows(self, sqlite: Database, verb: Verb, rows: Any) -> None:
        """Something else than rows, or one row in place of a list, is InvalidValue."""
        async with sqlite.transaction() as session:
            with pytest.raises(InvalidValue):
                await verb(session, rows)
