"""Tests of nullable-boolean: true or false."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Boolean, Column, Computed, Integer, true
from sqlalchemy.dialects.mysql import TINYINT
from sqlalchemy.types import TypeDecorator

from tests.lint.examples import found, found_in


class Flag(TypeDecorator[bool]):
    """A type of a project."""

    impl = Boolean
    cache_ok = True


class TestNullableBoolean:
    @pytest.mark.parametrize("kind", [Boolean(), Flag()])
    def test_bounds(self, kind: Any) -> None:
        """A boolean that may be NULL is found, and one that may not is not."""
        assert found("nullable-boolean", Column("active", kind))
        assert not found("nullable-boolean", Column("active", kind, nullable=False))

    @pytest.mark.parametrize(
        ("default", "fix"),
        [
            ({}, "Use nullable=False with server_default=false()."),
            ({"default": True}, "Use nullable=False with server_default=true()."),
            ({"server_default": true()}, "Use nullable=False, with the server_default that it has."),
        ],
    )
    def test_fix(self, default: Any, fix: str) -> None:
        """The default that a row has now stays."""
        (finding,) = found("nullable-boolean", Column("active", Boolean, **default))

        assert finding.fix == fix

    def test_fix_in_a_class(self) -> None:
        """It is written as an annotation; a table without a class has none."""
        source = """
class User(Base):
    __tablename__ = "user"
    id: Mapped[int] = mapped_column(primary_key=True)
    active: Mapped[bool | None]
"""
        (finding,) = found_in("nullable-boolean", source)

        assert finding.fix == "Use Mapped[bool] with server_default=false()."

    @pytest.mark.parametrize(
        "column",
        [Column("active", Integer), Column("active", TINYINT(1)), Column("active", Boolean, Computed("left > right"))],
    )
    def test_accepted(self, column: Any) -> None:
        """A number may be NULL, and so may what is computed."""
        assert not found("nullable-boolean", column)

    def test_column_of_a_subclass(self) -> None:
        """In a table of several classes, the column of one is NULL in the rows of the others."""
        source = """
class User(Base):
    __tablename__ = "user"
    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "user"}
    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(20))
    active: Mapped[bool | None]

class Admin(User):
    __mapper_args__ = {"polymorphic_identity": "admin"}
    trusted: Mapped[bool | None]
"""

        assert [one.where for one in found_in("nullable-boolean", source)] == ["user.active"]
