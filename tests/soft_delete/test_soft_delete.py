"""Tests of sqlkeel.soft_delete._soft_delete: deleted rows are hidden, and shown where it is asked for."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any

import pytest
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    load_only,
    mapped_column,
    selectinload,
    sessionmaker,
)

from sqlkeel.errors import NotSupported, UniqueViolation
from sqlkeel.observe import queries
from sqlkeel.sessions import Database
from sqlkeel.sessions._session import SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin, include_deleted, restore
from tests.soft_delete.library import SHOWN, Animal, Author, Base, Book, add, author, delete, everything, fill

pytestmark = pytest.mark.tables(Base.metadata)


class Plain(DeclarativeBase):
    pass


class Memo(SoftDeleteMixin, Plain):
    """A model that has nothing of ours but the mixin."""

    __tablename__ = "memo"
    id: Mapped[int] = mapped_column(primary_key=True)


class Other(DeclarativeBase):
    """Another registry, whose classes have nothing of ours."""

    metadata = Plain.metadata


class Pin(Other):
    __tablename__ = "pin"
    id: Mapped[int] = mapped_column(primary_key=True)
    memos: Mapped[int] = mapped_column(default=0)


def titles(books: Any) -> list[str]:
    return sorted(book.title for book in books)


class TestObjects:
    async def test_a_deleted_object_can_be_refreshed(self, db: Database) -> None:
        """refresh() of an object that was found deleted reads it again."""
        key = await add(db, author())
        await delete(db, Author, key)

        async with db.session() as session:
            row = await session.get_one(Author, key, execution_options=SHOWN)
            await session.refresh(row)

            assert row.is_deleted

    async def test_loaded_objects_pickle(self, db: Database) -> None:
        """An object that was loaded through the filter travels to another process."""
        key = await add(db, author())

        async with db.session() as session:
            seen = await session.get_one(Author, key, options=[selectinload(Author.books)])
            shown = await session.scalar(select(Book).limit(1), execution_options=SHOWN)
            copies = pickle.loads(pickle.dumps([seen, shown]))

        assert copies[0].books[0].title == "Ann 0"
        assert copies[1].title == "Ann 0"

    async def test_the_condition_can_be_asked(self, db: Database) -> None:
        """is_deleted is a condition in a query and a claim on an object."""
        key = await add(db, author(), author("Bob"))
        await delete(db, Author, key)

        async with db.session() as session:
            dead = (await session.scalars(select(Author).where(Author.is_deleted), execution_options=SHOWN)).all()

        assert [row.name for row in dead] == ["Ann"]
        assert dead[0].is_deleted

    async def test_merge_does_not_revive(self, every_driver: Database) -> None:
        """Merging over a deleted row is a violation of its key, and the row stays as it is."""
        key = await add(every_driver, author())
        await delete(every_driver, Author, key)

        with pytest.raises(UniqueViolation):
            async with every_driver.transaction() as session:
                await session.merge(Author(id=key, name="again"))

        [row] = await everything(every_driver, Author)
        assert (row.name, row.is_deleted) == ("Ann", True)

    async def test_merge_writes_a_row_that_is_shown(self, every_driver: Database) -> None:
        """Where deleted rows are shown, merge finds the row and changes what is given."""
        key = await add(every_driver, author())
        await delete(every_driver, Author, key)

        async with every_driver.transaction() as session:
            with include_deleted(session):
                merged = await session.merge(Author(id=key, name="again"))
                await session.flush()

        [row] = await everything(every_driver, Author)
        assert (row.name, row.is_deleted, merged.id) == ("again", True, key)


class TestBlock:
    async def test_loaded_objects_load_deleted_rows(self, db: Database) -> None:
        """In the block, an object found before it loads its deleted children too, by attribute and by refresh."""
        await fill(db)

        async with db.session() as session:
            seen, other = await session.get_one(Author, 1), await session.get_one(Author, 2)
            with include_deleted(session):
                by_attribute = titles(await seen.awaitable_attrs.books)
                await session.refresh(other, ["books"])

        assert by_attribute == ["dead", "live 1", "live 2"]
        assert titles(other.books) == ["gone"]

    async def test_a_held_object_is_returned(self, db: Database) -> None:
        """get() returns a deleted object of the session in the block, and not behind it."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                inside = await session.get(Book, 3)
            behind = await session.get(Book, 3)

        assert inside is not None
        assert behind is None

    @pytest.mark.parametrize("left_out", [["name"], ["deleted_at"]])
    async def test_a_held_object_whose_mark_is_not_loaded(self, db: Database, left_out: list[str]) -> None:
        """Behind the block it is not returned either, by get() or as a parent: the mark is read first."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                cid = await session.get_one(Author, 3, options=[load_only(Author.name)])
            session.expire(cid, left_out)
            stray = await session.get_one(Book, 5)
            behind = await session.get(Author, 3)
            session.expire(cid, ["deleted_at"])
            above = await stray.awaitable_attrs.author

        assert (behind, above) == (None, None)

    async def test_a_held_object_whose_row_is_gone(self, db: Database) -> None:
        """It is not found, as any other that has expired."""
        await fill(db)

        async with db.session() as session:
            tom = await session.get_one(Animal, 3)
            await session.execute(Animal.__table__.delete().where(Animal.__table__.c.id == 3))  # type: ignore[attr-defined]
            session.expire(tom, ["deleted_at"])

            assert await session.get(Animal, 3) is None

    async def test_objects_found_inside_load_living_rows_behind(self, db: Database) -> None:
        """The block marks nothing: a lazy load behind it hides deleted rows again."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await session.get_one(Author, 1)
            books = await found.awaitable_attrs.books

        assert titles(books) == ["live 1", "live 2"]

    async def test_what_was_loaded_inside_stays(self, db: Database) -> None:
        """A collection that was loaded inside keeps its deleted rows, until it is refreshed."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await session.get_one(Author, 1, options=[selectinload(Author.books)])
            kept = titles(found.books)
            await session.refresh(found, ["books"])

        assert kept == ["dead", "live 1", "live 2"]
        assert titles(found.books) == ["live 1", "live 2"]

    async def test_an_option_inside_still_marks(self, db: Database) -> None:
        """An object that was asked for by the option of a statement goes on showing what hangs on it."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await session.get_one(Author, 1, execution_options=SHOWN)
            books = await found.awaitable_attrs.books

        assert titles(books) == ["dead", "live 1", "live 2"]

    async def test_a_statement_may_hide_them_inside(self, db: Database) -> None:
        """``include_deleted=False`` on a statement overrules the block."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await session.scalars(select(Book).execution_options(include_deleted=False))

        assert titles(found) == ["live 1", "live 2", "stray"]

    async def test_blocks_nest(self, db: Database) -> None:
        """The inner block ends in the outer one, which still shows them."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                with include_deleted(session):
                    inner = len((await session.scalars(select(Book))).all())
                outer = len((await session.scalars(select(Book))).all())
            behind = len((await session.scalars(select(Book))).all())

        assert (inner, outer, behind) == (5, 5, 3)

    async def test_an_exception_ends_it(self, db: Database) -> None:
        """Whatever is raised inside, the session hides deleted rows behind the block."""
        await fill(db)

        async with db.session() as session:
            before = session.sync_session.execution_options
            with pytest.raises(asyncio.CancelledError), include_deleted(session):
                raise asyncio.CancelledError

            assert session.sync_session.execution_options is before
            assert len((await session.scalars(select(Book))).all()) == 3

    async def test_it_sends_nothing(self, db: Database) -> None:
        """The block itself is no statement."""
        async with db.session() as session, queries(db, exactly=0):
            with include_deleted(session):
                pass

    async def test_statements_write_deleted_rows(self, db: Database) -> None:
        """``update()`` in the block reaches deleted rows, also of a versioned model, and raises their version."""
        await fill(db)

        async with db.transaction() as session:
            with include_deleted(session):
                await session.execute(update(Book).where(Book.id == 3).values(price=7))

        [book] = [book for book in await everything(db, Book) if book.id == 3]
        assert (book.price, book.version, book.is_deleted) == (7, 2, True)

    async def test_objects_found_inside_pickle(self, db: Database) -> None:
        """What was found inside travels to another process."""
        await fill(db)

        async with db.session() as session:
            with include_deleted(session):
                found = await session.get_one(Author, 1, options=[selectinload(Author.books)])

        assert titles(pickle.loads(pickle.dumps(found)).books) == ["dead", "live 1", "live 2"]

    async def test_a_copy_that_traveled_is_shown_its_rows(self, db: Database) -> None:
        """An object that was unpickled into a session loads deleted rows in the block as any other."""
        await fill(db)
        async with db.session() as session:
            copy = pickle.loads(pickle.dumps(await session.get_one(Author, 1)))

        async with db.session() as session:
            session.add(copy)
            with include_deleted(session):
                books = await copy.awaitable_attrs.books

        assert titles(books) == ["dead", "live 1", "live 2"]

    async def test_a_stock_session_is_refused(self, sqlite: Database) -> None:
        """A session that hides nothing has nothing to show."""
        async with async_sessionmaker(sqlite.engine)() as session:
            with pytest.raises(NotSupported, match="at any time"), include_deleted(session):
                pass


