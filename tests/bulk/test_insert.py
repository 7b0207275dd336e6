"""Tests of sqlkeel.bulk._insert: rows arrive as the ORM would have written them, all or none."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from sqlkeel import queries
from sqlkeel.bulk import insert_many
from sqlkeel.errors import (
    ForeignKeyViolation,
    InexactNumber,
    InvalidValue,
    NaiveDatetime,
    NotNullViolation,
    NoTransaction,
    ReadOnlySession,
    UniqueViolation,
    UnknownField,
)
from sqlkeel.sessions import Database
from tests.bulk.models import (
    MOMENT,
    Animal,
    Base,
    Cabin,
    Color,
    Dog,
    Guest,
    Member,
    Parcel,
    Seat,
    User,
    count_of,
    people,
    values_of,
)

pytestmark = pytest.mark.tables(Base.metadata)


class TestRows:
    async def test_they_arrive(self, every_driver: Database) -> None:
        """Every row is in the table, and their number is returned."""
        async with every_driver.transaction() as session:
            written = await insert_many(session, User, [{"email": "a@x.org"}, {"email": "b@x.org"}])

            assert written == 2
            assert await values_of(session, User.email) == [("a@x.org",), ("b@x.org",)]

    async def test_any_number_is_taken(self, every_driver: Database) -> None:
        """More rows than a statement has parameters, or a chunk has rows, are written."""
        async with every_driver.transaction() as session:
            written = await insert_many(session, User, people(33_000))

            assert written == 33_000
            assert await count_of(session, User) == 33_000

    async def test_a_generator_is_read_once(self, every_driver: Database) -> None:
        """A generator serves as well as a list."""
        async with every_driver.transaction() as session:
            written = await insert_many(session, User, (row for row in people(1_001)))

            assert (written, await count_of(session, User)) == (1_001, 1_001)

    async def test_an_asynchronous_generator_is_read(self, every_driver: Database) -> None:
        """An asynchronous source serves, too."""

        async def source() -> AsyncIterator[dict[str, Any]]:
            for row in people(10_001):
                yield row

        async with every_driver.transaction() as session:
            written = await insert_many(session, User, source())

            assert (written, await count_of(session, User)) == (10_001, 10_001)

    async def test_no_rows_send_nothing(self, every_driver: Database) -> None:
        """An empty source is zero rows and no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            written = await insert_many(session, User, [])

        assert written == 0

    async def test_one_statement_is_sent(self, every_driver: Database) -> None:
        """Two thousand rows of the same fields are one statement, a COPY on PostgreSQL."""
        async with every_driver.transaction() as session:
            async with queries(every_driver, exactly=1) as seen:
                await insert_many(session, User, people(2_000))

            assert seen.statements[0].startswith("COPY" if every_driver.dialect == "postgresql" else "INSERT")

    async def test_rows_may_differ_in_their_fields(self, every_driver: Database) -> None:
        """A row without a field gets the default, wherever it stands among the others."""
        rows = [
            {"email": "a@x.org", "city": "Bern"},
            {"email": "b@x.org"},
            {"city": "Rome", "email": "c@x.org"},
            {"email": "d@x.org", "nick": "d"},
        ]

        async with every_driver.transaction() as session:
            written = await insert_many(session, User, rows)

            assert written == 4
            assert await values_of(session, User.email, User.city, User.nick) == [
                ("a@x.org", "Bern", None),
                ("b@x.org", None, None),
                ("c@x.org", "Rome", None),
                ("d@x.org", None, "d"),
            ]

    async def test_rows_may_start_to_differ_late(self, every_driver: Database) -> None:
        """The fields may change after any number of rows."""
        rows = [*people(600), *({"email": f"late{n}", "city": "Bern"} for n in range(600))]

        async with every_driver.transaction() as session:
            await insert_many(session, User, rows)

            assert await session.scalar(select(func.count()).where(User.city == "Bern")) == 600
            assert await count_of(session, User) == 1_200

    async def test_the_order_of_fields_does_not_matter(self, every_driver: Database) -> None:
        """Each value arrives in its own column."""
        rows = [{"email": "a", "city": "Bern"}, {"city": "Rome", "email": "b"}]

        async with every_driver.transaction() as session:
            await insert_many(session, User, rows)

            assert await values_of(session, User.email, User.city) == [("a", "Bern"), ("b", "Rome")]

    async def test_what_the_session_holds_goes_first(self, every_driver: Database) -> None:
        """Pending objects are flushed before, so that rows may point to them."""
        async with every_driver.transaction() as session:
            user = User(email="a@x.org")
            session.add(user)
            await insert_many(session, Cabin, [{"name": "one", "user_id": None}])

            assert user.id is not None

    async def test_a_composite_key_and_a_renamed_column(self, every_driver: Database) -> None:
        """Fields are attributes; the column may have another name."""
        hall = uuid.uuid4()

        async with every_driver.transaction() as session:
            await insert_many(session, Seat, [{"row": 1, "hall": hall}, {"row": 2, "hall": hall}])

            assert await values_of(session, Seat.row, Seat.hall) == [(1, hall), (2, hall)]

    async def test_a_foreign_model_serves(self, every_driver: Database) -> None:
        """A model of plain SQLAlchemy, on a stock session, is written as well."""
        engine = create_async_engine(every_driver.url)
        try:
            async with async_sessionmaker(engine).begin() as session:
                written = await insert_many(session, Guest, [{"first": "Ada", "last": "L"}])
        finally:
            await engine.dispose()

        assert written == 1

    async def test_a_class_of_a_hierarchy_is_named(self, every_driver: Database) -> None:
        """A row of a class without a table of its own says of which class it is."""
        async with every_driver.transaction() as session:
            await insert_many(session, Dog, [{"name": "Rex"}])
            await insert_many(session, Animal, [{"name": "Tom"}])

            assert await values_of(session, Animal.name, Animal.kind) == [("Rex", "dog"), ("Tom", "animal")]

    async def test_an_expression_as_default(self, every_driver: Database) -> None:
        """A default that is an expression of SQL is computed by the server."""
        async with every_driver.transaction() as session:
            written = await insert_many(session, Cabin, [{"user_id": None}, {"user_id": None}])

            assert written == 2
            assert await values_of(session, Cabin.name) == [("nameless",), ("nameless",)]


