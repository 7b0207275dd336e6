"""The source of a module as a tree of its statements, read once."""

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
    """Return the file of a module and what stands in it; an empty tree where it is not Python that one can read.

    The file is read as a whole: the lines of one class alone need not be a program.
    """
    try:
        file = inspect.getsourcefile(cast("Any", module))
        tree = parse_module(inspect.getsource(cast("Any", module)))
    except (OSError, TypeError, SyntaxError, ValueError, RecursionError):
        return None, ast.Module(body=[], type_ignores=[])
    return (Path(file) if file else None), tree
