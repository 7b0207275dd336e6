"""Reload columns of loaded objects that the database has changed at once, because async code cannot lazy-load them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, orm, select, update
from sqlalchemy.orm import InstanceState, Mapper, ORMExecuteState, RelationshipProperty, selectinload, undefer
from sqlalchemy.util import immutabledict

from .. import _sqlalchemy as private
from ..models._conditions import conditions_of
from ..models._key_columns import portions, row_value
from ..models._row_keys import among
from . import _locks as locks
from ._rewinding import note_read

__all__ = ["kinds", "load_again", "reload_expired", "rows_below", "update_with", "update_with_all"]


def reload_expired(
    session: orm.Session, mapper: Mapper[Any] | None = None, *, loaded: Mapping[Any, Collection[str]] = immutabledict()
) -> None:
    """Reload the columns that a rollback or an UPDATE has expired, one statement per class and 500 values.

    Reading an expired attribute is an error in async code, which cannot wait for the database there. Collections and
    deferred columns that were *loaded* before, by identity, are reloaded too.
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
        for part in portions(identities, len(found.primary_key)):
            statement = select(found.class_).where(among(found.primary_key, part))
            if locked:
                # MariaDB may answer a plain read from a snapshot older than the lock.
                statement = statement.with_for_update(of=[*found.tables])
            session.execute(statement, execution_options={"include_deleted": True}).unique().all()
    for (found, names), objects in more.items():
        load_again(session, found, objects, names)


def _loaded_before(state: Any, loaded: Mapping[Any, Collection[str]]) -> frozenset[str]:
    names = set(loaded.get(state.key, ())) - state.dict.keys()
    deferred = {prop.key for prop in state.mapper.column_attrs if prop.deferred}
    return frozenset(names & {*state.mapper.relationships.keys(), *deferred})


def load_again(session: orm.Session, mapper: Mapper[Any], objects: Iterable[Any], names: Iterable[str]) -> None:
    """Load relationships and deferred columns of objects that have not loaded them."""
    options = [_option(getattr(mapper.class_, name)) for name in names]
    identities = [orm.attributes.instance_state(obj).identity for obj in objects]
    with session.no_autoflush:
        known = [identity for identity in identities if identity is not None]
        for part in portions(known, len(mapper.primary_key)):
            statement = select(mapper.class_).where(among(mapper.primary_key, part))
            session.execute(statement.options(*options)).unique().all()


def _option(attribute: Any) -> Any:
    is_relation = isinstance(attribute.property, RelationshipProperty)
    return selectinload(attribute) if is_relation else undefer(attribute)


def update_with(state: ORMExecuteState, column: Any, value: Any) -> Any:
    """Let an ``update()`` statement write *column* too, and refresh what it changed in loaded objects.

    The return value is for a ``do_orm_execute`` listener. A column that the statement sets itself is left alone. If the
    column is in another table of the hierarchy, that table is updated first; with a list of rows by key, it is updated
    afterwards, and only if the model does not write the column itself.
    """
    return update_with_all(state, {column: value})


def update_with_all(state: ORMExecuteState, values: Mapping[Any, Any]) -> Any:
    """Like `update_with` for several columns, such as those of subclasses; does nothing for none."""
    mapper: Any = state.bind_mapper
    if not values:
        return None
    if state.is_executemany:
        return _update_rows_with(state, mapper, values)
    statement: Any = state.statement
    parameters: Any = state.parameters or ()
    given = {getattr(key, "key", key) for key in (*private.values_of(statement), *parameters)}
    versions = _Versions(state.session, mapper)
    for column, value in values.items():
        holder = _holder_of(mapper, column)
        if not given.isdisjoint({column.key, holder.get_property_by_column(column).key}):
            continue
        if column.table is mapper.local_table:
            statement = _with_value(statement, column, value)
        else:
            # It is part of one statement; the version is incremented once for the whole.
            options = {"include_deleted": state.execution_options.get("include_deleted", False), "sqlkeel_part": True}
            part = _update_of_other(mapper, holder, statement, {column: value})
            state.session.execute(part, execution_options=options)
    result = state.invoke_statement(statement=statement)
    # The values that the server wrote are unknown here, and reading an expired attribute would fail.
    reload_expired(state.session, mapper, loaded=versions.expire_others())
    versions.put_back()
    return result


