"""What a session does not hold is refused by every verb that would write nothing of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import AsyncMock

import pytest
from sqlalchemy import ForeignKey, String, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, make_transient, make_transient_to_detached, mapped_column

import sqlkeel
from sqlkeel.errors import NotFound, UsageError
from sqlkeel.models import IntKeyMixin
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, Session
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin, restore
from sqlkeel.versions import VersionMixin, touch


class Base(sqlkeel.Base):
    pass


class Plain(IntKeyMixin, Base):
    __tablename__ = "plain"
    name: Mapped[str] = mapped_column(String(20))


class Versioned(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "versioned"
    name: Mapped[str] = mapped_column(String(20))


class Soft(IntKeyMixin, SoftDeleteMixin, VersionMixin, Base):
    __tablename__ = "soft"
    name: Mapped[str] = mapped_column(String(20))


class Pair(VersionMixin, Base):
    __tablename__ = "pair"
    left: Mapped[int] = mapped_column("left_no", primary_key=True, autoincrement=False)
    right: Mapped[int] = mapped_column("right_no", primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(20))


class TestOrder:
    @pytest.mark.parametrize(
        "swapped", [lambda s: (Plain, s), lambda s: (Plain,), lambda s: (s, Plain())], ids=range(3)
    )
    async def test_swapped(self, sqlite: Database, swapped: Any) -> None:
        """A model in the place of the session is refused at once."""
        async with sqlite.read() as session:
            with pytest.raises(UsageError, match=r"Repository\(session, (Plain|Model)\)"):
                Repository(*swapped(session))

    @pytest.mark.parametrize(
        ("given", "written"),
        [
            (lambda db: db, "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: db.transaction(), "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: db.engine, "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: None, "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: Session, "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: SyncSession(), "async with db.transaction() as session: Repository(session, Plain)"),
            (lambda db: async_sessionmaker(), "async with factory() as session: Repository(session, Plain)"),
        ],
        ids=["database", "block", "engine", "nothing", "class", "synchronous", "factory"],
    )
    async def test_what_is_no_session(self, sqlite: Database, given: Any, written: str) -> None:
        """What makes a session, and anything else, is refused with how to come by one."""
        with pytest.raises(UsageError, match="takes an asynchronous session") as caught:
            Repository(given(sqlite), Plain)

        assert caught.value.hint == written

    @pytest.mark.parametrize("model", [int, Base, "Plain", Plain.__table__], ids=["class", "base", "text", "table"])
    async def test_what_is_no_model(self, sqlite: Database, model: Any) -> None:
        """What is not mapped is refused in our words."""
        with pytest.raises(UsageError, match="The model of a repository has to be a mapped class, not"):
            Repository(sqlite.session(), model)

    def test_a_session_of_a_test(self) -> None:
        """An object with the methods of a session is one."""
        assert Repository(AsyncMock(spec=AsyncSession), Plain).model is Plain


class Animal(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "animal"
    kind: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "animal"}


class Dog(Animal):
    __tablename__ = "dog"
    id: Mapped[int] = mapped_column(ForeignKey("animal.id", ondelete="CASCADE"), primary_key=True)
    breed: Mapped[str] = mapped_column(String(20))
    __mapper_args__ = {"polymorphic_identity": "dog"}


pytestmark = pytest.mark.tables(Base.metadata)

MADE: dict[type[Any], dict[str, Any]] = {
    Plain: {"name": "old"},
    Versioned: {"name": "old"},
    Soft: {"name": "old"},
    Pair: {"name": "old", "left": 1, "right": 2},
    Dog: {"name": "old", "breed": "pug"},
}
every_model = pytest.mark.parametrize("model", MADE)
versioned_models = pytest.mark.parametrize("model", [model for model in MADE if model is not Plain])

Write = Callable[[Repository[Any], Any], Awaitable[Any]]
CHANGES: dict[str, Write] = {
    "update": lambda repository, obj: repository.update(obj, {"name": "new"}),
    "expected": lambda repository, obj: repository.update(obj, {"name": "new"}, expected_version=1),
    "touch": lambda repository, obj: repository.touch(obj),
    "touch_expected": lambda repository, obj: repository.touch(obj, expected_version=1),
}
ENDINGS: dict[str, Write] = {
    "delete": lambda repository, obj: repository.delete(obj),
    "restore": lambda repository, obj: repository.restore(obj),
}


async def make(db: Database, model: type[Any]) -> Any:
    """Commit a row, and return its object, which no session holds any more."""
    async with db.transaction() as session:
        return await Repository(session, model).create(**MADE[model])


async def stored(db: Database, model: type[Any]) -> list[Any]:
    """Return the names in the table."""
    async with db.read() as session:
        return list(await session.scalars(select(model.name)))


@pytest.mark.parametrize("change", CHANGES)
class TestChanges:
    @versioned_models
    async def test_what_has_left_its_session_is_refused(
        self, every_driver: Database, model: type[Any], change: str
    ) -> None:
        """An object whose session has ended is not changed, and the hint says how to load it here."""
        obj = await make(every_driver, model)

        async with every_driver.transaction() as session:
            with pytest.raises(UsageError, match="is detached from its session") as caught:
                await CHANGES[change](Repository(session, model), obj)

        assert "get_one(" in caught.value.hint
        assert obj.name == "old"
        assert await stored(every_driver, model) == ["old"]

    @versioned_models
    async def test_what_another_session_holds_is_refused(self, db: Database, model: type[Any], change: str) -> None:
        """An object of a session that is still open belongs to that one."""
        await make(db, model)

        async with db.read() as other, db.transaction() as session:
            obj = (await other.scalars(select(model))).one()
            with pytest.raises(UsageError, match="held by another session"):
                await CHANGES[change](Repository(session, model), obj)

        assert await stored(db, model) == ["old"]

    @versioned_models
    async def test_what_was_never_added_is_refused(self, sqlite: Database, model: type[Any], change: str) -> None:
        """A new object that nobody has added would not be inserted."""
        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="never added"):
                await CHANGES[change](Repository(session, model), model(**MADE[model]))

        assert await stored(sqlite, model) == []

    @versioned_models
    async def test_what_is_about_to_be_deleted_is_refused(self, db: Database, model: type[Any], change: str) -> None:
        """An object that the session has deleted, flushed or not, is not changed first."""
        await make(db, model)

        async with db.transaction() as session:
            obj = (await session.scalars(select(model))).one()
            await session.delete(obj)
            with pytest.raises(UsageError, match="is deleted"):
                await CHANGES[change](Repository(session, model), obj)
            await session.flush()
            with pytest.raises(UsageError, match="is deleted"):
                await CHANGES[change](Repository(session, model), obj)

    async def test_what_was_taken_out_is_refused(self, sqlite: Database, change: str) -> None:
        """An object that was expunged is in no session."""
        await make(sqlite, Versioned)

        async with sqlite.transaction() as session:
            obj = await session.get_one(Versioned, 1)
            session.expunge(obj)
            with pytest.raises(UsageError, match="is detached from its session"):
                await CHANGES[change](Repository(session, Versioned), obj)

    async def test_after_the_end_of_the_session_all_is_refused(self, db: Database, change: str) -> None:
        """A repository that was kept has nothing left to write with."""
        await make(db, Versioned)
        async with db.transaction() as session:
            repository = Repository(session, Versioned)
            obj = await repository.get_one((await session.scalars(select(Versioned.id))).one())

        with pytest.raises(UsageError, match="is detached from its session"):
            await CHANGES[change](repository, obj)

    async def test_a_stock_session_refuses_too(self, db: Database, change: str) -> None:
        """A session of SQLAlchemy's that was closed begins anew, without its objects."""
        await make(db, Versioned)
        async with async_sessionmaker(db.engine, expire_on_commit=False)() as session:
            repository = Repository(session, Versioned)
            obj = (await session.scalars(select(Versioned))).one()
            await session.close()
            with pytest.raises(UsageError, match="is detached from its session"):
                await CHANGES[change](repository, obj)

    @pytest.mark.parametrize("other", [Plain, Animal])
    async def test_a_row_of_another_model_is_refused(self, db: Database, other: type[Any], change: str) -> None:
        """A repository writes rows of its own model, not of another and not of the base class."""
        async with db.transaction() as session:
            obj = await Repository(session, other).create(name="old")
            with pytest.raises(UsageError, match=rf"is not a Dog[\s\S]*Repository\(session, {other.__name__}\)"):
                await CHANGES[change](Repository(session, Dog), obj)

    @pytest.mark.parametrize("what", [None, {"name": "x"}, Plain, 1])
    async def test_what_is_no_row_is_refused(self, sqlite: Database, what: Any, change: str) -> None:
        """A dictionary, a class or a key is not an object of the model."""
        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="is not a row of Plain"):
                await CHANGES[change](Repository(session, Plain), what)

    async def test_a_row_that_was_made_transient_is_refused(self, sqlite: Database, change: str) -> None:
        """An object that was given its key by hand is in no session."""
        await make(sqlite, Versioned)
        obj = Versioned(id=1, name="old")
        make_transient_to_detached(obj)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="is detached from its session"):
                await CHANGES[change](Repository(session, Versioned), obj)


