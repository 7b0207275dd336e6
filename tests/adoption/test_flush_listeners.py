"""Listeners of ``before_flush`` that delete, touch, change and add: before ours and after them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import ForeignKey, String, event, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, object_session, relationship, sessionmaker

from sqlkeel import SoftDeleteMixin, SyncSession, TimestampMixin, VersionMixin, children, parent
from sqlkeel.errors import CascadeMismatch, ReadOnlySession, VersionConflict
from sqlkeel.sessions import Database
from sqlkeel.versions import touch


class Base(DeclarativeBase):
    """A project's own."""


class Order(SoftDeleteMixin, VersionMixin, TimestampMixin, Base):
    """The root of an aggregate."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    lines: Mapped[list[Line]] = children(back_populates="order")


class Line(SoftDeleteMixin, VersionMixin, Base):
    """What goes with the order."""

    __tablename__ = "line"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    amount: Mapped[int] = mapped_column(default=1)
    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    order: Mapped[Order] = parent(back_populates="lines")


class Folder(Base):
    """What is removed for good, with all in it."""

    __tablename__ = "folder"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    files: Mapped[list[File]] = relationship(back_populates="folder", cascade="all, delete-orphan")


class File(Base):
    """Something in a folder."""

    __tablename__ = "file"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(String(50), default="")
    folder_id: Mapped[int] = mapped_column(ForeignKey("folder.id"))
    folder: Mapped[Folder] = relationship(back_populates="files")


pytestmark = pytest.mark.tables(Base.metadata)

Listener = Callable[..., None]


def delete_order(session: Session, *_: Any) -> None:
    for one in [one for one in session.dirty if isinstance(one, Line) and one.amount == 0]:
        session.delete(one.order)


def delete_line(session: Session, *_: Any) -> None:
    for one in [one for one in session.dirty if isinstance(one, Line) and one.amount == 0]:
        session.delete(one)


def touch_order(session: Session, *_: Any) -> None:
    for one in [one for one in session.dirty if isinstance(one, Line)]:
        touch(one.order)


def change_line(session: Session, *_: Any) -> None:
    for one in [one for one in session.dirty if isinstance(one, Line)]:
        one.amount = 7


def add_line(session: Session, *_: Any) -> None:
    if not any(isinstance(one, Line) for one in session.new):
        session.add(Line(id=9, order_id=1))


def delete_folder(session: Session, *_: Any) -> None:
    for one in [one for one in session.dirty if isinstance(one, File)]:
        session.delete(one.folder)


EXPECTED: dict[Listener, Any] = {
    delete_order: ([(1, 2, True), (2, 1, False)], [(1, 0, 3, True), (2, 1, 2, True)], [(1, 1), (2, 1)]),
    delete_line: ([(1, 1, False), (2, 1, False)], [(1, 0, 3, True), (2, 1, 1, False)], [(1, 1), (2, 1)]),
    touch_order: ([(1, 2, False), (2, 1, False)], [(1, 0, 2, False), (2, 1, 1, False)], [(1, 1), (2, 1)]),
    change_line: ([(1, 1, False), (2, 1, False)], [(1, 7, 2, False), (2, 1, 1, False)], [(1, 1), (2, 1)]),
    add_line: (
        [(1, 1, False), (2, 1, False)],
        [(1, 0, 2, False), (2, 1, 1, False), (9, 1, 1, False)],
        [(1, 1), (2, 1)],
    ),
    delete_folder: ([(1, 1, False), (2, 1, False)], [(1, 0, 2, False), (2, 1, 1, False)], []),
}
"""Orders with version and mark, lines with amount, version and mark, files with their folder."""


@pytest.fixture
async def make(db: Database) -> async_sessionmaker[AsyncSession]:
    """Sessions of a project, over some rows."""
    async with db.transaction() as session:
        session.add_all([Order(id=1, lines=[Line(id=1), Line(id=2)]), Order(id=2)])
        session.add(Folder(id=1, files=[File(id=1), File(id=2)]))
    return async_sessionmaker(db.engine, sync_session_class=SyncSession, expire_on_commit=False)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Iterator[Callable[[Any, Listener], None]]:
    """Registers a listener in the place that the test names, and takes it away again."""
    registered: list[Any] = []

    def register(session: Any, listener: Listener) -> None:
        where, first = {
            "the class, after ours": (SyncSession, False),
            "the class, before ours": (SyncSession, True),
            "SQLAlchemy's class": (Session, False),
            "the session": (session, False),
        }[request.param]
        event.listen(where, "before_flush", listener, insert=first)
        registered.append((where, "before_flush", listener))

    yield register
    for one in registered:
        event.remove(*one)


PLACES = ["the class, after ours", "the class, before ours", "SQLAlchemy's class", "the session"]
every_place = pytest.mark.parametrize("place", PLACES, indirect=True)


async def rows(db: Database) -> Any:
    """Return what is written, as `EXPECTED` has it."""
    async with db.read() as session:
        orders = select(Order.id, Order.version, Order.deleted_at.is_not(None)).order_by(Order.id)
        lines = select(Line.id, Line.amount, Line.version, Line.deleted_at.is_not(None)).order_by(Line.id)
        files = select(File.id, File.folder_id).order_by(File.id)
        shown = {"include_deleted": True}
        found = [await session.execute(one, execution_options=shown) for one in (orders, lines, files)]
        return tuple([tuple(row) for row in result] for result in found)


async def load(session: AsyncSession) -> Line:
    """Hold an order with its lines, and the folder with its files; return the first line."""
    held = (await session.scalars(select(Folder))).all(), (await session.scalars(select(Order))).all()
    for folder in held[0]:
        await session.refresh(folder, ["files"])
    for order in held[1]:
        await session.refresh(order, ["lines"])
    session.info["held"] = held
    return await session.get_one(Line, 1)


class TestListeners:
    @every_place
    @pytest.mark.parametrize("listener", EXPECTED, ids=lambda listener: listener.__name__)
    async def test_what_they_ask_for_is_done(self, db: Database, make: Any, place: Any, listener: Listener) -> None:
        """In the same flush, with marks, versions and what goes along."""
        async with make() as session:
            line = await load(session)
            place(session.sync_session, listener)
            line.amount = 0
            (await session.get_one(File, 1)).name = "changed"
            await session.commit()

        assert await rows(db) == EXPECTED[listener]

    @every_place
    async def test_a_conflict_is_one_of_theirs_too(self, db: Database, make: Any, place: Any) -> None:
        """A row that a listener has touched is compared like any other."""
        async with make() as session:
            line = await load(session)
            await session.commit()
            async with db.transaction() as other:
                touch(await other.get_one(Order, 1))
            place(session.sync_session, touch_order)
            line.amount = 3

            with pytest.raises(VersionConflict) as caught:
                await session.commit()

        assert (caught.value.model, caught.value.expected, caught.value.current) == ("Order", 1, 2)

    @every_place
    async def test_a_reading_session_does_not_write_for_them(self, db: Database, make: Any, place: Any) -> None:
        """What a listener adds is refused as what the caller adds."""
        async with make() as session:
            await load(session)
            session.sync_session.info["sqlkeel_read_only"] = True
            place(session.sync_session, add_line)
            session.add(Line(id=8, order_id=1))

            with pytest.raises(ReadOnlySession):
                await session.flush()

    @pytest.mark.parametrize("place", ["the class, before ours", "SQLAlchemy's class"], indirect=True)
    async def test_a_savepoint_takes_back_what_they_did(self, db: Database, make: Any, place: Any) -> None:
        """Marks among it."""
        before = await rows(db)
        async with make() as session:
            line = await load(session)
            place(session.sync_session, delete_order)
            with pytest.raises(ZeroDivisionError):
                async with session.begin_nested():
                    line.amount = 0
                    await session.flush()
                    raise ZeroDivisionError
            await session.commit()

        assert await rows(db) == before

    async def test_a_factory_has_them_too(self, db: Database, make: Any) -> None:
        """``event.listen(sessionmaker(...), ...)`` is a place of SQLAlchemy's."""
        factory = sessionmaker(class_=SyncSession, expire_on_commit=False)
        event.listen(factory, "before_flush", delete_line)

        def work(connection: Any) -> None:
            with factory(bind=connection) as session:
                session.get_one(Line, 1).amount = 0
                session.commit()

        async with db.engine.connect() as connection:
            await connection.run_sync(work)
            await connection.commit()

        assert await rows(db) == EXPECTED[delete_line]


