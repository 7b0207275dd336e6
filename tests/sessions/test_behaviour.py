"""The protocol by which mixins bend the session: each method is called when the page of the architecture says."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from sqlalchemy import create_engine, event, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload, sessionmaker
from sqlalchemy.orm.exc import StaleDataError, UnmappedInstanceError

from sqlkeel.errors import ConfigurationError, TransactionAborted
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.sessions._behaviour import REGISTERED, Behaviour, register, unregister
from tests.sessions.behaviour_models import Base, Framed, Marked, Note, Noting, Picture, Wall

Register = Callable[..., None]


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture
def registered() -> Iterator[Register]:
    """Register behaviours for the test."""
    with ExitStack() as stack:

        def add(behaviour: Behaviour, **options: Any) -> None:
            register(behaviour, **options)
            stack.callback(unregister, behaviour)

        yield add


@pytest.fixture
def maker() -> Iterator[sessionmaker[SyncSession]]:
    """Sessions of a project's own sessionmaker, with a wall, a picture on it and a note of that."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    made = sessionmaker(engine, class_=SyncSession)
    with made.begin() as session:
        session.add(Wall(id=1, pictures=[picture := Picture(id=1)]))
        session.add(Note(id=1, picture=picture))
    yield made
    engine.dispose()


@pytest.fixture
def session(maker: sessionmaker[SyncSession]) -> Iterator[SyncSession]:
    """One of them."""
    with maker() as opened:
        yield opened


def count(session: Session, model: type[Base]) -> int:
    """Count the rows of a table."""
    return session.scalars(select(func.count()).select_from(model)).one()


class TestDelete:
    @pytest.mark.parametrize(
        "way",
        [lambda session, obj: session.delete(obj), lambda session, obj: session.delete_all([obj])],
        ids=["delete", "delete_all"],
    )
    def test_it_takes_over(self, session: SyncSession, registered: Register, way: Callable[..., None]) -> None:
        """What a behaviour deletes is its own affair: SQLAlchemy sends no DELETE."""
        registered(own := Noting(deletes=True), of=Marked)
        note = session.get_one(Note, 1)

        way(session, note)
        session.flush()

        assert ("delete", note) in own.calls
        assert count(session, Note) == 1

    def test_it_may_leave_it(self, session: SyncSession, registered: Register) -> None:
        """After false the object is deleted as any other; methods of the class are not asked."""
        registered(own := Noting(), of=Marked)
        note = session.get_one(Note, 1)

        session.delete(note)
        session.flush()

        assert ("delete", note) in own.calls
        assert count(session, Note) == 0

    def test_another_class_is_not_its_affair(self, session: SyncSession, registered: Register) -> None:
        """Neither for itself nor for what it takes along: a cascade of SQLAlchemy asks nobody."""
        registered(own := Noting(deletes=True), of=Framed)
        session.delete(session.get_one(Note, 1))
        wall = session.get_one(Wall, 1)

        session.delete(wall)
        session.flush()

        assert [call for call in own.calls if call[0] == "delete"] == []
        assert count(session, Picture) == 0

    def test_a_proxy_stands_for_its_object(self, session: SyncSession, registered: Register) -> None:
        """A proxy is of no class that a behaviour is registered for; the state of what it stands for is."""
        registered(own := Noting(deletes=True), of=Marked)
        note = session.get_one(Note, 1)

        session.delete(weakref.proxy(note))

        assert own.calls[-1] == ("delete", note)

    @pytest.mark.parametrize("given", [Note, None, Marked()], ids=["a class", "nothing", "not mapped"])
    def test_what_is_not_mapped_is_refused_as_ever(
        self, session: SyncSession, registered: Register, given: object
    ) -> None:
        """Also where a behaviour is registered for every object."""
        registered(own := Noting(deletes=True))

        with pytest.raises(UnmappedInstanceError):
            session.delete(given)
        assert own.calls == []


class TestHides:
    def test_get_finds_nothing(self, session: SyncSession, registered: Register) -> None:
        """Nothing is sent: the object is there, and does not count."""
        note = session.get_one(Note, 1)
        registered(own := Noting(hides=True), of=Marked)
        sent: list[str] = []
        event.listen(session.get_bind(), "before_cursor_execute", lambda *args: sent.append(args[2]))

        found = session.get(Note, 1)

        assert (found, own.calls, sent) == (None, [("hides", note)], [])

    def test_a_lazy_load_finds_nothing(self, session: SyncSession, registered: Register) -> None:
        """A relation that leads to the object is empty; the behaviour is told where the load comes from."""
        note, picture = session.get_one(Note, 1), session.get_one(Picture, 1)
        asked: list[Any] = []

        class Hiding(Behaviour):
            def hides(self, session: Any, obj: Any, *, lazy_loaded_from: Any = None, **_: Any) -> bool:
                asked.append((obj, lazy_loaded_from.obj()))
                return True

        registered(Hiding(), of=Framed)

        assert note.picture is None
        assert asked == [(picture, note)]

    def test_the_options_are_told(self, session: SyncSession, registered: Register) -> None:
        """Those that get() was given."""
        session.get_one(Note, 1, populate_existing=True)
        held = session.get_one(Note, 1)
        told: list[Any] = []

        class Listening(Behaviour):
            def hides(self, session: Any, obj: Any, *, execution_options: Any = None, **_: Any) -> bool:
                told.append(execution_options["mine"])
                return False

        registered(Listening(), of=Marked)

        assert session.get(Note, 1, execution_options={"mine": 7}) is held
        assert told == [7]

    def test_what_is_not_held_is_no_object(self, session: SyncSession, registered: Register) -> None:
        """A behaviour of every object is not asked about None."""
        registered(own := Noting(hides=True))

        assert session.get(Note, 2) is None
        assert own.calls == []


