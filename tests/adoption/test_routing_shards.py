"""Sessions over shards: what SQLAlchemy sends to each of them by its rows, our verbs send there, too, or refuse."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.ext.horizontal_shard import ShardedSession, set_shard_id

from sqlkeel import SyncSession
from sqlkeel.errors import NotSupported, VersionConflict
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.sessions._locks import advisory_lock
from tests.adoption.routed_work import OF_ROWS, Author, Base, Call, Two, named, revive, update_many, with_another
from tests.fixtures.databases import OpenDatabase

pytestmark = pytest.mark.tables(Base.metadata)


class Sharded(ShardedSession, SyncSession):
    """As an existing project has it, with ours below."""


class OursFirst(SyncSession, ShardedSession):
    """The other order."""


class Shards(Two):
    """Two databases, with rows of the same keys; authors of an even age are in the second one."""

    def session(self, kind: type[ShardedSession] = Sharded, **options: Any) -> Any:
        """Return a session over both, which has only the object to choose by."""
        return AsyncSession(
            sync_session_class=kind,
            shards={"1": self.meant.engine.sync_engine, "2": self.other.engine.sync_engine},
            shard_chooser=lambda mapper, instance, clause=None: "12"[instance.age % 2 == 0],
            identity_chooser=lambda mapper, key, **options: ["1", "2"],
            execute_chooser=lambda context: ["1", "2"],
            expire_on_commit=False,
            **options,
        )

    async def author(self, session: Any, shard: str) -> Any:
        """Return the author 2 of a shard."""
        statement = select(Author).where(Author.id == 2).options(set_shard_id(shard))
        return (await session.scalars(statement)).one()

    async def marked(self) -> list[int]:
        """Return how many authors are marked in each."""
        found = [await self.rows(database) for database in (self.meant, self.other)]
        return [[row[-1] for row in rows["author"]].count(False) for rows in found]


@pytest.fixture
async def shards(sqlite: Database, open_database: OpenDatabase, tmp_path: Path) -> Shards:
    """The two files as shards."""
    two = await with_another(sqlite, open_database, tmp_path)
    shards = Shards(two.meant, two.other)
    await shards.fill()
    return shards


each_order = pytest.mark.parametrize("kind", [Sharded, OursFirst])


class TestShards:
    @each_order
    async def test_a_mark_stays_in_its_shard(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """A row of the same key in the other one is another row, and an object of it stays as it is."""
        async with shards.session(kind) as session:
            here, there = await shards.author(session, "1"), await shards.author(session, "2")
            await session.delete(there)
            await session.commit()

            assert here in session
            assert here.deleted_at is None

        assert await shards.marked() == [0, 1]

    @each_order
    async def test_a_repository_reads_both(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Its reads go where ``select()`` goes; nobody is asked for the shard of no object."""
        async with shards.meant.transaction() as theirs:
            theirs.add(Author(id=5, email="e", age=3))
        async with shards.session(kind) as session:
            authors = Repository(session, Author)
            found = await authors.get_one(5)
            several = await authors.get_many([5])
            page = await authors.page(Author.age == 3, order_by=Author.email, size=2)

            assert several == page.items == [found]
            assert await authors.update(found, {"email": "f"}, expected_version=1) is found
            await session.commit()

        async with shards.meant.read() as reader:
            assert (await reader.get_one(Author, 5)).email == "f"

    @each_order
    async def test_a_count_is_of_all(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Each shard answers with its own."""
        async with shards.session(kind) as session:
            authors = Repository(session, Author)

            assert await authors.count() == 4
            assert await authors.exists(Author.email == "b")
            assert len(await authors.get_all()) == 4

    @pytest.mark.parametrize(
        "call",
        [
            lambda authors: authors.page(size=3),
            lambda authors: authors.get_all(limit=3),
            lambda authors: authors.get_all(skip=1),
            lambda authors: authors.get_all(order_by=Author.email),
            lambda authors: anext(authors.iterate(batch=3)),
        ],
        ids=["page", "limit", "skip", "order", "iterate"],
    )
    async def test_an_order_over_several_is_refused(self, shards: Shards, call: Callable[[Any], Any]) -> None:
        """They answer one after the other: a page would leave out rows, and a limit hold for each."""
        async with shards.session() as session:
            with pytest.raises(NotSupported, match="several shards"):
                await call(Repository(session, Author))

    async def test_an_order_in_one_is_not(self, shards: Shards) -> None:
        """Where the others have no row to give, what is skipped among them."""
        async with shards.meant.transaction() as theirs:
            theirs.add_all([Author(id=key, email=str(key), age=3) for key in (5, 6, 7)])
        async with shards.session() as session:
            authors = Repository(session, Author)
            where = Author.age == 3
            page = await authors.page(where, size=2)
            rest = await authors.page(where, size=2, after=page.next)

            assert [author.id for author in (*page, *rest)] == [5, 6, 7]
            assert [author.id async for author in authors.iterate(where, batch=2)] == [5, 6, 7]
            assert [author.id for author in await authors.get_all(where, skip=1, limit=1)] == [6]
            assert [author.id for author in await authors.get_all(where, skip=2)] == [7]

    @each_order
    async def test_what_is_brought_back_is_there(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """Of one shard, too."""
        async with shards.session(kind) as session:
            there = await shards.author(session, "2")
            await session.delete(there)
            await session.commit()
            await Repository(session, Author).restore(there)
            await session.commit()

        assert await shards.marked() == [0, 0]

    @each_order
    @pytest.mark.parametrize("shard", ["1", "2"])
    async def test_a_conflict_is_that_of_the_shard(
        self, shards: Shards, kind: type[ShardedSession], shard: str
    ) -> None:
        """The versions are those of the row that was to be written."""
        changed = shards.meant if shard == "1" else shards.other
        async with shards.session(kind) as session:
            author = await shards.author(session, shard)
            await session.commit()
            async with changed.transaction() as theirs:
                (await theirs.get_one(Author, 2)).age = 9
            author.age = 10

            with pytest.raises(VersionConflict) as caught:
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)

    @each_order
    async def test_a_savepoint_takes_back_what_is_flushed(self, shards: Shards, kind: type[ShardedSession]) -> None:
        """A stock one does not: its flush passes by the savepoint."""
        async with shards.session(kind) as session:
            author = await shards.author(session, "2")
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    author.age = 8
                    session.add(Author(id=7, email="new", age=1))
                    await session.flush()
                    raise ZeroDivisionError
            await session.commit()

        first, second = await shards.rows(shards.meant), await shards.rows(shards.other)
        assert len(first["author"]) == len(second["author"]) == 2
        assert {row[1] for row in second["author"]} == {1}

    @each_order
    @pytest.mark.parametrize("call", [call for call in OF_ROWS if call not in (revive, update_many)], ids=named)
    async def test_what_writes_many_rows_is_refused(
        self, shards: Shards, kind: type[ShardedSession], call: Call
    ) -> None:
        """Nothing tells to which shard a row belongs."""
        async with shards.session(kind) as session:
            with pytest.raises(NotSupported, match="to which shard") as caught:
                await call(session)

        assert "shard's own engine" in caught.value.hint

    async def test_the_lock_of_a_name_is_refused(self, shards: Shards) -> None:
        """It would be in one of them only."""
        async with shards.session() as session:
            with pytest.raises(NotSupported, match="the session has several"):
                await session.run_sync(advisory_lock, "import")
