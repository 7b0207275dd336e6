"""Objects whose rows were deleted inside a savepoint are as they were when that is rolled back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import selectinload

from sqlkeel import Database, Repository
from tests.sessions.rewinding_models import Base, Failure, Folder, Item, Page, Shelf, fail_in_savepoint, stock_of

pytestmark = pytest.mark.tables(Base.metadata)


class TestGone:
    async def test_delete_many(self, every_driver: Database) -> None:
        """An object whose row is there again is in the session, and can be written."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            await fail_in_savepoint(session, lambda *_: Repository(session, Item).delete_many([item.id]), item)

            item.stock = 5

        assert await stock_of(every_driver) == 5

    async def test_a_soft_deletion(self, every_driver: Database) -> None:
        """So is a row whose mark was taken back, with what is below it, and with what was loaded."""
        async with every_driver.transaction() as session:
            session.add(Folder(id=1, pages=[Page(id=1)]))
        async with every_driver.transaction() as session:
            folder = await session.get_one(Folder, 1, options=[selectinload(Folder.pages)])
            [page] = folder.pages
            with pytest.raises(Failure):
                async with session.savepoint():
                    await session.delete(folder)
                    await session.flush()
                    raise Failure

            assert (folder.deleted_at, folder.version, folder.pages) == (None, 1, [page])
            folder.title = page.title = "kept"

        async with every_driver.read() as session:
            titles = [await session.scalar(select(model.title)) for model in (Folder, Page)]
        assert titles == ["kept", "kept"]

    async def test_a_child(self, every_driver: Database) -> None:
        """A child that was deleted inside is in its parent's collection again."""
        async with every_driver.transaction() as session:
            session.add(Folder(id=1, pages=[Page(id=1), Page(id=2)]))
        async with every_driver.transaction() as session:
            folder = await session.get_one(Folder, 1, options=[selectinload(Folder.pages)])
            page = folder.pages[0]

            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Page).delete(page)
                    raise Failure

            assert [found.id for found in folder.pages] == [1, 2]
            assert folder.pages[0] is page

    async def test_a_restoration(self, every_driver: Database) -> None:
        """A row that was restored inside is shown as deleted."""
        async with every_driver.transaction() as session:
            session.add(Folder(id=1))
        async with every_driver.transaction() as session:
            folder = await session.get_one(Folder, 1)
            await Repository(session, Folder).delete(folder)

            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Folder).restore(folder)
                    raise Failure

            assert folder.deleted_at is not None
            assert await session.get(Folder, 1) is None

    async def test_it_stays_out_when_the_savepoint_is_released(self, every_driver: Database) -> None:
        """What was deleted for good stays out of the session, whatever is rolled back later."""
        async with every_driver.transaction() as session:
            session.add(item := Item(code="a"))
            await session.flush()
            async with session.savepoint():
                await Repository(session, Item).delete_many([item.id])

            with pytest.raises(Failure):
                async with session.savepoint():
                    raise Failure

            assert item not in session
        assert await stock_of(every_driver) is None

    @pytest.mark.parametrize("open_session", [Database.session, Database.transaction])
    async def test_a_rollback_by_hand(self, every_driver: Database, open_session: Any) -> None:
        """After ``session.rollback()`` the objects are in the session, too, as those of SQLAlchemy's DELETE are."""
        async with every_driver.transaction() as session:
            session.add_all([Item(id=1, code="a"), Folder(id=1)])

        async with open_session(every_driver) as session:
            item, folder = await session.get_one(Item, 1), await session.get_one(Folder, 1)
            await Repository(session, Item).delete_many([1])
            await Repository(session, Folder).delete(folder)
            await session.rollback()
            item.stock, folder.title = 5, "kept"
            await session.commit()

        async with every_driver.read() as session:
            assert (await session.scalar(select(Item.stock)), await session.scalar(select(Folder.title))) == (5, "kept")

    async def test_a_failed_transaction_leaves_them_readable(self, every_driver: Database) -> None:
        """Behind a block that failed they have the values that they had in it."""
        async with every_driver.transaction() as session:
            session.add_all([Item(id=1, code="a"), Folder(id=1, title="t")])

        with pytest.raises(Failure):
            async with every_driver.transaction() as session:
                item, folder = await session.get_one(Item, 1), await session.get_one(Folder, 1)
                await Repository(session, Item).delete_many([1])
                await Repository(session, Folder).delete(folder)
                raise Failure

        assert (item.code, folder.title) == ("a", "t")

    async def test_a_stranger_is_not_taken_in(self, every_driver: Database) -> None:
        """Nothing else comes into the session with an object: no new one that it leads to."""
        async with every_driver.transaction() as session:
            session.add_all([Shelf(id=1), Item(id=1, code="a", shelf_id=1)])
        async with every_driver.transaction() as session:
            item = await session.get_one(Item, 1, options=[selectinload(Item.shelf)])
            with pytest.raises(Failure):
                async with session.savepoint():
                    await Repository(session, Item).delete_many([1])
                    item.shelf = Shelf(id=7)
                    raise Failure

            assert not session.new
            await session.refresh(item, ["shelf"])
            assert item.shelf is await session.get(Shelf, 1)