class TestHeld:
    @every_model
    async def test_what_is_held_is_written(self, every_driver: Database, model: type[Any]) -> None:
        """An object that the session has loaded is changed."""
        await make(every_driver, model)

        async with every_driver.transaction() as session:
            await Repository(session, model).update((await session.scalars(select(model))).one(), {"name": "new"})

        assert await stored(every_driver, model) == ["new"]

    @every_model
    async def test_what_was_added_is_inserted(self, every_driver: Database, model: type[Any]) -> None:
        """An object that waits to be inserted is inserted as changed."""
        async with every_driver.transaction() as session:
            obj = model(**MADE[model])
            session.add(obj)
            await Repository(session, model).update(obj, {"name": "new"})

        assert await stored(every_driver, model) == ["new"]

    async def test_what_was_added_is_touched(self, every_driver: Database) -> None:
        """A new object counts by itself, once."""
        async with every_driver.transaction() as session:
            obj = Versioned(name="new")
            session.add(obj)
            await Repository(session, Versioned).touch(obj)

            assert await session.scalar(select(Versioned.version)) == 1

    async def test_a_row_of_a_subclass_is_written(self, every_driver: Database) -> None:
        """The repository of a base class changes the fields of a subclass, too."""
        await make(every_driver, Dog)

        async with every_driver.transaction() as session:
            animals = Repository(session, Animal)
            [dog] = await animals.get_all()
            await animals.update(dog, {"breed": "poodle", "name": "new"}, expected_version=1)

        async with every_driver.read() as session:
            assert (await session.execute(select(Dog.breed, Dog.name, Dog.version))).one() == ("poodle", "new", 2)

    async def test_a_merged_copy_is_written(self, every_driver: Database) -> None:
        """What merge() returns is held by the session."""
        obj = await make(every_driver, Versioned)

        async with every_driver.transaction() as session:
            await Repository(session, Versioned).update(await session.merge(obj), {"name": "new"}, expected_version=1)

        assert await stored(every_driver, Versioned) == ["new"]


