"""The version that a client saw: compared with the object's, and refused where there is none."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.database import Database
from sqlkeel.errors import InvalidValue, UsageError, VersionConflict
from sqlkeel.expected_versions import refuse_other_version
from sqlkeel.keys import IntKeyMixin
from sqlkeel.mixins.version import VersionMixin


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

    @pytest.mark.parametrize("expected", ["1", "", 1.0, object()])
    async def test_what_is_no_version_is_refused(self, sqlite: Database, kind: type[Page], expected: Any) -> None:
        """A text, a fraction or anything else is no version and no set of them."""
        row = await add(sqlite, kind)

        with pytest.raises(InvalidValue, match="is no version"):
            refuse_other_version(row, expected)

    def test_a_new_row_has_no_version_to_expect(self, kind: type[Page]) -> None:
        """A version of what is not written yet cannot have been seen."""
        with pytest.raises(UsageError, match="not written yet"):
            refuse_other_version(kind(title="new"), 1)
