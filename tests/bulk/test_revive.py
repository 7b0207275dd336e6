"""Tests of sqlkeel.bulk._revive: a deleted row comes back instead of a second one, whoever else asks for it."""

from __future__ import annotations

import pickle

import pytest
from sqlalchemy import select

from sqlkeel import Repository, queries
from sqlkeel.bulk import Upserted, UpsertResult, insert_many, insert_many_returning, upsert, upsert_many
from sqlkeel.errors import NoTransaction, NotSupported, SerializationFailure, UniqueViolation, UsageError
from sqlkeel.sessions import Database, Session
from tests.bulk.revive_models import (
    EMAIL,
    SHOWN,
    TABLE,
    Base,
    Cat,
    Club,
    Creature,
    Member,
    Plain,
    Rack,
    Tool,
    deleted,
    names,
)

pytestmark = pytest.mark.tables(Base.metadata)


class TestOneRow:
    async def test_the_deleted_row_comes_back(self, every_driver: Database) -> None:
        """The row has its key again, the new values, no mark, the next version, and is fresh in the session."""
        async with every_driver.transaction() as session:
            key = await deleted(session, name="old", number=7)
            result = await upsert(session, Member, {"email": "a", "name": "new"}, on=EMAIL, revive=True)
            member, created = result

            assert (created, result.revived) == (False, True)
            assert (member.id, member.name, member.number, member.version) == (key, "new", 7, 3)
            assert (member.deleted_at, member.deletion_id) == (None, None)
            assert member in session
            assert await names(session, **SHOWN) == [(key, "a", "new")]

    async def test_the_time_of_change_moves(self, every_driver: Database) -> None:
        """To come back is a change."""
        async with every_driver.transaction() as session:
            key = await deleted(session)
        async with every_driver.transaction() as session:
            before = (await session.get_one(Member, key, execution_options=SHOWN)).updated_at
            member, _ = await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)

            assert member.updated_at > before

    async def test_the_last_deleted_comes_back(self, every_driver: Database) -> None:
        """Of several deleted rows it is the one that was deleted last, whichever was made first."""
        async with every_driver.transaction() as session:
            (one,) = await insert_many_returning(session, Member, [{"email": "a", "name": "one"}])
        async with every_driver.transaction() as session:
            one = await session.get_one(Member, one.id)
            one.email = "aside"
            await session.flush()
            await deleted(session, name="two")
        async with every_driver.transaction() as session:
            one = await session.get_one(Member, one.id)
            one.email = "a"
            await session.delete(one)
        async with every_driver.transaction() as session:
            member, _ = await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)

            assert member.name == "one"
            assert await names(session) == [(one.id, "a", "one")]

    async def test_a_live_row_is_updated(self, every_driver: Database) -> None:
        """Where a live row has the value, deleted ones stay as they are."""
        async with every_driver.transaction() as session:
            await deleted(session, name="old")
            (live,) = await insert_many_returning(session, Member, [{"email": "a"}])
            result = await upsert(session, Member, {"email": "a", "name": "new"}, on=EMAIL, revive=True)

            assert (result[0], result[1], result.revived) == (live, False, False)
            assert await names(session) == [(live.id, "a", "new")]

    async def test_a_new_row_is_inserted(self, every_driver: Database) -> None:
        """Where nothing has the value, a row is made."""
        async with every_driver.transaction() as session:
            key = await deleted(session)
            result = await upsert(session, Member, {"email": "b"}, on=EMAIL, revive=True)

            assert (result[1], result.revived) == (True, False)
            assert result[0].id != key

    async def test_the_number_of_statements(self, every_driver: Database) -> None:
        """One more than without, where nothing is revived."""
        async with every_driver.transaction() as session, queries(every_driver, exactly=2):
            await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)

    async def test_a_plain_unique_value(self, every_driver: Database) -> None:
        """A deleted row that keeps its value taken, and refuses an upsert, comes back."""
        async with every_driver.transaction() as session:
            key = await deleted(session, number=7)
            member, _ = await upsert(session, Member, {"email": "b", "number": 7}, on=[Member.number], revive=True)

            assert (member.id, member.email) == (key, "b")

    async def test_only_some_columns_are_written(self, every_driver: Database) -> None:
        """``update`` holds for a row that comes back as for one that is there."""
        values = {"email": "a", "name": "new", "number": 8}

        async with every_driver.transaction() as session:
            await deleted(session, name="old", number=7)
            member, _ = await upsert(session, Member, values, on=EMAIL, update=[Member.number], revive=True)

            assert (member.name, member.number, member.version) == ("old", 8, 3)

    async def test_nothing_is_written_but_the_mark(self, every_driver: Database) -> None:
        """With an empty ``update`` the row comes back as it was."""
        async with every_driver.transaction() as session:
            await deleted(session, name="old")
            result = await upsert(session, Member, {"email": "a", "name": "new"}, on=EMAIL, update=[], revive=True)

            assert (result[0].name, result[0].is_deleted, result.revived) == ("old", False, True)

    async def test_another_constraint_is_its_own_violation(self, every_driver: Database) -> None:
        """A value of another unique column that is taken refuses the call; the row stays deleted."""
        async with every_driver.transaction() as session:
            await insert_many(session, Member, [{"email": "b", "number": 7}])
            key = await deleted(session)

            with pytest.raises(UniqueViolation) as caught:
                async with session.savepoint():
                    await upsert(session, Member, {"email": "a", "number": 7}, on=EMAIL, revive=True)

            assert caught.value.columns == ("number",) or "number" in str(caught.value.constraint)
            assert await session.get(Member, key) is None

    async def test_a_row_of_another_class_stays(self, every_driver: Database) -> None:
        """A deleted row of another class of the hierarchy is not taken for one of this."""
        async with every_driver.transaction() as session:
            (creature,) = await insert_many_returning(session, Creature, [{"name": "Tom"}])
            await session.delete(creature)
            result = await upsert(session, Cat, {"name": "Tom"}, on=[Cat.name], revive=True)

            assert result[1]
            assert result[0].id != creature.id

    async def test_below_a_deleted_row_it_stays(self, every_driver: Database) -> None:
        """A row that was deleted with its parent does not come back without it, unless it gets another one."""
        async with every_driver.transaction() as session:
            club = Club(name="c", members=[Member(email="a")])
            session.add_all([club, Club(name="d", id=99)])
            await session.flush()
            await session.delete(club)

            with pytest.raises(UsageError, match="belongs to a Club that is deleted"):
                await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)
            member, _ = await upsert(session, Member, {"email": "a", "club_id": 99}, on=EMAIL, revive=True)

            assert member.club_id == 99

    async def test_a_row_with_other_values_since_stays(self, mariadb: Database) -> None:
        """MariaDB finds a row as the snapshot has it; one that has another address by now is not taken for it."""
        async with mariadb.transaction() as session:
            key = await deleted(session)
        async with mariadb.transaction() as session:
            await names(session)
            async with mariadb.engine.begin() as other:
                await other.execute(TABLE.update().values(email="b"))
            result = await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)

        assert (result[0].email, result[1], result.revived) == ("a", True, False)
        assert result[0].id != key

    async def test_below_a_deleted_row_that_restricts_it_stays(self, every_driver: Database) -> None:
        """It would be what would have kept that row from being deleted."""
        async with every_driver.transaction() as session:
            session.add(Rack(id=1, tools=[Tool(name="saw")]))
        async with every_driver.transaction() as session:
            await session.delete((await session.scalars(select(Tool))).one())
            await session.delete(await session.get_one(Rack, 1))

        async with every_driver.transaction() as session:
            with pytest.raises(UsageError):
                await upsert(session, Tool, {"name": "saw"}, on=[Tool.name], revive=True)
            with pytest.raises(UsageError):
                await upsert_many(session, Tool, [{"name": "saw"}], on=[Tool.name], revive=True)

    @pytest.mark.parametrize("every_driver", ["asyncpg", "psycopg", "mariadb"], indirect=True)
    @pytest.mark.parametrize("many", [False, True])
    @pytest.mark.parametrize("deleted_before", [False, True])
    async def test_below_a_row_that_was_deleted_since_it_stays(
        self, every_driver: Database, many: bool, deleted_before: bool
    ) -> None:
        """Though the transaction has read the parent, and the row itself, as they were when they were alive."""
        async with every_driver.session() as session, every_driver.session() as other:
            other.add(club := Club(name="c", members=[member := Member(email="a")]))
            await other.commit()
            if deleted_before:
                await other.delete(member)
                await other.commit()
            await session.scalars(select(Member))
            if not deleted_before:
                await other.delete(member)
                await other.flush()
            await other.delete(club)
            await other.commit()

            with pytest.raises(UsageError, match="belongs to a Club that is deleted"):
                if many:
                    await upsert_many(session, Member, [{"email": "a"}], on=EMAIL, revive=True)
                else:
                    await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)

    async def test_many_below_a_row_that_was_deleted_since_are_run_again(self, postgres: Database) -> None:
        """At REPEATABLE READ the parent is not seen to be deleted, and cannot be locked."""
        async with postgres.session() as other:
            other.add(club := Club(name="c", members=[member := Member(email="a")]))
            await other.commit()
            await other.delete(member)
            await other.commit()
            with pytest.raises(SerializationFailure):
                async with postgres.transaction(isolation="repeatable read") as session:
                    await session.scalars(select(Member))
                    await other.delete(club)
                    await other.commit()
                    await upsert_many(session, Member, [{"email": "a"}], on=EMAIL, revive=True)

    async def test_what_went_with_it_stays_deleted(self, every_driver: Database) -> None:
        """Children that were deleted with the row are restored one by one, or not."""
        async with every_driver.transaction() as session:
            club = Club(name="c", members=[Member(email="a")])
            session.add(club)
            await session.flush()
            await session.delete(club)
            await upsert(session, Club, {"name": "c"}, on=[Club.name], revive=True)

            assert await names(session) == []

    async def test_the_repository_does_it(self, db: Database) -> None:
        """``Repository.upsert`` and ``upsert_many`` take the word."""
        async with db.transaction() as session:
            members = Repository(session, Member)
            key = await deleted(session)
            member, _ = await members.upsert({"email": "a"}, on=EMAIL, revive=True)
            await session.delete(member)
            result = await members.upsert_many([{"email": "a"}], on=EMAIL, revive=True)

            assert (member.id, result.revived) == (key, 1)

    async def test_the_result_travels(self) -> None:
        """The result keeps what it says in a pickle."""
        made = Upserted("obj", created=False, revived=True)

        copy = pickle.loads(pickle.dumps(made))

        assert (copy, copy.revived) == (("obj", False), True)


