"""Run ``select(Model).from_statement(update(Model)…)`` as the UPDATE or DELETE that it contains."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState

from .. import _sqlalchemy as private
from ..errors import NotSupported
from . import _links as links  # noqa: F401 - its listener is put before all others, and ours before that one
from ._sync_session import SyncSession

__all__: list[str] = []


@event.listens_for(SyncSession, "do_orm_execute", retval=True, insert=True)
def _unwrap(state: ORMExecuteState) -> Any:
    """Run the inner statement, which returns the same rows, so that all listeners for writes see it."""
    statement: Any = state.statement
    if statement.is_select or not state.is_from_statement or not (state.is_update or state.is_delete):
        return None
    inside = statement.element
    if "entity" not in inside.entity_description or not _returns(inside, statement):
        verb = "update" if state.is_update else "delete"
        raise NotSupported(
            f"A select() from {verb}() has to select what that returns, of a mapped class.",
            hint=f"await session.execute({verb}(Model).where(...).returning(...)), without from_statement().",
        )
    options = statement.get_execution_options()
    return state.invoke_statement(statement=inside.options(*private.options_of(statement)).execution_options(**options))


def _returns(inside: Any, statement: Any) -> bool:
    """Return whether *inside* returns what *statement* selects; SQLAlchemy's own description fails on a class."""
    returned, selected = private.returned_by(inside), private.selected_by(statement)
    return len(returned) == len(selected) and all(map(_are_alike, returned, selected))


def _are_alike(one: Any, other: Any) -> bool:
    return bool(one.compare(other)) and private.notes_of(one).get("parententity") is private.notes_of(other).get(
        "parententity"
    )
