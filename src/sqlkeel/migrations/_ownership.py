"""Decide which tables of a database belong to the project: those of its models, and those its revisions created."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData

from .._syntax import parse_module
from ._databases import Migrator

__all__ = ["Ownership", "made_by"]

Name = tuple[str | None, str]
"""Schema and table; no schema means the default one."""

_MAKES: Final = "create_table"
_DROPS: Final = "drop_table"
_RENAMES: Final = "rename_table"


class Ownership:
    """Distinguish the project's own schemas and tables from others in the same database.

    A database may be shared with extensions, other applications or another history of revisions. A table that neither
    the models nor a revision of this directory know is not compared, so no revision drops it. Tables that belong to
    another one are not dropped either: partitions, inheriting tables, tables of an extension.
    """

    def __init__(
        self, metadata: MetaData, scripts: ScriptDirectory, *, backend: Migrator, connection: Connection
    ) -> None:
        self._default = connection.dialect.default_schema_name
        self._models = {self._plain(table.schema, table.name) for table in metadata.tables.values()}
        self._scripts = scripts
        self._parts = partial(backend.parts, connection)

    def filter(self, *, every_schema: bool, also: Callable[..., bool] | None) -> Callable[..., bool]:
        """Return the ``include_name`` for Alembic; *also* is the project's own, which may exclude more."""

        def include_name(name: str | None, kind: str, parents: Mapping[str, Any]) -> bool:
            if kind == "schema" and not every_schema and name not in self._schemas:
                return False
            if kind == "table" and self._plain(parents.get("schema_name"), str(name)) not in self._owned:
                return False
            return also is None or bool(also(name, kind, parents))

        return include_name

    @cached_property
    def _schemas(self) -> set[str | None]:
        """The schemas of the models, and those of tables that the revisions created."""
        return {None, *(schema for schema, _ in self._owned)}

    @cached_property
    def _owned(self) -> set[Name]:
        parts = {self._plain(*part) for part in self._parts()}
        return self._models | ({self._plain(*name) for name in made_by(_in_order(self._scripts))} - parts)

    def _plain(self, schema: str | None, name: str) -> Name:
        return (None if schema == self._default else schema, name)


def made_by(scripts: Iterable[Script]) -> set[Name]:
    """Return the tables that exist after these revisions, if ``op.create_table`` created them.

    The files are parsed, not run, because a revision may query a database that is not available. A table that a
    revision creates by raw SQL is not seen; such a revision also has to drop it by raw SQL.
    """
    made: set[Name] = set()
    for script in scripts:
        for call in _calls(parse_module(Path(script.path).read_bytes())):
            names = [_constant(argument, script.module) for argument in call.args]
            schema = next((_constant(one.value, script.module) for one in call.keywords if one.arg == "schema"), None)
            _apply(call.func.attr if isinstance(call.func, ast.Attribute) else "", names, schema, made)
    return made


def _apply(verb: str, names: list[Any], schema: str | None, made: set[Name]) -> None:
    first, second = [*names, None, None][:2]
    if verb == _MAKES:
        made.add((schema, first))
    elif verb == _DROPS:
        made.discard((schema, first))
    elif verb == _RENAMES and (schema, first) in made:
        made.remove((schema, first))
        made.add((schema, second))


def _calls(module: ast.Module) -> Iterator[ast.Call]:
    """Yield the calls in the order of the file, without those in ``downgrade``."""
    kept = [one for one in module.body if not (isinstance(one, ast.FunctionDef) and one.name.startswith("downgrade"))]
    found = (node for part in kept for node in ast.walk(part) if isinstance(node, ast.Call))
    yield from sorted(found, key=lambda call: (call.lineno, call.col_offset))


def _constant(value: ast.expr, module: Any) -> Any:
    """Return a string argument that is written as a literal or as the name of a module-level constant."""
    if isinstance(value, ast.Constant):
        return value.value
    return getattr(module, value.id, None) if isinstance(value, ast.Name) else None


def _in_order(scripts: ScriptDirectory) -> list[Script]:
    return list(reversed(list(scripts.walk_revisions())))
