"""Find where a table or column is written: the file and line of its class, or of the call that creates it."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from sqlalchemy import Table
from sqlalchemy.orm import Mapper

from ._finding import Source
from ._module_source import tree_of
from ._table_calls import source_of_table

__all__ = ["source_of", "source_of_class"]

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def source_of(mappers: Iterable[Mapper[Any]], column: str | None, *, table: Table | None = None) -> Source | None:
    """Return where a mapped class writes the table or column; without a class, the call that creates the table.

    A column from a mixin of another package is located at the class that uses the mixin. ``None`` if no file has it.
    """
    written = _source_of_mapped(mappers, column)
    return source_of_table(table, column) if written is None and table is not None else written


def source_of_class(model: type[Any], attribute: str | None = None) -> Source | None:
    """Return the line of a class, or of an attribute in its body."""
    path, lines = _lines(cast("Any", model))
    line = lines.get(attribute)
    return None if path is None or line is None else Source(path, line)


def _source_of_mapped(mappers: Iterable[Mapper[Any]], column: str | None) -> Source | None:
    for mapper in mappers:
        model = mapper.class_
        found = _attribute(mapper, column) if column is not None else None
        source = _source_of_attribute(model, found) if found is not None else None
        if source is not None or column is None or found is not None:
            return source or source_of_class(model)
    return None


def _attribute(mapper: Mapper[Any], column: str) -> str | None:
    """Return the attribute that the class maps to the column."""
    own = mapper.local_table.columns.get(column)
    return next((prop.key for prop in mapper.column_attrs if own in prop.columns), None) if own is not None else None


def _source_of_attribute(model: type[Any], attribute: str) -> Source | None:
    own = (one for one in model.__mro__ if _package(one) == _package(model))
    return next((source for one in own if (source := source_of_class(one, attribute))), None)


def _package(model: type[Any]) -> str:
    return str(model.__module__).partition(".")[0]


@cache
def _lines(model: Any) -> tuple[Path | None, Mapping[str | None, int]]:
    """Return the file of a class and the line of each name in its body; the class's own line is under ``None``."""
    file, classes = _classes_of(sys.modules.get(model.__module__))
    written = [{None: node.lineno, **dict(_names(node))} for node in classes.get(model.__qualname__, ())]
    # If two classes have the same name, as in both branches of an if, choose the one with these attributes.
    lines = max(written, key=lambda one: _likeness(model, one), default=None)
    return (file, lines) if lines else (None, {})


def _likeness(model: Any, names: Mapping[str | None, int]) -> int:
    known = {name for one in model.__mro__ for name in vars(one)}
    return sum(1 if name in known else -1 for name in names if name)


@cache
def _classes_of(module: ModuleType | None) -> tuple[Path | None, Mapping[str, list[ast.ClassDef]]]:
    """Return the file of a module and its classes by qualified name; empty if its source is not readable Python."""
    found = defaultdict[str, list[ast.ClassDef]](list)
    file, tree = tree_of(module)
    for name, node in _classes(tree, ""):
        found[name].append(node)
    return file, found


def _classes(node: ast.AST, inside: str) -> Iterator[tuple[str, ast.ClassDef]]:
    """Yield the classes inside a statement, each with its ``__qualname__``."""
    for child in _body(node):
        if isinstance(child, ast.ClassDef):
            yield inside + child.name, child
            yield from _classes(child, f"{inside}{child.name}.")
        elif isinstance(child, _FUNCTIONS):
            yield from _classes(child, f"{inside}{child.name}.<locals>.")


def _names(node: ast.ClassDef) -> Iterator[tuple[str, int]]:
    """Yield the names that a class body defines and their lines; a mixin may define one as a function."""
    for child in _body(node):
        if isinstance(child, _FUNCTIONS):
            yield child.name, child.lineno
        elif isinstance(child, (ast.Assign, ast.AnnAssign)):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            yield from ((target.id, child.lineno) for target in targets if isinstance(target, ast.Name))


def _body(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the statements of a body, including those in the branches of an if, a try or a match."""
    # Not recursive: a long chain of elif nests as deep as it is long.
    waiting = [node]
    while waiting:
        for child in ast.iter_child_nodes(waiting.pop()):
            if isinstance(child, (ast.stmt, ast.excepthandler, ast.match_case)):
                yield child
                if not isinstance(child, (ast.ClassDef, *_FUNCTIONS)):
                    waiting.append(child)
