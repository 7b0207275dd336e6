"""``update()`` and ``delete()`` of a class with several tables, whose conditions refer to another of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import BinaryExpression, ClauseElement, Table, event, select
from sqlalchemy.orm import Mapper, ORMExecuteState
from sqlalchemy.sql import operators

from .. import _sqlalchemy as private
from ..errors import NotSupported
from ..models._conditions import conditions_of, parts
from ..models._key_columns import row_value
from ._refresh import kinds, rows_below
from ._sync_session import SyncSession

__all__: list[str] = []


@event.listens_for(SyncSession, "do_orm_execute")
def _stay_in_the_row(state: ORMExecuteState) -> None:
    """Join the tables of a hierarchy that a statement uses; SQLAlchemy would produce a cross join."""
    if state.statement.is_select:  # tested without a call, because this runs for every statement
        return
    mapper = state.bind_mapper if state.is_update or state.is_delete else None
    if mapper is None or state.is_executemany or state.execution_options.get("sqlkeel_part"):
        return
    others = _other_tables(mapper)
    if not others:
        return
    statement: Any = state.statement
    kind = {getattr(mapper.polymorphic_on, "table", None)} & others.keys() if kinds(mapper) else set()
    if state.is_update:
        _refuse_foreign_values(mapper, statement, others)
    elif kind:
        raise _kind_elsewhere(mapper)
    if state.execution_options.get("synchronize_session") == "evaluate":
        # With the added conditions Python cannot evaluate everything; "auto" then asks the database.
        state.update_execution_options(synchronize_session="auto")
    used = {source for source in _sources(statement) if source in others} | kind
    if used:
        joined = dict.fromkeys(condition for table in others if table in used for condition in others[table])
        given = conditions_of(statement)
        _refuse_other_rows(mapper, given, others)
        missing = [condition for condition in joined if not _stands_in(given, condition)]
        if state.is_update:
            state.statement = statement.where(*missing)
        elif missing or not _can_delete_by_join(state):
            state.statement = _with_keys(mapper, statement, missing)


def _other_tables(mapper: Mapper[Any]) -> dict[Any, list[Any]]:
    """Return the other tables of the mapper's rows, each with the join conditions from the mapper's own table."""
    found: dict[Any, list[Any]] = {}
    path: list[Any] = []
    for below in mapper.iterate_to_root():
        if below.inherits is None or below.concrete:
            break
        path += [] if below.inherit_condition is None else [below.inherit_condition]
        found.setdefault(below.inherits.local_table, [*path])
    for below in rows_below(mapper):
        own = [] if below.inherit_condition is None else [below.inherit_condition]
        assert below.inherits is not None, "rows_below() returns heirs"
        found.setdefault(below.local_table, [*found.get(below.inherits.local_table, ()), *own])
    found.pop(mapper.local_table, None)
    return found


def _sources(statement: Any) -> Iterator[Any]:
    values = private.values_of(statement).values()
    for part in (*conditions_of(statement), *(value for value in values if isinstance(value, ClauseElement))):
        yield from private.tables_in(part)


def _refuse_foreign_values(mapper: Mapper[Any], statement: Any, others: Iterable[Any]) -> None:
    for key in private.values_of(statement):
        name = getattr(key, "key", key)
        column: Any = key if hasattr(key, "table") else mapper.columns.get(name)
        if getattr(column, "table", None) in others:
            raise _foreign_value(mapper, name, column.table)


def _foreign_value(mapper: Mapper[Any], name: str, table: Any) -> NotSupported:
    theirs = _holder(mapper, table).class_.__name__
    own, key = mapper.class_.__name__, mapper.get_property_by_column(mapper.primary_key[0]).key
    return NotSupported(
        f"update({own}) cannot set {name}, which is stored in the table of {theirs}.",
        hint=f"update({theirs}).where({theirs}.{key}.in_(...)), or update({own}) with a list of rows.",
    )


def _holder(mapper: Mapper[Any], table: Any) -> Mapper[Any]:
    """Return the mapper of the hierarchy whose own table is *table*."""
    return next(one for one in (*mapper.iterate_to_root(), *rows_below(mapper)) if one.local_table is table)


def _kind_elsewhere(mapper: Mapper[Any]) -> NotSupported:
    own, above = mapper.class_.__name__, mapper.inherits
    assert above is not None, "a class that shares its table has one above it"
    theirs, key = above.class_.__name__, mapper.get_property_by_column(mapper.primary_key[0]).key
    return NotSupported(
        f"delete({own}) cannot tell its rows from the others of {theirs}: their class is stored in another table.",
        hint=f"Read the keys of {own} first, then delete({theirs}).where({theirs}.{key}.in_(keys)).",
    )


def _stands_in(given: Iterable[Any], condition: Any) -> bool:
    """Return whether the statement already has *condition*, in either order of its columns."""
    return all(any(one.compare(part) for one in given) for part in parts([condition]))


def _refuse_other_rows(mapper: Mapper[Any], given: Iterable[Any], others: Iterable[Any]) -> None:
    """Refuse a foreign key to another row of the hierarchy, because its table is already joined as the same row."""
    keys = {column for table in (mapper.local_table, *others) for column in table.primary_key}
    for part in given:
        if isinstance(part, BinaryExpression) and part.operator is operators.eq:
            for one, other in ((part.left, part.right), (part.right, part.left)):
                if other in keys and one not in keys and _leads_to(keys, one) and one.table is not other.table:
                    raise _other_row(mapper, one, other)


def _leads_to(keys: Iterable[Any], column: Any) -> bool:
    return any(key.column in keys for key in column.foreign_keys)


def _other_row(mapper: Mapper[Any], key: Any, target: Any) -> NotSupported:
    table = key.table if target.table is mapper.local_table else target.table
    own, theirs = mapper.class_.__name__, _holder(mapper, table).class_.__name__
    return NotSupported(
        f"{key} leads to another row, but {theirs} means the row itself in a statement on {own}.",
        hint=f"other = aliased({theirs}.__table__), and other.c.… for the columns of the other row.",
    )


def _can_delete_by_join(state: ORMExecuteState) -> bool:
    # By an attribute of SQLAlchemy's dialects. MariaDB could delete by a join too, but not return the deleted keys.
    return state.session.get_bind(**state.bind_arguments).dialect.delete_returning_multifrom


def _with_keys(mapper: Mapper[Any], statement: Any, joined: Iterable[Any]) -> Any:
    """Use a subquery: SQLite has no DELETE with a join, and MariaDB cannot return the keys from one."""
    table = mapper.local_table
    assert isinstance(table, Table), "a class that is written has a table"
    key: Any = tuple(table.primary_key.columns)
    rows = select(*key).where(*conditions_of(statement), *joined).correlate(None).subquery()
    whole = row_value(key)
    return private.with_where(statement, [whole.in_(select(rows))])
