"""Loaded objects whose columns the database has changed: read again at once, because nobody can wait for it later."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from sqlalchemy import orm, select, tuple_, update
from sqlalchemy.orm import Mapper, ORMExecuteState

from . import locks

__all__ = ["reload_expired", "update_with"]


def reload_expired(session: orm.Session, mapper: Mapper[Any] | None = None) -> None:
    """Load again the columns that a rollback or an UPDATE has expired, one statement for each class and 500 rows.

    An attribute read cannot wait for the database, so an expired attribute is an error in asynchronous code.
    """
    expired: dict[tuple[Mapper[Any], bool], list[tuple[Any, ...]]] = defaultdict(list)
    for state in list(session.identity_map.all_states()):
        if state.identity is None or (mapper is not None and not state.mapper.isa(mapper)):
            continue
        if state.expired or any(key not in state.dict for key in state.expired_attributes):
            expired[state.mapper, locks.holds_lock(session, state)].append(state.identity)
    for (found, locked), identities in expired.items():
        key = found.primary_key[0] if len(found.primary_key) == 1 else tuple_(*found.primary_key)
        for start in range(0, len(identities), 500):
            part = identities[start : start + 500]
            values = [identity[0] if len(identity) == 1 else identity for identity in part]
            statement = select(found.class_).where(key.in_(values))
            if locked:
                # MariaDB would answer a plain read from a snapshot that may be older than the lock.
                statement = statement.with_for_update(of=[*found.tables])
            session.execute(statement, execution_options={"include_deleted": True}).unique().all()


def update_with(state: ORMExecuteState, column: Any, value: Any) -> Any:
    """Let an ``update()`` statement write *column* too, and read back what it changed in loaded objects.

    For a listener of ``do_orm_execute``, to return. A list of rows by key is left alone, and so is a column that the
    statement sets itself. Where the column stands in the table of a base class, that is updated first.
    """
    mapper: Any = state.bind_mapper
    if state.is_executemany:
        return None
    statement: Any = state.statement
    parameters: Any = state.parameters or ()
    given = {getattr(key, "key", key) for key in (*(statement._values or ()), *parameters)}
    if given.isdisjoint({column.key, mapper.get_property_by_column(column).key}):
        if column.table is mapper.local_table:
            statement = _with_value(statement, column, value)
        else:
            # A part of the statement, which is counted as a whole.
            options = {"include_deleted": state.execution_options.get("include_deleted", False), "sqlkeel_part": True}
            state.session.execute(_update_of_base(mapper, statement, column, value), execution_options=options)
    result = state.invoke_statement(statement=statement)
    # What the server wrote is not known here; an expired attribute could not be read without waiting.
    reload_expired(state.session, mapper)
    return result


def _with_value(statement: Any, column: Any, value: Any) -> Any:
    if not statement._maintain_values_ordering:
        return statement.values({column: value})
    # ordered_values() takes no more values; the order of those it has is kept.
    statement = statement._generate()
    statement._values = statement._values.union({column: value})
    return statement


def _update_of_base(mapper: Mapper[Any], statement: Any, column: Any, value: Any) -> Any:
    base = mapper
    while base.local_table is not column.table and base.inherits is not None:
        base = base.inherits
    # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
    keys = select(*mapper.local_table.primary_key).where(*statement._where_criteria).subquery()
    key: Any = base.primary_key
    target: Any = tuple_(*key) if len(key) > 1 else key[0]
    return update(base.class_).where(target.in_(select(keys))).values({column: value})
