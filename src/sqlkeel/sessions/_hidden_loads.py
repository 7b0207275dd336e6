"""Loads that nobody asked for: an attribute of asynchronous code that is read before it was loaded."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.util.concurrency import in_greenlet

from .. import _sqlalchemy as private
from ..errors import UnloadedAttribute

__all__ = ["refuse_hidden_load"]


def refuse_hidden_load(state: ORMExecuteState) -> None:
    """Refuse a load that an attribute read of asynchronous code asks for, before it fails in the driver.

    Raises:
        UnloadedAttribute: With the attribute's name, and how to load it.
    """
    if in_greenlet() or not (state.is_relationship_load or state.is_column_load):  # the cheaper question first
        return
    if async_session(state.session) is None:
        return
    # Only a SELECT has the options that these read.
    if state.is_column_load:
        names = private.loads_only(state) or ("a column",)
        raise UnloadedAttribute(
            private.refreshed_state(state).class_.__name__, ", ".join(sorted(names)), is_column=True
        )
    parent, path = state.lazy_loaded_from, state.loader_strategy_path
    if parent is not None:
        attribute = path.prop.key if path is not None else "a relationship"  # type: ignore[attr-defined]
        raise UnloadedAttribute(parent.class_.__name__, attribute)
