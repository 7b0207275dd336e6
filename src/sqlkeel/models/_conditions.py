"""Check the conditions of a query on one table: joining another table would return rows several times."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BooleanClauseList, ColumnElement, FromClause
from sqlalchemy.orm import Mapper, RelationshipProperty
from sqlalchemy.orm.interfaces import ORMOption
from sqlalchemy.sql import operators

from .. import _sqlalchemy as private
from ..errors import UsageError

__all__ = ["parts", "refuse_joins", "refuse_other_tables", "refuse_other_than_conditions"]

_VALUES: Final = (bool, bytes, float, int, str, UUID, Mapping, list, set, tuple)


def conditions_of(statement: Any) -> list[Any]:
    """Return the conditions of a statement that are joined by AND, as a list."""
    return [] if statement.whereclause is None else parts([statement.whereclause])


def parts(conditions: Iterable[Any]) -> list[Any]:
    """Return the conditions that are joined by AND, as a flat list."""
    found: list[Any] = []
    for condition in conditions:
        both = isinstance(condition, BooleanClauseList) and condition.operator is operators.and_
        found += parts(condition.clauses) if both else [condition]
    return found


def refuse_other_tables(mapper: Mapper[Any], where: ColumnElement[Any] | None) -> None:
    """Refuse conditions that join another table to that of *mapper*; ``exists()`` and ``any()`` do not.

    Each row would be returned once per row of the other table. A page would then be short and its cursor missing, and a
    count too high.

    Raises:
        UsageError: Names the table, and what to write instead.
    """
    if where is None:
        return
    others = [source for source in _sources(where) if not _is_of(mapper, source)]
    if others:
        name, table = mapper.class_.__name__, others[0].description
        raise UsageError(
            f"A condition on {name} names another table, {table}: each {name} would be returned once per row of it.",
            hint=f"Use {_relation_to(mapper, others[0])}, exists().where(...), or your own select().",
        )


def refuse_other_than_conditions(model: type[Any], where: Iterable[Any]) -> None:
    """Refuse a truth value of Python, which ``User.name is None`` and ``User.name in names`` are, and other values.

    SQLAlchemy accepts False and None as a condition that no row meets: the list would silently be empty.

    Raises:
        UsageError: Shows how to write such a condition.
    """
    for one in where:
        if one is None or isinstance(one, _VALUES):
            name, given = model.__name__, one if one is None or isinstance(one, bool) else type(one).__name__
            raise UsageError(
                f"A condition on {name} has to be a SQL comparison, not {given}.",
                hint=f"{name}.field == value; .is_(None) for is None, .in_(values) for in; & and | for and, or.",
            )


def refuse_joins(options: Iterable[ORMOption]) -> None:
    """Refuse ``contains_eager()``, which needs a join that only the caller's own statement can have.

    Raises:
        UsageError: For such an option, or a path that ends with one.
    """
    for option in options:
        if private.reads_join(option):
            raise UsageError(
                "contains_eager() needs a join, which a repository does not have.",
                hint="Use load=[Model.relationship]; for a join write your own select().",
            )


def _sources(where: ColumnElement[Any]) -> Iterable[FromClause]:
    # Private, because the public get_final_froms() compiles the whole statement.
    found: Iterable[FromClause] = private.tables_in(where)
    return found


def _is_of(mapper: Mapper[Any], source: FromClause) -> bool:
    if source is mapper.selectable or any(source is table for table in mapper.tables):
        return True
    return any(source is table for below in mapper.with_polymorphic_mappers for table in below.tables)


def _relation_to(mapper: Mapper[Any], source: FromClause) -> str:
    for relation in mapper.relationships:
        target: RelationshipProperty[Any] = relation
        if any(source is table for table in target.mapper.tables):
            return f"{mapper.class_.__name__}.{target.key}.{'any' if target.uselist else 'has'}(...)"
    return f"{mapper.class_.__name__}.relationship.any(...)"
