"""Tests of sqlkeel.bulk._update: each row gets its own values, every row or none."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.exc import DBAPIError

from sqlkeel import queries
from sqlkeel.bulk import insert_many, insert_many_returning, update_many
from sqlkeel.errors import InvalidKey, NotFound, ReadOnlySession, UniqueViolation, UnknownField, VersionConflict
from sqlkeel.sessions import Database, Session
from tests.bulk.models import ArrayBase, Base, Chart, Color, Dog, Member, Parcel, Seat, User, values_of

pytestmark = pytest.mark.tables(Base.metadata)


async def make_users(session: Session, count: int) -> list[User]:
    return await insert_many_returning(session, User, [{"email": f"{n:06}@x.org"} for n in range(count)])


class TestRows:
    async def test_each_gets_its_values(self, every_driver: Database) -> None:
        """Every row is written with its own values, and their number is returned."""
        async with every_driver.transaction() as session:
            first, second = await make_users(session, 2)

            written = await update_many(
                session, User, [{"id": first.id, "city": "Bern"}, {"id": second.id, "city": "Rome"}]
            )

            assert written == 2
            assert await values_of(session, User.email, User.city) == [
                ("000000@x.org", "Bern"),
                ("000001@x.org", "Rome"),
            ]

    async def test_any_number_is_taken(self, every_driver: Database) -> None:
        """More rows than a statement has parameters are written, in several chunks."""
        rows = [{"row": number, "hall": uuid.UUID(int=7), "guest": None} for number in range(33_000)]

        async with every_driver.transaction() as session:
            await insert_many(session, Seat, rows)
            written = await update_many(session, Seat, ({**row, "guest": f"guest {row['row']}"} for row in rows))

            assert written == 33_000
            assert await session.scalar(select(func.count()).where(Seat.guest.like("guest %"))) == 33_000

    async def test_no_rows_send_nothing(self, every_driver: Database) -> None:
        """An empty source is zero rows and no statement."""
        async with queries(every_driver, exactly=0), every_driver.transaction() as session:
            assert await update_many(session, User, []) == 0

    @pytest.mark.parametrize("driver", ["postgres"])
    async def test_one_statement_is_sent(self, postgres: Database, driver: str) -> None:
        """On PostgreSQL, a chunk is one statement."""
        async with postgres.transaction() as session:
            users = await make_users(session, 100)
            session.expunge_all()

            async with queries(postgres, exactly=1):
                await update_many(session, User, [{"id": user.id, "city": "Bern"} for user in users])

    async def test_rows_may_differ_in_their_fields(self, every_driver: Database) -> None:
        """A field that a row leaves out keeps its value."""
        async with every_driver.transaction() as session:
            first, second = await make_users(session, 2)
            await update_many(session, User, [{"id": first.id, "city": "Bern"}, {"id": second.id, "nick": "b"}])
            await update_many(session, User, [{"nick": "a", "id": first.id}, {"id": second.id, "city": "Rome"}])

            assert await values_of(session, User.city, User.nick) == [("Bern", "a"), ("Rome", "b")]

    async def test_none_is_null(self, every_driver: Database) -> None:
        """None is written."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            await update_many(session, User, [{"id": user.id, "city": "Bern"}])
            await update_many(session, User, [{"id": user.id, "city": None}])

            assert await values_of(session, User.city) == [(None,)]

    async def test_the_last_of_two_counts(self, every_driver: Database) -> None:
        """Of two rows with one key the last is written, once."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            written = await update_many(
                session, User, [{"id": user.id, "city": "Bern"}, {"id": user.id, "city": "Rome"}]
            )

            assert written == 1
            assert await values_of(session, User.city, User.version) == [("Rome", 2)]

    async def test_the_last_of_two_with_other_fields_counts(self, every_driver: Database) -> None:
        """The last row of a key is written last, whatever fields the rows have and wherever these came first."""
        async with every_driver.transaction() as session:
            one, other = await make_users(session, 2)
            rows = [
                {"id": one.id, "city": "Bern"},
                {"id": other.id, "city": "Oslo", "nick": "first"},
                {"id": other.id, "city": "Rome"},
            ]

            await update_many(session, User, rows)

            assert await values_of(session, User.city, User.nick) == [("Bern", one.nick), ("Rome", "first")]

    async def test_the_last_of_three_read_one_by_one_counts(self, every_driver: Database) -> None:
        """Rows of a generator, of which the first and the last have the same fields."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            rows = [{"city": "Bern"}, {"city": "Oslo", "nick": "second"}, {"city": "Rome"}]

            await update_many(session, User, ({"id": user.id, **row} for row in rows))

            assert await values_of(session, User.city, User.nick) == [("Rome", "second")]

    async def test_a_uuid_key_and_converted_types(self, every_driver: Database) -> None:
        """Keys and values are bound by their types."""
        async with every_driver.transaction() as session:
            made = await insert_many_returning(session, Parcel, [{"weight": 1.0}, {"weight": 2.0}])
            await update_many(session, Parcel, [{"id": one.id, "color": Color.BLUE, "data": {"a": 1}} for one in made])

            assert await values_of(session, Parcel.color) == [(Color.BLUE,), (Color.BLUE,)]
            assert [one.data for one in made] == [{"a": 1}, {"a": 1}]

    async def test_a_text_is_not_cut(self, postgres: Database) -> None:
        """What is too long for its column is refused, not cut to fit."""
        async with postgres.transaction() as session:
            (parcel,) = await insert_many_returning(session, Parcel, [{"weight": 1.0}])

            with pytest.raises(DBAPIError):
                await update_many(session, Parcel, [{"id": parcel.id, "code": "secret"}])

            assert await values_of(session, Parcel.code) == [("new",)]

    async def test_the_rows_of_a_class(self, every_driver: Database) -> None:
        """A row of another class of the hierarchy is not there."""
        async with every_driver.transaction() as session:
            (dog,) = await insert_many_returning(session, Dog, [{"name": "Rex"}])
            await update_many(session, Dog, [{"id": dog.id, "tricks": 3}])

            assert dog.tricks == 3