class Box(Base):
    """What is removed for good, though what is in it is not."""

    __tablename__ = "box"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    things: Mapped[list[Thing]] = relationship(cascade="all")


class Thing(SoftDeleteMixin, Base):
    """What must not be lost."""

    __tablename__ = "thing"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    box_id: Mapped[int] = mapped_column(ForeignKey("box.id"))


def delete_box(session: Session, *_: Any) -> None:
    for one in session.identity_map.values():
        if isinstance(one, Box):
            session.delete(one)


class TestLosses:
    @every_place
    async def test_what_they_remove_takes_no_soft_row_along(self, db: Database, make: Any, place: Any) -> None:
        """Refused as where the caller deletes: also where the listener comes after ours."""
        async with db.transaction() as session:
            session.add(Box(id=1, things=[Thing(id=1)]))
        async with make() as session:
            box = await session.get_one(Box, 1)
            await session.refresh(box, ["things"])
            place(session.sync_session, delete_box)
            session.add(Order(id=7))

            with pytest.raises(CascadeMismatch):
                await session.commit()

        async with db.read() as session:
            assert await session.scalar(select(Thing.id)) == 1


class TestAudits:
    async def test_a_mark_is_seen_where_the_object_leaves(self, db: Database) -> None:
        """No flush deletes it; what is expunged has no mark."""
        seen: list[Any] = []
        async with db.transaction() as session:
            session.add_all([Order(id=1, lines=[Line(id=1)]), Order(id=2)])
        async with db.transaction() as session:
            event.listen(session.sync_session, "before_flush", lambda flushed, *_: seen.extend(flushed.deleted))
            event.listen(
                session.sync_session,
                "persistent_to_detached",
                lambda _, obj: seen.append((type(obj).__name__, obj.__dict__["deletion_id"] is not None)),
            )
            order = await session.get_one(Order, 1)
            await session.refresh(order, ["lines"])
            session.expunge(await session.get_one(Order, 2))
            await session.delete(order)
            await session.flush()

        assert sorted(seen) == [("Line", True), ("Order", False), ("Order", True)]


