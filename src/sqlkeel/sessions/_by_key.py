"""Reload what the database sets on loaded objects when an ``update()`` with a list of rows writes them by key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import event, orm
from sqlalchemy.orm import Mapper, ORMExecuteState

from ..models._row_keys import are_exact, keys_of
from ._refresh import reload_expired
from ._rewinding import note_read
from ._routes import dialect_of
from ._sync_session import SyncSession

__all__: list[str] = []


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _read_what_is_filled_in(state: ORMExecuteState) -> Any:
    if state.statement.is_select:  # as in `joined`
        return None
    mapper = state.bind_mapper if state.is_update and state.is_executemany else None
    options = state.execution_options
    if mapper is None or options.get("synchronize_session") is False or options.get("dml_strategy") == "core_only":
        return None
    rows: Any = state.parameters
    named, others = _held(state.session, mapper, rows)
    if not named and not others:
        return None
    note_read(state.session, [*named, *others])
    result = state.invoke_statement()
    # SQLAlchemy copies the rows' values to loaded objects with these keys, including the version used in the WHERE.
    written = {name for row in rows for name in row} if others else set()
    loaded = {
        orm.attributes.instance_state(obj).key: _expire(state.session, obj, names)
        for objects, names in ((named, set()), (others, written))
        for obj in objects
    }
    reload_expired(state.session, mapper, loaded=loaded)
    return result


def _expire(session: orm.Session, obj: Any, written: set[str]) -> list[str]:
    """Expire the loaded attributes of an object that may have been written, and return their names."""
    state = orm.attributes.instance_state(obj)
    changed = {*_filled_in(state.mapper), *written.intersection(state.mapper.column_attrs.keys())}
    names = [name for name in changed if name in state.dict and name not in state.committed_state]
    if names:
        session.expire(obj, names)
    return names


def _held(session: orm.Session, mapper: Mapper[Any], rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[Any]]:
    """Return the objects with the rows' keys, and those that only the database may match to one of the keys."""
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    keys = [tuple(row.get(name) for name in names) for row in rows]
    found = [session.identity_map.get(mapper.identity_key_from_primary_key(key)) for key in keys]
    named = [obj for obj in found if obj is not None]
    own = keys_of(mapper, dialect_of(session, mapper))
    if len(named) == len(keys) or (own.are_exact and are_exact(keys)):
        return named, []
    known = set(map(id, named))
    held = [obj for obj in list(session.identity_map.values()) if isinstance(obj, mapper.class_)]
    return named, [obj for obj in held if id(obj) not in known]


def _filled_in(mapper: Mapper[Any]) -> list[str]:
    """Return the attributes that the database or a default sets on an UPDATE."""
    return [attribute.key for attribute in mapper.column_attrs if any(_changes(mapper, c) for c in attribute.columns)]


def _changes(mapper: Mapper[Any], column: Any) -> bool:
    made = (getattr(column, name, None) for name in ("onupdate", "server_onupdate", "computed"))
    return column is mapper.version_id_col or any(one is not None for one in made)
