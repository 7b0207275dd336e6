"""Rows that are inserted and returned: as objects, in order, with what the database made of them."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from sqlkeel import queries
from sqlkeel.bulk import insert_many_returning
from sqlkeel.errors import DatabaseFault, UniqueViolation, UnknownField
from sqlkeel.sessions import Database
from tests.bulk.models import Base, Parcel, Seat, Ticket, User, Voucher, count_of, people

pytestmark = pytest.mark.tables(Base.metadata)


class TestReturning:
    async def test_the_objects_are_in_the_order_of_the_rows(self, every_driver: Database) -> None:
        """Each object stands where its row stood, with what the server filled in."""
        rows = people(1_200)[::-1]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, User, rows)

            assert [user.email for user in made] == [row["email"] for row in rows]
            assert [user.version for user in made] == [1] * 1_200
            assert made[0] in session

    async def test_a_key_made_in_python_keeps_the_order(self, every_driver: Database) -> None:
        """The order does not depend on the key being counted."""
        rows = [{"weight": float(number)} for number in range(300)][::-1]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Parcel, rows)

        assert [parcel.weight for parcel in made] == [row["weight"] for row in rows]

    async def test_a_given_key_keeps_the_order(self, every_driver: Database) -> None:
        """Keys in any order, of several columns, come back in that order."""
        rows = [{"row": number, "hall": uuid.uuid4()} for number in (3, 1, 2)]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Seat, rows)

        assert [seat.row for seat in made] == [3, 1, 2]

    async def test_a_key_alone_keeps_the_order(self, every_driver: Database) -> None:
        """A UUID is the same one, whichever class the driver has for it."""
        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Ticket, [{"number": number} for number in (3, 1, 2)])

        assert [ticket.number for ticket in made] == [3, 1, 2]

    async def test_a_key_that_is_a_text_keeps_the_order(self, every_driver: Database) -> None:
        """A UUID of a type that takes and gives texts comes back in its order."""
        rows = [{"number": number, "id": str(uuid.uuid4())} for number in (3, 1, 2)]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Voucher, rows)

        assert [{"number": voucher.number, "id": voucher.id} for voucher in made] == rows

    async def test_rows_may_differ_in_their_fields(self, every_driver: Database) -> None:
        """Order holds over rows of different fields."""
        rows = [{"email": "a"}, {"email": "b", "city": "Bern"}, {"email": "c"}]

        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, User, rows)

        assert [(user.email, user.city) for user in made] == [("a", None), ("b", "Bern"), ("c", None)]

    async def test_no_rows_send_nothing(self, every_driver: Database) -> None:
        """An empty source is an empty list and no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            assert await insert_many_returning(session, User, []) == []

    async def test_a_text_is_not_cut(self, postgres: Database) -> None:
        """What is too long for its column is refused, not cut to fit."""
        async with postgres.transaction() as session:
            with pytest.raises(DBAPIError, match="too long"):
                await insert_many_returning(session, Parcel, [{"code": "secret"}])

    @pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg"], indirect=True)
    @pytest.mark.parametrize("key", [None, "x", [1], {"a": 1}, object(), 5, b"x"])
    @pytest.mark.parametrize("model", [Seat, Ticket, Voucher])
    async def test_a_key_that_does_not_fit(self, every_driver: Database, model: Any, key: Any) -> None:
        """A key of another type is refused as in `insert_many`, and nothing is inserted."""
        key_of = {Seat: {"row": "x" if key == 5 else key, "hall": uuid.uuid4()}}
        row = key_of.get(model, {"id": key, "number": 1})

        async with every_driver.transaction() as session:
            with pytest.raises(DatabaseFault):
                await insert_many_returning(session, model, [row])

            assert await count_of(session, model) == 0

    async def test_a_number_that_is_rounded_keeps_the_order(self, psycopg: Database) -> None:
        """PostgreSQL rounds 1.5, which psycopg sends for a whole number."""
        rows = [{"row": Decimal("1.5"), "hall": uuid.UUID(int=1)}, {"row": Decimal("4.5"), "hall": uuid.UUID(int=2)}]

        async with psycopg.transaction() as session:
            made = await insert_many_returning(session, Seat, rows)

        assert [seat.hall for seat in made] == [row["hall"] for row in rows]

    async def test_an_unknown_field(self, every_driver: Database) -> None:
        """SQLAlchemy would pass over it in silence."""
        async with every_driver.transaction() as session:
            with pytest.raises(UnknownField):
                await insert_many_returning(session, User, [{"email": "a", "mail": "b"}])

    async def test_a_duplicate_is_typed(self, every_driver: Database) -> None:
        """Nothing is inserted, and the transaction goes on."""
        async with every_driver.transaction() as session:
            with pytest.raises(UniqueViolation):
                await insert_many_returning(session, User, [{"email": "a"}, {"email": "a"}])

            assert await count_of(session, User) == 0
