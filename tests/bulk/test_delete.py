"""Tests of sqlkeel.bulk._delete: any number of keys of any kind."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest

from sqlkeel import queries
from sqlkeel.bulk import delete_many, insert_many, insert_many_returning
from sqlkeel.errors import ForeignKeyViolation, InvalidKey, ReadOnlySession
from sqlkeel.sessions import Database
from tests.bulk.models import Animal, Base, Cabin, Dog, Parcel, Seat, User, count_of, values_of

pytestmark = pytest.mark.tables(Base.metadata)


class TestKeys:
    async def test_their_rows_go(self, every_driver: Database) -> None:
        """The rows of the keys are gone, the others stay, and what was there is counted."""
        async with every_driver.transaction() as session:
            first, second, third = await insert_many_returning(session, User, [{"email": x} for x in "abc"])

            deleted = await delete_many(session, User, [first.id, third.id, 404_404])

            assert deleted == 2
            assert await values_of(session, User.email) == [(second.email,)]

    async def test_any_number_is_taken(self, every_driver: Database) -> None:
        """More keys than a statement has parameters are deleted."""
        hall = uuid.uuid4()

        async with every_driver.transaction() as session:
            await insert_many(session, Seat, ({"row": number, "hall": hall} for number in range(33_000)))
            deleted = await delete_many(session, Seat, ((number, hall) for number in range(32_999)))

            assert (deleted, await values_of(session, Seat.row)) == (32_999, [(32_999,)])

    async def test_a_uuid_key(self, every_driver: Database) -> None:
        """Keys are bound by their type."""
        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Parcel, [{"weight": 1.0}, {"weight": 2.0}])

            assert await delete_many(session, Parcel, [parcel.id for parcel in made]) == 2

    async def test_a_key_may_come_twice(self, every_driver: Database) -> None:
        """A key that is given twice is one row."""
        async with every_driver.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a"}])

            assert await delete_many(session, User, [user.id, user.id]) == 1

    @pytest.mark.parametrize("key", [1.0, 1.4, Decimal("0.7"), "1", b"1"])
    async def test_a_key_of_another_type_is_refused(self, every_driver: Database, key: Any) -> None:
        """Drivers round it, each in its own way, to the key of a row that nobody named."""
        async with every_driver.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a"}])

            with pytest.raises(InvalidKey, match=r"User\.id is an integer"):
                await delete_many(session, User, [user.id, key])

            assert await count_of(session, User) == 1

    async def test_a_key_that_no_row_can_have_is_none(self, every_driver: Database) -> None:
        """As for `get`: the column has no room for it, or it is NULL."""
        async with every_driver.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a"}])

            assert await delete_many(session, User, [2**80, None, user.id]) == 1

    async def test_a_key_is_a_tuple_or_a_mapping(self, every_driver: Database) -> None:
        """The forms that `get` takes."""
        hall = uuid.uuid4()

        async with every_driver.transaction() as session:
            await insert_many(session, Seat, [{"row": number, "hall": hall} for number in range(3)])
            (user,) = await insert_many_returning(session, User, [{"email": "a"}])

            assert await delete_many(session, Seat, [(0, hall), {"hall": hall, "row": 1}]) == 2
            assert await delete_many(session, User, [(user.id,)]) == 1

    async def test_no_keys_send_nothing(self, every_driver: Database) -> None:
        """An empty source is zero rows and no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            assert await delete_many(session, User, []) == 0

    async def test_the_objects_leave_the_session(self, every_driver: Database) -> None:
        """A deleted row's object is no longer in the session; the others are."""
        async with every_driver.transaction() as session:
            first, second = await insert_many_returning(session, User, [{"email": "a"}, {"email": "b"}])
            await delete_many(session, User, [first.id])

            assert first not in session
            assert second in session

    async def test_another_class_stays(self, every_driver: Database) -> None:
        """A row of another class of the hierarchy is not there."""
        async with every_driver.transaction() as session:
            (animal,) = await insert_many_returning(session, Animal, [{"name": "Tom"}])

            assert await delete_many(session, Dog, [animal.id]) == 0


class TestRefused:
    async def test_a_row_that_is_pointed_to(self, every_driver: Database) -> None:
        """A foreign key that restricts is a ForeignKeyViolation, and nothing is deleted."""
        async with every_driver.transaction() as session:
            first, second = await insert_many_returning(session, User, [{"email": "a"}, {"email": "b"}])
            await insert_many(session, Cabin, [{"name": "one", "user_id": second.id}])

            with pytest.raises(ForeignKeyViolation):
                await delete_many(session, User, [first.id, second.id])

            assert await count_of(session, User) == 2

    @pytest.mark.parametrize("key", [1, (1,), (1, uuid.UUID(int=1), 3)])
    async def test_a_key_of_the_wrong_length(self, every_driver: Database, key: Any) -> None:
        """A composite key is given whole."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidKey, match="row, hall"):
                await delete_many(session, Seat, [key])

    async def test_a_session_that_reads(self, every_driver: Database) -> None:
        """A read-only session is refused before anything is sent."""
        async with every_driver.read() as session, queries(every_driver, exactly=0):
            with pytest.raises(ReadOnlySession):
                await delete_many(session, User, [1])