class _Versions:
    """The versions of loaded objects before an ``update()`` statement increments those of their rows.

    The statement may have hit a row that another session changed after it was loaded. If the object got the new version
    and kept its old values, it would silently overwrite that change.
    """

    def __init__(self, session: orm.Session, mapper: Mapper[Any]) -> None:
        self.session = session
        self.before: dict[InstanceState[Any], tuple[str, Any]] = {}
        # Strong references, or an object could be garbage-collected before the statement has run.
        self.objects = [*session.identity_map.values()]
        keys = {
            one: one.get_property_by_column(one.version_id_col).key
            for one in mapper.self_and_descendants
            if one.version_id_col is not None
        }
        for state in map(orm.attributes.instance_state, self.objects) if keys else ():
            if (key := keys.get(state.mapper)) in state.dict:
                self.before[state] = str(key), state.dict[key]

    def expire_others(self) -> dict[Any, Collection[str]]:
        """Expire all unchanged attributes of the updated objects; return what was loaded, by identity."""
        self.before = {
            one: (key, version) for one, (key, version) in self.before.items() if one.dict.get(key) != version
        }
        expired: dict[Any, Collection[str]] = {}
        for state in self.before:
            # Only the query that loaded a query_expression() can load it.
            read = [one.key for one in state.mapper.column_attrs if one.strategy_key != (("query_expression", True),)]
            names = expired[state.key] = [key for key in read if key in state.dict and key not in state.committed_state]
            note_read(self.session, [state.obj()])
            self.session.expire(state.obj(), names)
        return expired

    def put_back(self) -> None:
        """Restore the old version on objects with pending changes, so that the flush detects the conflict."""
        for state, (key, version) in self.before.items():
            moved = isinstance(version, int) and state.dict.get(key) != version + 1
            if moved and state.committed_state:
                orm.attributes.set_committed_value(state.obj(), key, version)


def _update_rows_with(state: ORMExecuteState, mapper: Mapper[Any], values: Mapping[Any, Any]) -> Any:
    holders = {column: _holder_of(mapper, column) for column in values}
    others = [column for column, holder in holders.items() if holder is not mapper]
    if not others or state.execution_options.get("dml_strategy") == "core_only":
        return None
    result = state.invoke_statement()
    fields = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    rows: Any = state.parameters
    identities = [tuple(row[field] for field in fields) for row in rows]
    options = {"include_deleted": True, "sqlkeel_part": True}
    for column in others:
        statement = update(holders[column].class_).values({column: values[column]})
        for part in portions(identities, len(fields)):
            chosen = statement.where(among(_own_key(holders[column]), part))
            state.session.execute(chosen, execution_options=options)
    reload_expired(state.session, mapper)
    return result


def rows_below(mapper: Mapper[Any]) -> list[Mapper[Any]]:
    """Return the subclass mappers whose rows are also rows of this table: all except concrete ones."""
    found = [mapper]
    for above in found:
        found += [one for one in above.self_and_descendants if one.inherits is above and not one.concrete]
    return found[1:]


def kinds(mapper: Mapper[Any]) -> list[ColumnElement[bool]]:
    """Return the condition that a row is of the mapper's class, if its table also holds other classes."""
    above, kind = mapper.inherits, mapper.polymorphic_on
    if above is None or mapper.concrete or kind is None or mapper.local_table is not above.local_table:
        return []
    named = (one.polymorphic_identity for one in mapper.self_and_descendants)
    return [kind.in_([identity for identity in named if identity is not None])]


def _with_value(statement: Any, column: Any, value: Any) -> Any:
    if not private.is_ordered(statement):
        return statement.values({column: value})
    # ordered_values() cannot be extended; the order of the existing values is kept.
    return private.with_ordered_value(statement, column, value)


def _holder_of(mapper: Mapper[Any], column: Any) -> Mapper[Any]:
    """Return the mapper of the hierarchy whose own table has *column*."""
    chain = [*mapper.iterate_to_root(), *mapper.self_and_descendants]
    return next(one for one in chain if one.local_table is column.table and one.columns.contains_column(column))


def _update_of_other(mapper: Mapper[Any], holder: Mapper[Any], statement: Any, values: Any) -> Any:
    """Return the statement that writes *values* to the same rows in the holder's table."""
    # A derived table, because MariaDB refuses a subquery on the table that is being updated (error 1093).
    conditions = (*conditions_of(statement), *kinds(mapper))
    # Select only from its own table if that is enough: the caller's subqueries on other tables must not correlate.
    alone = all(source is mapper.local_table for condition in conditions for source in private.tables_in(condition))
    key = _own_key(mapper) if alone else mapper.primary_key
    rows = select(*key).select_from(mapper.local_table if alone else mapper.persist_selectable)
    keys = rows.where(*conditions).subquery()
    theirs = _own_key(holder)
    target = row_value(theirs)
    return update(holder.class_).where(target.in_(select(keys))).values(values)


def _own_key(mapper: Mapper[Any]) -> Sequence[Any]:
    """Return the primary key of the mapper's own table."""
    table: Any = mapper.local_table
    return mapper.primary_key if mapper.inherits is None else tuple(table.primary_key.columns)
