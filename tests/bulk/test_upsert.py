"""Tests of sqlkeel.bulk._upsert: the database decides whether a row is new, and nothing else is overwritten."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import QueryableAttribute

from sqlkeel import queries
from sqlkeel.bulk import UpsertResult, get_or_create, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.errors import InvalidValue, NotSupported, ReadOnlySession, UniqueViolation, UnknownField
from sqlkeel.sessions import Database, Session
from tests.bulk.models import (
    EMAIL,
    MOMENT,
    Animal,
    Base,
    Color,
    Dog,
    Guest,
    Member,
    Parcel,
    Seat,
    User,
    count_of,
    values_of,
)

pytestmark = pytest.mark.tables(Base.metadata)
NO_ATTRIBUTES = ["email", ["email"], [User.email, "city"], User.email, [Member.email], [User], [None], 5]


async def deleted_member(session: Session, **values: Any) -> Member:
    (member,) = await insert_many_returning(session, Member, [values])
    await session.delete(member)
    await session.flush()
    return member


class TestUpsert:
    async def test_a_new_row_is_inserted(self, every_driver: Database) -> None:
        """A row that is not there is made, with all defaults, and said to be new."""
        async with every_driver.transaction() as session:
            user, is_new = await upsert(session, User, {"email": "a", "city": "Bern"}, on=EMAIL)

            assert is_new
            assert (user.email, user.city, user.version) == ("a", "Bern", 1)
            assert user.created_at.tzinfo is UTC
            assert user in session

    async def test_a_row_that_is_there_is_updated(self, every_driver: Database) -> None:
        """The row with the same value is updated, and said not to be new."""
        async with every_driver.transaction() as session:
            first, _ = await upsert(session, User, {"email": "a", "city": "Bern"}, on=EMAIL)
            second, is_new = await upsert(session, User, {"email": "a", "city": "Rome"}, on=EMAIL)

            assert not is_new
            assert second is first
            assert second.city == "Rome"
            assert await count_of(session, User) == 1

    async def test_an_update_that_changes_nothing_is_no_insert(self, every_driver: Database) -> None:
        """The same values again are an update."""
        async with every_driver.transaction() as session:
            answers = [await upsert(session, Guest, _guest(30), on=[Guest.first, Guest.last]) for _ in range(3)]

        assert [is_new for _, is_new in answers] == [True, False, False]

    async def test_it_is_one_statement(self, every_driver: Database) -> None:
        """Insert and update alike are one statement."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=2):
            await upsert(session, User, {"email": "a"}, on=EMAIL)
            await upsert(session, User, {"email": "a", "city": "Bern"}, on=EMAIL)

    async def test_version_and_time_move(self, every_driver: Database) -> None:
        """The version counts the update, and ``updated_at`` is that of the update."""
        async with every_driver.transaction() as session:
            user, _ = await upsert(session, User, {"email": "a"}, on=EMAIL)
            made_at = user.created_at
        async with every_driver.transaction() as session:
            found, _ = await upsert(session, User, {"email": "a", "city": "Bern"}, on=EMAIL)

        assert found.version == 2
        assert found.updated_at > made_at
        assert found.created_at == made_at

    async def test_what_is_not_given_stays(self, every_driver: Database) -> None:
        """Neither other columns nor the key are touched."""
        async with every_driver.transaction() as session:
            user, _ = await upsert(session, User, {"email": "a", "city": "Bern", "nick": "n"}, on=EMAIL)
            before = user.id, user.public_id
            user, _ = await upsert(session, User, {"email": "a", "city": "Rome"}, on=EMAIL)

            assert (user.id, user.public_id) == before
            assert user.nick == "n"

    async def test_a_given_key_is_not_moved(self, every_driver: Database) -> None:
        """A primary key in the values is for a new row only."""
        values = {"id": 1, "first": "Ada", "last": "L", "age": 1}

        async with every_driver.transaction() as session:
            await upsert(session, Guest, values, on=[Guest.first, Guest.last])
            guest, is_new = await upsert(session, Guest, {**values, "id": 2, "age": 2}, on=[Guest.first, Guest.last])

            assert (guest.id, guest.age, is_new) == (1, 2, False)

    async def test_only_some_columns_are_updated(self, every_driver: Database) -> None:
        """``update`` names the columns that an existing row takes over."""
        values = {"email": "a", "city": "Bern", "nick": "n"}

        async with every_driver.transaction() as session:
            await upsert(session, User, values, on=EMAIL)
            user, _ = await upsert(session, User, {**values, "city": "Rome", "nick": "m"}, on=EMAIL, update=[User.city])

            assert (user.city, user.nick) == ("Rome", "n")

    async def test_nothing_is_updated(self, every_driver: Database) -> None:
        """With an empty ``update`` the existing row is left and returned."""
        async with every_driver.transaction() as session:
            await upsert(session, User, {"email": "a", "city": "Bern"}, on=EMAIL)
            user, is_new = await upsert(session, User, {"email": "a", "city": "Rome"}, on=EMAIL, update=[])

            assert (user.city, user.version, is_new) == ("Bern", 1, False)

    async def test_a_stale_object_is_refreshed(self, every_driver: Database) -> None:
        """An object that the session holds shows what the statement wrote."""
        async with every_driver.transaction() as session:
            (user,) = await insert_many_returning(session, User, [{"email": "a", "city": "Bern"}])
            await upsert(session, User, {"email": "a", "city": "Rome"}, on=EMAIL)

            async with queries(every_driver, exactly=0):
                assert (user.city, user.version) == ("Rome", 2)

    async def test_converted_types_and_a_uuid_key(self, every_driver: Database) -> None:
        """Values and keys are bound by their types."""
        key, values = uuid.uuid4(), {"color": Color.BLUE, "data": {"a": 1}, "sent_at": MOMENT}

        async with every_driver.transaction() as session:
            await upsert(session, Parcel, {"id": key}, on=[Parcel.id])
            parcel, is_new = await upsert(session, Parcel, {"id": key, **values}, on=[Parcel.id])

            assert not is_new
            assert {name: getattr(parcel, name) for name in values} == values

    async def test_a_composite_key(self, every_driver: Database) -> None:
        """Several attributes may be what is unique, in any order."""
        hall = uuid.uuid4()

        async with every_driver.transaction() as session:
            await upsert(session, Seat, {"row": 1, "hall": hall, "guest": "a"}, on=[Seat.hall, Seat.row])
            seat, is_new = await upsert(session, Seat, {"row": 1, "hall": hall, "guest": "b"}, on=[Seat.row, Seat.hall])

            assert (seat.guest, is_new) == ("b", False)

    async def test_a_foreign_model_serves(self, every_driver: Database) -> None:
        """A model of plain SQLAlchemy, on a stock session, is written as well."""
        engine = create_async_engine(every_driver.url)
        try:
            async with async_sessionmaker(engine).begin() as session:
                _, first = await upsert(session, Guest, _guest(30), on=[Guest.first, Guest.last])
                guest, second = await upsert(session, Guest, _guest(31), on=[Guest.first, Guest.last])

                assert (first, second, guest.age) == (True, False, 31)
        finally:
            await engine.dispose()

    async def test_concurrent_callers_make_one_row(self, every_driver: Database) -> None:
        """Of twenty concurrent upserts exactly one inserts."""

        async def call(number: int) -> bool:
            async def work(session: Session) -> bool:
                _, is_new = await upsert(session, User, {"email": "a", "city": str(number)}, on=EMAIL)
                return is_new

            return await every_driver.run_transaction(work)

        answers = await asyncio.gather(*map(call, range(20)))

        async with every_driver.transaction() as session:
            assert answers.count(True) == 1
            assert await values_of(session, User.version) == [(20,)]


