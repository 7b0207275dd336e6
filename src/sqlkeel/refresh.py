"""Loaded objects whose columns the database has changed: read again at once, because nobody can wait for it later."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import orm, select, tuple_, update
from sqlalchemy.orm import Mapper, ORMExecuteState, RelationshipProperty, selectinload, undefer
from sqlalchemy.util import immutabledict

from . import locks
from .row_keys import among

__all__ = ["load_again", "reload_expired", "rows_below", "update_with", "update_with_all"]


_KEYS_AT_ONCE = 500


def reload_expired(
    session: orm.Session, mapper: Mapper[Any] | None = None, *, loaded: Mapping[Any, Collection[str]] = immutabledict()
) -> None:
    """Load again the columns that a rollback or an UPDATE has expired, one statement for each class and 500 rows.

    An attribute read cannot wait for the database, so an expired attribute is an error in asynchronous code. What was
    *loaded* beside the columns, by identity, is loaded again as well: collections, deferred columns.
    """
    expired: dict[tuple[Mapper[Any], bool], list[tuple[Any, ...]]] = defaultdict(list)
    more: dict[tuple[Mapper[Any], frozenset[str]], list[Any]] = defaultdict(list)
    for state in list(session.identity_map.all_states()):
        if state.identity is None or (mapper is not None and not state.mapper.isa(mapper)):
            continue
        if state.expired or any(key not in state.dict for key in state.expired_attributes):
            expired[state.mapper, locks.holds_lock(session, state)].append(state.identity)
            if names := _loaded_before(state, loaded):
                more[state.mapper, names].append(state.obj())
    for (found, locked), identities in expired.items():
        for part in _portions(identities):
            statement = select(found.class_).where(among(found.primary_key, part))
            if locked:
                # MariaDB would answer a plain read from a snapshot that may be older than the lock.
                statement = statement.with_for_update(of=[*found.tables])
            session.execute(statement, execution_options={"include_deleted": True}).unique().all()
    for (found, names), objects in more.items():
        load_again(session, found, objects, names)


def _loaded_before(state: Any, loaded: Mapping[Any, Collection[str]]) -> frozenset[str]:
    names = set(loaded.get(state.key, ())) - state.dict.keys()
    deferred = {prop.key for prop in state.mapper.column_attrs if prop.deferred}
    return frozenset(names & {*state.mapper.relationships.keys(), *deferred})


def load_again(session: orm.Session, mapper: Mapper[Any], objects: Iterable[Any], names: Iterable[str]) -> None:
    """Load relations and deferred columns of objects, as far as they are not loaded."""
    options = [_option(getattr(mapper.class_, name)) for name in names]
    identities = [orm.attributes.instance_state(obj).identity for obj in objects]
    with session.no_autoflush:
        for part in _portions([identity for identity in identities if identity is not None]):
            statement = select(mapper.class_).where(among(mapper.primary_key, part))
            session.execute(statement.options(*options)).unique().all()


def _option(attribute: Any) -> Any:
    is_relation = isinstance(attribute.property, RelationshipProperty)
    return selectinload(attribute) if is_relation else undefer(attribute)


def _portions(identities: Sequence[tuple[Any, ...]]) -> Iterator[Sequence[tuple[Any, ...]]]:
    for start in range(0, len(identities), _KEYS_AT_ONCE):
        yield identities[start : start + _KEYS_AT_ONCE]


def update_with(state: ORMExecuteState, column: Any, value: Any) -> Any:
    """Let an ``update()`` statement write *column* too, and read back what it changed in loaded objects.

    For a listener of ``do_orm_execute``, to return. A list of rows by key is left alone, and so is a column that the
    statement sets itself. Where the column stands in another table of the hierarchy, that is updated first.
    """
    return update_with_all(state, {column: value})


def update_with_all(state: ORMExecuteState, values: Mapping[Any, Any]) -> Any:
    """Do as `update_with` for several columns, as a base class may have below it; without one, nothing."""
    mapper: Any = state.bind_mapper
    if state.is_executemany or not values:
        return None
    statement: Any = state.statement
    parameters: Any = state.parameters or ()
    given = {getattr(key, "key", key) for key in (*(statement._values or ()), *parameters)}
    for column, value in values.items():
        holder = _holder_of(mapper, column)
        if not given.isdisjoint({column.key, holder.get_property_by_column(column).key}):
            continue
        if column.table is mapper.local_table:
            statement = _with_value(statement, column, value)
        else:
            # A part of the statement, which is counted as a whole.
            options = {"include_deleted": state.execution_options.get("include_deleted", False), "sqlkeel_part": True}
            part = _update_of_other(mapper, holder, statement, {column: value})
            state.session.execute(part, execution_options=options)
    result = state.invoke_statement(statement=statement)
    # What the server wrote is not known here; an expired attribute could not be read without waiting.
    reload_expired(state.session, mapper)
    return result


def rows_below(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the mappers below this one whose rows are also rows of its table: all but concrete ones."""
    found = [mapper]
    for above in found:
        found += [one for one in above.self_and_descendants if one.inherits is above and not one.concrete]
    return found[1:]


def _with_value(statement: Any, column: Any, value: Any) -> Any:
    if not statement._maintain_values_ordering:
        return statement.values({column: value})
    # ordered_values() takes no more values; the order of those it has is kept.
    statement = statement._generate()
    statement._values = statement._values.union({column: value})
    return statement


def _holder_of(mapper: Mapper[Any], column: Any) -> Mapper[Any]:
    """Return the mapper of the hierarchy whose own table has *column*."""
    chain = [*mapper.iterate_to_root(), *mapper.self_and_descendants]
    return next(one for one in chain if one.local_table is column.table and one.columns.contains_column(column))


def _update_of_other(mapper: Mapper[Any], holder: Mapper[Any], statement: Any, values: Any) -> Any:
    """Return the statement that writes *values* into the part of the same rows in the holder's table."""
    # A derived table: MariaDB refuses a subquery on the table that is being updated (error 1093).
    rows = select(*mapper.primary_key).select_from(mapper.persist_selectable)
    keys = rows.where(*statement._where_criteria).subquery()
    table: Any = holder.local_table
    key: Any = holder.primary_key if holder.inherits is None else table.primary_key.columns
    target: Any = tuple_(*key) if len(key) > 1 else key[0]
    return update(holder.class_).where(target.in_(select(keys))).values(values)
