"""Python that is read as a tree, beside objects that are collected meanwhile."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from sqlkeel._syntax import parse_expression, parse_module


class Parses:
    """What parses when it is collected, as a task does whose error nobody has heard."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        ast.parse("1 + 1")


@pytest.fixture
def eager() -> Iterator[None]:
    """Let the collector run at nearly each new object."""
    thresholds = gc.get_threshold()
    gc.set_threshold(10)
    yield
    gc.set_threshold(*thresholds)


class TestParseModule:
    def test_it_is_not_disturbed_by_what_is_collected(self, eager: None) -> None:
        """Each time the whole tree is there; CPython 3.11 lost it in a SystemError."""
        source = Path(ast.__file__).read_text(encoding="utf-8")
        expected = ast.dump(ast.parse(source))
        trees = []

        for _ in range(20):
            Parses()
            trees.append(ast.dump(parse_module(source)))

        assert set(trees) == {expected}

    @pytest.mark.parametrize("collects", [True, False])
    @pytest.mark.parametrize("source", ["x = 1", "x ="])
    def test_the_collector_is_left_as_it_was(self, collects: bool, source: str) -> None:
        """On or off, whatever became of the source."""
        (gc.enable if collects else gc.disable)()
        with suppress(SyntaxError):
            parse_module(source)
        found = gc.isenabled()
        gc.enable()

        assert found is collects


class TestParseExpression:
    def test_it_returns_the_expression(self) -> None:
        """Without what is around it."""
        assert ast.unparse(parse_expression("list[ int ]")) == "list[int]"
