"""When a row was created and last changed, by the server's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, event, orm
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState

from . import _sqlalchemy as private
from .models._mixed_columns import mixed_column, with_columns
from .sessions._refresh import rows_below, update_with_all
from .sessions._session import SyncSession
from .types._exact import UTCDateTime, utc_now

__all__ = ["TimestampMixin"]


@with_columns
class TimestampMixin:
    """``created_at`` and ``updated_at``: aware, in UTC, set by the server.

    Every INSERT sets both, whichever application sends it. Every flush, every ``update()`` statement, and every upsert
    and bulk update of sqlkeel sets ``updated_at``; raw SQL has to set it itself. The statement returns the new value,
    so that you can use it at once.
    """

    created_at: Mapped[datetime] = mixed_column(
        UTCDateTime(), server_default=utc_now(), sort_order=900, use_existing_column=True
    )
    updated_at: Mapped[datetime] = mixed_column(
        UTCDateTime(), server_default=utc_now(), onupdate=utc_now(), sort_order=901, use_existing_column=True
    )


@event.listens_for(TimestampMixin, "after_mapper_constructed", propagate=True)
def _read_back(mapper: Mapper[Any], cls: type) -> None:
    # Not in __mapper_args__, because a model's own __mapper_args__ would replace a mixin's.
    private.read_back_defaults(mapper)
    column = mapper.columns["updated_at"]
    if getattr(column, "onupdate", None) is None and getattr(column, "server_onupdate", None) is None:
        event.listen(mapper, "before_update", _move_by_itself)
    elif len(mapper.tables) > 1:
        event.listen(mapper, "before_update", _move_with_another_table)


def _move_by_itself(mapper: Mapper[Any], connection: Connection, obj: Any) -> None:
    """Set the time of an object whose table was defined elsewhere (reflected, imperative) without ``onupdate``."""
    state = orm.attributes.instance_state(obj)
    changed = [key for key in state.committed_state if key in mapper.column_attrs]
    if "updated_at" not in changed and any(state.attrs[key].history.has_changes() for key in changed):
        obj.updated_at = utc_now()


def _move_with_another_table(mapper: Mapper[Any], connection: Connection, obj: Any) -> None:
    """Set the time of an object if only its other tables change: ``onupdate`` fires only for its own table's UPDATE."""
    state = orm.attributes.instance_state(obj)
    changed = (key for key in list(state.committed_state) if key in mapper.column_attrs)
    columns = (mapper.column_attrs[key].columns for key in changed if state.attrs[key].history.has_changes())
    tables = {getattr(column, "table", None) for found in columns for column in found}
    if tables and mapper.columns["updated_at"].table not in tables:
        obj.updated_at = utc_now()


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _move(state: ORMExecuteState) -> Any:
    """Refresh loaded objects with the time of an ``update()`` statement, which ``onupdate`` alone does not do."""
    if state.statement.is_select:  # as in `joined`
        return None
    mapper = state.bind_mapper if state.is_update else None
    if mapper is None:
        return None
    # Rows of a base class may belong to a subclass with timestamps.
    mappers = [mapper] if issubclass(mapper.class_, TimestampMixin) else rows_below(mapper)
    dated = [one.columns["updated_at"] for one in mappers if issubclass(one.class_, TimestampMixin)]
    return update_with_all(state, {column: utc_now() for column in dated})
