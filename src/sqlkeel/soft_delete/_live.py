"""The conditions that exclude deleted rows if the mark is in another table, as with inheritance."""

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


# SQLAlchemy analyses these functions, and allows them to call only functions that return a condition. They are module
# functions and not lambdas, because every loaded object refers to them and must stay picklable.
def is_live(cls: Any) -> ColumnElement[bool]:
    """Match the live rows of a soft-deletable class in a SELECT."""
    return _is_live(cls)


def _is_live(cls: Any) -> ColumnElement[bool]:
    insp: Any = inspect(cls, raiseerr=False)
    if insp is not None and insp.is_mapper and insp.selectable is not insp.persist_selectable:
        # A union of tables (concrete inheritance), to which SQLAlchemy adapts the attribute only in some places.
        found = insp.selectable.corresponding_column(Mark(insp).at)
        if found is not None:
            return _adaptable(found, insp).is_(None)  # type: ignore[no-any-return]  # a condition
    if (
        insp is not None
        and insp.is_aliased_class
        and insp.selectable.corresponding_column(Mark(insp.mapper).at) is None
    ):
        return true()  # a subquery that does not select the mark: the condition is inside, and not possible here
    condition: ColumnElement[bool] = cls.deleted_at.is_(None)
    return condition


def is_live_written(cls: Any) -> ColumnElement[bool]:
    """Match the live rows of a soft-deletable class in an UPDATE or DELETE of its own table."""
    return _is_live_written(cls)


def _is_live_written(cls: Any) -> ColumnElement[bool]:
    insp: Any = inspect(cls, raiseerr=False)
    if insp is not None and insp.is_aliased_class:
        return _is_live(cls)  # inside a SELECT, which has the columns of all its tables
    if insp is None or (mark := Mark(insp.mapper)).table is insp.mapper.local_table:
        condition: ColumnElement[bool] = cls.deleted_at.is_(None)
        return condition
    # Not a join, whose syntax differs between databases, and which DELETE does not support on SQLite.
    return _has_row(insp, mark, insp.mapper.local_table, dead=False)


def hard_bases(soft: Iterable[Mapper[Any]]) -> list[type[Any]]:
    """Return the base classes of hierarchies in which only the classes *soft* are soft-deletable."""
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
"""The conditions on a class that is not soft-deletable, but has soft-deletable subclasses: for reads, for writes."""


def _conditions(insp: Any, *, written: bool) -> Iterator[ColumnElement[bool]]:
    if insp is None or is_soft(insp.mapper):
        return  # SQLAlchemy tries the function on a placeholder; a soft-deletable class has its own condition
    own: Mapper[Any] = insp.mapper
    for mark in map(Mark, soft_parts(own)):
        column = _column_of(insp, mark.mapper, mark.at)
        if mark.mapper not in rows_of(own):
            # A separate table: its rows belong to the base only if the base selects from a union of tables.
            if column is not None and not written:
                yield column.is_(None)
        elif mark.table in own.tables and column is not None:
            yield column.is_(None)
        else:
            yield ~_has_row(insp, mark, own.local_table, dead=True)


def _has_row(insp: Any, mark: Mark, table: Any, *, dead: bool) -> ColumnElement[bool]:
    """Match a row of *table* whose other part, in the table with the mark, is deleted or live."""
    other = closed_alias(mark.table)
    pairs = zip(mark.key, key_in(insp.mapper, table), strict=True)
    same = [other.c[column.key] == _column_of(insp, insp.mapper, key) for column, key in pairs]
    at = other.c[mark.at.key]
    found = exists().select_from(other).where(*same, at.is_not(None) if dead else at.is_(None))
    return found.correlate_except(other)


def closed_alias(table: Any) -> Any:
    """Return an alias that SQLAlchemy does not replace when it adapts a statement to an alias of the class."""
    return private.with_notes(table.alias(), {"no_replacement_traverse": True})


def _column_of(insp: Any, mapper: Mapper[Any], column: Any) -> Any:
    """Return a column of the mapper in the form that the queried class or alias has it."""
    found = insp.selectable.corresponding_column(column)
    if found is column:
        return getattr(mapper.class_, mapper.get_property_by_column(column).key)
    return _adaptable(found, insp) if found is not None and insp.is_mapper else found


def _adaptable(column: Any, mapper: Mapper[Any]) -> Any:
    # SQLAlchemy adapts a condition to an alias in a join only if the columns have these annotations.
    return private.with_notes(column, {"parententity": mapper, "parentmapper": mapper})
