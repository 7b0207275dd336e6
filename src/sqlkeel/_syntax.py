"""Python that is read as a tree: models, revisions, annotations."""

from __future__ import annotations

import ast
import gc

__all__ = ["parse_expression", "parse_module"]


def parse_module(source: str | bytes) -> ast.Module:
    """Return the tree of a file.

    Raises:
        SyntaxError: When it is no Python.
        ValueError: When it holds a NUL.
        RecursionError: When it is nested too deep.
    """
    tree = _parse(source, "exec")
    assert isinstance(tree, ast.Module)
    return tree


def parse_expression(source: str) -> ast.expr:
    """Return the tree of an expression; raises what `parse_module` does."""
    tree = _parse(source, "eval")
    assert isinstance(tree, ast.Expression)
    return tree.body


def _parse(source: str | bytes, mode: str) -> ast.AST:
    # What is collected meanwhile may parse, too, as a task does whose error nobody has heard: its traceback is written.
    # In CPython 3.11 the tree then fails with a SystemError (python/cpython#106905).
    collects = gc.isenabled()
    gc.disable()
    try:
        return ast.parse(source, mode=mode)
    finally:
        if collects:
            gc.enable()
