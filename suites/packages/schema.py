"""What a database holds, as data that can be compared: to see that two ways lead to the same tables."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, inspect

__all__ = ["Schema", "differences", "read_schema"]

Schema = dict[str, Any]
_PARTS = ("columns", "pk_constraint", "foreign_keys", "unique_constraints", "indexes", "check_constraints")
_COUNTED: Final = re.compile(r"_\d+$")
_KEY: Final = re.compile(r"_ibfk_\d+$")


def read_schema(connection: Connection, schemas: Iterable[str | None], *, without: Iterable[str] = ()) -> Schema:
    """Return tables, views, sequences and types by what SQLAlchemy's inspector says of them."""
    inspector = inspect(connection)
    found: Schema = {}
    for schema in schemas:
        for part in _PARTS:
            for (_, table), value in getattr(inspector, f"get_multi_{part}")(schema=schema).items():
                if table not in without:
                    found.setdefault(f"{schema}.{table}" if schema else table, {})[part] = _plain(value)
        types = inspector.get_enums(schema) if hasattr(inspector, "get_enums") else []
        found |= {f"the type {one['name']}": _plain(one) for one in types}
        found |= {f"the sequence {name}": True for name in _sequences(connection, schema)}
    return found


def differences(one: Any, other: Any, *, path: str = "") -> Iterator[str]:
    """Yield the places at which two pieces of data differ, with what stands there."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in sorted(one.keys() | other.keys()):
            yield from differences(one.get(key), other.get(key), path=f"{path}/{key}")
    elif one != other:
        yield f"{path}: {one!r} is {other!r}"


def _plain(value: Any) -> Any:
    """Return the same with names in place of positions, so that the order does not count."""
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        return {name: _plain(one) for name, one in map(_named, value)}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)


def _sequences(connection: Connection, schema: str | None) -> list[str]:
    inspector = inspect(connection)
    return inspector.get_sequence_names(schema=schema) if connection.dialect.supports_sequences else []


def _named(item: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return what to call a part of a table; what has no name MariaDB counts, and calls keys by their first column."""
    name = str(item.get("name") or "")
    columns = item.get("column_names") or item.get("constrained_columns") or [item.get("sqltext")]
    if name and not _KEY.search(name) and _COUNTED.sub("", name) != columns[0]:
        return name, item
    return str(columns), {key: value for key, value in item.items() if key not in {"name", "duplicates_index"}}
