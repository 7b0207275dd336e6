"""The shape of primary keys: their columns, a key as one value or a tuple, and many keys in batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import tuple_
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors

__all__ = ["VALUES_AT_ONCE", "key_in", "plain_key", "portions", "row_value", "tables_with_keys"]

_T = TypeVar("_T")
VALUES_AT_ONCE: Final = 500
"""Below 1,000, from where MariaDB turns an IN list into a table, and then reads every row in another order."""


def row_value(columns: Sequence[Any]) -> Any:
    """Return the SQL to compare with a key: one column, or the row value ``(a, b)``."""
    return columns[0] if len(columns) == 1 else tuple_(*columns)


def plain_key(identity: Sequence[Any] | None) -> Any:
    """Return a key as callers write it: one value, or a tuple of several; ``None`` before the row is written."""
    if identity is None:
        return None
    return identity[0] if len(identity) == 1 else tuple(identity)


def portions(keys: Sequence[_T], width: int = 1, *, values: int = VALUES_AT_ONCE) -> Iterator[Sequence[_T]]:
    """Yield *keys* in batches that fit into one statement.

    Args:
        keys: Keys, or objects that are queried by their keys.
        width: The number of columns of a key.
        values: The maximum number of values in a statement.
    """
    size = max(1, values // width)
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def key_in(mapper: Mapper[Any], table: Any) -> tuple[Any, ...]:
    """Return the primary key columns in one of the mapper's tables; ``None`` for each one that the table lacks."""
    return tuple(_counterpart(mapper, column, table) for column in mapper.primary_key)


def tables_with_keys(mapper: Mapper[Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield the tables of the mapper that hold its primary key, each with its key columns.

    A concrete base that selects from a union includes the tables of the union, which hold the keys of its subclasses.
    """
    for table in mapper.tables:
        key = key_in(mapper, table)
        if all(column is not None for column in key):
            yield table, key


def _counterpart(mapper: Mapper[Any], column: Any, table: Any) -> Any:
    if column.table is table:
        return column
    same: set[Any] = {column, *mapper.get_property_by_column(column).columns}
    for joined in reversed(list(mapper.iterate_to_root())):
        # An attribute of another name may hold a table's key; the join condition contains all key columns.
        for part in visitors.iterate(joined.inherit_condition) if joined.inherit_condition is not None else ():
            pair = {getattr(part, "left", None), getattr(part, "right", None)} - {None}
            same |= pair if pair & same else set()
    return next((one for one in same if one.table is table), None)
