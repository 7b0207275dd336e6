"""Find out by the foreign keys which rows reference a deleted row, and which of them prevent its removal."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import ColumnElement, ForeignKeyConstraint, FromClause, Select, Table, and_, exists, or_
from sqlalchemy.orm import Mapper, registry

from ..models._constraints import is_live_key
from ._soft_delete import SoftDeleteMixin

__all__ = ["References"]

_Path = tuple[ForeignKeyConstraint, ...]


class References:
    """The foreign keys of a registry's tables in reverse: from a row to the rows that reference it.

    A referencing row needs its referenced row, unless the foreign key says SET NULL. If it says CASCADE, a row of a
    table without soft delete is removed too, and so are its children; then only rows that need those count. A
    soft-deletable row is never removed by cascade, because it has its own time.
    """

    def __init__(self, models: registry) -> None:
        # Configuring the relationships writes ON DELETE into the foreign keys.
        models.configure()
        self.soft: dict[Table, Mapper[Any]] = {}
        for mapper in models.mappers:
            if issubclass(mapper.class_, SoftDeleteMixin):
                base = self.base(mapper)
                top = base if issubclass(base.class_, SoftDeleteMixin) else mapper
                self.soft |= dict.fromkeys(self.tables(top), top)
        self._keys: dict[Table, list[ForeignKeyConstraint]] = defaultdict(list)
        for metadata in {table.metadata for table in self.soft}:
            for table in metadata.tables.values():
                for key in sorted(table.foreign_key_constraints, key=lambda key: tuple(key.column_keys)):
                    self._keys[key.referred_table].append(key)

    def base(self, mapper: Mapper[Any]) -> Mapper[Any]:
        """Return the mapper of the base table for rows of *mapper*."""
        while mapper.inherits is not None and not mapper.concrete:
            mapper = mapper.inherits
        return mapper

    def tables(self, mapper: Mapper[Any]) -> tuple[Table, ...]:
        """Return the tables over which the rows of *mapper* are spread, the lowest first (joined inheritance)."""
        line = [mapper]
        while (above := line[-1]).inherits is not None and not above.concrete:
            line.append(above.inherits)
        below = [one for one in mapper.self_and_descendants if self.base(one) is line[-1]]
        family = sorted({*line, *below}, key=lambda one: -len(list(one.iterate_to_root())))
        return tuple(dict.fromkeys(one.local_table for one in family if isinstance(one.local_table, Table)))

    def has_own(self, table: Table) -> bool:
        """Return whether anything except the other parts of a row references *table*."""
        return any(not self._joins_parts(key) for key in self._keys[table])

    def needing(self, table: Table, row: FromClause, path: _Path = ()) -> Iterator[ColumnElement[bool]]:
        """Yield, for each foreign key, the condition that it prevents the removal of *row* in *table*."""
        for key in self._binding(table):
            below = key.table.alias()
            match = _points(key, below, row)
            if key.table is table:
                # A reference of a row to itself does not prevent its removal.
                match = and_(match, or_(*(below.c[one.key] != row.c[one.key] for one in table.primary_key)))
            if self._goes_along(key):
                if not self._may_hold(key.table):
                    continue
                # A path that returns to the same key, as in a tree, would not end, so any row there counts.
                if key not in path:
                    match = and_(match, or_(*self.needing(key.table, below, (*path, key))))
            yield exists().select_from(below).where(match)

    def locking(self, table: Table, row: FromClause, rows: Select[Any], path: _Path = ()) -> Iterator[Select[Any]]:
        """Yield, top down, locking SELECTs for rows that a cascade from *rows* would remove but may have to stay."""
        for key in self._binding(table):
            if key in path or not self._goes_along(key) or not self._may_hold(key.table):
                continue
            below = key.table.alias()
            joined = rows.join_from(row, below, _points(key, below, row))
            columns = tuple(below.primary_key) or tuple(below.c)
            locked = joined.with_only_columns(*columns, maintain_column_froms=True)
            yield locked.order_by(*columns).with_for_update(of=below)
            yield from self.locking(key.table, below, joined, (*path, key))

    def below(self, table: Table, path: _Path = ()) -> Iterator[Mapper[Any]]:
        """Yield the soft-deletable models that may keep a row of *table*."""
        for key in self._binding(table):
            if self._goes_along(key):
                if key not in path:
                    yield from self.below(key.table, (*path, key))
            elif key.table in self.soft:
                yield self.soft[key.table]

    def _may_hold(self, table: Table, passed: frozenset[Table] = frozenset()) -> bool:
        """Return whether a row that references *table*, directly or not, may prevent a removal."""
        ways = (key for key in self._binding(table) if key.table not in passed)
        return any(not self._goes_along(key) or self._may_hold(key.table, passed | {table}) for key in ways)

    def _binding(self, table: Table) -> Iterator[ForeignKeyConstraint]:
        for key in self._keys[table]:
            if _rule(key) != "SET NULL" and not self._joins_parts(key) and not is_live_key(key):
                yield key

    def _goes_along(self, key: ForeignKeyConstraint) -> bool:
        return _rule(key) == "CASCADE" and key.table not in self.soft

    def _joins_parts(self, key: ForeignKeyConstraint) -> bool:
        same = self.soft.get(key.table, self) is self.soft.get(key.referred_table)
        return same and key.table is not key.referred_table and set(key.columns) == set(key.table.primary_key)


def _points(key: ForeignKeyConstraint, below: FromClause, row: FromClause) -> ColumnElement[bool]:
    return and_(*(below.c[one.parent.key] == row.c[one.column.key] for one in key.elements))


def _rule(key: ForeignKeyConstraint) -> str:
    return (key.ondelete or "").upper()