class TestValues:
    async def test_defaults_are_made_in_python(self, every_driver: Database) -> None:
        """Scalars, functions and functions with a context fill what is missing; the server fills the rest."""
        async with every_driver.transaction() as session:
            await insert_many(session, Parcel, [{"weight": 1.5}, {"weight": 2.5}])
            first, second = (await session.scalars(select(Parcel).order_by(Parcel.weight))).all()

        assert (first.color, first.price, first.data, first.code) == (Color.RED, Decimal("1.50"), {}, "new")
        assert first.label == "for None"
        assert first.id != second.id
        assert first.id.version == 7

    async def test_a_default_sees_its_row(self, every_driver: Database) -> None:
        """A default with a context is given the values of its own row."""
        async with every_driver.transaction() as session:
            await insert_many(session, Parcel, [{"code": "a"}, {"code": "b"}])

            assert await values_of(session, Parcel.label) == [("for a",), ("for b",)]

    async def test_the_server_fills_times_and_version(self, every_driver: Database) -> None:
        """Server defaults apply."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a@x.org"}])
            user = (await session.scalars(select(User))).one()

        assert user.version == 1
        assert user.created_at.tzinfo is UTC

    async def test_none_is_null(self, every_driver: Database) -> None:
        """None is NULL even where there is a default: leaving the field out is how to get that."""
        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation) as caught:
                await insert_many(session, Parcel, [{"code": None}])

        assert caught.value.columns == ("code",)

    async def test_types_convert(self, every_driver: Database) -> None:
        """Every type is bound as the ORM binds it."""
        owner = uuid.uuid4()
        row = {
            "color": Color.BLUE,
            "price": Decimal("12.30"),
            "data": {"a": [1, None, "x"]},
            "sent_at": MOMENT.astimezone(timezone(timedelta(hours=5))),
            "weight": 0.1,
            "photo": b"\x00\xff'\\",
            "owner": owner,
        }

        async with every_driver.transaction() as session:
            await insert_many(session, Parcel, [row])
            found = (await session.scalars(select(Parcel))).one()

        assert {name: getattr(found, name) for name in row} == {**row, "sent_at": MOMENT}

    @pytest.mark.parametrize(
        ("row", "error"),
        [({"sent_at": datetime(2026, 1, 1)}, NaiveDatetime), ({"price": 1.5}, InexactNumber)],
    )
    async def test_a_value_that_a_type_refuses(
        self, every_driver: Database, row: dict[str, Any], error: type[InvalidValue]
    ) -> None:
        """The type's own error reaches the caller, and the transaction goes on."""
        async with every_driver.transaction() as session:
            with pytest.raises(error):
                await insert_many(session, Parcel, [{"weight": 1.0, **row}])

            assert await count_of(session, Parcel) == 0

    async def test_a_text_that_is_too_long(self, postgres: Database) -> None:
        """What has no error of its own is still SQLAlchemy's DBAPIError, without the value."""
        async with postgres.transaction() as session:
            with pytest.raises(DBAPIError, match="too long") as caught:
                await insert_many(session, Parcel, [{"code": "secret"}])

        assert "secret" not in str(caught.value)

    async def test_a_value_of_the_wrong_type(self, postgres: Database) -> None:
        """What the driver cannot encode is a DBAPIError, too."""
        async with postgres.transaction() as session:
            with pytest.raises(DBAPIError):
                await insert_many(session, Seat, [{"row": "one", "hall": uuid.uuid4()}])

            assert await count_of(session, Seat) == 0

    @settings(
        deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], database=None
    )
    @given(
        rows=st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "color": st.sampled_from(Color),
                    "price": st.decimals(0, 10**9, places=2),
                    "data": st.dictionaries(st.text("abc"), st.none() | st.integers(0, 9) | st.text("xyz'\"\\%")),
                    "sent_at": st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC)),
                    "photo": st.binary(max_size=8),
                    "owner": st.uuids(version=4),  # MariaDB refuses variants that no standard knows
                    "code": st.text("ab'\"\\%\t\n:ä", min_size=1, max_size=5),
                },
            ),
            max_size=6,
        )
    )
    async def test_rows_come_back_as_they_went(self, every_driver: Database, rows: list[dict[str, Any]]) -> None:
        """Whatever fields the rows have, each is found again with its values."""
        keyed = [{"id": uuid.uuid4(), **row} for row in rows]

        async with every_driver.session() as session:
            written = await insert_many(session, Parcel, keyed)
            found = {parcel.id: parcel for parcel in await session.scalars(select(Parcel))}
            arrived = [{name: getattr(found[row["id"]], name) for name in row} for row in keyed]
            await session.rollback()

        assert written == len(rows)
        assert arrived == keyed


