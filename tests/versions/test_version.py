"""Versions: a change made on an old version is refused on every driver, and the error says what happened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm.exc import StaleDataError

from sqlkeel.errors import InvalidValue, UsageError, VersionConflict
from sqlkeel.integrations._problems import describe
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from tests.versions.versioned_models import MODELS, Base, Doc, Dog, Line, Stamped, add, overtake, read, version_of

pytestmark = pytest.mark.tables(Base.metadata)


@pytest.mark.parametrize("model", MODELS)
class TestEveryModel:
    async def test_a_lost_update_is_a_conflict(self, every_driver: Database, model: Any) -> None:
        """Whoever writes second, on what was read before, is told and writes nothing."""
        key = await add(every_driver, model)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                row = await session.get_one(model, key)
                await session.commit()
                await overtake(every_driver, key, model)
                row.title = "mine"
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)
        assert caught.value.current_row["title"] == "theirs"  # type: ignore[index]  # a dict
        assert (await read(every_driver, key, model)).title == "theirs"

    async def test_a_change_counts_once(self, every_driver: Database, model: Any) -> None:
        """Each flush that changes the row counts one, and the object knows the number."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            row.title = "new"
            await session.flush()
            known = version_of(row)

        assert known == 2
        assert version_of(await read(every_driver, key, model)) == 2

    async def test_a_stale_delete_is_a_conflict(self, every_driver: Database, model: Any) -> None:
        """A row that has changed since it was read is not deleted."""
        key = await add(every_driver, model)

        with pytest.raises(VersionConflict):
            async with every_driver.session() as session:
                row = await session.get_one(model, key)
                await session.commit()
                await overtake(every_driver, key, model)
                await session.delete(row)
                await session.commit()

        assert (await read(every_driver, key, model)).title == "theirs"


