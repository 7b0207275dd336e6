"""Timestamps: the server sets them for every program, and the object knows them at once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, insert, select, text, update
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import NaiveDatetime
from sqlkeel.models import IntKeyMixin
from sqlkeel.observe import queries
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database
from sqlkeel.timestamps import TimestampMixin
from sqlkeel.versions import VersionMixin

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)


class Base(sqlkeel.Base):
    pass


class Note(IntKeyMixin, TimestampMixin, Base):
    __tablename__ = "note"
    title: Mapped[str] = mapped_column(String(50))


class ArgumentsMixin:
    """Another mixin that brings mapper arguments of its own."""

    __mapper_args__: dict[str, Any] = {"confirm_deleted_rows": False}


class Ordered(IntKeyMixin, TimestampMixin, Base):
    """A model with mapper arguments of its own."""

    __tablename__ = "ordered"
    __mapper_args__ = {"eager_defaults": "auto", "batch": False}
    title: Mapped[str] = mapped_column(String(50))


class Mixed(ArgumentsMixin, IntKeyMixin, TimestampMixin, VersionMixin, Base):
    __tablename__ = "mixed"
    title: Mapped[str] = mapped_column(String(50))


class Animal(IntKeyMixin, TimestampMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(10))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __mapper_args__ = {"polymorphic_identity": "dog"}
    name: Mapped[str | None] = mapped_column(String(50))


class Work(IntKeyMixin, TimestampMixin, VersionMixin, Base):
    __tablename__ = "work"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "work"}


class Tune(Work):
    """A subclass in a table of its own, whose times stand in the base table."""

    __tablename__ = "tune"
    __mapper_args__ = {"polymorphic_identity": "tune"}
    id: Mapped[int] = mapped_column(ForeignKey("work.id", ondelete="CASCADE"), primary_key=True)
    bars: Mapped[int | None] = mapped_column()


class Plant(IntKeyMixin, TimestampMixin, Base):
    """The times in the base table, and nothing that writes it with every change."""

    __tablename__ = "plant"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "plant"}


class Tree(Plant):
    __tablename__ = "tree"
    id: Mapped[int] = mapped_column("plant_no", ForeignKey("plant.id", ondelete="CASCADE"), primary_key=True)
    height: Mapped[int | None] = mapped_column("height_in_m")
    __mapper_args__ = {"polymorphic_identity": "tree"}


class Tool(IntKeyMixin, Base):
    __tablename__ = "tool"
    kind: Mapped[str] = mapped_column(String(10))
    title: Mapped[str] = mapped_column(String(50))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "tool"}


class Saw(TimestampMixin, Tool):
    """The times in the table of the subclass."""

    __tablename__ = "saw"
    id: Mapped[int] = mapped_column(ForeignKey("tool.id", ondelete="CASCADE"), primary_key=True)
    teeth: Mapped[int | None]
    __mapper_args__ = {"polymorphic_identity": "saw"}


CHANGE: dict[Any, dict[str, Any]] = {Note: {"title": "new"}, Mixed: {"title": "new"}, Tune: {"bars": 12}}

pytestmark = pytest.mark.tables(Base.metadata)


async def add(db: Database, model: Any = Note, **values: Any) -> Any:
    """Commit a row that was last changed long ago, and return its key."""
    async with db.transaction() as session:
        row = model(title="old", created_at=LONG_AGO, updated_at=LONG_AGO, **values)
        session.add(row)
        await session.flush()
        return row.id


async def read(db: Database, key: Any, model: Any = Note) -> Any:
    """Read a row in a session of its own."""
    async with db.session() as session:
        return await session.get_one(model, key)


def is_recent(moment: datetime) -> bool:
    """Tell whether a moment is now, give or take a minute."""
    return abs(datetime.now(UTC) - moment) < A_MINUTE


class TestInsert:
    async def test_the_object_knows_both_after_the_flush(self, every_driver: Database) -> None:
        """After a flush both times can be read without another wait."""
        async with every_driver.transaction() as session:
            note = Note(title="a")
            session.add(note)
            await session.flush()

            assert is_recent(note.created_at)
            assert note.updated_at == note.created_at

    async def test_the_flush_of_many_knows_them_too(self, every_driver: Database) -> None:
        """Each of several rows of one flush has its times."""
        async with every_driver.transaction() as session:
            notes = [Note(title=str(n)) for n in range(5)]
            session.add_all(notes)
            await session.flush()

            assert all(is_recent(note.updated_at) for note in notes)

    async def test_times_are_aware_and_utc(self, every_driver: Database) -> None:
        """A time comes back as an aware moment in UTC."""
        key = await add(every_driver)

        found = await read(every_driver, key)

        assert found.created_at == LONG_AGO
        assert found.created_at.tzinfo is UTC

    async def test_core_insert_gets_both(self, every_driver: Database) -> None:
        """An INSERT on the table gets the times from the server."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Note.__table__).values(title="core"))

        async with every_driver.session() as session:
            found = (await session.scalars(select(Note))).one()
        assert is_recent(found.created_at)
        assert is_recent(found.updated_at)

    async def test_raw_sql_gets_both(self, every_driver: Database) -> None:
        """An INSERT of another program, which knows nothing of us, gets the times too."""
        async with every_driver.transaction() as session:
            await session.execute(text("insert into note (title) values ('raw')"))

        async with every_driver.session() as session:
            found = (await session.scalars(select(Note))).one()
        assert is_recent(found.created_at)
        assert is_recent(found.updated_at)

    async def test_bulk_insert_gets_both(self, every_driver: Database) -> None:
        """insert() with a list of rows gets the times."""
        async with every_driver.transaction() as session:
            await session.execute(insert(Note), [{"title": "a"}, {"title": "b"}])

        async with every_driver.session() as session:
            found = (await session.scalars(select(Note))).all()
        assert [is_recent(note.updated_at) for note in found] == [True, True]

    async def test_a_naive_time_is_refused(self, every_driver: Database) -> None:
        """A time without a zone is refused, not guessed."""
        with pytest.raises(NaiveDatetime):
            async with every_driver.transaction() as session:
                session.add(Note(title="a", created_at=datetime(2020, 1, 1)))


