"""Many rows upserted: each is decided by the database, and the answer says which are new."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select

from sqlkeel import queries
from sqlkeel.bulk import UpsertResult, insert_many, insert_many_returning, upsert_many
from sqlkeel.errors import InvalidValue, NotSupported, UniqueViolation
from sqlkeel.sessions import Database
from tests.bulk.models import EMAIL, MOMENT, Base, Cabin, Color, Parcel, User, count_of, values_of

pytestmark = pytest.mark.tables(Base.metadata)


class TestUpsertMany:
    async def test_rows_are_counted(self, every_driver: Database) -> None:
        """New, changed and equal rows are told apart."""
        rows = [{"email": "a", "city": "Rome"}, {"email": "b", "city": "Bern"}, {"email": "c", "city": "Bern"}]

        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "city": "Bern"}, {"email": "b", "city": "Bern"}])
            result = await upsert_many(session, User, rows, on=EMAIL)

            assert result == UpsertResult(inserted=1, updated=1, unchanged=1)
            assert await values_of(session, User.email, User.city) == [("a", "Rome"), ("b", "Bern"), ("c", "Bern")]

    async def test_an_equal_row_is_not_written(self, every_driver: Database) -> None:
        """A row that would not change keeps its version and its time."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "city": "Bern"}, {"email": "b", "city": "Bern"}])
            before = await values_of(session, User.email, User.updated_at)
        async with every_driver.transaction() as session:
            await upsert_many(session, User, [{"email": "a", "city": "Bern"}, {"email": "b", "city": "Rome"}], on=EMAIL)

            assert await values_of(session, User.email, User.version) == [("a", 1), ("b", 2)]
            assert (await values_of(session, User.email, User.updated_at))[0] == before[0]
            assert (await values_of(session, User.email, User.updated_at))[1] > before[1]

    @pytest.mark.parametrize(("old", "new"), [("a", "A"), ("a", "a "), (None, "a"), ("a", None), ("é", "e")])
    async def test_a_small_change_is_one(self, every_driver: Database, old: str | None, new: str | None) -> None:
        """Case, trailing blanks, accents and NULL make a difference, whatever the collation thinks."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "x", "city": old}])
            result = await upsert_many(session, User, [{"email": "x", "city": new}], on=EMAIL)

            assert result.updated == 1
            assert await values_of(session, User.city) == [(new,)]

    async def test_converted_values_are_compared(self, every_driver: Database) -> None:
        """Enum, amount, JSON, moment, bytes and UUID are recognised as equal."""
        values = {"color": Color.BLUE, "data": {"b": [1, 2], "a": None}, "sent_at": MOMENT, "photo": b"\x00\xff"}
        rows = [{"id": uuid.uuid4(), "owner": uuid.uuid4(), "weight": 0.1, **values}]

        async with every_driver.transaction() as session:
            first = await upsert_many(session, Parcel, rows, on=[Parcel.id])
            second = await upsert_many(session, Parcel, rows, on=[Parcel.id])

        assert (first, second) == (UpsertResult(1, 0, 0), UpsertResult(0, 0, 1))

    async def test_any_number_is_taken(self, every_driver: Database) -> None:
        """More rows than a chunk holds, from an asynchronous source, are merged exactly."""

        async def source() -> AsyncIterator[dict[str, Any]]:
            for number in range(12_000):
                yield {"email": f"{number}", "city": "Rome"}

        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": f"{number}", "city": "Bern"} for number in range(6_000)])
            result = await upsert_many(session, User, source(), on=EMAIL)

            assert result == UpsertResult(6_000, 6_000, 0)
            assert await session.scalar(select(func.count()).where(User.city == "Rome")) == 12_000

    async def test_no_rows_send_nothing(self, every_driver: Database) -> None:
        """An empty source is no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            assert await upsert_many(session, User, [], on=EMAIL) == UpsertResult(0, 0, 0)

    async def test_the_last_of_two_counts(self, every_driver: Database) -> None:
        """Of several rows with one key the last is written; the numbers add up to the rows given."""
        rows = [{"email": "a", "city": city} for city in ("Bern", "Rome", "Oslo")]

        async with every_driver.transaction() as session:
            result = await upsert_many(session, User, rows, on=EMAIL)

            assert result == UpsertResult(inserted=1, updated=0, unchanged=2)
            assert await values_of(session, User.city, User.version) == [("Oslo", 1)]

    async def test_rows_may_differ_in_their_fields(self, every_driver: Database) -> None:
        """A field that a row leaves out keeps its value."""
        rows: list[dict[str, Any]] = [{"email": "a", "city": "Rome"}, {"email": "b", "nick": "b"}]

        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": x, "city": "Bern", "nick": x.upper()} for x in "ab"])
            result = await upsert_many(session, User, rows, on=EMAIL)

            assert result == UpsertResult(0, 2, 0)
            assert await values_of(session, User.city, User.nick) == [("Bern", "b"), ("Rome", "A")]

    async def test_only_some_columns_are_updated(self, every_driver: Database) -> None:
        """``update`` names the columns that existing rows take over."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "city": "Bern", "nick": "n"}])
            rows = [{"email": "a", "city": "Rome", "nick": "m"}]
            result = await upsert_many(session, User, rows, on=EMAIL, update=[User.city])

            assert result == UpsertResult(0, 1, 0)
            assert await values_of(session, User.city, User.nick) == [("Rome", "n")]

    async def test_nothing_is_updated(self, every_driver: Database) -> None:
        """With an empty ``update`` only new rows are written."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "city": "Bern"}])
            rows = [{"email": "a", "city": "Rome"}, {"email": "b", "city": "Rome"}]
            result = await upsert_many(session, User, rows, on=EMAIL, update=[])

            assert result == UpsertResult(1, 0, 1)
            assert await values_of(session, User.city) == [("Bern",), ("Rome",)]

    async def test_held_objects_are_fresh(self, every_driver: Database) -> None:
        """Objects of the session show the new values, without another statement."""
        async with every_driver.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a", "city": "Bern"}])
            await upsert_many(session, User, [{"email": "a", "city": "Rome"}], on=EMAIL)

            async with queries(every_driver, exactly=0):
                assert (user.city, user.version) == ("Rome", 2)

    async def test_it_can_be_done_twice_in_a_transaction(self, every_driver: Database) -> None:
        """A second call, with other fields or the same, finds nothing of the first in its way."""
        async with every_driver.transaction() as session:
            for rows in ([{"email": "a"}], [{"email": "a", "city": "Bern"}], [{"email": "a"}]):
                await upsert_many(session, User, rows, on=EMAIL)

            assert await values_of(session, User.email, User.city) == [("a", "Bern")]

    async def test_another_constraint_is_typed(self, every_driver: Database) -> None:
        """A conflict with another unique column is that column's violation; no row is written."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "nick": "n"}])

            with pytest.raises(UniqueViolation) as caught:
                await upsert_many(session, User, [{"email": "b", "nick": "x"}, {"email": "c", "nick": "n"}], on=EMAIL)

            assert (caught.value.table, caught.value.columns) == ("bulk_user", ("nick",))
            assert await values_of(session, User.email) == [("a",)]

    @pytest.mark.parametrize("row", [{"email": None}, {"city": "Bern"}])
    async def test_a_key_that_is_missing_or_none(self, every_driver: Database, row: dict[str, Any]) -> None:
        """NULL equals nothing."""
        async with every_driver.transaction() as session:
            with pytest.raises(InvalidValue):
                await upsert_many(session, User, [{"email": "a"}, row], on=EMAIL)

            assert await count_of(session, User) == 0

    async def test_a_default_made_in_sql(self, every_driver: Database) -> None:
        """A value that only a statement can hold is refused, with what to do instead."""
        async with every_driver.transaction() as session:
            with pytest.raises(NotSupported, match="server_default"):
                await upsert_many(session, Cabin, [{"id": 1}], on=[Cabin.id])

    async def test_concurrent_callers_agree(self, every_driver: Database) -> None:
        """Concurrent calls for the same rows insert each once."""
        rows = [{"email": f"{number}", "city": "Bern"} for number in range(50)]

        async def call() -> UpsertResult:
            return await every_driver.run_transaction(lambda session: upsert_many(session, User, rows, on=EMAIL))

        results = await asyncio.gather(*(call() for _ in range(5)))

        async with every_driver.transaction() as session:
            assert sum(result.inserted for result in results) == 50
            assert await count_of(session, User) == 50

    @settings(
        deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
    )
    @given(
        before=st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["Bern", "Rome", None]), max_size=6),
        rows=st.lists(
            st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["Bern", "Rome", "Oslo", None])), max_size=12
        ),
    )
    async def test_it_is_a_dictionary(
        self, every_driver: Database, before: dict[str, str | None], rows: list[tuple[str, str | None]]
    ) -> None:
        """A table with an upsert does what a dict does with ``update``, and counts what it did."""
        after = before | dict(rows)
        written = dict(rows)

        async with every_driver.transaction() as session:
            await session.execute(delete(User))
            await insert_many(session, User, [{"email": email, "city": city} for email, city in before.items()])
            given_rows = ({"email": email, "city": city} for email, city in rows)
            result = await upsert_many(session, User, given_rows, on=EMAIL)
            found = dict(await values_of(session, User.email, User.city))

        assert found == after
        assert result.inserted == len(after) - len(before)
        assert result.updated == sum(before[email] != written[email] for email in before if email in written)
        assert sum(result) == len(rows)
