"""Tests of sqlkeel.lint.locating: the line where a class or column is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import MetaData, String, Table
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

import sqlkeel
from sqlkeel.lint.locating import source_of, source_of_class
from tests.lint.examples import models

LINES = Path(__file__).read_text().splitlines()


class Base(sqlkeel.Base):
    pass


class Named:
    name: Mapped[str] = mapped_column(String(20))

    @declared_attr
    def nick(cls) -> Mapped[str]:
        """Write a column by a function."""
        return mapped_column(String(20))


def unchanged(cls: Any) -> Any:
    """Decorate."""
    return cls


@unchanged
class Person(Named, sqlkeel.IntKeyMixin, Base):
    __tablename__ = "person"
    called: Mapped[str] = mapped_column("odd_name")
    other = mapped_column(String(20))


def line(model: type[Any], column: str | None) -> str:
    """Return the text of the line that was found."""
    found = source_of([model.__mapper__], column)
    assert found is not None
    assert found.path == Path(__file__)
    return LINES[found.line - 1].strip()


class TestSourceOf:
    def test_class(self) -> None:
        """A table is where its class is, below the decorators."""
        assert line(Person, None) == "class Person(Named, sqlkeel.IntKeyMixin, Base):"

    def test_column(self) -> None:
        """A column is where it is assigned, also under another name or without an annotation."""
        assert line(Person, "odd_name") == 'called: Mapped[str] = mapped_column("odd_name")'
        assert line(Person, "other") == "other = mapped_column(String(20))"

    def test_mixin(self) -> None:
        """A column from a mixin of the project is where the mixin has it."""
        assert line(Person, "name") == "name: Mapped[str] = mapped_column(String(20))"
        assert line(Person, "nick") == "def nick(cls) -> Mapped[str]:"

    def test_mixin_of_another_package(self) -> None:
        """One from elsewhere is taken for written at the class: nobody edits an installed package."""
        assert line(Person, "id") == "class Person(Named, sqlkeel.IntKeyMixin, Base):"

    def test_no_such_column(self) -> None:
        """What is called like a column and is none is at no line of its own."""
        assert source_of([Person.__mapper__], "nothing") is None

    def test_no_class(self) -> None:
        """A table without a class has no source that is known."""
        Table("link", MetaData())

        assert source_of([], None) is None

    def test_no_file(self) -> None:
        """Neither has a class that was made in a shell."""
        base = models(
            'class Post(Base):\n    __tablename__ = "post"\n    id: Mapped[int] = mapped_column(primary_key=True)'
        )
        (mapper,) = base.registry.mappers

        assert source_of([mapper], "id") is None
        assert source_of_class(mapper.class_) is None
