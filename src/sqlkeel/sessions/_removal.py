"""Check that a flush removes the row of an object; SQLAlchemy only warns if the row was already gone."""

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
    """Flush the deletion of *obj*, and raise an error if its row is already gone.

    The row count of a DELETE of one row shows it. A DELETE of several rows does not show which one was missing, so then
    the row is queried first. SQLAlchemy itself checks versioned rows; ``confirm_deleted_rows=False`` on a mapper
    switches the check off.

    Raises:
        NotFound: Inside the flush, which is rolled back: rows that would be removed together may belong to another
            parent by now.
    """
    mapper = sa_inspect(obj, raiseerr=True).mapper
    if mapper.version_id_col is not None or not mapper.base_mapper.confirm_deleted_rows:
        session.flush()
        return
    connection = writing_connection(session, mapper, sa_inspect(obj, raiseerr=True))
    # Methods, not partials: SQLAlchemy logs a listener, and the repr() of an object may load deferred columns.
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
    """The deletion of one object; it listens to the statements of its flush."""

    def __init__(self, obj: object) -> None:
        self._obj = obj

    def ask(self, connection: Connection, statement: Any, many: Any, one: Any, options: Any) -> None:
        """Query the row before a DELETE of several rows."""
        if not isinstance(statement, Delete) or not any(_is_row(self._obj, statement, values) for values in many):
            return
        state = sa_inspect(self._obj, raiseerr=True)
        keys = zip(state.mapper.primary_key, state.identity, strict=True)
        query = select(*state.mapper.primary_key).where(*(column == value for column, value in keys))
        if connection.execute(query.with_for_update()).first() is None:
            raise _not_found(self._obj)

    def confirm(self, connection: Connection, statement: Any, many: Any, one: Any, options: Any, result: Any) -> None:
        """Check the row count of a DELETE of this row alone."""
        if isinstance(statement, Delete) and _is_row(self._obj, statement, one) and result.rowcount == 0:
            raise _not_found(self._obj)


def _is_row(obj: object, statement: Delete, values: Mapping[str, Any]) -> bool:
    """Return whether the parameters of a DELETE are the object's key, in any table of its class."""
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