class TestAllOrNothing:
    async def test_it_belongs_to_the_transaction(self, every_driver: Database) -> None:
        """What is rolled back was never there: COPY, too, waits for the transaction to begin."""
        async with every_driver.session() as session:
            await insert_many(session, User, people(2))
            await session.rollback()
            left = await count_of(session, User)

        assert left == 0

    async def test_a_duplicate_is_typed(self, every_driver: Database) -> None:
        """The error names table, columns and constraint, and the transaction goes on without the rows."""
        async with every_driver.transaction() as session:
            await insert_many(session, User, [{"email": "a@x.org"}])

            with pytest.raises(UniqueViolation) as caught:
                await insert_many(session, User, [*people(3), {"email": "a@x.org"}])

            assert (caught.value.table, caught.value.columns) == ("bulk_user", ("email",))
            assert caught.value.constraint == "bulk_user_email_key"
            assert await count_of(session, User) == 1

    async def test_a_missing_parent_is_typed(self, every_driver: Database) -> None:
        """A foreign key that points nowhere is a ForeignKeyViolation."""
        async with every_driver.transaction() as session:
            with pytest.raises(ForeignKeyViolation):
                await insert_many(session, Cabin, [{"name": "one", "user_id": 404}])

            assert await count_of(session, Cabin) == 0

    async def test_the_last_chunk_undoes_the_first(self, every_driver: Database) -> None:
        """An error after ten thousand rows leaves none of them."""
        async with every_driver.transaction() as session:
            with pytest.raises(UniqueViolation):
                await insert_many(session, User, [*people(10_000), {"email": "000000@x.org"}])

            assert await count_of(session, User) == 0

    async def test_the_sources_own_error_is_not_hidden(self, every_driver: Database) -> None:
        """What the source of the rows raises reaches the caller as it is, and nothing is written."""

        def source() -> Iterator[dict[str, Any]]:
            yield from people(1_500)
            raise LookupError("the file ends here")

        async with every_driver.transaction() as session:
            with pytest.raises(LookupError, match="the file ends here"):
                await insert_many(session, User, source())

            assert await count_of(session, User) == 0

    async def test_a_cancelled_call_frees_its_connection(self, every_driver: Database) -> None:
        """A call that is cancelled writes nothing, and its connection is not given out half-way through."""

        async def source() -> AsyncIterator[dict[str, Any]]:
            for row in people(10_000):
                yield row
            await asyncio.Event().wait()

        async def write() -> None:
            async with every_driver.transaction() as session:
                await insert_many(session, User, source())

        task = asyncio.create_task(write())
        await asyncio.wait([task], timeout=2)
        task.cancel()
        await asyncio.wait([task])

        async with every_driver.transaction() as session:
            assert task.cancelled()
            assert await count_of(session, User) == 0


class TestRefused:
    async def test_an_unknown_field(self, every_driver: Database) -> None:
        """A field that the model does not have is refused before anything is sent, with those that it has."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(UnknownField, match="'mail'") as caught:
                await insert_many(session, User, [{"email": "a"}, {"email": "b", "mail": "c"}])

        assert "email" in caught.value.hint

    async def test_a_relation_is_no_field(self, every_driver: Database) -> None:
        """Columns are written; what is no column is unknown."""
        async with every_driver.transaction() as session:
            with pytest.raises(UnknownField):
                await insert_many(session, Member, [{"email": "a", "is_deleted": True}])

    async def test_something_else_than_a_mapping(self, every_driver: Database) -> None:
        """A tuple is no row."""
        async with every_driver.transaction() as session:
            with pytest.raises(InvalidValue, match="tuple"):
                await insert_many(session, User, [("a@x.org",)])  # type: ignore[list-item]

    async def test_a_session_that_reads(self, every_driver: Database) -> None:
        """A read-only session is refused before anything is sent."""
        async with every_driver.read() as session, queries(every_driver, exactly=0):
            with pytest.raises(ReadOnlySession):
                await insert_many(session, User, [{"email": "a"}])

    @pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
    async def test_a_connection_without_transactions(self, postgres: Database, driver: str) -> None:
        """A COPY that would commit by itself is refused."""
        url = postgres.url.set(drivername=f"postgresql+{driver}")
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        try:
            async with AsyncSession(engine) as session:
                with pytest.raises(NoTransaction):
                    await insert_many(session, User, [{"email": "a"}])
        finally:
            await engine.dispose()
