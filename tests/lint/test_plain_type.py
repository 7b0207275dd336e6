"""The type behind a decorator."""

from __future__ import annotations

from typing import Any

from sqlalchemy import String
from sqlalchemy.types import TypeDecorator

from sqlkeel.lint._plain_type import plain_type


class Name(TypeDecorator[str]):
    """Another word for a text."""

    impl = String(255)
    cache_ok = True


class Title(TypeDecorator[str]):
    """Another word for a name."""

    impl = Name
    cache_ok = True


class Converted(TypeDecorator[str]):
    """A text that is stored as another."""

    impl = String(255)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Return it as it is."""
        return value


class TestPlainType:
    def test_behind_a_name(self) -> None:
        """However many names there are."""
        assert (str(plain_type(Name())), str(plain_type(Title()))) == ("VARCHAR(255)", "VARCHAR(255)")

    def test_what_converts_is_a_type_of_its_own(self) -> None:
        """It may keep what the type behind it would lose."""
        assert isinstance(plain_type(Converted()), Converted)

    def test_a_type_is_itself(self) -> None:
        """Nothing is behind it."""
        kind = String(3)

        assert plain_type(kind) is kind