@pytest.mark.tables(ArrayBase.metadata)
class TestArrays:
    @pytest.mark.parametrize("lengths", [(1, 2), (3, 3)])
    async def test_an_array_stays_one(self, postgres: Database, lengths: tuple[int, int]) -> None:
        """A column of arrays keeps each row's own, whatever their lengths."""
        rows = [{"id": n, "points": [n] * length, "title": "a"} for n, length in enumerate(lengths)]

        async with postgres.transaction() as session:
            await insert_many(session, Chart, [{**row, "points": []} for row in rows])
            await update_many(session, Chart, rows)
            charts = (await session.scalars(select(Chart).order_by(Chart.id))).all()

        assert [chart.points for chart in charts] == [row["points"] for row in rows]


class TestTouched:
    async def test_version_and_time_move(self, every_driver: Database) -> None:
        """The version counts the change, and ``updated_at`` is that of the change."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            made_at = user.created_at
        async with every_driver.transaction() as session:
            await update_many(session, User, [{"id": user.id, "city": "Bern"}])
            found = (await session.scalars(select(User))).one()

        assert found.version == 2
        assert found.updated_at > made_at
        assert found.created_at == made_at

    async def test_a_given_time_is_kept(self, every_driver: Database) -> None:
        """A row that says when it was updated is believed."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            await update_many(session, User, [{"id": user.id, "updated_at": user.created_at.replace(year=2020)}])

            assert user.updated_at.year == 2020

    async def test_held_objects_are_fresh(self, every_driver: Database) -> None:
        """Objects of the session show the new values, without another statement."""
        async with every_driver.transaction() as session:
            first, second = await make_users(session, 2)
            await update_many(session, User, [{"id": first.id, "city": "Bern"}])

            async with queries(every_driver, exactly=0):
                assert (first.city, first.version, second.version) == ("Bern", 2, 1)
                assert first.updated_at >= first.created_at

    async def test_pending_changes_go_first(self, every_driver: Database) -> None:
        """A change of an object is flushed before, and not written back over the new value."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            user.city, user.nick = "Bern", "a"
            await update_many(session, User, [{"id": user.id, "city": "Rome"}])
            await session.flush()

            assert await values_of(session, User.city, User.nick, User.version) == [("Rome", "a", 3)]


class TestVersions:
    async def test_the_right_version_is_written(self, every_driver: Database) -> None:
        """A row that carries the version it was read with is written, and counted."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            await update_many(session, User, [{"id": user.id, "version": 1, "city": "Bern"}])

            assert await values_of(session, User.city, User.version) == [("Bern", 2)]

    async def test_an_old_version_conflicts(self, every_driver: Database) -> None:
        """A row with an old version is a VersionConflict, and no row is written."""
        async with every_driver.transaction() as session:
            first, second = await make_users(session, 2)
            await session.execute(update(User).where(User.id == second.id).values(city="Rome"))

            with pytest.raises(VersionConflict) as caught:
                await update_many(
                    session,
                    User,
                    [{"id": first.id, "version": 1, "city": "x"}, {"id": second.id, "version": 1, "city": "x"}],
                )

            assert (caught.value.key, caught.value.expected, caught.value.current) == (second.id, 1, 2)
            assert await values_of(session, User.email, User.city) == [("000000@x.org", None), ("000001@x.org", "Rome")]

    async def test_all_conflicts_are_named(self, every_driver: Database) -> None:
        """Each row with an old version is named, with what it is now."""
        async with every_driver.transaction() as session:
            first, second, third = await make_users(session, 3)
            await session.execute(update(User).where(User.id != first.id).values(city="Rome"))

            with pytest.raises(VersionConflict) as caught:
                rows = [{"id": user.id, "version": 1, "city": "x"} for user in (first, second, third)]
                await update_many(session, User, rows)

        conflicts = [caught.value, *caught.value.others]
        assert [(c.key, c.expected, c.current) for c in conflicts] == [(second.id, 1, 2), (third.id, 1, 2)]
        assert [(c.current_row or {})["city"] for c in conflicts] == ["Rome", "Rome"]

    async def test_a_row_that_is_gone_conflicts(self, every_driver: Database) -> None:
        """A row that was read, and is gone, is a conflict without a current version."""
        async with every_driver.transaction() as session:
            with pytest.raises(VersionConflict) as caught:
                await update_many(session, User, [{"id": 404, "version": 1, "city": "x"}])

        assert (caught.value.expected, caught.value.current) == (1, None)

    async def test_a_version_after_another_row_of_the_key(self, every_driver: Database) -> None:
        """A row whose version an earlier one of the same key has moved is refused as that, and neither is written."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            rows = [{"id": user.id, "city": "Bern"}, {"id": user.id, "version": 1, "nick": "x"}]

            with pytest.raises(InvalidKey, match="the first has incremented the version"):
                await update_many(session, User, rows)

            assert await values_of(session, User.city, User.nick, User.version) == [(user.city, None, 1)]

    async def test_a_version_before_another_row_of_the_key(self, every_driver: Database) -> None:
        """A row of the same key that follows the one with the version, and has none itself, is written too."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)
            rows = [{"id": user.id, "version": 1, "nick": "x"}, {"id": user.id, "city": "Bern"}]
            await update_many(session, User, rows)

            assert await values_of(session, User.city, User.nick, User.version) == [("Bern", "x", 3)]


