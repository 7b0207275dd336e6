"""``from_statement()`` around a statement that writes: the features of the model hold, and objects come back."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import NotSupported
from sqlkeel.models import IntKeyMixin
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.soft_delete import SoftDeleteMixin
from sqlkeel.versions import VersionMixin


class Base(sqlkeel.Base):
    """The tables of these tests."""


class Note(VersionMixin, Base):
    """Something with a version."""

    __tablename__ = "note"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    text: Mapped[str]


class Draft(IntKeyMixin, SoftDeleteMixin, Base):
    """Something that is deleted softly."""

    __tablename__ = "draft"
    text: Mapped[str]


pytestmark = pytest.mark.tables(Base.metadata)


@pytest.fixture(params=["sqlite", "postgres", "psycopg"])
def db(request: pytest.FixtureRequest) -> Database:
    """Each that returns something from an UPDATE; MariaDB does not."""
    database: Database = request.getfixturevalue(request.param)
    return database


@pytest.fixture(autouse=True)
async def _rows(db: Database) -> None:
    """Two rows of each, one of them deleted."""
    async with db.transaction() as session:
        session.add_all([Note(id=1, text="a"), Note(id=2, text="a"), Draft(id=1, text="a"), Draft(id=2, text="a")])
        await session.flush()
        await session.delete(await session.get_one(Draft, 2))


class TestUpdate:
    async def test_the_version_is_counted(self, db: Database) -> None:
        """A loaded object has the new version, so that a change of it is written."""
        async with db.transaction() as session:
            held = await session.get_one(Note, 1)
            written = update(Note).where(Note.id == 1).values(text="b").returning(Note)
            found = (await session.scalars(select(Note).from_statement(written))).all()
            held.text = "c"

        assert found == [held]
        async with db.read() as session:
            assert (await session.execute(select(Note.text, Note.version).order_by(Note.id))).all() == [
                ("c", 3),
                ("a", 1),
            ]

    async def test_deleted_rows_are_left_alone(self, db: Database) -> None:
        """As by the statement itself; and with ``include_deleted`` they are not."""
        async with db.transaction() as session:
            written = update(Draft).values(text="b").returning(Draft.id)
            live = (await session.scalars(select(Draft.id).from_statement(written))).all()
            every = select(Draft.id).from_statement(written).execution_options(include_deleted=True)

            assert live == [1]
            assert sorted((await session.scalars(every)).all()) == [1, 2]

    async def test_a_stock_session_does_the_same(self, db: Database) -> None:
        """``sync_session_class=SyncSession`` is enough; columns in place of a class are, too."""
        async with async_sessionmaker(db.engine, sync_session_class=SyncSession).begin() as session:
            written = update(Note).values(text="b").returning(Note.id, Note.version)
            found = await session.execute(select(Note.id, Note.version).from_statement(written))

            assert sorted(map(tuple, found)) == [(1, 2), (2, 2)]

    async def test_options_of_loading_hold(self, db: Database) -> None:
        """``populate_existing`` is of the statement outside."""
        async with db.transaction() as session:
            held = await session.get_one(Note, 1)
            written = update(Note).values(text="b").returning(Note).execution_options(synchronize_session=False)
            await session.scalars(select(Note).from_statement(written).execution_options(populate_existing=True))

            assert (held.text, held.version) == ("b", 2)


class TestOthers:
    async def test_delete_returns_what_it_deleted(self, db: Database) -> None:
        """Only what is live, and it is gone."""
        async with db.transaction() as session:
            gone = delete(Draft).returning(Draft.id)
            found = (await session.scalars(select(Draft.id).from_statement(gone))).all()

            assert found == [1]

    async def test_insert_and_text_are_as_before(self, db: Database) -> None:
        """They are SQLAlchemy's."""
        async with db.transaction() as session:
            made = insert(Note).values(id=3, text="new").returning(Note)
            new = (await session.scalars(select(Note).from_statement(made))).one()
            found = (await session.scalars(select(Note).from_statement(text("SELECT * FROM note ORDER BY id")))).all()

            assert new.version == 1
            assert [note.id for note in found] == [1, 2, 3]


class TestRefused:
    @pytest.mark.parametrize(
        "written",
        [
            update(Note).values(text="b").returning(Note.id, Note.text),
            update(Note.__table__).values(text="b").returning(*Note.__table__.c),  # type: ignore[arg-type]
            delete(Note).returning(Note.id),
            delete(Note),
        ],
        ids=["columns for a class", "a table", "fewer columns", "nothing"],
    )
    async def test_what_returns_something_else(self, db: Database, written: Any) -> None:
        """Nothing is written past the features of the model; the hint has the statement that does it."""
        async with db.transaction() as session:
            with pytest.raises(NotSupported, match="what that returns") as caught:
                await session.execute(select(Note).from_statement(written))

            assert "without from_statement()" in caught.value.hint
            assert (await session.scalars(select(Note.text))).all() == ["a", "a"]
