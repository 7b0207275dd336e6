"""Tests of native-enum: types of their own that no migration changes."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Column, Enum, String
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.types import TypeDecorator

from tests.lint.examples import found


class State(enum.Enum):
    """A state."""

    PAID = "paid"
    SENT = "sent"


class Stated(TypeDecorator[Any]):
    """A type of a project."""

    impl = Enum
    cache_ok = True


class TestNativeEnum:
    @pytest.mark.parametrize(
        ("kind", "fix"),
        [
            (Enum("a", "b", name="ab"), "Use Enum('a', 'b', native_enum=False, length=32)."),
            (Enum(State), "Use Enum(State, native_enum=False, length=32)."),
            (Enum("a" * 33, name="ab"), f"Use Enum('{'a' * 33}', native_enum=False, length=33)."),
            (postgresql.ENUM("a", name="ab"), "Use Enum('a', native_enum=False, length=32)."),
            (mysql.ENUM("a"), "Use Enum('a', native_enum=False, length=32)."),
            (Stated("a", name="ab"), "Use Enum('a', native_enum=False, length=32)."),
        ],
    )
    def test_refused(self, kind: Any, fix: str) -> None:
        """A type that the models make, with the text to store instead and room for its values."""
        (finding,) = found("native-enum", Column("state", kind))

        assert finding.fix == fix

    @pytest.mark.parametrize(
        "kind",
        [
            Enum(State, native_enum=False, length=32),
            Enum(State, create_type=False),
            postgresql.ENUM("a", name="ab", create_type=False),
            String(32),
        ],
    )
    def test_accepted(self, kind: Any) -> None:
        """A text, and a type that the migrations make."""
        assert not found("native-enum", Column("state", kind))

    def test_accepted_where_the_migrations_see_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """An extension of Alembic that is installed compares such types."""
        (tmp_path / "alembic_postgresql_enum.py").touch()
        monkeypatch.syspath_prepend(tmp_path)

        assert not found("native-enum", Column("state", Enum(State)))
