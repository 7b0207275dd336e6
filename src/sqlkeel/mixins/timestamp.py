"""When a row was made and last changed, by the server's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Mapped, Mapper, ORMExecuteState, mapped_column

from ..session import SyncSession, update_with
from ..types import UTCDateTime, utc_now

__all__ = ["TimestampMixin"]


class TimestampMixin:
    """``created_at`` and ``updated_at``: aware, in UTC, set by the server.

    Any INSERT gets both, from whichever program. ``updated_at`` moves with every flush, every ``update()`` statement
    and every upsert and bulk update of sqlkeel; raw SQL of other programs has to set it itself. The new value is read
    back with the statement, so that it can be used at once.
    """

    created_at: Mapped[datetime] = mapped_column(
        UTCDateTime(), server_default=utc_now(), sort_order=900, use_existing_column=True
    )
    updated_at: Mapped[datetime] = mapped_column(
        UTCDateTime(), server_default=utc_now(), onupdate=utc_now(), sort_order=901, use_existing_column=True
    )


@event.listens_for(TimestampMixin, "after_mapper_constructed", propagate=True)
def _read_back(mapper: Mapper[Any], cls: type) -> None:
    # Set here and not in __mapper_args__: a model's own __mapper_args__ would replace a mixin's.
    mapper.eager_defaults = True


@event.listens_for(SyncSession, "do_orm_execute", retval=True)
def _move(state: ORMExecuteState) -> Any:
    """Let loaded objects see the time of an ``update()`` statement, which the column alone would not tell them."""
    mapper = state.bind_mapper if state.is_update else None
    if mapper is None or not issubclass(mapper.class_, TimestampMixin):
        return None
    return update_with(state, mapper.columns["updated_at"], utc_now())
