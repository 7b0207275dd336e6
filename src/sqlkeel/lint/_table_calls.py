"""Find where a module creates a table without a class: the line of ``Table("name", …)``, or of a column in it."""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import ModuleType
from typing import Any, cast

from sqlalchemy import MetaData, Table

from ._finding import Source
from ._module_source import tree_of

__all__ = ["source_of_table"]


def source_of_table(table: Table, column: str | None) -> Source | None:
    """Return the line that creates a table, or a column of it, in a module that names the table or its MetaData.

    ``None`` if no module does, or if several calls create a table of this name.
    """
    found = dict(_sources(table, column))
    return found.popitem()[1] if len(found) == 1 else None


def _sources(table: Table, column: str | None) -> Iterator[tuple[str, Source]]:
    holders = _holders(len(sys.modules))
    modules = {id(one): one for value in (table, table.metadata) for one in holders.get(id(value), ())}
    for module in modules.values():
        file, _ = tree_of(module)
        if file is not None:
            for call in _tables_in(module).get(table.name, ()):
                columns = [one for part in call.args for one in _calls(part, "Column", column)] if column else []
                yield f"{file}:{call.lineno}", Source(file, (columns or [call])[0].lineno)


@lru_cache(maxsize=1)
def _holders(modules: int) -> Mapping[int, list[ModuleType]]:
    """Return the modules that name a table or a MetaData, by its identity; recomputed when modules are added."""
    found = defaultdict[int, list[ModuleType]](list)
    for module in [*sys.modules.values()]:
        # A module may contain any object, and its __eq__ may do anything.
        for value in [*vars(module).values()] if isinstance(module, ModuleType) else ():
            if isinstance(value, Table | MetaData):
                found[id(value)].append(module)
    return found


@cache
def _tables_in(module: ModuleType) -> Mapping[Any, list[ast.Call]]:
    found = defaultdict[Any, list[ast.Call]](list)
    for call in _calls(tree_of(module)[1], "Table", None):
        found[cast("ast.Constant", call.args[0]).value].append(call)
    return found


def _calls(tree: ast.AST, function: str, name: str | None) -> Iterator[ast.Call]:
    """Yield the calls whose first argument is the name, or any string if there is no name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _called(node) == function:
            first = node.args[0]
            if isinstance(first, ast.Constant) and (name is None or first.value == name):
                yield node


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None