def _guest(age: int) -> dict[str, Any]:
    return {"first": "Ada", "last": "L", "age": age}


class TestAnotherConstraint:
    async def test_a_new_row_that_breaks_it(self, every_driver: Database) -> None:
        """A conflict with another unique column is that column's violation, and no row is changed."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "nick": "n", "city": "Bern"}])

            with pytest.raises(UniqueViolation) as caught:
                async with session.savepoint():
                    await upsert(session, User, {"email": "b", "nick": "n", "city": "Rome"}, on=EMAIL)

            assert caught.value.columns == ("nick",)
            assert await values_of(session, User.email, User.city, User.version) == [("a", "Bern", 1)]

    async def test_an_update_that_breaks_it(self, every_driver: Database) -> None:
        """An existing row that would take a value of a third one is refused, too."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "nick": "a"}, {"email": "b", "nick": "b"}])

            with pytest.raises(UniqueViolation) as caught:
                async with session.savepoint():
                    await upsert(session, User, {"email": "a", "nick": "b"}, on=EMAIL)

            assert caught.value.columns == ("nick",)
            assert await values_of(session, User.email, User.nick) == [("a", "a"), ("b", "b")]

    async def test_the_next_call_is_right_again(self, every_driver: Database) -> None:
        """What a failed call noted does not reach the next one."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a", "nick": "a"}, {"email": "b", "nick": "b"}])
            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    await upsert(session, User, {"email": "a", "nick": "b"}, on=EMAIL)

            _, is_new = await upsert(session, User, {"email": "c", "nick": "c"}, on=EMAIL)

            assert is_new


class TestRefused:
    @pytest.mark.parametrize("on", [[User.city], [User.email, User.nick], []])
    async def test_what_is_not_unique(self, every_driver: Database, on: Sequence[QueryableAttribute[Any]]) -> None:
        """Attributes that nothing makes unique are refused, with those that are, before anything is sent."""
        values = {"email": "a", "nick": "n", "city": "Bern"}

        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(NotSupported) as caught:
                await upsert(session, User, values, on=on)

        assert "User.email" in caught.value.hint

    @pytest.mark.parametrize("wrong", NO_ATTRIBUTES)
    @pytest.mark.parametrize("name", ["on", "update"])
    async def test_what_is_no_list_of_attributes(self, sqlite: Database, wrong: Any, name: str) -> None:
        """A name, a single attribute, and one of another model are refused with the form that is meant."""
        arguments: dict[str, Any] = {"on": EMAIL, name: wrong}

        async with sqlite.transaction() as session, queries(sqlite, exactly=0):
            with pytest.raises(UnknownField, match=f"{name} takes a list of attributes of User") as one:
                await upsert(session, User, {"email": "a"}, **arguments)
            with pytest.raises(UnknownField, match=f"{name} takes a list of attributes of User"):
                await upsert_many(session, User, [{"email": "a"}], **arguments)

        assert f"{name}=[User." in (one.value.hint or "")

    async def test_a_column_of_the_table(self, sqlite: Database) -> None:
        """The column is as good as the attribute, also where it has another name."""
        columns = Seat.__table__.c
        async with sqlite.transaction() as session:
            seat = {"row": 1, "hall": uuid.uuid4()}
            await upsert(session, Seat, seat, on=[columns.seat_row, columns.hall])
            result = await upsert_many(session, Seat, [seat], on=[columns.seat_row, columns.hall])

        assert result == UpsertResult(0, 0, 1)

    @pytest.mark.parametrize("values", [{"city": "Bern"}, {"nick": None}])
    async def test_a_key_that_is_missing_or_none(self, every_driver: Database, values: dict[str, Any]) -> None:
        """NULL equals nothing: every call would insert one more row."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidValue):
                await upsert(session, User, {"email": "a", **values}, on=[User.nick])

    async def test_an_update_without_a_value(self, every_driver: Database) -> None:
        """A column that is to be updated needs its value."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(InvalidValue, match="city"):
                await upsert(session, User, {"email": "a"}, on=EMAIL, update=[User.city])

    async def test_an_unknown_field(self, every_driver: Database) -> None:
        """A field that the model does not have is refused before anything is sent."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(UnknownField):
                await upsert(session, User, {"email": "a", "town": "x"}, on=EMAIL)

    async def test_a_session_that_reads(self, every_driver: Database) -> None:
        """A read-only session is refused before anything is sent."""
        async with every_driver.read() as session, queries(every_driver, exactly=0):
            with pytest.raises(ReadOnlySession):
                await upsert(session, User, {"email": "a"}, on=EMAIL)

    async def test_a_row_of_another_class(self, every_driver: Database) -> None:
        """A row of another class of the hierarchy is not updated."""
        async with every_driver.transaction() as session:
            await insert_many(session, Animal, [{"name": "Tom", "tricks": 1}])

            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    await upsert(session, Dog, {"name": "Tom", "tricks": 5}, on=[Dog.name])

            assert await values_of(session, Animal.tricks) == [(1,)]


