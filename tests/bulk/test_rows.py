"""Tests of sqlkeel.bulk._rows: read once, in bounded memory, and converted only where there is something to convert."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

from sqlkeel.bulk import (
    delete_many,
    get_or_create,
    insert_many,
    insert_many_returning,
    update_many,
    upsert,
    upsert_many,
)
from sqlkeel.bulk._rows import CHUNK, alike, batches, chunks, runs
from sqlkeel.bulk._target import Target
from sqlkeel.errors import InvalidValue, UnknownField
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from tests.bulk.models import Base, Guest, User

MEBIBYTE = 2**20


async def shape_of(rows: Any, target: Target) -> list[tuple[tuple[str, ...], int]]:
    """Return the fields of each run, and how many rows it has."""
    return [(run.fields, sum(len(batch.records) for batch in run.batches)) async for run in runs(rows, target)]


async def numbers(count: int) -> AsyncIterator[int]:
    for number in range(count):
        yield number


class TestChunks:
    @pytest.mark.parametrize(("count", "lengths"), [(0, []), (3, [3]), (4, [4]), (5, [4, 1])])
    async def test_both_kinds_of_source(self, count: int, lengths: list[int]) -> None:
        """A source is read in lists of the size, the last as long as what is left."""
        assert [len(chunk) async for chunk in chunks(range(count), 4)] == lengths
        assert [len(chunk) async for chunk in chunks(numbers(count), 4)] == lengths


class TestRuns:
    async def test_equal_fields_are_one_run(self) -> None:
        """Rows with the same fields are one run, however many."""
        rows = ({"first": "a", "last": str(number)} for number in range(25_000))

        assert await shape_of(rows, Target(Guest)) == [(("first", "last"), 25_000)]

    async def test_the_order_of_fields_does_not_matter(self) -> None:
        """A row with its fields in another order is no other kind of row."""
        rows = [{"first": "a", "last": "b"}, {"last": "d", "first": "c"}] * 400

        found = [batch.records[:2] async for batch in batches(rows, Target(Guest))]

        assert found == [[("a", "b"), ("c", "d")]]

    async def test_mixed_rows_are_sorted_out(self) -> None:
        """Rows that alternate become one run of each kind for every ten thousand."""
        rows = [{"first": "a"}, {"last": "b"}] * 6_000

        assert await shape_of(rows, Target(Guest)) == [
            (("first",), 5_000),
            (("last",), 5_000),
            (("first",), 1_000),
            (("last",), 1_000),
        ]

    async def test_an_asynchronous_source_is_read_by_the_chunk(self) -> None:
        """What must be awaited is collected first: the driver's own reading cannot wait."""
        rows = ({"first": str(number)} async for number in numbers(CHUNK + 1))

        assert await shape_of(rows, Target(Guest)) == [(("first",), CHUNK), (("first",), 1)]

    async def test_an_unknown_field_stops_before_its_rows(self) -> None:
        """Not even the well-formed rows beside it are passed on."""
        passed_on: list[Any] = []

        with pytest.raises(UnknownField):
            passed_on.extend([run.fields async for run in runs([{"first": "a"}, {"frist": "b"}], Target(Guest))])

        assert passed_on == []

    async def test_batches_have_an_end(self) -> None:
        """A batch holds no more than a chunk."""
        rows = ({"first": str(number)} for number in range(CHUNK + 1))

        assert [len(batch.records) async for batch in batches(rows, Target(Guest))] == [CHUNK, 1]


class TestAlike:
    @pytest.mark.parametrize(
        ("rows", "records"),
        [
            ([{"a": 1, "b": 2}, {"b": 4, "a": 3}], [(1, 2), (3, 4)]),
            ([{"a": 1, "b": 2}, {"a": 3}], None),
            ([{"a": 1, "b": 2}, {"a": 3, "c": 4}], None),
            ([{"a": 1, "b": 2}, {"a": 3, "b": 4, "c": 5}], None),
        ],
    )
    def test_only_exactly_these_fields(self, rows: list[dict[str, int]], records: list[Any] | None) -> None:
        """One field too few, too many or another one is found."""
        assert alike(rows, ("a", "b")) == records


