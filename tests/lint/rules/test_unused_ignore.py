"""unused-ignore: what lets nothing through is found where it is written."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.orm import Mapped, mapped_column

import sqlkeel
from sqlkeel.lint import allow, check


class Base(sqlkeel.Base):
    pass


class Post(Base):
    __tablename__ = "post"
    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(info=allow("snake-case", "An old name."))


class TestUnusedIgnore:
    def test_at_the_model(self) -> None:
        """An exception at the model is found at its line, with the reason that it had."""
        (finding,) = check(Base)

        assert (finding.code, finding.where) == ("unused-ignore", "post.title")
        assert finding.message == 'Nothing here breaks "snake-case". The exception gives the reason: An old name.'
        assert finding.source is not None
        assert "An old name." in Path(__file__).read_text().splitlines()[finding.source.line - 1]

    def test_in_the_settings(self) -> None:
        """One of the settings is found by its place, or by its code where it has none."""
        ignored = {"snake-case:post.title": "a reason", "same-type": "a reason", "same-name:*": "a reason"}

        places = [one.where for one in check(Base.metadata, ignore=ignored)]

        assert places == ["*", "post.title", "post.title", "same-type"]
