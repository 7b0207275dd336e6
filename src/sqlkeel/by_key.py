"""Loaded objects whose rows an ``update()`` writes by their key: what the database fills in is read again at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import event, orm
from sqlalchemy.orm import Mapper, ORMExecuteState

from .refresh import reload_expired
from .rewinding import note_read
from .sync_session import SyncSession

__all__: list[str] = []


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _read_what_is_filled_in(state: ORMExecuteState) -> Any:
    mapper = state.bind_mapper if state.is_update and state.is_executemany else None
    options = state.execution_options
    if mapper is None or options.get("synchronize_session") is False or options.get("dml_strategy") == "core_only":
        return None
    rows: Any = state.parameters
    objects = _held(state.session, mapper, rows)
    if not objects:
        return None
    note_read(state.session, objects)
    result = state.invoke_statement()
    # SQLAlchemy gives the objects the values of the rows, the version with which they were found among them.
    for obj in objects:
        found = orm.attributes.instance_state(obj)
        names = [name for name in _filled_in(found.mapper) if name in found.dict and name not in found.committed_state]
        if names:
            state.session.expire(obj, names)
    reload_expired(state.session, mapper)
    return result


def _held(session: orm.Session, mapper: Mapper[Any], rows: Iterable[Mapping[str, Any]]) -> list[Any]:
    names = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    keys = (mapper.identity_key_from_primary_key(tuple(row.get(name) for name in names)) for row in rows)
    return [obj for key in keys if (obj := session.identity_map.get(key)) is not None]


def _filled_in(mapper: Mapper[Any]) -> list[str]:
    """Return the attributes that an UPDATE changes by itself."""
    return [attribute.key for attribute in mapper.column_attrs if any(_changes(mapper, c) for c in attribute.columns)]


def _changes(mapper: Mapper[Any], column: Any) -> bool:
    made = (getattr(column, name, None) for name in ("onupdate", "server_onupdate", "computed"))
    return column is mapper.version_id_col or any(one is not None for one in made)
