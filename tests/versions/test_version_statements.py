"""Versions that a statement writes, for the rows that it meets or that it names by their keys."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import and_, bindparam, select, update
from sqlalchemy.orm.exc import StaleDataError

from sqlkeel.errors import NotNullViolation, UsageError, VersionConflict
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from tests.versions.versioned_models import (
    MODELS,
    Base,
    Branch,
    Cell,
    Doc,
    Dog,
    Renamed,
    Stamped,
    add,
    overtake,
    read,
    version_of,
)

pytestmark = pytest.mark.tables(Base.metadata)


async def rows_of(db: Database, *arguments: Any) -> int:
    """Execute a statement in a transaction of its own and return how many rows it has met."""
    async with db.transaction() as session:
        result: Any = await session.execute(*arguments)
    return int(result.rowcount)


class TestUpdateStatement:
    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch"])
    @pytest.mark.parametrize("model", [Doc, Stamped, Cell, Renamed])
    async def test_it_counts_once_and_objects_know(self, every_driver: Database, model: Any, synchronize: str) -> None:
        """update() counts one for each row, and loaded objects show the new values without waiting."""
        key = await add(every_driver, model)
        options = {"synchronize_session": synchronize}

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            await session.execute(update(model).values(title="new"), execution_options=options)

            assert (row.title, version_of(row)) == ("new", 2)
        assert version_of(await read(every_driver, key, model)) == 2

    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch"])
    @pytest.mark.parametrize("model", MODELS)
    async def test_a_row_that_was_overtaken_is_read_as_a_whole(
        self, every_driver: Database, model: Any, synchronize: str
    ) -> None:
        """With the new version and the old title, the object would overwrite what nobody here has seen."""
        key = await add(every_driver, model)
        options = {"synchronize_session": synchronize}

        async with every_driver.session() as session:
            row = await session.get_one(model, key)
            await session.commit()
            await overtake(every_driver, key, model)
            # Something else than the title: the key, which all of them have.
            name = model.__mapper__.get_property_by_column(model.__mapper__.primary_key[0]).key
            await session.execute(update(model).values({name: getattr(model, name)}), execution_options=options)

            assert (row.title, version_of(row)) == ("theirs", 3)

    async def test_a_change_that_waits_is_one_of_the_version_it_was_made_on(self, every_driver: Database) -> None:
        """A flush after the statement does not overwrite what was changed before it."""
        key = await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            await session.commit()
            await overtake(every_driver, key)
            doc.title = "mine"
            with session.no_autoflush:
                await session.execute(update(Doc).values(id=Doc.id))
            with pytest.raises(VersionConflict):
                await session.flush()

    async def test_a_change_that_waits_is_written_after_it(self, every_driver: Database) -> None:
        """The statement alone has moved the version."""
        key = await add(every_driver)

        async with every_driver.session() as session:
            doc = await session.get_one(Doc, key)
            doc.title = "mine"
            with session.no_autoflush:
                await session.execute(update(Doc).values(id=Doc.id))
            await session.commit()

            assert (doc.title, doc.version) == ("mine", 3)

    async def test_unsynchronized_objects_stay_readable_and_stale(self, every_driver: Database) -> None:
        """With synchronize_session=False an object keeps what it had, and cannot overwrite the statement."""
        key = await add(every_driver)

        with pytest.raises(StaleDataError):
            async with every_driver.transaction() as session:
                doc = await session.get_one(Doc, key)
                await session.execute(update(Doc).values(title="new"), execution_options={"synchronize_session": False})
                assert (doc.title, doc.version) == ("old", 1)
                doc.title = "mine"

    async def test_an_object_can_be_changed_afterwards(self, every_driver: Database) -> None:
        """After an update() statement the loaded object has the version with which it can be written."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            doc = await session.get_one(Doc, key)
            await session.execute(update(Doc).where(Doc.id == key[0]).values(title="new"))
            doc.title = "newer"

        found = await read(every_driver, key)
        assert (found.title, found.version) == ("newer", 3)

    async def test_it_makes_others_conflict(self, every_driver: Database) -> None:
        """Somebody who read the row before the statement may not overwrite it."""
        key = await add(every_driver)

        with pytest.raises(VersionConflict):
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                async with every_driver.transaction() as other:
                    await other.execute(update(Doc).values(title="theirs"))
                doc.title = "mine"
                await session.commit()

    @pytest.mark.parametrize(("model", "name"), [(Doc, "version"), (Renamed, "edition")])
    async def test_a_version_that_is_given_is_refused(self, sqlite: Database, model: Any, name: str) -> None:
        """A statement cannot set the version: it would let rows go back in time."""
        key = await add(sqlite, model)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="counts by itself"):
                await session.execute(update(model).values(**{"title": "new", name: 40}))
            with pytest.raises(UsageError, match="counts by itself"):
                await session.execute(update(model).where(model.title == "old"), {"title": "new", name: 40})

        assert version_of(await read(sqlite, key, model)) == 1

    @pytest.mark.parametrize(("model", "name"), [(Doc, "version"), (Renamed, "edition")])
    async def test_the_next_version_may_be_given(self, every_driver: Database, model: Any, name: str) -> None:
        """A statement that counts by itself, as one had to without us, counts once."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            await session.execute(update(model).values({"title": "new", name: getattr(model, name) + 1}))

        assert version_of(await read(every_driver, key, model)) == 2

    @pytest.mark.parametrize(
        ("model", "arguments"),
        [
            (Doc, [update(Doc).where(Doc.version == 1).values(version=2)]),
            (Doc, [update(Doc).where(Doc.version == 1), {"version": 2}]),
            (Renamed, [update(Renamed).where(and_(Renamed.title != "", Renamed.edition == 1)).values(edition=2)]),
            (Renamed, [update(Renamed).where(Renamed.edition == 1), {"edition_no": 2}]),
        ],
        ids=["value", "parameter", "value of another name", "parameter of another name"],
    )
    async def test_so_may_the_one_that_follows_what_is_asked_for(
        self, every_driver: Database, model: Any, arguments: list[Any]
    ) -> None:
        """A lock that is written by hand: the version that was read in the WHERE, and the next one in the values."""
        key = await add(every_driver, model)

        matched = [await rows_of(every_driver, *arguments) for _ in range(2)]

        assert matched == [1, 0]
        assert version_of(await read(every_driver, key, model)) == 2

    async def test_a_parameter_that_sets_nothing_is_refused(self, sqlite: Database) -> None:
        """SQLAlchemy knows it by the name of the column, and not by that of the attribute."""
        await add(sqlite, Renamed)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="counts by itself"):
                await session.execute(update(Renamed).where(Renamed.edition == 1), {"title": "new", "edition": 2})

    @pytest.mark.parametrize("given", [1, 3, None, "2"])
    async def test_one_that_does_not_follow_is_refused(self, sqlite: Database, given: Any) -> None:
        """Neither the same one, nor one that leaves some out."""
        await add(sqlite)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="counts by itself"):
                await session.execute(update(Doc).where(Doc.version == 1).values(version=given))

    async def test_it_is_checked_where_it_is_asked_for(self, every_driver: Database) -> None:
        """A condition on the version makes the check a part of the statement."""
        [key] = await add(every_driver)
        current, old = (update(Doc).where(Doc.id == key, Doc.version == n).values(title="new") for n in (1, 0))

        async with every_driver.transaction() as session:
            matched: Any = [await session.execute(statement) for statement in (old, current)]

        assert [result.rowcount for result in matched] == [0, 1]
        assert (await read(every_driver, key)).version == 2

    async def test_values_as_parameters_count_too(self, every_driver: Database) -> None:
        """update() that gets its values beside the statement counts one."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Doc).where(Doc.title == "old"), {"title": "new"})

        found = await read(every_driver, key)
        assert (found.title, found.version) == ("new", 2)

    async def test_rows_that_do_not_match_are_not_counted(self, every_driver: Database) -> None:
        """Only the rows of the WHERE get a new version."""
        key = await add(every_driver, title="other")

        async with every_driver.transaction() as session:
            await session.execute(update(Doc).where(Doc.title == "old").values(title="new"))

        assert (await read(every_driver, key)).version == 1

    async def test_returning_works(self, postgres: Database) -> None:
        """update().returning() gives the objects with their new version."""
        await add(postgres)

        async with postgres.transaction() as session:
            found = (await session.scalars(update(Doc).values(title="new").returning(Doc))).one()

            assert (found.title, found.version) == ("new", 2)

    async def test_ordered_values_work(self, every_driver: Database) -> None:
        """update().ordered_values() is counted too."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Doc).ordered_values((Doc.title, "new")))

        assert (await read(every_driver, key)).version == 2

    async def test_a_subclass_table_counts_on_the_base(self, every_driver: Database) -> None:
        """update() of a subclass in a table of its own raises the version, which stands in the base table."""
        key = await add(every_driver, Dog)
        other = await add(every_driver, Dog, tricks=5)

        async with every_driver.transaction() as session:
            dog = await session.get_one(Dog, key)
            await session.execute(update(Dog).where(Dog.tricks == 0).values(tricks=3))

            assert (dog.tricks, dog.version) == (3, 2)
        assert (await read(every_driver, other, Dog)).version == 1

    async def test_a_time_beside_it_counts_no_second_time(self, every_driver: Database) -> None:
        """update() of a subclass whose base table holds both the version and the time of the change counts once."""
        key = await add(every_driver, Branch)

        async with every_driver.transaction() as session:
            await session.execute(update(Branch).values(leaves=3))

        found = await read(every_driver, key, Branch)
        assert (found.version, found.updated_at > found.created_at) == (2, True)

    async def test_only_one_statement_more_for_loaded_objects(self, sqlite: Database) -> None:
        """The statement costs one SELECT more where objects of the model are loaded, however many they are."""
        for _ in range(10):
            await add(sqlite)

        async with sqlite.transaction() as session:
            docs = (await session.scalars(select(Doc))).all()
            async with queries(sqlite, at_most=2):
                await session.execute(update(Doc).values(title="new"))

        assert {doc.version for doc in docs} == {2}


class TestBulkUpdateByKey:
    async def test_a_current_version_is_accepted(self, every_driver: Database) -> None:
        """update() with a list of rows takes the version of each, and counts."""
        [key] = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Doc), [{"id": key, "title": "new", "version": 1}])

        assert (await read(every_driver, key)).version == 2

    async def test_old_versions_are_named(self, every_driver: Database) -> None:
        """Of three rows of which two have changed, both are named with what they are now, and none is written."""
        keys = [key for [key] in [await add(every_driver) for _ in range(3)]]
        await overtake(every_driver, keys[1])
        await overtake(every_driver, keys[2])

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                await session.execute(update(Doc), [{"id": key, "title": "mine", "version": 1} for key in keys])

        conflicts = [caught.value, *caught.value.others]
        assert [(c.key, c.expected, c.current) for c in conflicts] == [(keys[1], 1, 2), (keys[2], 1, 2)]
        assert [c.current_row["title"] for c in conflicts if c.current_row] == ["theirs", "theirs"]
        assert (await read(every_driver, keys[0])).title == "old"

    async def test_nothing_of_it_is_written(self, every_driver: Database) -> None:
        """Who catches the conflict inside the transaction commits nothing of the rows."""
        [first], [second] = await add(every_driver), await add(every_driver)
        await overtake(every_driver, second)

        async with every_driver.transaction() as session:
            with pytest.raises(VersionConflict):
                await session.execute(update(Doc), [{"id": n, "title": "mine", "version": 1} for n in (first, second)])

        assert (await read(every_driver, first)).title == "old"

    async def test_what_waits_is_flushed_first(self, every_driver: Database) -> None:
        """A conflict of an object that waits to be written is that object's, not one of the rows."""
        [first], [second] = await add(every_driver), await add(every_driver)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, first)
                await session.commit()
                await overtake(every_driver, first)
                doc.title = "mine"
                await session.execute(update(Doc), [{"id": second, "title": "mine", "version": 1}])

        assert caught.value.key == first

    async def test_another_error_leaves_the_transaction_as_it_was(self, every_driver: Database) -> None:
        """A row that the database refuses takes back the others, and the transaction goes on."""
        [first], [second] = await add(every_driver), await add(every_driver)
        rows = [{"id": first, "title": "mine", "version": 1}, {"id": second, "title": None, "version": 1}]

        async with every_driver.transaction() as session:
            with pytest.raises(NotNullViolation):
                await session.execute(update(Doc), rows)
            (await session.get_one(Doc, second)).title = "kept"

        found = [await read(every_driver, key) for key in (first, second)]
        assert [(doc.title, doc.version) for doc in found] == [("old", 1), ("kept", 2)]

    async def test_a_row_without_version_is_refused(self, sqlite: Database) -> None:
        """SQLAlchemy has no statement for it; sqlkeel has."""
        [key] = await add(sqlite)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="has no version") as caught:
                await session.execute(update(Doc), [{"id": key, "title": "new"}])

        assert "update_many" in caught.value.hint

    async def test_a_statement_for_many_parameters_counts(self, every_driver: Database) -> None:
        """One statement for a list of parameters, with a WHERE of its own, counts each row."""
        [first], [second] = await add(every_driver), await add(every_driver)
        statement = update(Doc).where(Doc.id == bindparam("key")).values(title=bindparam("new"))

        async with every_driver.transaction() as session:
            await session.execute(
                statement,
                [{"key": first, "new": "a"}, {"key": second, "new": "b"}],
                execution_options={"dml_strategy": "core_only"},
            )

        found = [await read(every_driver, key) for key in (first, second)]
        assert [(doc.title, doc.version) for doc in found] == [("a", 2), ("b", 2)]