@pytest.mark.tables(Base.metadata)
class TestMemory:
    """Memory does not grow with the rows: 200,000 of them would be 100 MiB."""

    @staticmethod
    def source() -> Iterator[dict[str, Any]]:
        """Make the rows one by one."""
        return ({"email": f"{number:09}@example.org", "city": "Bern"} for number in range(200_000))

    @pytest.mark.parametrize("work", ["insert", "upsert"])
    async def test_it_is_bounded(self, postgres: Database, work: str) -> None:
        """A generator is never held as a whole, and may take longer than a statement of a request on a busy machine."""
        calls = {
            "insert": lambda session: insert_many(session, User, self.source()),
            "upsert": lambda session: upsert_many(session, User, self.source(), on=[User.email]),
        }
        async with postgres.transaction(statement_timeout=0) as session:
            tracemalloc.start()
            try:
                await calls[work](session)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()

        assert peak < 16 * MEBIBYTE


class Form:
    """An object that is no mapping, as those of pydantic and msgspec are not."""

    email = "a"


NO_LISTS: list[Any] = [{"email": "a"}, {}, "email", None, 5, Form(), len, memoryview(b"a")]
VERBS: dict[str, Any] = {
    "insert_many": insert_many,
    "insert_many_returning": insert_many_returning,
    "upsert_many": partial(upsert_many, on=[User.email]),
    "update_many": update_many,
    "delete_many": delete_many,
}


class TestWhatIsNoRow:
    @pytest.mark.tables(Base.metadata)
    @pytest.mark.parametrize("values", [Form(), User(email="a"), "email", None, ("email", "a")])
    async def test_one_row_is_refused_like_many(self, db: Database, values: Any) -> None:
        """`upsert` and `get_or_create` say what a row is, as the calls for many rows do."""
        async with db.transaction() as session:
            with pytest.raises(InvalidValue, match="A row is a mapping") as refused:
                await upsert(session, User, values, on=[User.email])
            with pytest.raises(InvalidValue, match="A row is a mapping"):
                await get_or_create(session, User, values, {})
            with pytest.raises(InvalidValue, match="A row is a mapping"):
                await insert_many(session, User, [values])

        assert "model_dump()" in refused.value.hint

    @pytest.mark.tables(Base.metadata)
    @pytest.mark.parametrize("defaults", [Form(), User(email="a"), "email", ("email", "a")])
    async def test_defaults_are_refused_like_a_row(self, db: Database, defaults: Any) -> None:
        """Only None is none."""
        async with db.transaction() as session:
            with pytest.raises(InvalidValue, match="A row is a mapping"):
                await get_or_create(session, User, {"email": "a"}, defaults)

    @pytest.mark.tables(Base.metadata)
    @pytest.mark.parametrize("keys", ["ab", b"ab", bytearray(b"ab"), memoryview(b"ab"), {"first": "a", "last": "b"}])
    async def test_the_letters_of_a_text_are_no_keys(self, db: Database, keys: Any) -> None:
        """A single key that was not put into a list would delete the rows that its letters, or names, are keys of."""
        async with db.transaction() as session:
            with pytest.raises(InvalidValue, match="another iterable, not") as refused:
                await delete_many(session, Guest, keys)

        assert "list" in refused.value.hint

    @pytest.mark.tables(Base.metadata)
    @pytest.mark.parametrize("verb", VERBS)
    @pytest.mark.parametrize("source", NO_LISTS, ids=lambda source: type(source).__name__)
    async def test_what_is_no_list_is_refused_with_the_call_to_write(
        self, db: Database, verb: str, source: Any
    ) -> None:
        """One row is the most likely of them: it stands alone where a list of one belongs."""
        async with db.transaction() as session:
            with pytest.raises(
                InvalidValue, match=rf"of User have to be a list .* not {type(source).__name__}\."
            ) as refused:
                await VERBS[verb](session, User, source)

        assert f": {verb}(session, User, [" in refused.value.hint

    @pytest.mark.tables(Base.metadata)
    @pytest.mark.parametrize("verb", ["insert_many", "update_many", "delete_many"])
    @pytest.mark.parametrize("source", NO_LISTS, ids=lambda source: type(source).__name__)
    async def test_a_repository_says_the_same(self, db: Database, verb: str, source: Any) -> None:
        """It hands them on."""
        async with db.transaction() as session:
            with pytest.raises(InvalidValue, match="of User have to be"):
                await getattr(Repository(session, User), verb)(source)
