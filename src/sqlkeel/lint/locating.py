"""Where a table or column is written: the file and line of its class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

from sqlalchemy.orm import Mapper

from .finding import Source

__all__ = ["source_of", "source_of_class"]


def source_of(mappers: Iterable[Mapper[Any]], column: str | None) -> Source | None:
    """Return where the mapped classes of a table write it, or one of its columns.

    A column from a mixin of another package is taken for written by the class that uses the mixin. ``None`` where
    there is no class, or no file: a class made in a shell.
    """
    for mapper in mappers:
        model = mapper.class_
        found = _attribute(mapper, column) if column is not None else None
        source = _source_of_attribute(model, found) if found is not None else None
        if source is not None or column is None or found is not None:
            return source or source_of_class(model)
    return None


def source_of_class(model: type[Any], attribute: str | None = None) -> Source | None:
    """Return the line of a class, or of an attribute in its body."""
    path, lines = _lines(cast("Any", model))
    line = lines.get(attribute)
    return None if path is None or line is None else Source(path, line)


def _attribute(mapper: Mapper[Any], column: str) -> str | None:
    """Return what the class calls the column."""
    own = mapper.local_table.columns.get(column)
    return next((prop.key for prop in mapper.column_attrs if own in prop.columns), None) if own is not None else None


def _source_of_attribute(model: type[Any], attribute: str) -> Source | None:
    package = model.__module__.partition(".")[0]
    own = (one for one in model.__mro__ if one.__module__.partition(".")[0] == package)
    return next((source for one in own if (source := source_of_class(one, attribute))), None)


@cache
def _lines(model: Any) -> tuple[Path | None, Mapping[str | None, int]]:
    """Return the file of a class, and the line of each name in its body; its own is under ``None``."""
    try:
        file = inspect.getsourcefile(model)
        text, first = inspect.getsourcelines(model)
    except (OSError, TypeError):
        return None, {}
    body = ast.parse(textwrap.dedent("".join(text))).body[0]
    lines: dict[str | None, int] = {None: first + _decorators(body)}
    for node in getattr(body, "body", ()):
        lines |= dict.fromkeys(_names(node), first + node.lineno - 1)
    return (Path(file) if file else None), lines


def _names(node: ast.stmt) -> list[str]:
    """Return what a statement of a class body defines; a mixin may do it by a function."""
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _decorators(node: ast.stmt) -> int:
    """Return how many lines of decorators stand above."""
    return node.lineno - 1