class TestRefused:
    async def test_a_missing_row(self, every_driver: Database) -> None:
        """A key without a row is NotFound, names it, and no row is written."""
        async with every_driver.transaction() as session:
            (user,) = await make_users(session, 1)

            with pytest.raises(NotFound) as caught:
                await update_many(session, User, [{"id": user.id, "city": "x"}, {"id": 404_404, "city": "x"}])

            assert caught.value.key == 404_404
            assert await values_of(session, User.city) == [(None,)]

    async def test_a_missing_composite_key(self, every_driver: Database) -> None:
        """A composite key is named as a tuple."""
        hall = uuid.uuid4()

        async with every_driver.transaction() as session:
            with pytest.raises(NotFound) as caught:
                await update_many(session, Seat, [{"row": 1, "hall": hall, "guest": "x"}])

        assert caught.value.key == (1, hall)

    async def test_a_deleted_row(self, every_driver: Database) -> None:
        """A row that is marked as deleted is not there."""
        async with every_driver.transaction() as session:
            (member,) = await insert_many_returning(session, Member, [{"email": "a"}])
            await session.delete(member)
            await session.flush()

            with pytest.raises(NotFound):
                await update_many(session, Member, [{"id": member.id, "name": "x"}])

    @pytest.mark.parametrize("row", [{"city": "x"}, {"id": 1}])
    async def test_a_row_without_key_or_values(self, every_driver: Database, row: dict[str, Any]) -> None:
        """The key must be there, and something to write, too."""
        async with every_driver.transaction() as session:
            with pytest.raises(InvalidKey):
                await update_many(session, User, [row])

    @pytest.mark.parametrize("key", [[1], {"id": 1}])
    @pytest.mark.parametrize("other", [{"id": 2, "city": "x"}, {"id": 2, "nick": "x"}])
    @pytest.mark.parametrize("place", [0, 1])
    async def test_a_key_that_is_none(
        self, every_driver: Database, key: Any, other: dict[str, Any], place: int
    ) -> None:
        """A list or a mapping is no key, before and behind rows with the same fields and with others."""
        rows = [other]
        rows.insert(place, {"id": key, "city": "x"})

        async with every_driver.transaction() as session:
            with pytest.raises(InvalidKey):
                await update_many(session, User, rows)

    async def test_an_unknown_field(self, every_driver: Database) -> None:
        """A field that the model does not have is refused before anything is sent."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=0):
            with pytest.raises(UnknownField):
                await update_many(session, User, [{"id": 1, "town": "x"}])

    async def test_a_duplicate_is_typed(self, every_driver: Database) -> None:
        """A unique value that is taken is a UniqueViolation, and no row is written."""
        async with every_driver.transaction() as session:
            first, second = await make_users(session, 2)

            with pytest.raises(UniqueViolation) as caught:
                await update_many(session, User, [{"id": first.id, "nick": "a"}, {"id": second.id, "nick": "a"}])

            assert caught.value.columns == ("nick",)
            assert await values_of(session, User.nick) == [(None,), (None,)]

    async def test_a_session_that_reads(self, every_driver: Database) -> None:
        """A read-only session is refused before anything is sent."""
        async with every_driver.read() as session, queries(every_driver, exactly=0):
            with pytest.raises(ReadOnlySession):
                await update_many(session, User, [{"id": 1, "city": "x"}])
