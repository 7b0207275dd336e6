"""Registries of sessions, one for each task or thread: what takes a session takes them, each time the one of now."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import String, func, select
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, scoped_session, sessionmaker

from sqlkeel import Repository, SoftDeleteMixin, SyncSession, VersionMixin, include_deleted
from sqlkeel.bulk import insert_many, insert_many_returning
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._locks import advisory_lock, lock_rows
from sqlkeel.soft_delete import restore


class Base(DeclarativeBase):
    """A project's own."""


class Page(SoftDeleteMixin, VersionMixin, Base):
    """What is marked and counted."""

    __tablename__ = "page"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(20))


class Tag(Base):
    """What is neither."""

    __tablename__ = "tag"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20), unique=True)
    uses: Mapped[int] = mapped_column(default=0)


pytestmark = pytest.mark.tables(Base.metadata)

OVER_STOCK: dict[str, Any] = {"sync_session_class": SyncSession}
OURS: dict[str, Any] = {"class_": Session}


@pytest.fixture(params=[OVER_STOCK, OURS], ids=["stock", "ours"])
def registry(request: pytest.FixtureRequest, db: Database) -> Any:
    """Return a registry as a project has it, over SQLAlchemy's session or over ours."""
    make: Any = async_sessionmaker(db.engine, expire_on_commit=False, **request.param)
    return async_scoped_session(make, scopefunc=asyncio.current_task)


class TestRegistryOfTasks:
    async def test_objects(self, registry: Any) -> None:
        """A repository marks, shows, brings back and counts in the session of the task."""
        pages = Repository[Page](registry, Page)
        page = await pages.create(id=1, title="a")
        await pages.update(page, {"title": "b"}, expected_version=1)
        await pages.delete(page)
        await registry.commit()

        hidden = await pages.get(1)
        with include_deleted(registry):
            shown = await pages.get(1)
        assert shown is not None
        await pages.restore(shown)
        await pages.touch(shown)
        await registry.commit()
        await registry.remove()

        assert hidden is None
        assert (await pages.get_one(1)).version == 5
        await registry.remove()

    async def test_rows(self, registry: Any) -> None:
        """So do its verbs for many rows, which ask for a connection and for the session inside."""
        tags = Repository[Tag](registry, Tag)
        await tags.insert_many([{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}])
        await tags.update_many([{"id": 1, "uses": 5}])
        await tags.upsert({"id": 2, "name": "b", "uses": 6}, on=[Tag.id])
        await tags.upsert_many([{"id": 3, "name": "c", "uses": 7}], on=[Tag.id])
        await tags.get_or_create({"name": "d"}, {"id": 4})
        await tags.delete_many([4])
        await registry.commit()

        page = await tags.page(order_by=Tag.id, size=2)
        streamed = [tag.uses async for tag in tags.iterate()]
        await registry.remove()

        assert [tag.uses for tag in page] == [5, 6]
        assert streamed == [5, 6, 7]

    async def test_functions_of_bulk(self, registry: Any) -> None:
        """Without a repository."""
        count = await insert_many(registry, Tag, [{"id": 1, "name": "a"}])
        made = await insert_many_returning(registry, Tag, [{"id": 2, "name": "b"}])
        await registry.commit()
        await registry.remove()

        assert count == 1
        assert [tag.id for tag in made] == [2]

    async def test_one_repository_for_all_tasks(self, registry: Any, db: Database) -> None:
        """It asks for the session each time, so that a rollback in one task takes nothing of another one's."""
        tags = Repository[Tag](registry, Tag)

        async def write(number: int) -> None:
            try:
                await tags.create(id=number, name=str(number))
                if number % 2:
                    raise ZeroDivisionError
                await registry.commit()
            finally:
                await registry.remove()

        results = await asyncio.gather(*map(write, range(4)), return_exceptions=True)

        assert [type(result) for result in results] == [type(None), ZeroDivisionError] * 2
        async with db.read() as session:
            assert list(await session.scalars(select(Tag.id).order_by(Tag.id))) == [0, 2]

    async def test_what_is_closed_is_replaced(self, registry: Any) -> None:
        """After ``remove()`` a repository works in the next session, where one that was closed for good is over."""
        pages = Repository[Page](registry, Page)
        await pages.create(id=1, title="a")
        first = pages.session
        await registry.remove()

        assert pages.session is not first
        assert await pages.count() == 0
        await registry.remove()


class TestRegistryOfThreads:
    async def test_functions(self, postgres: Database) -> None:
        """In a synchronous worker: shown in a block, brought back, locked."""

        def work(connection: Any) -> list[Any]:
            registry = scoped_session(sessionmaker(connection, class_=SyncSession))
            registry.add(Page(id=1, title="a"))
            registry.commit()
            registry.delete(registry.get_one(Page, 1))
            hidden = registry.scalar(select(func.count()).select_from(Page))
            with include_deleted(registry):
                restore(registry, registry.get_one(Page, 1))
            advisory_lock(registry, "pages")
            locked = lock_rows(registry, Page, [1])
            found = [hidden, [page.version for page in locked]]
            registry.remove()
            return found

        async with postgres.engine.connect() as connection:
            found = await connection.run_sync(work)

        assert found == [0, [3]]
