"""Python source as syntax trees: models, revisions, annotations."""

from __future__ import annotations

import ast
import gc

__all__ = ["parse_expression", "parse_module"]


def parse_module(source: str | bytes) -> ast.Module:
    """Return the syntax tree of a file.

    Raises:
        SyntaxError: When it is not valid Python.
        ValueError: When it contains a NUL.
        RecursionError: When it is nested too deep.
    """
    tree = _parse(source, "exec")
    assert isinstance(tree, ast.Module)
    return tree


def parse_expression(source: str) -> ast.expr:
    """Return the syntax tree of an expression; raises the same errors as `parse_module`."""
    tree = _parse(source, "eval")
    assert isinstance(tree, ast.Expression)
    return tree.body


def _parse(source: str | bytes, mode: str) -> ast.AST:
    # Garbage collection during the parse may itself parse source, for instance for the traceback of a failed task that
    # was never awaited. In CPython 3.11 the tree then fails with a SystemError (python/cpython#106905).
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source, mode=mode)
    finally:
        if collects:
            gc.enable()
