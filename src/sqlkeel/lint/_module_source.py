"""The source of a module as a syntax tree, read once."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from .._syntax import parse_module

__all__ = ["tree_of"]


@cache
def tree_of(module: ModuleType | None) -> tuple[Path | None, ast.Module]:
    """Return the file of a module and its syntax tree; an empty tree if its source is not readable Python.

    The whole file is parsed, because the lines of one class alone may not be valid Python.
    """
    try:
        file = inspect.getsourcefile(cast("Any", module))
        tree = parse_module(inspect.getsource(cast("Any", module)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return None, ast.Module(body=[], type_ignores=[])
    return (Path(file) if file else None), tree
