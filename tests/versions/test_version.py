"""Versions: a change made on an old version is refused on every driver, and the error says what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import (
    Delete,
    Engine,
    ForeignKey,
    Integer,
    StaticPool,
    String,
    Update,
    and_,
    bindparam,
    create_engine,
    delete,
    event,
    insert,
    select,
    update,
)
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.ext.declarative import AbstractConcreteBase
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.exc import StaleDataError, UnmappedInstanceError

import sqlkeel
from sqlkeel.errors import ConfigurationError, InvalidValue, NotNullViolation, NotSupported, UsageError, VersionConflict
from sqlkeel.integrations._problems import describe
from sqlkeel.models import IntKeyMixin, children
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin, touch
from sqlkeel.versions._version import refuse_stale


class Base(sqlkeel.Base):
    pass


class Doc(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "doc"
    title: Mapped[str] = mapped_column(String(50))
    lines: Mapped[list[Line]] = children()


class Line(IntKeyMixin, Base):
    __tablename__ = "line"
    doc_id: Mapped[int | None] = mapped_column(ForeignKey("doc.id"), index=True)
    text: Mapped[str | None] = mapped_column(String(50))


class Stamped(IntKeyMixin, TimestampMixin, VersionMixin, Base):
    """The trap: times that are read back with the UPDATE must not switch the check of the version off."""

    __tablename__ = "stamped"
    title: Mapped[str] = mapped_column(String(50))


class Configured(IntKeyMixin, VersionMixin, Base):
    """The other trap: mapper arguments of the model's own."""

    __tablename__ = "configured"
    __mapper_args__ = {"confirm_deleted_rows": True}
    title: Mapped[str] = mapped_column(String(50))


class Cell(VersionMixin, Base):
    __tablename__ = "cell"
    row: Mapped[int] = mapped_column("row_no", primary_key=True, autoincrement=False)
    column: Mapped[int] = mapped_column("column_no", primary_key=True, autoincrement=False)
    title: Mapped[str] = mapped_column(String(50))


class Renamed(IntKeyMixin, Base):
    """A version of the model's own making, under another name."""

    __tablename__ = "renamed"
    title: Mapped[str] = mapped_column(String(50))
    edition: Mapped[int] = mapped_column("edition_no")
    __mapper_args__ = {"version_id_col": edition}


class Animal(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    __mapper_args__ = {"polymorphic_identity": "dog"}
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    tricks: Mapped[int] = mapped_column(Integer(), default=0)


class Plant(IntKeyMixin, TimestampMixin, VersionMixin, Base):
    __tablename__ = "plant"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}


class Branch(Plant):
    __tablename__ = "branch"
    __mapper_args__ = {"polymorphic_identity": "branch"}
    id: Mapped[int] = mapped_column(ForeignKey("plant.id", ondelete="CASCADE"), primary_key=True)
    leaves: Mapped[int] = mapped_column(Integer(), default=0)


pytestmark = pytest.mark.tables(Base.metadata)

MODELS = [Doc, Stamped, Configured, Cell, Renamed, Dog]
KEYS: dict[Any, dict[str, Any]] = {Cell: {"row": 1, "column": 2}}


async def add(db: Database, model: Any = Doc, **values: Any) -> Any:
    """Commit a row and return its key."""
    async with db.transaction() as session:
        row = model(**{"title": "old", **KEYS.get(model, {}), **values})
        session.add(row)
        await session.flush()
        return model.__mapper__.primary_key_from_instance(row)


async def overtake(db: Database, key: Any, model: Any = Doc, title: str = "theirs") -> None:
    """Change the row in another transaction, and commit."""
    async with db.session() as session, session.begin():
        (await session.get_one(model, key)).title = title


async def read(db: Database, key: Any, model: Any = Doc) -> Any:
    """Read a row in a session of its own."""
    async with db.session() as session:
        return await session.get_one(model, key)


async def rows_of(db: Database, *arguments: Any) -> int:
    """Execute a statement in a transaction of its own and return how many rows it has met."""
    async with db.transaction() as session:
        result: Any = await session.execute(*arguments)
    return int(result.rowcount)


def version_of(row: Any) -> int:
    """Return the version of an object, however its model calls it."""
    mapper = type(row).__mapper__
    found: int = getattr(row, mapper.get_property_by_column(mapper.version_id_col).key)
    return found


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


class Sheet(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "sheet"
    title: Mapped[str] = mapped_column(String(50))


class Poster(Sheet):
    """A table of its own below another one, which has a version, too."""

    __tablename__ = "poster"
    __mapper_args__ = {"concrete": True}
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(50))
    version: Mapped[int] = mapped_column("poster_version", server_default="1")


class Print(IntKeyMixin, VersionMixin, AbstractConcreteBase, Base):
    """A base without a table."""

    strict_attrs = True


class Woodcut(Print):
    __tablename__ = "woodcut"
    __mapper_args__ = {"polymorphic_identity": "woodcut", "concrete": True}
    title: Mapped[str] = mapped_column(String(50))


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
