"""The conditions that leave out deleted rows where the mark is not in the table at hand: inheritance."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, inspect, true
from sqlalchemy.orm import Mapper

from .. import _sqlalchemy as private
from ..models._key_columns import key_in
from ..models._relations import is_soft
from ._marks import Mark, rows_of, soft_parts

__all__ = ["OF_BASES", "closed_alias", "hard_bases", "is_live", "is_live_written"]


# SQLAlchemy analyses the functions that it is given, and lets them call nothing but what returns a condition. They are
# functions of the module and not lambdas: every loaded object carries them, and must stay picklable.
def is_live(cls: Any) -> ColumnElement[bool]:
    """Match the living rows of a soft-deletable class, in a SELECT."""
    return _is_live(cls)


def _is_live(cls: Any) -> ColumnElement[bool]:
    insp: Any = inspect(cls, raiseerr=False)
    if insp is not None and insp.is_mapper and insp.selectable is not insp.persist_selectable:
        # A union of tables (concrete inheritance): SQLAlchemy adapts the attribute to it in some places only.
        found = insp.selectable.corresponding_column(Mark(insp).at)
        if found is not None:
            return _adaptable(found, insp).is_(None)  # type: ignore[no-any-return]  # a condition
    if (
        insp is not None
        and insp.is_aliased_class
        and insp.selectable.corresponding_column(Mark(insp.mapper).at) is None
    ):
        return true()  # of a subquery that does not read it: the condition stands inside, and here it has no column
    condition: ColumnElement[bool] = cls.deleted_at.is_(None)
    return condition


def is_live_written(cls: Any) -> ColumnElement[bool]:
    """Match the living rows of a soft-deletable class, in an UPDATE or DELETE of the table that is its own."""
    return _is_live_written(cls)


def _is_live_written(cls: Any) -> ColumnElement[bool]:
    insp: Any = inspect(cls, raiseerr=False)
    if insp is not None and insp.is_aliased_class:
        return _is_live(cls)  # it stands in a SELECT, and has the columns of all its tables
    if insp is None or (mark := Mark(insp.mapper)).table is insp.mapper.local_table:
        condition: ColumnElement[bool] = cls.deleted_at.is_(None)
        return condition
    # No join: it would be another one in each database, and there is none in a DELETE of SQLite.
    return _has_row(insp, mark, insp.mapper.local_table, dead=False)


def hard_bases(soft: Iterable[Mapper[Any]]) -> list[type[Any]]:
    """Return the classes at the top of hierarchies in which only some rows can be soft-deleted, those of *soft*."""
    found = {}
    for mapper in soft:
        above = mapper.inherits
        if above is not None and is_soft(mapper) and not is_soft(above):
            found[above.base_mapper.class_.__qualname__, id(above.base_mapper)] = above.base_mapper.class_
    return [found[name] for name in sorted(found)]


def _without_dead(cls: Any) -> ColumnElement[bool]:
    return _all_of(cls, written=False)


def _without_dead_written(cls: Any) -> ColumnElement[bool]:
    return _all_of(cls, written=True)


def _all_of(cls: Any, *, written: bool) -> ColumnElement[bool]:
    return and_(true(), *_conditions(inspect(cls, raiseerr=False), written=written))


OF_BASES: Final[tuple[Callable[[Any], ColumnElement[bool]], ...]] = (_without_dead, _without_dead_written)
"""The conditions on a class that is not soft-deletable, with classes below it that are: to read, and to write."""


def _conditions(insp: Any, *, written: bool) -> Iterator[ColumnElement[bool]]:
    if insp is None or is_soft(insp.mapper):
        return  # SQLAlchemy tries the function on a stand-in; a soft-deletable class has its own condition
    own: Mapper[Any] = insp.mapper
    for mark in map(Mark, soft_parts(own)):
        column = _column_of(insp, mark.mapper, mark.at)
        if mark.mapper not in rows_of(own):
            # A table of its own: its rows are among those of the base only where that reads the union of the tables.
            if column is not None and not written:
                yield column.is_(None)
        elif mark.table in own.tables and column is not None:
            yield column.is_(None)
        else:
            yield ~_has_row(insp, mark, own.local_table, dead=True)


def _has_row(insp: Any, mark: Mark, table: Any, *, dead: bool) -> ColumnElement[bool]:
    """Match a row of *table* whose other part, in the table of the mark, is dead or alive."""
    other = closed_alias(mark.table)
    pairs = zip(mark.key, key_in(insp.mapper, table), strict=True)
    same = [other.c[column.key] == _column_of(insp, insp.mapper, key) for column, key in pairs]
    at = other.c[mark.at.key]
    found = exists().select_from(other).where(*same, at.is_not(None) if dead else at.is_(None))
    return found.correlate_except(other)


def closed_alias(table: Any) -> Any:
    """Return an alias that SQLAlchemy leaves as it is where it writes an alias of a class for the class's tables."""
    return private.with_notes(table.alias(), {"no_replacement_traverse": True})


def _column_of(insp: Any, mapper: Mapper[Any], column: Any) -> Any:
    """Return a column of the mapper as the class, or the alias of it, that is asked for has it."""
    found = insp.selectable.corresponding_column(column)
    if found is column:
        return getattr(mapper.class_, mapper.get_property_by_column(column).key)
    return _adaptable(found, insp) if found is not None and insp.is_mapper else found


def _adaptable(column: Any, mapper: Mapper[Any]) -> Any:
    # SQLAlchemy lets a join adapt a condition to its alias only where the columns carry this.
    return private.with_notes(column, {"parententity": mapper, "parentmapper": mapper})
