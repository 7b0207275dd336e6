"""Whether a flush removes the row of an object, where SQLAlchemy only warns when there was none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Delete, event, orm, select
from sqlalchemy import inspect as sa_inspect

from ..errors import NotFound
from ..models._key_columns import plain_key
from ._routes import writing_connection

__all__ = ["flush_removal"]


def flush_removal(session: orm.Session, obj: object) -> None:
    """Flush the deletion of *obj*, and fail where its row is gone already.

    A DELETE of one row tells it. In one of several rows nobody knows which was missing: then the row is asked for
    before. A versioned row is SQLAlchemy's to check, and ``confirm_deleted_rows=False`` of a mapper switches it off.

    Raises:
        NotFound: Inside the flush, which is rolled back: what was to be removed with the row may belong to another
            one by now.
    """
    mapper = sa_inspect(obj, raiseerr=True).mapper
    if mapper.version_id_col is not None or not mapper.base_mapper.confirm_deleted_rows:
        session.flush()
        return
    connection = writing_connection(session, mapper, sa_inspect(obj, raiseerr=True))
    # Methods, for SQLAlchemy prints a listener that is a partial: the repr of an object may load what is deferred.
    removal = _Removal(obj)
    listeners: dict[str, Any] = {"before_execute": removal.ask, "after_execute": removal.confirm}
    for name, function in listeners.items():
        event.listen(connection, name, function)
    try:
        session.flush()
    finally:
        for name, function in listeners.items():
            event.remove(connection, name, function)


class _Removal:
    """The deletion of one object, which listens to the statements of its flush."""

    def __init__(self, obj: object) -> None:
        self._obj = obj

    def ask(self, connection: Connection, statement: Any, many: Any, one: Any, options: Any) -> None:
        """Look for the row before a DELETE of several."""
        if not isinstance(statement, Delete) or not any(_is_row(self._obj, statement, values) for values in many):
            return
        state = sa_inspect(self._obj, raiseerr=True)
        keys = zip(state.mapper.primary_key, state.identity, strict=True)
        query = select(*state.mapper.primary_key).where(*(column == value for column, value in keys))
        if connection.execute(query.with_for_update()).first() is None:
            raise _not_found(self._obj)

    def confirm(self, connection: Connection, statement: Any, many: Any, one: Any, options: Any, result: Any) -> None:
        """Read from the DELETE of the row alone whether there was one."""
        if isinstance(statement, Delete) and _is_row(self._obj, statement, one) and result.rowcount == 0:
            raise _not_found(self._obj)


def _is_row(obj: object, statement: Delete, values: Mapping[str, Any]) -> bool:
    """Return whether the parameters of a DELETE are the key of the object, in any table of its class."""
    state = sa_inspect(obj, raiseerr=True)
    table: Any = statement.table
    if table not in state.mapper.tables:
        return False
    key = [column for column in state.mapper.primary_key if column.table is table] or table.primary_key
    return bool(values) and all(values.get(column.key) == _written(state, column) for column in key)


def _written(state: Any, column: Any) -> Any:
    name = state.mapper.get_property_by_column(column).key
    return state.committed_state.get(name, state.dict.get(name))


def _not_found(obj: object) -> NotFound:
    identity = sa_inspect(obj, raiseerr=True).identity
    return NotFound(type(obj).__name__, plain_key(identity))
