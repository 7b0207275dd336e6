"""The shape of primary keys: the columns that hold one, a key as one value or several, and many keys in portions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeVar

from sqlalchemy import tuple_
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import visitors

__all__ = ["VALUES_AT_ONCE", "key_in", "plain_key", "portions", "row_value", "tables_with_keys"]

_T = TypeVar("_T")
VALUES_AT_ONCE: Final = 500
"""Fewer than the thousand from which MariaDB makes a table of a list: it reads every row then, in another order."""


def row_value(columns: Sequence[Any]) -> Any:
    """Return the columns of a key as what its values are compared with: one column, or ``(a, b)`` of SQL."""
    return columns[0] if len(columns) == 1 else tuple_(*columns)


def plain_key(identity: Sequence[Any] | None) -> Any:
    """Return a key as callers write it: one value, or a tuple of several; ``None`` of what is not written yet."""
    if identity is None:
        return None
    return identity[0] if len(identity) == 1 else tuple(identity)


def portions(keys: Sequence[_T], width: int = 1, *, values: int = VALUES_AT_ONCE) -> Iterator[Sequence[_T]]:
    """Yield *keys* in parts that one statement takes.

    Args:
        keys: Keys, or objects that are asked for by theirs.
        width: How many columns a key has.
        values: How many values a statement takes.
    """
    size = max(1, values // width)
    for start in range(0, len(keys), size):
        yield keys[start : start + size]


def key_in(mapper: Mapper[Any], table: Any) -> tuple[Any, ...]:
    """Return the columns of *table*, one of the mapper's, that hold its primary key; ``None`` for one it has not."""
    return tuple(_counterpart(mapper, column, table) for column in mapper.primary_key)


def tables_with_keys(mapper: Mapper[Any]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Yield the tables of the mapper that hold its primary key, each with the columns of that.

    Those that the union of a concrete base reads are among its tables, and hold the keys of the classes below.
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
        # An attribute of its own name may hold the key of each table; the join knows them all.
        for part in visitors.iterate(joined.inherit_condition) if joined.inherit_condition is not None else ():
            pair = {getattr(part, "left", None), getattr(part, "right", None)} - {None}
            same |= pair if pair & same else set()
    return next((one for one in same if one.table is table), None)