@pytest.fixture
def touches_once() -> Iterator[Callable[[Any, str], None]]:
    """Registers a listener that touches an order when it is called first, and takes it away again."""
    registered: list[Any] = []
    touched: list[Order] = []

    def listen(*given: Any) -> None:
        session = given[0] if isinstance(given[0], Session) else object_session(given[2])
        if session is not None and not touched:
            touched.append(session.get_one(Order, 1))
            touch(touched[0])

    def register(target: Any, name: str) -> None:
        event.listen(target, name, listen)
        registered.append((target, name, listen))

    yield register
    for one in registered:
        event.remove(*one)


class TestWhileWriting:
    """In ``after_flush`` and in the events of mappers SQLAlchemy takes what is changed for written."""

    @pytest.mark.parametrize("name", ["after_flush", "after_flush_postexec", "before_insert", "after_insert"])
    @pytest.mark.parametrize("end", ["commit", "flush"])
    async def test_a_touch_counts(self, db: Database, make: Any, touches_once: Any, name: str, end: str) -> None:
        """In the next flush, which a COMMIT makes by itself."""
        async with make() as session:
            order = await session.get_one(Order, 1)
            touches_once(File if "insert" in name else session.sync_session, name)
            session.add(Folder(id=5, files=[File(id=5)]))
            await getattr(session, end)()
            await session.commit()

            assert order.version == 2

        async with db.read() as session:
            assert await session.scalar(select(Order.version).where(Order.id == 1)) == 2