class TestOtherModels:
    @pytest.mark.tables(Plain.metadata)
    async def test_a_plain_model_in_a_stock_session(self, db: Database) -> None:
        """A model that does not inherit from our Base is filtered in any AsyncSession over SyncSession."""
        make = async_sessionmaker(db.engine, sync_session_class=SyncSession, expire_on_commit=False)

        async with make.begin() as session:
            memo = Memo()
            session.add_all([memo, Memo()])
            await session.flush()
            await session.delete(memo)
        async with make() as session:
            found = (await session.scalars(select(Memo))).all()
            shown = (await session.scalars(select(Memo), execution_options=SHOWN)).all()

        assert isinstance(session, AsyncSession)
        assert (len(found), len(shown)) == (1, 2)

    @pytest.mark.tables(Plain.metadata)
    @pytest.mark.parametrize(("options", "pinned"), [({}, [1]), (SHOWN, [1, 2])])
    async def test_a_statement_on_a_class_of_another_registry(
        self, db: Database, options: Any, pinned: list[int]
    ) -> None:
        """A statement that begins with a class of a registry without the mixin leaves deleted rows out, too."""
        of_memo = Pin.id.in_(select(Memo.id))

        async with db.session() as session:
            session.add_all([Pin(id=1), Pin(id=2), Memo(id=1), Memo(id=2, deleted_at=func.now())])
            await session.flush()
            joined = await session.scalars(select(Pin.id).join(Memo, Memo.id == Pin.id), execution_options=options)
            asked = await session.scalars(select(Pin.id).where(of_memo), execution_options=options)
            await session.execute(update(Pin).where(of_memo).values(memos=7), execution_options=options)
            written = await session.scalars(select(Pin.id).where(Pin.memos == 7))

            assert sorted(joined) == sorted(asked) == sorted(written) == pinned

    def test_a_synchronous_session(self) -> None:
        """A synchronous worker deletes, finds nothing, and restores."""
        engine = create_engine("sqlite://")
        Plain.metadata.create_all(engine)

        with sessionmaker(engine, class_=SyncSession).begin() as session:
            memo = Memo()
            session.add(memo)
            session.flush()
            session.delete(memo)
            gone = session.get(Memo, memo.id)
            restore(session, memo)
            back = session.scalars(select(Memo)).one()

        engine.dispose()
        assert gone is None
        assert back is memo