@pytest.mark.parametrize("ending", ENDINGS)
class TestEndings:
    async def test_what_was_never_written_is_refused(self, sqlite: Database, ending: str) -> None:
        """A new object can neither be deleted nor brought back, added or not."""
        async with sqlite.session() as session:
            added = Soft(name="new")
            session.add(added)
            with pytest.raises(UsageError, match="never written"):
                await ENDINGS[ending](Repository(session, Soft), added)
            with pytest.raises(UsageError, match="never written"):
                await ENDINGS[ending](Repository(session, Soft), Soft(name="new"))

    async def test_what_another_session_holds_is_refused(self, db: Database, ending: str) -> None:
        """An object of a session that is still open is not taken from it."""
        await make(db, Soft)

        async with db.read() as other, db.transaction() as session:
            obj = (await other.scalars(select(Soft))).one()
            with pytest.raises(UsageError, match="held by another session"):
                await ENDINGS[ending](Repository(session, Soft), obj)

        assert await stored(db, Soft) == ["old"]

    async def test_a_second_object_of_a_held_row_is_refused(self, db: Database, ending: str) -> None:
        """Of two objects of one row the session goes on with the one that it holds."""
        obj = await make(db, Soft)

        async with db.transaction() as session:
            held = await session.get_one(Soft, obj.id)
            with pytest.raises(UsageError, match="another object of the row"):
                await ENDINGS[ending](Repository(session, Soft), obj)

            assert held in session
        assert await stored(db, Soft) == ["old"]


class TestDelete:
    @every_model
    async def test_what_has_left_its_session_is_deleted(self, every_driver: Database, model: type[Any]) -> None:
        """An object that is in no session is taken in, and its row is deleted."""
        obj = await make(every_driver, model)

        async with every_driver.transaction() as session:
            await Repository(session, model).delete(obj)

        assert await stored(every_driver, model) == []

    async def test_what_the_session_removed_is_not_found(self, every_driver: Database) -> None:
        """A row that was removed cannot be removed again, before the commit and after it."""
        await make(every_driver, Plain)

        async with every_driver.session() as session:
            repository = Repository(session, Plain)
            obj = (await session.scalars(select(Plain))).one()
            await repository.delete(obj)
            with pytest.raises(NotFound):
                await repository.delete(obj)
            await session.commit()
            with pytest.raises(NotFound):
                await repository.delete(obj)

    async def test_a_row_of_another_model_is_refused(self, sqlite: Database) -> None:
        """A repository deletes rows of its own model."""
        await make(sqlite, Plain)

        async with sqlite.transaction() as session:
            with pytest.raises(UsageError, match="is not a Versioned"):
                await Repository(session, Versioned).delete(await session.get_one(Plain, 1))

        assert await stored(sqlite, Plain) == ["old"]


class TestFunctions:
    async def test_touch_refuses_what_no_session_holds(self, sqlite: Database) -> None:
        """touch() of an object that has left its session would count nothing."""
        obj = await make(sqlite, Versioned)

        with pytest.raises(UsageError, match="is in no session"):
            touch(obj)

    async def test_restore_refuses_what_another_session_holds(self, sqlite: Database) -> None:
        """restore() takes no object from a session that is open."""
        await make(sqlite, Soft)

        async with sqlite.read() as other, sqlite.session() as session:
            obj = await other.get_one(Soft, 1)
            with pytest.raises(UsageError, match="held by another session"):
                await session.run_sync(restore, obj)

    async def test_a_row_that_was_made_anew_is_added(self, sqlite: Database) -> None:
        """An object without its key is a new one, which the session can be given."""
        obj = await make(sqlite, Plain)
        make_transient(obj)
        obj.id = 2

        async with async_sessionmaker(sqlite.engine, sync_session_class=SyncSession).begin() as session:
            session.add(obj)
            await Repository(session, Plain).update(obj, {"name": "copy"})

        assert await stored(sqlite, Plain) == ["old", "copy"]
