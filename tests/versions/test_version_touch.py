"""Touch: a new version of a row without a change."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm.exc import UnmappedInstanceError

from sqlkeel.errors import NotSupported, VersionConflict
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.versions import touch
from tests.versions.versioned_models import (
    MODELS,
    Base,
    Branch,
    Doc,
    Dog,
    Line,
    Stamped,
    add,
    overtake,
    read,
    version_of,
)

pytestmark = pytest.mark.tables(Base.metadata)


class TestTouch:
    @pytest.mark.parametrize("model", [*MODELS, Branch])
    async def test_it_counts_with_nothing_else_to_write(self, every_driver: Database, model: Any) -> None:
        """An object that is unchanged is counted, and knows its version."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            touch(row)
            await session.flush()
            known = version_of(row)

        assert known == 2
        assert version_of(await read(every_driver, key, model)) == 2

    @pytest.mark.parametrize("model", [Doc, Dog])
    async def test_it_counts_once(self, every_driver: Database, model: Any) -> None:
        """Touched twice and changed as well, one flush is one change."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            touch(row)
            row.title = "new"
            touch(row)

        found = await read(every_driver, key, model)
        assert (found.title, version_of(found)) == ("new", 2)

    @pytest.mark.parametrize("given", [Doc, None, 5, []], ids=str)
    def test_what_is_no_object(self, given: Any) -> None:
        """The class, and whatever else is no object of a model, gets the error that SQLAlchemy has for it."""
        with pytest.raises(UnmappedInstanceError):
            touch(given)

    async def test_each_flush_counts(self, every_driver: Database) -> None:
        """Touched before each of two flushes, it is two changes."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            doc = await session.get_one(Doc, key)
            touch(doc)
            await session.flush()
            touch(doc)

        assert (await read(every_driver, key)).version == 3

    async def test_it_writes_the_version_only(self, sqlite: Database) -> None:
        """What another program has written meanwhile is not overwritten with what was read."""
        key = await add(sqlite)

        async with sqlite.transaction() as session:
            doc = await session.get_one(Doc, key)
            touch(doc)
            async with queries(sqlite, exactly=1) as log:
                await session.flush()

        assert log.statements == ["UPDATE doc SET version=? WHERE doc.id = ? AND doc.version = ?"]

    async def test_the_time_moves_with_it(self, every_driver: Database) -> None:
        """updated_at is written by the same UPDATE, and known afterwards."""
        key = await add(every_driver, Stamped)
        before = (await read(every_driver, key, Stamped)).updated_at

        async with every_driver.transaction() as session:
            stamped = await session.get_one(Stamped, key)
            touch(stamped)
            await session.flush()
            known = stamped.updated_at

        assert known > before
        assert (await read(every_driver, key, Stamped)).updated_at == known

    async def test_it_is_checked(self, every_driver: Database) -> None:
        """An object that was overtaken cannot be touched."""
        key = await add(every_driver)

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.session() as session:
                doc = await session.get_one(Doc, key)
                await session.commit()
                await overtake(every_driver, key)
                touch(doc)
                await session.commit()

        assert (caught.value.expected, caught.value.current) == (1, 2)

    async def test_a_new_object_counts_by_itself(self, sqlite: Database) -> None:
        """Touching what is not yet inserted changes nothing."""
        async with sqlite.transaction() as session:
            doc = Doc(title="new")
            session.add(doc)
            touch(doc)
            await session.flush()

            assert doc.version == 1

    async def test_a_rollback_takes_it_back(self, every_driver: Database) -> None:
        """After a savepoint that failed, the object has the version that the row has."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            doc = await session.get_one(Doc, key)
            with pytest.raises(ZeroDivisionError):
                async with session.savepoint():
                    touch(doc)
                    await session.flush()
                    _ = 1 // 0
            known = doc.version

        assert known == 1
        assert (await read(every_driver, key)).version == 1

    async def test_without_a_version_there_is_nothing_to_count(self) -> None:
        """A model without a version is refused."""
        with pytest.raises(NotSupported, match="VersionMixin"):
            touch(Line())

    async def test_the_parent_is_written_first(self, sqlite: Database) -> None:
        """The UPDATE of the root comes before those of its children, so that editors meet there and do not deadlock."""
        [key] = await add(sqlite)
        async with sqlite.transaction() as session:
            session.add(Line(id=1, doc_id=key))

        async with sqlite.transaction() as session:
            doc, line = await session.get_one(Doc, key), await session.get_one(Line, 1)
            line.text = "new"
            touch(doc)
            async with queries(sqlite) as log:
                await session.flush()

        assert [statement.split()[1] for statement in log.statements] == ["doc", "line"]

    async def test_of_two_editors_of_one_aggregate_one_is_told(self, every_driver: Database) -> None:
        """Two who edit different lines of one document at the same time: one writes, the other one is told."""
        [key] = await add(every_driver)
        async with every_driver.transaction() as session:
            session.add_all([Line(id=1, doc_id=key), Line(id=2, doc_id=key)])
        both_have_read = asyncio.Barrier(2)

        async def edit(line_id: int) -> int:
            async with every_driver.session() as session:
                doc, line = await session.get_one(Doc, key), await session.get_one(Line, line_id)
                await session.commit()
                await both_have_read.wait()
                line.text = "mine"
                touch(doc)
                await session.commit()
            return line_id

        results = await asyncio.gather(edit(1), edit(2), return_exceptions=True)

        [winner] = [result for result in results if isinstance(result, int)]
        [loser] = [result for result in results if isinstance(result, VersionConflict)]
        async with every_driver.session() as session:
            written = (await session.scalars(select(Line.id).where(Line.text == "mine"))).all()
        assert (loser.model, loser.expected, loser.current) == ("Doc", 1, 2)
        assert written == [winner]