class TestConflict:
    @pytest.fixture
    def change(self, maker: sessionmaker[SyncSession]) -> Callable[[], Picture]:
        """Have somebody else change the picture, and return it as it was."""

        def changed() -> Picture:
            with maker() as session:
                picture = session.get_one(Picture, 1)
            with maker.begin() as session:
                session.get_one(Picture, 1).wall = None
            return picture

        return changed

    def test_merge_raises_it(self, session: SyncSession, change: Callable[[], Picture], registered: Register) -> None:
        """In place of SQLAlchemy's error, which is its cause."""
        registered(own := Noting(conflict=ZeroDivisionError()), of=Marked)
        stale = change()

        with pytest.raises(ZeroDivisionError) as caught:
            session.merge(stale)

        assert own.calls[-1] == ("conflict", stale)
        assert isinstance(caught.value.__cause__, StaleDataError)

    def test_get_raises_it(self, session: SyncSession, change: Callable[[], Picture], registered: Register) -> None:
        """Where a row is read again that is at another version than the object."""
        held = session.get_one(Picture, 1)
        session.commit()
        assert held.version == 1
        registered(own := Noting(conflict=ZeroDivisionError()), of=Marked)
        change()

        with pytest.raises(ZeroDivisionError):
            session.get(Picture, 1, with_for_update=True)
        assert own.calls[-1] == ("conflict", held)

    def test_without_one_it_stays_as_it_is(
        self, session: SyncSession, change: Callable[[], Picture], registered: Register
    ) -> None:
        """A behaviour that finds no conflict leaves SQLAlchemy's error."""
        registered(own := Noting(), of=Marked)
        stale = change()

        with pytest.raises(StaleDataError):
            session.merge(stale)
        assert own.calls[-1] == ("conflict", stale)


class TestAroundFlush:
    def test_it_surrounds_the_listeners(self, session: SyncSession, registered: Register) -> None:
        """From before those of before_flush until after those of after_flush; a flush of nothing is none."""
        registered(own := Noting())
        for name in ("before_flush", "after_flush"):
            event.listen(session, name, lambda *_, name=name: own.calls.append((name,)))
        session.flush()
        session.add(Wall(id=2))

        session.flush()

        assert own.calls == [("before the flush",), ("before_flush",), ("after_flush",), ("after the flush",)]

    def test_it_may_turn_the_error(self, session: SyncSession, registered: Register) -> None:
        """What it raises takes the place of what the flush raised."""

        class Turning(Behaviour):
            @contextmanager
            def around_flush(self, session: Any) -> Iterator[None]:
                try:
                    yield
                except IntegrityError:
                    raise ZeroDivisionError from None

        registered(Turning())
        session.add(Wall(id=1))

        with pytest.raises(ZeroDivisionError):
            session.flush()

    def test_an_error_before_it_writes_nothing(self, session: SyncSession, registered: Register) -> None:
        """The flush has not begun, and the next one is a flush like any other."""
        answers = iter([ZeroDivisionError()])

        class Refusing(Behaviour):
            def around_flush(self, session: Any) -> Any:
                for error in answers:
                    raise error
                return super().around_flush(session)

        registered(Refusing())
        session.add(Wall(id=2))
        with pytest.raises(ZeroDivisionError):
            session.flush()

        assert count(session, Wall) == 2

    def test_an_error_after_it_lets_nothing_be_committed(self, session: SyncSession, registered: Register) -> None:
        """The rows are written, and whoever swallows the error does not know what is missing."""

        class Failing(Behaviour):
            @contextmanager
            def around_flush(self, session: Any) -> Iterator[None]:
                yield
                raise ZeroDivisionError

        registered(Failing())
        session.add(Wall(id=2))
        with pytest.raises(ZeroDivisionError):
            session.flush()

        with pytest.raises(TransactionAborted):
            session.commit()


