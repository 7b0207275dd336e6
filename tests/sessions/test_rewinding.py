"""Tests of sessions._rewinding: what a verb changed inside a savepoint is as it was when that is rolled back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, update
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import selectinload

from sqlkeel import Database, Repository
from sqlkeel.bulk import insert_many_returning
from sqlkeel.errors import UnloadedAttribute
from tests.sessions.rewinding_models import Base, Failure, Folder, Item, Shelf, Verb, fail_in_savepoint, stock_of

pytestmark = pytest.mark.tables(Base.metadata)

WRITING: dict[str, Verb] = {
    "update_many": lambda session, item: Repository(session, Item).update_many([{"id": item.id, "stock": 5}]),
    "upsert": lambda session, item: Repository(session, Item).upsert({"code": "a", "stock": 5}, on=[Item.code]),
    "upsert_many": lambda session, item: Repository(session, Item).upsert_many(
        [{"code": "a", "stock": 5}], on=[Item.code]
    ),
    "update by key": lambda session, item: session.execute(update(Item), [{"id": item.id, "stock": 5}]),
}
MOVING: dict[str, Verb] = {
    "flush": lambda session, item: _move_and_flush(session, item),
    "update statement": lambda session, item: session.execute(update(Item).values(shelf_id=2)),
    "update_many": lambda session, item: Repository(session, Item).update_many([{"id": item.id, "shelf_id": 2}]),
    "upsert": lambda session, item: Repository(session, Item).upsert({"code": "a", "shelf_id": 2}, on=[Item.code]),
}
LOADING: dict[str, Any] = {
    "refresh": lambda session, shelf: session.refresh(shelf, ["items"]),
    "lazy": lambda session, shelf: session.run_sync(lambda _: shelf.items),
    "select": lambda session, _: session.execute(select(Shelf).options(selectinload(Shelf.items))),
}
REMOVING: dict[str, Any] = {
    "delete statement": lambda session: session.execute(delete(Item)),
    "delete_many": lambda session: Repository(session, Item).delete_many([1]),
    "update_many": lambda session: Repository(session, Item).update_many([{"id": 1, "shelf_id": 2}]),
}
INSERTING: dict[str, Any] = {
    "flush": lambda session, row: _add_and_flush(session, row),
    "insert statement": lambda session, row: session.execute(insert(Item).values(row)),
    "insert_many": lambda session, row: Repository(session, Item).insert_many([row]),
    "upsert": lambda session, row: Repository(session, Item).upsert(row, on=[Item.id]),
}


async def _add_and_flush(session: Any, row: dict[str, Any]) -> None:
    session.add(Item(**row))
    await session.flush()


async def _move_and_flush(session: Any, item: Item) -> None:
    item.shelf_id = 2
    await session.flush()


@pytest.fixture(params=WRITING)
def write(request: pytest.FixtureRequest) -> Verb:
    return WRITING[request.param]


class TestWritten:
    async def test_an_object_has_its_former_values(self, every_driver: Database, write: Verb) -> None:
        """What a verb wrote inside is not what the object shows afterwards."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()

            await fail_in_savepoint(session, write, item)

            assert item.stock == 0

    async def test_the_same_value_is_written_afterwards(self, every_driver: Database, write: Verb) -> None:
        """Who assigns what the verb had written has it written: nothing is taken for unchanged."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            await fail_in_savepoint(session, write, item)

            item.stock = 5

        assert await stock_of(every_driver) == 5

    async def test_a_savepoint_in_a_savepoint(self, every_driver: Database, write: Verb) -> None:
        """What a released savepoint holds goes with the one around it."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()

            with pytest.raises(Failure):
                async with session.savepoint():
                    async with session.savepoint():
                        await write(session, item)
                    raise Failure

            assert item.stock == 0

    async def test_what_is_released_stays(self, every_driver: Database, write: Verb) -> None:
        """A savepoint that ended well before another one fails has written what it has written."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            async with session.savepoint():
                await write(session, item)

            with pytest.raises(Failure):
                async with session.savepoint():
                    raise Failure

            assert item.stock == 5
        assert await stock_of(every_driver) == 5

    async def test_a_row_that_a_verb_loaded(self, every_driver: Database) -> None:
        """An object that an upsert was the first to load shows the row as it is afterwards."""
        async with every_driver.transaction() as session:
            session.add(Item(code="a"))
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    item, _ = await Repository(session, Item).upsert({"code": "a", "stock": 5}, on=[Item.code])
                    raise Failure

            assert item.stock == 0

    async def test_a_session_that_is_not_ours(self, every_driver: Database, write: Verb) -> None:
        """In SQLAlchemy's own session the object expires as one that was flushed does."""
        async with AsyncSession(every_driver.engine) as session:
            session.add(item := Item(code="a"))
            await session.flush()
            savepoint = await session.begin_nested()
            await write(session, item)

            await savepoint.rollback()
            await session.refresh(item)

            assert item.stock == 0


