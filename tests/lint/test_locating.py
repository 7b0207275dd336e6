"""Tests of sqlkeel.lint._locating: the line where a class or column is written."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import MetaData, String, Table
from sqlalchemy.orm import Mapped, declared_attr, mapped_column

import sqlkeel
from sqlkeel.lint._finding import Source
from sqlkeel.lint._locating import source_of, source_of_class
from tests.lint.examples import models

TREE = True
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


if TREE:

    class Tree(sqlkeel.IntKeyMixin, Base):
        """A tree.

        Text at the left margin, as in some projects.
        """

        __tablename__ = "tree"
        if TREE:
            height: Mapped[int]

    class Leaf(sqlkeel.IntKeyMixin, Base):
        __tablename__ = "leaf"
        colour: Mapped[str]

else:

    class Leaf(sqlkeel.IntKeyMixin, Base):  # type: ignore[no-redef]
        __tablename__ = "leaf"
        size: Mapped[int]


def make_local() -> type[Any]:
    """Return a class with the name of another one, made in a function."""

    class Named:
        age = 1

    return Named


def load(name: str, file: Path) -> ModuleType:
    """Import a file as a module."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


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

    def test_inside_of_an_if(self) -> None:
        """A class may be indented, with texts at the left margin, and so may be its columns."""
        assert line(Tree, None) == "class Tree(sqlkeel.IntKeyMixin, Base):"
        assert line(Tree, "height") == "height: Mapped[int]"

    def test_two_classes_of_one_name(self) -> None:
        """Of the classes in both arms of an if it is the one that is there."""
        assert line(Leaf, "colour") == "colour: Mapped[str]"

    def test_inside_of_a_function(self) -> None:
        """A class of a function is not taken for its namesake outside."""
        found = source_of_class(make_local(), "age")

        assert found is not None
        assert LINES[found.line - 1].strip() == "age = 1"

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

    @pytest.mark.parametrize("name", ["builtins", "nowhere", "tests.lint.test_locating", None])
    def test_made_by_exec(self, name: str | None) -> None:
        """A class by exec() has no source, whatever the module that it is said to be of."""
        made: dict[str, Any] = {"__name__": name}
        exec("class Made:\n    size = 1", made)

        assert source_of_class(made["Made"], "size") is None

    @pytest.mark.parametrize(
        "text", ["(defclass Made [])", "class Made:\n  x = 1\n y = 2", "class Other:\n    pass", "\0", "", None]
    )
    def test_source_that_is_not_python(self, text: str | None, tmp_path: Path) -> None:
        """A module whose file is not Python, has changed since, or is gone, has no lines."""
        file = tmp_path / "made.py"
        file.write_text("class Made:\n    size = 1\n")
        module = load("made_for_a_test", file)
        file.unlink() if text is None else file.write_text(text)

        assert source_of_class(module.Made, "size") is None

    def test_chain_of_elif(self, tmp_path: Path) -> None:
        """A program as deep as Python still compiles it is read."""
        file = tmp_path / "deep.py"
        arms = "".join(f"elif sys.maxsize == {n}:\n    pass\n" for n in range(1400))
        file.write_text(f"import sys\nif not sys:\n    pass\n{arms}else:\n    class Made:\n        size = 1\n")
        module = load("deep_for_a_test", file)

        assert source_of_class(module.Made, "size") == Source(file, 2806)
