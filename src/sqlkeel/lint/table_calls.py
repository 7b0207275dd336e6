"""Where a module makes a table without a class: the line of ``Table("name", …)``, or of a column in it."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from types import ModuleType

from sqlalchemy import Table

from .finding import Source
from .module_source import tree_of

__all__ = ["source_of_table"]


def source_of_table(table: Table, column: str | None) -> Source | None:
    """Return the line of a table, or of one of its columns, in a module that has the table or its MetaData by name.

    ``None`` where no module has, or where several calls make a table of this name.
    """
    found = dict(_sources(table, column))
    return found.popitem()[1] if len(found) == 1 else None


def _sources(table: Table, column: str | None) -> Iterator[tuple[str, Source]]:
    for module in [*sys.modules.values()]:
        file, tree = tree_of(module) if _has(module, table) else (None, None)
        if file is not None and tree is not None:
            for call in _calls(tree, "Table", table.name):
                columns = [one for part in call.args for one in _calls(part, "Column", column)] if column else []
                source = Source(file, (columns or [call])[0].lineno)
                yield f"{file}:{call.lineno}", source


def _has(module: object, table: Table) -> bool:
    # By identity: what stands in a module may compare as it likes.
    return isinstance(module, ModuleType) and any(
        one is table or one is table.metadata for one in [*vars(module).values()]
    )


def _calls(tree: ast.AST, function: str, name: str | None) -> Iterator[ast.Call]:
    """Yield the calls whose first argument is the name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args and _called(node) == function:
            first = node.args[0]
            if isinstance(first, ast.Constant) and first.value == name:
                yield node


def _called(call: ast.Call) -> str | None:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else None
