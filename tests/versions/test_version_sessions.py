"""Versions in a flush, beside listeners, in sessions with several engines, and in tables of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Delete, Engine, Integer, StaticPool, Update, create_engine, event, insert, update
from sqlalchemy.orm import mapped_column

from sqlkeel.errors import ConfigurationError, VersionConflict
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.versions import touch
from sqlkeel.versions._version import refuse_stale
from tests.versions.versioned_models import Base, Doc, Line, Poster, Sheet, Woodcut, add

pytestmark = pytest.mark.tables(Base.metadata)


class TestTablesOfTheirOwn:
    """Concrete inheritance: SQLAlchemy hands the version of the table above down to classes with another one."""

    @pytest.mark.parametrize("model", [Sheet, Poster, Woodcut])
    async def test_each_counts_in_its_own(self, every_driver: Database, model: Any) -> None:
        """By flush, statement and bulk verb."""
        async with every_driver.transaction() as session:
            rows = Repository(session, model)
            row = await rows.create(title="a")
            await rows.update(row, {"title": "b"}, expected_version=1)
            await session.execute(update(model).values(title="c"))
            await rows.update_many([{"id": row.id, "title": "d", "version": 3}])
            await rows.touch(row)

            assert row.version == 5

    @pytest.mark.parametrize("model", [Sheet, Poster, Woodcut])
    async def test_a_change_on_an_old_one_is_a_conflict(self, every_driver: Database, model: Any) -> None:
        """It names the versions of the table that the class has."""
        async with every_driver.transaction() as session:
            row = await Repository(session, model).create(title="a")
        async with every_driver.transaction() as session:
            await session.execute(update(model).values(title="b"))

        with pytest.raises(VersionConflict) as caught:
            async with every_driver.transaction() as session:
                session.add(row)
                row.title = "c"

        assert (caught.value.expected, caught.value.current) == (1, 2)

    def test_one_without_is_refused(self) -> None:
        """A class that is said to have a version, and checks none, would lose updates."""
        with pytest.raises(ConfigurationError, match="Bill has the VersionMixin, and its table has no version"):
            type(
                "Bill",
                (Sheet,),
                {
                    "__module__": __name__,
                    "__tablename__": "bill",
                    "__mapper_args__": {"concrete": True},
                    "id": mapped_column(Integer(), primary_key=True),
                },
            )


class TestFlush:
    async def test_a_flush_without_conflict_costs_nothing(self, every_driver: Database) -> None:
        """The check is part of the UPDATE: one statement."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            doc = await session.get_one(Doc, key)
            doc.title = "new"
            async with queries(every_driver, exactly=1) as log:
                await session.flush()

        assert "version" in log.statements[0].partition("WHERE")[2]

    async def test_an_error_of_another_kind_passes(self, every_driver: Database) -> None:
        """What a listener of the application raises in a flush is not touched."""
        key = await add(every_driver)

        with pytest.raises(ZeroDivisionError):
            async with every_driver.transaction() as session:
                doc = await session.get_one(Doc, key)
                event.listen(session.sync_session, "after_flush", lambda *_: 1 // 0)
                doc.title = "new"


class TestListeners:
    @pytest.mark.parametrize("change", [touch, lambda doc: setattr(doc, "title", "mine")], ids=["touch", "assigned"])
    async def test_what_a_listener_changes_is_checked(self, every_driver: Database, change: Any) -> None:
        """A row that a before_flush listener changes, and somebody else has changed, is a VersionConflict."""
        async with every_driver.transaction() as session:
            session.add_all([Doc(id=1, title="old"), Line(id=1)])
        async with every_driver.session() as session:
            doc, line = await session.get_one(Doc, 1), await session.get_one(Line, 1)
            await session.commit()
            event.listen(session.sync_session, "before_flush", lambda *_: change(doc), once=True)
            async with every_driver.transaction() as other:
                await other.execute(update(Doc).values(title="theirs"))

            line.text = "changed"
            with pytest.raises(VersionConflict) as caught:
                await session.flush()

            await session.rollback()
        assert (caught.value.expected, caught.value.current) == (1, 2)

    async def test_in_a_savepoint(self, every_driver: Database) -> None:
        """In a savepoint the conflict is the same, and the transaction goes on."""
        async with every_driver.transaction() as session:
            session.add_all([Doc(id=1, title="old"), Line(id=1)])
        async with every_driver.session() as session:
            doc, line = await session.get_one(Doc, 1), await session.get_one(Line, 1)
            await session.commit()
            async with every_driver.transaction() as other:
                await other.execute(update(Doc).values(title="theirs"))
            event.listen(session.sync_session, "before_flush", lambda *_: touch(doc), once=True)

            with pytest.raises(VersionConflict):
                async with session.savepoint():
                    line.text = "changed"
                    await session.flush()
            line.text = "kept"
            await session.commit()

            assert (doc.title, line.text) == ("theirs", "kept")


def file_of_docs(version: int) -> Engine:
    """Open a database with one row at this version."""
    engine = create_engine("sqlite://", poolclass=StaticPool)
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(Doc).values(id=1, title="draft", version=version))
    return engine


class TestRouting:
    """A session whose `get_bind` writes in one place and reads in another, as SQLAlchemy's manual has it."""

    @pytest.fixture
    def session(self) -> Iterator[SyncSession]:
        """A session over a follower at version 1, and a leader that somebody has brought to version 9."""
        leader, follower = file_of_docs(9), file_of_docs(1)

        class Routing(SyncSession):
            def get_bind(self, mapper: Any = None, *, clause: Any = None, **options: Any) -> Engine:  # type: ignore[override]
                return leader if self._flushing or isinstance(clause, Update | Delete) else follower

        with Routing() as session:
            yield session
        leader.dispose()
        follower.dispose()

    def test_a_flush_compares_where_it_writes(self, session: SyncSession) -> None:
        """The conflict is that of the leader, to which the UPDATE went."""
        doc = session.get_one(Doc, 1)
        doc.title = "changed"

        with pytest.raises(VersionConflict) as caught:
            session.flush()

        assert (caught.value.expected, caught.value.current) == (1, 9)

    def test_a_change_of_nothing_compares_there_too(self, session: SyncSession) -> None:
        """What is to be asked whether it is still as it was is the row that would be written."""
        doc = session.get_one(Doc, 1)

        with pytest.raises(VersionConflict) as caught:
            refuse_stale(session, doc)

        assert caught.value.current == 9

    def test_sqlalchemy_sets_what_a_route_looks_at(self, session: SyncSession) -> None:
        """Canary of `_flushing`: without it, a conflict would be looked for where the session reads."""
        seen: list[bool] = []
        event.listen(session, "after_flush", lambda *_: seen.append(session._flushing))
        session.add(Doc(id=2, title="new", version=1))

        session.flush()

        assert (seen, session._flushing) == ([True], False)
