"""Tests of sqlkeel.lint._module_source: a module as a tree of statements."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from sqlkeel.lint._module_source import tree_of


class TestTreeOf:
    def test_a_module(self) -> None:
        """Its file, and what stands in it."""
        file, tree = tree_of(sys.modules[__name__])

        assert file == Path(__file__)
        assert [one.name for one in tree.body if isinstance(one, ast.ClassDef)] == ["TestTreeOf"]

    def test_no_python(self) -> None:
        """A module of the interpreter has no file that one can read, and no module has none."""
        found = [tree_of(module) for module in (sys, None)]

        assert [(file, tree.body) for file, tree in found] == [(None, []), (None, [])]
