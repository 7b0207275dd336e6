"""``select(Model).from_statement(update(Model)…)``: an UPDATE or DELETE inside a SELECT, run as what it is."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import ORMExecuteState

from .. import _sqlalchemy as private
from ..errors import NotSupported
from . import _links as links  # noqa: F401 - its listener is put before all others, and this one before it
from ._sync_session import SyncSession

__all__: list[str] = []


@event.listens_for(SyncSession, "do_orm_execute", retval=True, insert=True)
def _unwrap(state: ORMExecuteState) -> Any:
    """Run the statement inside, which returns the same; all that is done for one that writes is done for it then."""
    statement: Any = state.statement
    if statement.is_select or not state.is_from_statement or not (state.is_update or state.is_delete):
        return None
    inside = statement.element
    if "entity" not in inside.entity_description or not _returns(inside, statement):
        verb = "update" if state.is_update else "delete"
        raise NotSupported(
            f"A select() from {verb}() cannot be anything else than what that returns, of a mapped class.",
            hint=f"await session.execute({verb}(Model).where(...).returning(...)), without from_statement().",
        )
    options = statement.get_execution_options()
    return state.invoke_statement(statement=inside.options(*private.options_of(statement)).execution_options(**options))


def _returns(inside: Any, statement: Any) -> bool:
    """Tell whether *inside* returns what *statement* selects; SQLAlchemy's own description of that fails on a class."""
    returned, selected = private.returned_by(inside), private.selected_by(statement)
    return len(returned) == len(selected) and all(map(_are_alike, returned, selected))


def _are_alike(one: Any, other: Any) -> bool:
    return bool(one.compare(other)) and private.notes_of(one).get("parententity") is private.notes_of(other).get(
        "parententity"
    )