class TestMoved:
    @pytest.mark.parametrize("move", MOVING.values(), ids=MOVING)
    async def test_collections_have_their_former_members(self, every_driver: Database, move: Verb) -> None:
        """A child whose foreign key was changed inside is in the collection where it was, and in no other."""
        async with every_driver.transaction() as session:
            session.add_all([Shelf(id=1), Shelf(id=2), Item(code="a", shelf_id=1)])
        async with every_driver.transaction() as session:
            shelves = (await session.scalars(select(Shelf).order_by(Shelf.id).options(selectinload(Shelf.items)))).all()
            [item] = shelves[0].items

            await fail_in_savepoint(session, move, item)

            assert [shelf.items for shelf in shelves] == [[item], []]

    @pytest.mark.parametrize("way", LOADING.values(), ids=LOADING)
    @pytest.mark.parametrize("make", INSERTING.values(), ids=INSERTING)
    async def test_a_collection_that_was_loaded_inside(self, every_driver: Database, make: Any, way: Any) -> None:
        """It has no row that is gone, whoever made that row; the object that it belongs to was there before."""
        async with every_driver.transaction() as session:
            session.add_all([Shelf(id=1), Item(id=1, code="a", shelf_id=1)])
        async with every_driver.transaction() as session:
            shelf, item = await session.get_one(Shelf, 1), await session.get_one(Item, 1)
            with pytest.raises(Failure):
                async with session.savepoint():
                    await make(session, {"id": 2, "code": "b", "shelf_id": 1})
                    await way(session, shelf)
                    assert len(shelf.items) == 2
                    raise Failure

            assert shelf.items == [item]

    @pytest.mark.parametrize("way", LOADING.values(), ids=LOADING)
    @pytest.mark.parametrize("remove", REMOVING.values(), ids=REMOVING)
    async def test_what_was_missing_when_it_was_loaded(self, every_driver: Database, remove: Any, way: Any) -> None:
        """A row that was deleted or moved inside is in the collection again, though it was loaded without it."""
        async with every_driver.transaction() as session:
            session.add_all([Shelf(id=1), Shelf(id=2), Item(id=1, code="a", shelf_id=1)])
        async with every_driver.transaction() as session:
            shelf = await session.get_one(Shelf, 1)
            with pytest.raises(Failure):
                async with session.savepoint():
                    await remove(session)
                    async with session.savepoint():
                        await way(session, shelf)
                    assert shelf.items == []
                    raise Failure

            assert [item.id for item in shelf.items] == [1]

    @pytest.mark.parametrize("kind", ["savepoint", "begin_nested"])
    async def test_a_load_that_was_refused_inside_costs_nothing(self, every_driver: Database, kind: str) -> None:
        """The relation was not loaded there, so that other objects keep what they have of it."""
        async with every_driver.transaction() as session:
            session.add_all([Shelf(id=1), Shelf(id=2), Item(id=1, code="a", shelf_id=1)])
        async with every_driver.transaction() as session:
            full = await session.get_one(Shelf, 1, options=[selectinload(Shelf.items)])
            other = await session.get_one(Shelf, 2)
            with pytest.raises(UnloadedAttribute, match=r"Shelf\.items"):
                async with getattr(session, kind)():
                    other.items  # noqa: B018 - to read it is the point

            assert [item.code for item in full.items] == ["a"]