class TestRefused:
    async def test_a_model_without_the_mixin(self, db: Database) -> None:
        """What keeps no deleted rows has none to revive."""
        async with db.transaction() as session, queries(db, exactly=0):
            with pytest.raises(NotSupported, match="has no soft delete"):
                await upsert(session, Plain, {"name": "a"}, on=[Plain.name], revive=True)
            with pytest.raises(NotSupported, match="has no soft delete"):
                await upsert_many(session, Plain, [{"name": "a"}], on=[Plain.name], revive=True)

    async def test_without_a_transaction(self, postgres: Database) -> None:
        """Where each statement commits by itself, the row that was found could change before it is written."""
        engine = postgres.engine.execution_options(isolation_level="AUTOCOMMIT")

        async with Session(engine) as session:
            with pytest.raises(NoTransaction):
                await upsert(session, Member, {"email": "a"}, on=EMAIL, revive=True)


class TestManyRows:
    async def test_rows_are_counted(self, every_driver: Database) -> None:
        """Inserted, updated, equal and revived rows are told apart."""
        rows = [{"email": email, "name": "new"} for email in ("a", "new", "live", "same")]

        async with every_driver.transaction() as session:
            key = await deleted(session, name="old")
            await insert_many(session, Member, [{"email": "live", "name": "x"}, {"email": "same", "name": "new"}])
            result = await upsert_many(session, Member, rows, on=EMAIL, revive=True)

            assert result == UpsertResult(inserted=1, updated=1, unchanged=1, revived=1)
            assert len(await names(session, **SHOWN)) == 4
            assert (await session.get_one(Member, key)).name == "new"
            assert (await session.get_one(Member, key)).version == 3

    async def test_the_last_deleted_comes_back(self, every_driver: Database) -> None:
        """Of several deleted rows of a key one comes back; a key with a live row revives none."""
        rows = [{"email": "a", "name": "new"}, {"email": "b", "name": "new"}]

        async with every_driver.transaction() as session:
            await deleted(session, name="one")
            await deleted(session, name="one", email="b")
        async with every_driver.transaction() as session:
            last = await deleted(session, name="two")
            (live,) = await insert_many_returning(session, Member, [{"email": "b"}])
            result = await upsert_many(session, Member, rows, on=EMAIL, revive=True)

            assert result == UpsertResult(inserted=0, updated=1, unchanged=0, revived=1)
            assert await names(session) == [(last, "a", "new"), (live.id, "b", "new")]

    async def test_the_last_of_two_rows_counts(self, every_driver: Database) -> None:
        """Of several given rows with one key the last is written, once."""
        rows = [{"email": "a", "name": name} for name in ("x", "y", "z")]

        async with every_driver.transaction() as session:
            key = await deleted(session)
            result = await upsert_many(session, Member, rows, on=EMAIL, revive=True)

            assert result == UpsertResult(inserted=0, updated=0, unchanged=2, revived=1)
            assert await names(session) == [(key, "a", "z")]

    async def test_a_plain_unique_value(self, every_driver: Database) -> None:
        """Deleted rows that keep their values taken come back."""
        async with every_driver.transaction() as session:
            key = await deleted(session, number=7)
            rows = [{"email": "b", "number": 7}, {"email": "c", "number": 8}]
            result = await upsert_many(session, Member, rows, on=[Member.number], revive=True)

            assert result == UpsertResult(inserted=1, updated=0, unchanged=0, revived=1)
            assert (await session.get_one(Member, key)).email == "b"

    async def test_below_a_deleted_row_nothing_is_written(self, every_driver: Database) -> None:
        """One row whose parent is deleted refuses the whole call; with another parent it comes back."""
        async with every_driver.transaction() as session:
            club = Club(name="c", members=[Member(email="a")])
            session.add_all([club, Club(name="d", id=99)])
            await session.flush()
            await session.delete(club)

            with pytest.raises(UsageError, match="belongs to a Club that is deleted"):
                await upsert_many(session, Member, [{"email": "a"}, {"email": "b"}], on=EMAIL, revive=True)
            before = await names(session)
            result = await upsert_many(session, Member, [{"email": "a", "club_id": 99}], on=EMAIL, revive=True)

            assert (before, result.revived) == ([], 1)

    async def test_held_objects_are_fresh(self, every_driver: Database) -> None:
        """An object of the deleted row that the session holds is alive, without another statement."""
        async with every_driver.transaction() as session:
            key = await deleted(session, name="old")
            held = await session.get_one(Member, key, execution_options=SHOWN)
            await upsert_many(session, Member, [{"email": "a", "name": "new"}], on=EMAIL, revive=True)

            async with queries(every_driver, exactly=0):
                assert (held.is_deleted, held.name, held.version) == (False, "new", 3)

    async def test_statements_do_not_grow_with_the_rows(self, db: Database) -> None:
        """A thousand rows come back with as many statements as one."""
        few, many = ([{"email": f"{size} {n}"} for n in range(size)] for size in (1, 1000))
        async with db.transaction() as session:
            await insert_many(session, Member, [*few, *many])
            dead = {"deleted_at": TABLE.c.created_at}
            await session.execute(TABLE.update().values(dead))

        async with db.transaction() as session:
            async with queries(db) as for_few:
                await upsert_many(session, Member, few, on=EMAIL, revive=True)
            async with queries(db) as for_many:
                result = await upsert_many(session, Member, many, on=EMAIL, revive=True)

        assert result == UpsertResult(0, 0, 0, 1000)
        assert len(for_many) == len(for_few)