class TestConflict:
    async def test_it_says_what_happened(self, every_driver: Database) -> None:
        """The error names model and key, both versions, and the row as it is now."""
        [key] = await add(every_driver)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                await overtake(every_driver, key)
                doc.title = "mine"
                await session.flush()

        conflict = caught.value
        assert (conflict.model, conflict.key) == ("Doc", key)
        assert (conflict.expected, conflict.current) == (1, 2)
        assert conflict.current_row == {"id": key, "title": "theirs", "version": 2}
        assert conflict.others == ()

    async def test_it_is_what_sqlalchemy_would_raise(self, sqlite: Database) -> None:
        """A handler that waits for StaleDataError gets it."""
        [key] = await add(sqlite)

        with pytest.raises(StaleDataError):
            async with sqlite.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                await overtake(sqlite, key)
                doc.title = "mine"
                await session.flush()

    async def test_all_rows_of_the_flush_are_named(self, every_driver: Database) -> None:
        """Where one flush writes three rows and two have changed, both are named and none is written."""
        keys = [await add(every_driver) for _ in range(3)]

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                docs = [await session.get_one(Doc, key) for key in keys]
                await session.commit()
                await overtake(every_driver, keys[1])
                await overtake(every_driver, keys[2])
                for doc in docs:
                    doc.title = "mine"
                await session.commit()

        conflicts = [caught.value, *caught.value.others]
        assert sorted((c.key, c.current) for c in conflicts) == [(keys[1][0], 2), (keys[2][0], 2)]
        assert (await read(every_driver, keys[0])).title == "old"

    async def test_a_row_that_is_gone_has_no_version(self, every_driver: Database) -> None:
        """A row that somebody else deleted is a conflict without a current version."""
        key = await add(every_driver)

        with pytest.raises(VersionConflict, match="is gone") as caught:
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                async with every_driver.transaction() as other:
                    await other.execute(delete(Doc))
                doc.title = "mine"
                await session.commit()

        assert caught.value.current is None
        assert caught.value.current_row is None

    async def test_within_one_snapshot_it_shows_the_winner(self, every_driver: Database) -> None:
        """The row in the error is the committed one, though the transaction had read an older state of it.

        SQLite lets nobody else write while a transaction is open, and PostgreSQL reads what is committed; MariaDB
        keeps to its snapshot.
        """
        key = await add(every_driver)
        async with every_driver.read() as session:
            doc = await session.get_one(Doc, key)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                await overtake(every_driver, key)
                doc = await session.merge(doc, load=False)
                doc.title = "mine"
                await session.flush()

        assert caught.value.current_row["title"] == "theirs"  # type: ignore[index]  # a dict

    async def test_a_snapshot_does_not_hide_the_winner(self, mariadb: Database) -> None:
        """MariaDB's snapshot still shows the old row; the error shows the new one all the same."""
        key = await add(mariadb)

        with pytest.raises(VersionConflict) as caught:
            async with mariadb.transaction() as session:
                doc = await session.get_one(Doc, key)
                await overtake(mariadb, key)
                doc.title = "mine"
                await session.flush()

        assert caught.value.current_row["title"] == "theirs"  # type: ignore[index]  # a dict

    @pytest.mark.parametrize("model", [Doc, Dog])
    async def test_inside_a_savepoint_it_shows_the_winner(self, mariadb: Database, model: Any) -> None:
        """In a savepoint the transaction and its snapshot go on, and the error still shows the new row."""
        key = await add(mariadb, model)

        async with mariadb.transaction() as session:
            row = await session.get_one(model, key)
            await overtake(mariadb, key, model)
            with pytest.raises(VersionConflict) as caught:
                async with session.savepoint():
                    row.title = "mine"

        assert caught.value.current_row["title"] == "theirs"  # type: ignore[index]  # a dict

    async def test_a_failed_savepoint_leaves_the_transaction_usable(self, every_driver: Database) -> None:
        """After a conflict in a savepoint the transaction goes on and commits."""
        key, other = await add(every_driver), await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            await session.commit()
            await overtake(every_driver, key)
            with pytest.raises(VersionConflict):
                async with session.savepoint():
                    doc.title = "mine"
            (await session.get_one(Doc, other)).title = "kept"
            await session.commit()

        assert (await read(every_driver, key)).title == "theirs"
        assert (await read(every_driver, other)).title == "kept"

    async def test_the_session_is_usable_after_a_rollback(self, every_driver: Database) -> None:
        """After a conflict and a rollback, the same session reads the new row and writes it."""
        key = await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            await session.commit()
            await overtake(every_driver, key)
            doc.title = "mine"
            with pytest.raises(VersionConflict):
                await session.commit()
            await session.rollback()
            doc = await session.get_one(Doc, key, populate_existing=True)
            doc.title = "mine now"
            await session.commit()

        assert (await read(every_driver, key)).title == "mine now"

    async def test_an_unrolled_session_can_be_closed(self, every_driver: Database) -> None:
        """A session that is closed right after a conflict gives its connection back; the fixture would complain."""
        key = await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            await session.commit()
            await overtake(every_driver, key)
            doc.title = "mine"
            with pytest.raises(VersionConflict):
                await session.flush()

        assert every_driver.engine.pool.checkedout() == 0  # type: ignore[attr-defined]  # a QueuePool

    async def test_no_lock_is_left(self, every_driver: Database) -> None:
        """Reading the row for the error leaves nothing locked, though the session is not rolled back yet."""
        key = await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            await session.commit()
            await overtake(every_driver, key)
            doc.title = "mine"
            with pytest.raises(VersionConflict):
                await session.flush()
            await overtake(every_driver, key, title="theirs again")

        assert (await read(every_driver, key)).version == 3

    @pytest.mark.parametrize("mode", ["create_savepoint", "conditional_savepoint"])
    async def test_a_transaction_that_was_joined_goes_on(self, every_driver: Database, mode: Any) -> None:
        """A session over somebody's connection takes back its own work; what they wrote there is kept."""
        (key,) = await add(every_driver)
        factory = async_sessionmaker(sync_session_class=SyncSession, expire_on_commit=False, join_transaction_mode=mode)

        async with every_driver.engine.begin() as connection, connection.begin_nested():
            async with factory(bind=connection) as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                await connection.execute(update(Doc).values(title="theirs", version=7))
                doc.title = "mine"
                with pytest.raises(VersionConflict):
                    await session.flush()
            assert connection.in_transaction()

        found = await read(every_driver, key)
        assert (found.title, found.version) == ("theirs", 7)

    async def test_autoflush_raises_it_too(self, every_driver: Database) -> None:
        """A query that flushes first meets the conflict."""
        key = await add(every_driver)

        with pytest.raises(VersionConflict):
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                await overtake(every_driver, key)
                doc.title = "mine"
                await session.execute(select(Doc))

    @pytest.mark.parametrize("form", [lambda key: key, lambda key: (key,), lambda key: {"id": key}], ids=["", "t", "m"])
    async def test_locking_an_old_object_is_a_conflict(self, every_driver: Database, form: Any) -> None:
        """A row that is fetched to be locked, and is not the one that the session holds, says so."""
        (key,) = await add(every_driver)
        async with every_driver.session() as session:
            held = await session.get_one(Doc, key)
            await session.commit()
            async with every_driver.transaction() as other:
                (await other.get_one(Doc, key)).title = "new"

            with pytest.raises(VersionConflict) as caught:
                await session.get(Doc, form(key), with_for_update=True)

        assert (caught.value.expected, caught.value.current) == (1, 2)
        assert held.title == "old"

    async def test_merging_an_old_copy_is_a_conflict(self, every_driver: Database) -> None:
        """merge() of a copy that has been overtaken is refused, and nothing is overwritten."""
        [key] = await add(every_driver)
        await overtake(every_driver, key)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                await session.merge(Doc(id=key, title="mine", version=1))

        assert (caught.value.expected, caught.value.current) == (1, 2)
        assert (await read(every_driver, key)).title == "theirs"

    async def test_merging_several_old_copies_is_a_conflict(self, every_driver: Database) -> None:
        """merge_all() refuses as merge() does, names the row, and nothing is overwritten."""
        [first] = await add(every_driver)
        [second] = await add(every_driver)
        await overtake(every_driver, second)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                await session.merge_all(Doc(id=key, title="mine", version=1) for key in (first, second))

        assert (caught.value.key, caught.value.expected, caught.value.current) == (second, 1, 2)
        assert [(await read(every_driver, key)).title for key in (first, second)] == ["old", "theirs"]

    async def test_merging_several_flushes_before_the_first_only(self, sqlite: Database) -> None:
        """merge_all() flushes what waits once, and what it merged itself is flushed later."""
        async with sqlite.transaction() as session:
            session.add(Doc(id=1, title="waits"))

            merged = await session.merge_all([Doc(id=1, title="first"), Doc(id=2, title="second")])

            assert [doc.title for doc in merged] == ["first", "second"]
            assert merged[0] in session.dirty
            assert merged[1] in session.new

    async def test_merging_a_current_copy_is_a_change(self, every_driver: Database) -> None:
        """merge() of a copy with the current version writes and counts."""
        [key] = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.merge(Doc(id=key, title="mine", version=1))

        found = await read(every_driver, key)
        assert (found.title, found.version) == ("mine", 2)