class TestDeletedRows:
    async def test_a_deleted_row_is_not_revived(self, every_driver: Database) -> None:
        """The value of a deleted row is free: a live row is made beside it."""
        async with every_driver.transaction() as session:
            dead = await deleted_member(session, email="a", name="old")
            member, is_new = await upsert(session, Member, {"email": "a", "name": "new"}, on=[Member.email])
            again, again_new = await upsert(session, Member, {"email": "a", "name": "newer"}, on=[Member.email])

            assert (is_new, again_new) == (True, False)
            assert member is again
            assert member.id != dead.id
            assert await session.scalar(_name_of(dead)) == "old"

    async def test_a_deleted_row_in_the_way(self, every_driver: Database) -> None:
        """Where a deleted row keeps its value taken, the call is refused and the row stays as it is."""
        async with every_driver.transaction() as session:
            dead = await deleted_member(session, email="a", number=7, name="old")

            with pytest.raises(UniqueViolation):
                async with session.savepoint():
                    await upsert(session, Member, {"email": "b", "number": 7, "name": "new"}, on=[Member.number])

            assert await session.scalar(_name_of(dead)) == "old"

    async def test_get_or_create_makes_a_live_one(self, every_driver: Database) -> None:
        """A deleted row is not found, and not returned."""
        async with every_driver.transaction() as session:
            dead = await deleted_member(session, email="a")
            member, is_new = await get_or_create(session, Member, {"email": "a"}, {"name": "new"})

            assert is_new
            assert member.id != dead.id

    async def test_many_rows_do_not_revive(self, every_driver: Database) -> None:
        """Neither do many rows at once."""
        async with every_driver.transaction() as session:
            dead = await deleted_member(session, email="a", name="old")
            result = await upsert_many(session, Member, [{"email": "a", "name": "new"}], on=[Member.email])

            assert result == UpsertResult(1, 0, 0)
            assert await session.scalar(_name_of(dead)) == "old"

    async def test_a_deleted_row_in_the_way_of_many(self, every_driver: Database) -> None:
        """A deleted row that keeps its value taken refuses the whole call."""
        rows = [{"email": "b", "number": 8}, {"email": "c", "number": 7}]

        async with every_driver.transaction() as session:
            await deleted_member(session, email="a", number=7)

            with pytest.raises(UniqueViolation):
                await upsert_many(session, Member, rows, on=[Member.number])

            assert await count_of(session, Member) == 1

    @pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg", "mariadb"], indirect=True)
    async def test_a_row_that_was_deleted_since(self, every_driver: Database) -> None:
        """A row that the transaction has seen alive, and another one has deleted since, is in the way as well."""
        async with every_driver.session() as session, every_driver.session() as other:
            await insert_many(other, Member, [{"email": "a", "number": 7}])
            await other.commit()
            await session.scalars(select(Member))
            await other.delete((await other.scalars(select(Member))).one())
            await other.commit()

            with pytest.raises(UniqueViolation):
                await upsert_many(session, Member, [{"email": "b", "number": 7}], on=[Member.number])


def _name_of(member: Member) -> Any:
    return select(Member.__table__.c.name).where(Member.__table__.c.id == member.id)