class TestSavepoints:
    async def test_each_is_told_once(self, db: Database, registered: Register) -> None:
        """Of the transaction around it, and of those of a flush, it hears nothing."""
        registered(own := Noting())

        async with db.transaction() as session:
            session.add(Wall(id=1))
            async with session.savepoint():
                await session.execute(select(Wall))

        assert own.calls == [("before the flush",), ("after the flush",), ("savepoint", True)]

    async def test_a_relation_that_is_loaded_inside(self, db: Database, registered: Register) -> None:
        """A statement of its own loads it; other statements, and those outside, are not told."""
        async with db.transaction() as session:
            session.add(Wall(id=1, pictures=[Picture(id=1)]))
        registered(own := Noting())

        async with db.transaction() as session:
            await session.scalars(select(Wall).options(selectinload(Wall.pictures)))
            async with session.savepoint():
                await session.scalars(select(Wall).execution_options(populate_existing=True))
                await session.scalars(
                    select(Wall).options(selectinload(Wall.pictures)).execution_options(populate_existing=True)
                )

        assert own.calls == [("savepoint", True), ("load", "pictures")]

    def test_an_error_reaches_who_opens_it(self, session: SyncSession, registered: Register) -> None:
        """After a rollback the session is as before."""

        class Refusing(Behaviour):
            def at_savepoint(self, session: Any, savepoint: Any) -> None:
                raise ZeroDivisionError

        registered(Refusing())
        with pytest.raises(ZeroDivisionError):
            session.begin_nested()
        session.rollback()

        assert count(session, Wall) == 1


class TestTwo:
    @pytest.mark.parametrize("classes", [(Marked, Framed), (Framed, Marked)], ids=["in order", "the other way"])
    def test_the_nearest_class_comes_first(
        self, session: SyncSession, registered: Register, classes: tuple[type, type]
    ) -> None:
        """As with methods: in the order of the bases, whichever was registered first; the next is asked after false."""
        order: list[str] = []

        class Deleting(Behaviour):
            def __init__(self, name: str) -> None:
                self.name = name

            def delete(self, session: Any, obj: Any) -> bool:
                order.append(self.name)
                return False

        registered(Deleting("object"))
        for kind in classes:
            registered(Deleting(kind.__name__), of=kind)

        session.delete(session.get_one(Picture, 1))

        assert order == ["Marked", "Framed", "object"]

    def test_the_first_that_deletes_is_the_last_that_is_asked(self, session: SyncSession, registered: Register) -> None:
        """An object is deleted in one way."""
        registered(first := Noting(deletes=True), of=Marked)
        registered(second := Noting(deletes=True), of=Framed)

        session.delete(picture := session.get_one(Picture, 1))

        assert (first.calls[-1], second.calls) == (("delete", picture), [])

    def test_one_is_enough_to_hide(self, session: SyncSession, registered: Register) -> None:
        """It does not matter which."""
        session.add(picture := session.get_one(Picture, 1))
        registered(Noting(), of=Marked)
        registered(Noting(hides=True), of=Framed)

        assert session.get(Picture, 1) is None
        assert picture in session


class TestErrors:
    @pytest.mark.parametrize(
        "call",
        [lambda session, held: session.delete(held), lambda session, held: session.get(type(held), held.id)],
        ids=["delete", "get"],
    )
    def test_what_is_raised_reaches_the_caller(
        self, session: SyncSession, registered: Register, call: Callable[[Any, Any], Any]
    ) -> None:
        """Nothing is deleted, and nothing found."""
        held = session.get_one(Note, 1)

        class Failing(Behaviour):
            def delete(self, session: Any, obj: Any) -> bool:
                raise ZeroDivisionError

            def hides(self, session: Any, obj: Any, **_: Any) -> bool:
                raise ZeroDivisionError

        registered(Failing(), of=Marked)

        with pytest.raises(ZeroDivisionError):
            call(session, held)
        assert held not in session.deleted


class TestRegister:
    def test_afterwards_nobody_asks(self, session: SyncSession) -> None:
        """A behaviour that is unregistered hears nothing more."""
        register(own := Noting(deletes=True, hides=True), of=Marked)

        unregister(own)
        session.delete(session.get_one(Note, 1))
        session.flush()

        assert own.calls == []

    def test_a_behaviour_that_does_nothing_is_not_asked(self, registered: Register) -> None:
        """It costs nothing: only methods that are overridden are called."""
        before = {name: value for name, value in vars(REGISTERED).items() if name != "_behaviours"}

        registered(Behaviour())

        assert {name: value for name, value in vars(REGISTERED).items() if name != "_behaviours"} == before

    def test_what_a_behaviour_does_by_default(self, session: SyncSession) -> None:
        """Nothing."""
        idle, note = Behaviour(), session.get_one(Note, 1)

        with idle.around_flush(session):
            idle.at_savepoint(session, session.begin_nested())

        assert (idle.delete(session, note), idle.hides(session, note), idle.conflict(session, note)) == (
            False,
            False,
            None,
        )

    def test_it_is_registered_once(self, registered: Register) -> None:
        """Twice would be asked twice."""
        registered(own := Noting())

        with pytest.raises(ConfigurationError, match="registered already"):
            register(own)

    @pytest.mark.parametrize("given", [Noting, object(), None], ids=["a class", "something else", "nothing"])
    def test_what_is_not_a_behaviour_is_refused(self, given: Any) -> None:
        """The hint says how it is done."""
        with pytest.raises(ConfigurationError, match="is not a Behaviour"):
            register(given)

    def test_what_is_not_registered_cannot_be_taken_back(self) -> None:
        """It may have been taken back already."""
        with pytest.raises(ConfigurationError, match="is not registered"):
            unregister(Noting())