class TestConcurrency:
    @pytest.mark.parametrize("model", [Doc, Stamped])
    async def test_of_many_editors_one_wins(self, every_driver: Database, model: Any) -> None:
        """Of eight editors who all read version 1, one writes and seven are told."""
        key = await add(every_driver, model)
        everyone_has_read = asyncio.Barrier(8)

        async def edit(name: str) -> str:
            async with every_driver.session() as session:
                row = await session.get_one(model, key)
                await session.commit()
                await everyone_has_read.wait()
                row.title = name
                await session.commit()
            return name

        results = await asyncio.gather(*(edit(str(n)) for n in range(8)), return_exceptions=True)

        winners = [result for result in results if isinstance(result, str)]
        losers = [result for result in results if isinstance(result, VersionConflict)]
        assert (len(winners), len(losers)) == (1, 7)
        assert {loser.current for loser in losers} == {2}
        assert (await read(every_driver, key, model)).title == winners[0]


class TestVersionAmongValues:
    @pytest.mark.parametrize("given", [5, "1", None, []], ids=repr)
    async def test_another_one_is_refused(self, sqlite: Database, given: Any) -> None:
        """A client that sends one with the rest of the row has sent a wrong value: nothing is changed."""
        key = await add(sqlite)

        async with sqlite.transaction() as session:
            doc = await session.get_one(Doc, key)
            with pytest.raises(InvalidValue, match="cannot be set to") as caught:
                await Repository(session, Doc).update(doc, {"title": "new", "version": given})

        assert caught.value.column == "version"
        assert describe(caught.value).status == 422
        found = await read(sqlite, key)
        assert (found.title, found.version) == ("old", 1)

    async def test_its_own_passes(self, sqlite: Database) -> None:
        """The row as it was read may come back whole."""
        key = await add(sqlite)

        async with sqlite.transaction() as session:
            doc = await session.get_one(Doc, key)
            await Repository(session, Doc).update(doc, {"title": "new", "version": 1})

        assert (await read(sqlite, key)).version == 2


class TestVersion:
    async def test_a_new_row_has_version_1(self, every_driver: Database) -> None:
        """Counting starts at 1, whatever the caller says."""
        async with every_driver.transaction() as session:
            doc = Doc(title="new", version=7)
            session.add(doc)
            await session.flush()

            assert doc.version == 1

    async def test_core_and_bulk_inserts_have_version_1(self, every_driver: Database) -> None:
        """Rows that do not pass through the unit of work start at 1 too."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Doc.__table__).values(title="core"))  # type: ignore[arg-type]  # a Table
            await session.execute(insert(Doc), [{"title": "bulk"}])

            versions = (await session.scalars(select(Doc.version))).all()
        assert versions == [1, 1]

    async def test_an_unchanged_object_keeps_its_version(self, every_driver: Database) -> None:
        """Setting the value that is there already is no change."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            (await session.get_one(Doc, key)).title = "old"

        assert (await read(every_driver, key)).version == 1

    async def test_a_child_does_not_count(self, every_driver: Database) -> None:
        """A new child leaves the version of its parent alone."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            doc = await session.get_one(Doc, key)
            (await doc.awaitable_attrs.lines).append(Line())

        assert (await read(every_driver, key)).version == 1

    async def test_it_cannot_be_set(self, sqlite: Database) -> None:
        """Setting the version of a loaded object is refused: it would let the row go back in time."""
        key = await add(sqlite)
        doc = await read(sqlite, key)

        with pytest.raises(UsageError, match="expected_version"):
            doc.version = 7

        assert doc.version == 1

    async def test_the_version_it_has_can_be_set(self, sqlite: Database) -> None:
        """A form that sends all fields back, the version with them, is no error."""
        key = await add(sqlite)
        doc = await read(sqlite, key)

        doc.version = 1

        assert doc.version == 1

    @pytest.mark.parametrize("model", MODELS)
    def test_every_model_is_checked(self, model: Any) -> None:
        """Neither mapper arguments nor inheritance switch the check off."""
        assert model.__mapper__.version_id_col is not None
