"""Where the mark of a soft-deletable model stands: in which table, under which key, beside which other tables."""

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
"""The soft-deletable classes of each registry: most statements are about models that have none, and pay nothing."""


class Mark:
    """The columns that hold the mark of a mapper's rows, whatever their names, and the key of their table."""

    def __init__(self, mapper: Mapper[Any]) -> None:
        self.mapper = mapper
        self.at: Any = mapper.columns["deleted_at"]
        self.deletion: Any = mapper.columns["deletion_id"]
        self.table: Any = self.at.table
        self.key = key_in(mapper, self.table)

    def companions(self) -> list[Companion]:
        """Return the other tables of these rows that count or date a change."""
        found: dict[Any, Companion] = {}
        for mapper in rows_of(self.mapper):
            for table in mapper.tables:
                values = {} if table is self.table or table in found else _moved_in(mapper, table)
                if values:
                    found[table] = Companion(table, key_in(mapper, table), values)
        return list(found.values())


class Companion:
    """A table that holds another part of the marked rows, with what a change of them moves there."""

    def __init__(self, table: Any, key: tuple[Any, ...], values: dict[Any, Any]) -> None:
        self.table = table
        self.key = key
        self.values = values


def _moved_in(mapper: Mapper[Any], table: Any) -> dict[Any, Any]:
    columns: list[Any] = [column for column in mapper.columns if _moves(column)]
    moved = {column: column.onupdate.arg for column in columns if column.table is table}
    return {**moved, **next_version(mapper, table)}


def _moves(column: Any) -> bool:
    onupdate = getattr(column, "onupdate", None)  # a mapped expression has none
    return onupdate is not None and bool(onupdate.is_clause_element)


def next_version(mapper: Mapper[Any], table: Any) -> dict[Any, Any]:
    """Return the version of the mapper's rows with its next value, where it stands in *table* and the client counts."""
    version: Any = mapper.version_id_col
    following = mapper.version_id_generator
    if version is None or version.table is not table or not callable(following):
        return {}
    return {version: version + 1 if isinstance(version.type, Integer) else following(None)}


def has_mark(mapper: Mapper[Any]) -> bool:
    """Return whether some objects of the mapper, or all, are marked instead of removed."""
    return is_soft(mapper) or any(True for _ in soft_parts(mapper))


def rows_of(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the mapper and those below it whose rows are in its table, too."""
    return [mapper, *rows_below(mapper)]


def soft_parts(mapper: Mapper[Any], *, covered: bool = False) -> Iterator[Mapper[Any]]:
    """Yield the mappers, of this one and those below it, that together hold all soft-deletable rows, each row once."""
    if is_soft(mapper) and (mapper.concrete or not covered):
        covered = True
        if isinstance(Mark(mapper).table, Table):  # else it is a union of the tables of those below
            yield mapper
    for below in mapper.self_and_descendants:
        if below.inherits is mapper:
            yield from soft_parts(below, covered=covered and not below.concrete)
