"""Tests of sqlkeel.lint.check: what it takes, lets through, and refuses."""

from __future__ import annotations

from types import ModuleType

import pytest
from sqlalchemy import Column, Integer, MetaData
from sqlalchemy import Table as SATable
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

import sqlkeel
from sqlkeel.errors import ConfigurationError
from sqlkeel.lint import check


class Base(sqlkeel.Base):
    pass


class Users(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    userName: Mapped[str]


FOUND = [("singular-table", "users"), ("snake-case", "users.userName")]


def summary(*args: object, **options: object) -> list[tuple[str, str]]:
    """Return code and place of each finding."""
    return [(one.code, one.where) for one in check(*args, **options)]  # type: ignore[arg-type]


class TestTargets:
    def test_base(self) -> None:
        """A declarative base is checked with all its tables, sorted by place."""
        assert summary(Base) == FOUND

    def test_metadata(self) -> None:
        """So is its metadata."""
        assert summary(Base.metadata) == FOUND

    def test_module(self) -> None:
        """A module is checked with every base, model or table in it, each metadata once."""
        module = ModuleType("models")
        module.Base, module.Users, module.other = Base, Users, Users.__table__  # type: ignore[attr-defined]

        assert summary(module) == FOUND

    def test_sqlalchemys_own_base(self) -> None:
        """A base that is not ours is checked as well."""

        class Plain(DeclarativeBase):
            pass

        class User(Plain):
            __tablename__ = "user"
            id: Mapped[int] = mapped_column(primary_key=True)

        assert summary(Plain) == [("constraint-name", "user")]

    @pytest.mark.parametrize("target", [MetaData(), ModuleType("empty"), object()])
    def test_nothing_to_check(self, target: object) -> None:
        """A target without tables is a mistake, not a success."""
        with pytest.raises(ConfigurationError, match="holds no tables"):
            check(target)  # type: ignore[arg-type]


class TestIgnore:
    def test_everywhere(self) -> None:
        """A code alone lets the rule go everywhere."""
        assert summary(Base, ignore=["snake-case"]) == FOUND[:1]

    def test_at_one_place(self) -> None:
        """A code with a place lets it go there only."""
        assert summary(Base, ignore=["snake-case:users.userName"]) == FOUND[:1]
        assert summary(Base, ignore=["snake-case:users.other"]) == FOUND

    def test_unknown_rule(self) -> None:
        """A rule that does not exist is refused with those that do."""
        with pytest.raises(ConfigurationError, match="no rule snakecase") as caught:
            check(Base, ignore=["snakecase:users"])

        assert "snake-case" in caught.value.hint


class TestFindings:
    def test_one_text(self) -> None:
        """A finding prints as one line with everything in it."""
        metadata = MetaData(naming_convention=Base.metadata.naming_convention)
        SATable("posts", metadata, Column("id", Integer, primary_key=True))

        (finding,) = check(metadata)

        assert str(finding) == 'singular-table  posts: "posts" is a plural. Call it "post".'