class TestUpdate:
    async def test_a_flush_moves_updated_at(self, every_driver: Database) -> None:
        """A changed object has its new time after the flush, without another wait."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            note = await session.get_one(Note, key)
            note.title = "new"
            await session.flush()

            assert is_recent(note.updated_at)
        assert note.updated_at == (await read(every_driver, key)).updated_at

    async def test_a_flush_of_many_moves_each(self, every_driver: Database) -> None:
        """Several changed objects of one flush all know their new time."""
        keys = [await add(every_driver) for _ in range(3)]

        async with every_driver.transaction() as session:
            notes = [await session.get_one(Note, key) for key in keys]
            for note in notes:
                note.title = "new"
            await session.flush()

            assert all(is_recent(note.updated_at) for note in notes)

    async def test_created_at_stays(self, every_driver: Database) -> None:
        """A change does not touch the time of creation."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            (await session.get_one(Note, key)).title = "new"

        assert (await read(every_driver, key)).created_at == LONG_AGO

    async def test_an_unchanged_object_keeps_its_time(self, every_driver: Database) -> None:
        """A flush that has nothing to write moves nothing."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            (await session.get_one(Note, key)).title = "old"

        assert (await read(every_driver, key)).updated_at == LONG_AGO

    async def test_an_update_statement_moves_it(self, every_driver: Database) -> None:
        """update() of the model moves the time in the database."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Note).values(title="new"))

        assert is_recent((await read(every_driver, key)).updated_at)

    @pytest.mark.parametrize("synchronize", ["auto", "evaluate", "fetch"])
    @pytest.mark.parametrize("model", [Note, Mixed, Tune])
    async def test_loaded_objects_see_the_time_of_a_statement(
        self, every_driver: Database, model: Any, synchronize: str
    ) -> None:
        """After update() a loaded object has the new time, and nothing needs another wait."""
        key = await add(every_driver, model)
        options = {"synchronize_session": synchronize}

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            await session.execute(update(model).values(**CHANGE[model]), execution_options=options)

            assert is_recent(row.updated_at)
        assert row.updated_at == (await read(every_driver, key, model)).updated_at

    async def test_a_statement_that_sets_the_time_wins(self, every_driver: Database) -> None:
        """update() may set the time itself."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Note).values(title="new", updated_at=LONG_AGO + A_MINUTE))

        assert (await read(every_driver, key)).updated_at == LONG_AGO + A_MINUTE

    async def test_a_core_update_moves_it(self, every_driver: Database) -> None:
        """update() of the table moves the time in the database."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Note.__table__).values(title="new"))

        assert is_recent((await read(every_driver, key)).updated_at)

    async def test_bulk_update_by_key_moves_it(self, every_driver: Database) -> None:
        """update() with a list of rows moves the time."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            await session.execute(update(Note), [{"id": key, "title": "new"}])

        assert is_recent((await read(every_driver, key)).updated_at)

    async def test_a_time_that_is_given_wins(self, every_driver: Database) -> None:
        """An import may set the time itself."""
        key = await add(every_driver)

        async with every_driver.transaction() as session:
            note = await session.get_one(Note, key)
            note.title, note.updated_at = "new", LONG_AGO + A_MINUTE

        assert (await read(every_driver, key)).updated_at == LONG_AGO + A_MINUTE

    async def test_a_flush_costs_one_statement_where_the_server_returns_it(self, postgres: Database) -> None:
        """On PostgreSQL the new time comes back with the UPDATE itself."""
        key = await add(postgres)

        async with postgres.transaction() as session:
            note = await session.get_one(Note, key)
            note.title = "new"
            async with queries(postgres, exactly=1) as log:
                await session.flush()

        assert "RETURNING note.updated_at" in log.statements[0]


class TestSeveralTables:
    @pytest.mark.parametrize(
        ("model", "values"),
        [
            (Tree, {"height": 3}),
            (Tree, {"title": "new"}),
            (Tree, {"height": 3, "title": "new"}),
            (Saw, {"title": "new"}),
            (Saw, {"teeth": 12}),
        ],
    )
    async def test_a_flush_moves_it(self, every_driver: Database, model: Any, values: dict[str, Any]) -> None:
        """Whichever table of a row is written, its time moves, and the object knows it."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await Repository(session, model).update(await session.get_one(model, key), values)

            assert is_recent(row.updated_at)
        assert (await read(every_driver, key, model)).updated_at == row.updated_at

    @pytest.mark.parametrize("model", [Tree, Saw])
    async def test_an_unchanged_object_keeps_it(self, every_driver: Database, model: Any) -> None:
        """A value that is set to what it was is no change."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            row.title = "old"

        assert (await read(every_driver, key, model)).updated_at == LONG_AGO

    @pytest.mark.parametrize("model", [Tree, Saw])
    async def test_a_time_that_is_given_wins(self, every_driver: Database, model: Any) -> None:
        """A time that is set with the change is stored."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            row.title, row.updated_at = "new", LONG_AGO + A_MINUTE

        assert (await read(every_driver, key, model)).updated_at == LONG_AGO + A_MINUTE

    @pytest.mark.parametrize(
        ("model", "written", "values"),
        [
            (Tree, Tree, {"height": 3}),
            (Tree, Plant, {"title": "new"}),
            (Saw, Saw, {"teeth": 12}),
            (Saw, Tool, {"title": "new"}),
        ],
    )
    async def test_a_statement_moves_it(
        self, every_driver: Database, model: Any, written: Any, values: dict[str, Any]
    ) -> None:
        """An update() statement of either class moves the time, and loaded objects see it."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            await session.execute(update(written).values(values))

            assert is_recent(row.updated_at)


class TestMapperArguments:
    @pytest.mark.parametrize("model", [Note, Ordered, Mixed, Dog])
    def test_defaults_are_read_back_whatever_the_model_says(self, model: Any) -> None:
        """Mapper arguments of the model or of another mixin do not switch the reading back off."""
        assert model.__mapper__.eager_defaults is True

    def test_the_arguments_of_the_model_stay(self) -> None:
        """What the model says of itself is kept."""
        assert Ordered.__mapper__.batch is False
        assert Mixed.__mapper__.confirm_deleted_rows is False

    @pytest.mark.parametrize("model", [Ordered, Mixed])
    async def test_the_new_time_is_there_after_a_flush(self, every_driver: Database, model: Any) -> None:
        """Models with arguments of their own behave like all others."""
        key = await add(every_driver, model)

        async with every_driver.transaction() as session:
            row = await session.get_one(model, key)
            row.title = "new"
            await session.flush()

            assert is_recent(row.updated_at)

    async def test_subclasses_have_times(self, every_driver: Database) -> None:
        """A subclass of a model has the times of its parent class."""
        async with every_driver.transaction() as session:
            dog = Dog(name="Rex")
            session.add(dog)
            await session.flush()
            dog.name = "Max"
            await session.flush()

            assert is_recent(dog.created_at)
            assert is_recent(dog.updated_at)