class TestMade:
    async def test_a_row_of_an_upsert(self, every_driver: Database) -> None:
        """The object of a row that is not there is not in the session."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    item, _ = await Repository(session, Item).upsert({"code": "a"}, on=[Item.code])
                    raise Failure

            assert item not in session
            assert await session.get(Item, sa_inspect(item).dict["id"]) is None

    async def test_rows_of_insert_many_returning(self, every_driver: Database) -> None:
        """So it is for many."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    made = await insert_many_returning(session, Item, [{"code": "a"}, {"code": "b"}])
                    raise Failure

            assert [item in session for item in made] == [False, False]

    async def test_it_can_be_added(self, every_driver: Database) -> None:
        """It is as one that was added inside: new."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    item, _ = await Repository(session, Item).upsert({"code": "a", "stock": 3}, on=[Item.code])
                    raise Failure
            session.add(item)

        assert await stock_of(every_driver) == 3


class TestCost:
    async def test_nothing_is_kept_outside_of_savepoints(self, every_driver: Database) -> None:
        """A session without a savepoint notes nothing of what it writes."""
        async with every_driver.transaction() as session:
            await Repository(session, Item).upsert({"code": "a"}, on=[Item.code])

            assert "sqlkeel.rewinding" not in session.sync_session.info

    async def test_nothing_is_kept_behind_a_savepoint(self, every_driver: Database) -> None:
        """A released savepoint leaves nothing behind."""
        async with every_driver.transaction() as session:
            async with session.savepoint():
                await Repository(session, Item).upsert({"code": "a"}, on=[Item.code])

            assert not session.sync_session.info["sqlkeel.rewinding"]


class TestInTurns:
    """What was written, read and deleted inside, one after the other, and by different means."""

    async def test_read_after_a_verb(self, every_driver: Database, write: Verb) -> None:
        """An object that was read inside has the values of the row as it is afterwards, and is written by those."""
        async with every_driver.transaction() as session:
            session.add(Item(id=1, code="a"))
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    await write(session, Item(id=1))
                    item = await session.get_one(Item, 1)
                    raise Failure
            assert item.stock == 0
            item.stock = 5

        assert await stock_of(every_driver) == 5

    async def test_read_after_a_flush_of_another_object(self, every_driver: Database) -> None:
        """So it is where an object was flushed that the session does not hold any more."""
        async with every_driver.transaction() as session:
            session.add(Item(id=1, code="a"))
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    (await session.get_one(Item, 1)).stock = 5
                    await session.flush()
                    session.expunge_all()
                    item = await session.get_one(Item, 1)
                    raise Failure

            assert item.stock == 0

    async def test_read_in_a_released_savepoint(self, every_driver: Database) -> None:
        """What was read in a savepoint that ended well goes with the one around it."""
        async with every_driver.transaction() as session:
            session.add(Item(id=1, code="a"))
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Item).update_many([{"id": 1, "stock": 5}])
                    async with session.savepoint():
                        item = await session.get_one(Item, 1)
                    raise Failure

            assert item.stock == 0

    async def test_read_after_an_insertion(self, every_driver: Database) -> None:
        """The object of a row that is gone is not in the session, whoever has read it."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Item).insert_many([{"id": 1, "code": "a"}])
                    item = await session.get_one(Item, 1)
                    raise Failure

            assert item not in session
            assert await session.get(Item, 1) is None

    async def test_read_and_let_go(self, every_driver: Database) -> None:
        """What nobody holds any more when the savepoint is rolled back is passed over."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Item).insert_many([{"id": 1, "code": "a"}])
                    assert await session.get_one(Item, 1) is not None
                    raise Failure

            assert await session.get(Item, 1) is None

    async def test_made_and_deleted(self, every_driver: Database) -> None:
        """A row that a verb made, and a flush deleted, is not taken back."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    item, _ = await Repository(session, Item).upsert({"code": "a"}, on=[Item.code])
                    await session.delete(item)
                    await session.flush()
                    raise Failure

            assert item not in session

    async def test_made_and_written(self, every_driver: Database) -> None:
        """A row that a verb made, and another one wrote, leaves an object with values, which can be added."""
        async with every_driver.transaction() as session:
            with pytest.raises(Failure):
                async with session.savepoint():
                    item, _ = await Repository(session, Item).upsert({"code": "a"}, on=[Item.code])
                    await Repository(session, Item).update_many([{"id": item.id, "stock": 5}])
                    raise Failure
            session.add(item)

        assert await stock_of(every_driver) == 5

    async def test_written_and_deleted(self, every_driver: Database, write: Verb) -> None:
        """What was there before, was written by a verb and deleted by a flush has its former values."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            with pytest.raises(Failure):
                async with session.savepoint():
                    await write(session, item)
                    await session.delete(item)
                    await session.flush()
                    raise Failure
            assert item.stock == 0
            item.stock = 5

        assert await stock_of(every_driver) == 5

    async def test_deleted_and_added_again(self, every_driver: Database) -> None:
        """The object that was there before is in the session, and not the one that took its key."""
        async with every_driver.transaction() as session:
            session.add(item := Item(id=1, code="a"))
            await session.flush()
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Item).delete_many([1])
                    session.add(Item(id=1, code="b"))
                    await session.flush()
                    raise Failure
            item.stock = 5

        assert await stock_of(every_driver) == 5

    async def test_deleted_and_read_again(self, every_driver: Database) -> None:
        """So it is where the row was only marked, and read by who is shown deleted rows."""
        async with every_driver.transaction() as session:
            session.add(Folder(id=1))
        async with every_driver.transaction() as session:
            folder = await session.get_one(Folder, 1)
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Folder).delete(folder)
                    again = await session.get_one(Folder, 1, execution_options={"include_deleted": True})
                    raise Failure
            assert again not in session
            folder.title = "kept"

        async with every_driver.read() as session:
            assert await session.scalar(select(Folder.title)) == "kept"

    async def test_an_object_is_noted_once(self, every_driver: Database, write: Verb) -> None:
        """However often the rows are written, what is kept of a savepoint grows with the objects alone."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            async with session.savepoint():
                for _ in range(3):
                    await write(session, item)

                [kept] = session.sync_session.info["sqlkeel.rewinding"].values()
                assert (len(kept.read), len(kept.ways)) == (1, 0)
