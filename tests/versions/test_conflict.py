"""The version that a client saw: compared with the object's, and refused where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from enum import IntEnum
from ipaddress import IPv4Network
from typing import Any

import pytest
from sqlalchemy import String, delete
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import InvalidValue, UsageError, VersionConflict
from sqlkeel.integrations._preconditions import ANY
from sqlkeel.models import IntKeyMixin
from sqlkeel.repository import Repository
from sqlkeel.sessions import Database, SyncSession
from sqlkeel.versions import VersionMixin
from sqlkeel.versions._conflict import refuse_other_version


class Base(sqlkeel.Base):
    pass


class Page(IntKeyMixin, VersionMixin, Base):
    __tablename__ = "page"
    title: Mapped[str] = mapped_column(String(20))


class Note(Page):
    """A subclass in the same table, which has no version of its own."""


pytestmark = pytest.mark.tables(Base.metadata)


async def add(db: Database, kind: type[Page]) -> Page:
    """Commit a row at version 1."""
    async with db.transaction() as session:
        row = kind(title="t")
        session.add(row)
        await session.flush()
        await session.refresh(row)
        return row


@pytest.mark.parametrize("kind", [Page, Note])
class TestRefusal:
    @pytest.mark.parametrize("expected", [1, {1}, [3, 1], range(3), frozenset({1, 2})])
    async def test_the_expected_version_passes(self, every_driver: Database, kind: type[Page], expected: Any) -> None:
        """The version itself, or one of several."""
        refuse_other_version(await add(every_driver, kind), expected)

    @pytest.mark.parametrize("expected", [0, 2, set(), {2, 3}, range(2, 5)])
    async def test_another_version_is_a_conflict(self, every_driver: Database, kind: type[Page], expected: Any) -> None:
        """The conflict names the model of the row, and shows the row."""
        row = await add(every_driver, kind)

        with pytest.raises(VersionConflict) as caught:
            refuse_other_version(row, expected)

        conflict = caught.value
        assert (conflict.model, conflict.key, conflict.current) == (kind.__name__, row.id, 1)
        assert conflict.current_row is not None
        assert conflict.current_row["title"] == "t"

    @pytest.mark.parametrize(
        ("expected", "kept", "text"),
        [
            (7, 7, "the change was made on version 7"),
            ({5, 4}, frozenset({4, 5}), "the client expected one of 4, 5"),
            ([4], frozenset({4}), "the client expected version 4"),
            (set(), frozenset(), "the client named no version"),
            (range(2, 102), frozenset(range(2, 102)), "the client expected one of 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, …"),
            (range(2, 103), None, "the change was made on another one"),
            (range(2, 10**12), None, "the change was made on another one"),
            (ANY, None, "the change was made on another one"),
        ],
        ids=["one", "a set", "a list of one", "an empty set", "100", "101", "a huge range", "any"],
    )
    async def test_the_conflict_says_what_was_expected(
        self, sqlite: Database, kind: type[Page], expected: Any, kept: Any, text: str
    ) -> None:
        """What was given is kept where it can be told, and the message names it; here the row is gone."""
        row = await add(sqlite, kind)
        async with async_sessionmaker(sqlite.engine, sync_session_class=SyncSession)() as session:
            gone = await session.get_one(kind, row.id)
            await session.commit()
            await session.execute(delete(Page), execution_options={"synchronize_session": False})

            with pytest.raises(VersionConflict) as caught:
                await session.run_sync(lambda _: refuse_other_version(gone, expected))

        assert caught.value.message == f"{kind.__name__} {row.id} is gone; {text}."
        assert caught.value.expected == kept

    @pytest.mark.parametrize("expected", [{True}, {"1"}, {1, None}, [1.0], (1, b"1"), frozenset({"x"})], ids=range(6))
    async def test_nor_is_one_of_several(self, sqlite: Database, kind: type[Page], expected: Any) -> None:
        """A text in a set, as a form sends it, would be a conflict for ever; True would pass."""
        row = await add(sqlite, kind)

        with pytest.raises(InvalidValue, match=r"is not a version\."):
            refuse_other_version(row, expected)

    @pytest.mark.parametrize(
        "expected", ["1", "", 1.0, object(), True, b"\1", bytearray(1), IntEnum, IPv4Network("10.0.0.0/8")]
    )
    async def test_what_is_no_version_is_refused(self, sqlite: Database, kind: type[Page], expected: Any) -> None:
        """A text, a fraction or anything else is no version and no set of them; True equals the first one."""
        row = await add(sqlite, kind)

        with pytest.raises(InvalidValue, match=r"is not a (version|set of versions)\."):
            refuse_other_version(row, expected)

    def test_a_new_row_has_no_version_to_expect(self, kind: type[Page]) -> None:
        """A version of what is not written yet cannot have been seen."""
        with pytest.raises(UsageError, match="not written yet"):
            refuse_other_version(kind(title="new"), 1)


CALLS: dict[str, Callable[[Repository[Page], Page, int], Awaitable[object]]] = {
    "update": lambda pages, page, version: pages.update(page, {"title": "new"}, expected_version=version),
    "update nothing": lambda pages, page, version: pages.update(page, {"title": "t"}, expected_version=version),
    "touch": lambda pages, page, version: pages.touch(page, expected_version=version),
    "delete": lambda pages, page, version: pages.delete(page, expected_version=version),
}


class TestExpired:
    """An object whose values a commit has made expire, as SQLAlchemy's own sessions do."""

    @pytest.fixture
    async def session(self, every_driver: Database) -> AsyncIterator[AsyncSession]:
        """A session as SQLAlchemy makes it, over ours."""
        async with async_sessionmaker(every_driver.engine, sync_session_class=SyncSession)() as session:
            yield session

    @pytest.fixture
    async def page(self, session: AsyncSession) -> Page:
        """A row at version 1, in a session that has committed."""
        page = await Repository(session, Page).create(title="t")
        await session.commit()
        return page

    @pytest.mark.parametrize("call", CALLS)
    async def test_its_version_is_read_again(self, session: AsyncSession, page: Page, call: str) -> None:
        """Asynchronous code waits for it, where an attribute could not."""
        await CALLS[call](Repository(session, Page), page, 1)

        await session.commit()

    async def test_a_version_with_more_digits_than_python_writes_is_a_conflict(
        self, session: AsyncSession, page: Page
    ) -> None:
        """A client may have sent it."""
        with pytest.raises(VersionConflict):
            await CALLS["delete"](Repository(session, Page), page, 10**5000)

    @pytest.mark.parametrize("call", CALLS)
    async def test_another_version_is_a_conflict(self, session: AsyncSession, page: Page, call: str) -> None:
        """It is compared as it is now."""
        with pytest.raises(VersionConflict) as caught:
            await CALLS[call](Repository(session, Page), page, 7)

        assert (caught.value.expected, caught.value.current) == (7, 1)

    async def test_a_row_that_is_gone_is_a_conflict(self, session: AsyncSession, page: Page) -> None:
        """There is no version that could be the expected one."""
        await session.execute(delete(Page).where(Page.title == "t"), execution_options={"synchronize_session": False})

        with pytest.raises(VersionConflict) as caught:
            await Repository(session, Page).update(page, {"title": "new"}, expected_version=1)

        assert (caught.value.current, caught.value.current_row) == (None, None)

    async def test_touch_needs_no_expected_one(self, session: AsyncSession, page: Page) -> None:
        """To count a change, the version is read as well."""
        await Repository(session, Page).touch(page)

        await session.refresh(page)
        assert page.version == 2
