"""Where the mark of a soft-deletable model is: its table, the key there, and the other tables of the row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Integer, Table
from sqlalchemy.orm import Mapper, registry

from ..models._key_columns import key_in
from ..models._relations import is_soft
from ..sessions._refresh import kinds, rows_below

__all__ = [
    "MARKED",
    "Companion",
    "Mark",
    "has_mark",
    "kinds",
    "next_version",
    "rows_of",
    "soft_parts",
]

MARKED: Final[WeakKeyDictionary[registry, WeakSet[Mapper[Any]]]] = WeakKeyDictionary()
"""The soft-deletable classes of each registry; a statement on a registry without any costs nothing extra."""


class Mark:
    """The mark of a mapper's rows: its columns, under any name, and the key of the table that has them."""

    def __init__(self, mapper: Mapper[Any]) -> None:
        self.mapper = mapper
        self.at: Any = mapper.columns["deleted_at"]
        self.deletion: Any = mapper.columns["deletion_id"]
        self.table: Any = self.at.table
        self.key = key_in(mapper, self.table)

    def companions(self) -> list[Companion]:
        """Return the other tables of these rows that have a version or a timestamp."""
        found: dict[Any, Companion] = {}
        for mapper in rows_of(self.mapper):
            for table in mapper.tables:
                values = {} if table is self.table or table in found else _moved_in(mapper, table)
                if values:
                    found[table] = Companion(table, key_in(mapper, table), values)
        return list(found.values())


class Companion:
    """Another table of the marked rows, with the columns that a change of the rows updates there."""

    def __init__(self, table: Any, key: tuple[Any, ...], values: dict[Any, Any]) -> None:
        self.table = table
        self.key = key
        self.values = values


def _moved_in(mapper: Mapper[Any], table: Any) -> dict[Any, Any]:
    columns: list[Any] = [column for column in mapper.columns if _moves(column)]
    moved = {column: column.onupdate.arg for column in columns if column.table is table}
    return {**moved, **next_version(mapper, table)}


def _moves(column: Any) -> bool:
    onupdate = getattr(column, "onupdate", None)  # a mapped expression does not have it
    return onupdate is not None and bool(onupdate.is_clause_element)


def next_version(mapper: Mapper[Any], table: Any) -> dict[Any, Any]:
    """Return the version column and its next value, if it is in *table* and the client counts it."""
    version: Any = mapper.version_id_col
    following = mapper.version_id_generator
    if version is None or version.table is not table or not callable(following):
        return {}
    return {version: version + 1 if isinstance(version.type, Integer) else following(None)}


def has_mark(mapper: Mapper[Any]) -> bool:
    """Return whether objects of the mapper, or some of its subclasses, are soft-deleted."""
    return is_soft(mapper) or any(True for _ in soft_parts(mapper))


def rows_of(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the mapper and the subclass mappers whose rows are also in its table."""
    return [mapper, *rows_below(mapper)]


def soft_parts(mapper: Mapper[Any], *, covered: bool = False) -> Iterator[Mapper[Any]]:
    """Yield the mappers, from this one down, that together cover all soft-deletable rows, each row once."""
    if is_soft(mapper) and (mapper.concrete or not covered):
        covered = True
        if isinstance(Mark(mapper).table, Table):  # otherwise it is a union of the subclass tables
            yield mapper
    for below in mapper.self_and_descendants:
        if below.inherits is mapper:
            yield from soft_parts(below, covered=covered and not below.concrete)
