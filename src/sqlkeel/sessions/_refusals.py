"""Refuse, before a statement is sent, options without an effect, and lazy loads that are not awaited."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import FromClause, orm
from sqlalchemy.ext.asyncio import async_session
from sqlalchemy.orm import ORMExecuteState
from sqlalchemy.util.concurrency import in_greenlet

from .. import _sqlalchemy as private
from ..errors import UnloadedAttribute, UsageError

__all__ = ["ISOLATION", "are_in_force", "refuse_hidden_load", "refuse_on_statement"]

ISOLATION: Final = 'async with db.transaction(isolation="serializable") as session: ...'
"""How to request an isolation level."""

_FIRST: Final = "Request it before the first statement, or pass it to Database(url, ...)."
_LEVEL: Final = "isolation_level"
_SCHEMAS: Final = "schema_translate_map"
_NOT_SET: Final = object()


def are_in_force(
    session: orm.Session, execution_options: Mapping[str, Any], bind_arguments: Mapping[str, Any] | None = None
) -> bool:
    """Return whether the session's connection is open and already has these options, so that they can be omitted.

    Raises:
        UsageError: When the connection is open without the options; SQLAlchemy would ignore them with a warning.
    """
    current = session.get_transaction()
    if current is None or not current.connections:
        return False
    engine = session.get_bind(**(bind_arguments or {})).engine
    open_ones = [one.get_execution_options() for one in current.connections if one.engine is engine]
    for in_force in open_ones:
        late = [name for name, value in execution_options.items() if not _is_in_force(in_force, name, value)]
        if _LEVEL in late:
            raise UsageError("The isolation level is fixed by the first statement.", hint=ISOLATION)
        if late:
            raise UsageError(f"The transaction began without {', '.join(late)}.", hint=_FIRST)
    return bool(open_ones)


def _is_in_force(options: Mapping[str, Any], name: str, value: Any) -> bool:
    set_to = options.get(name, _NOT_SET)
    if name == _LEVEL and isinstance(set_to, str) and isinstance(value, str):
        return _normal(set_to) == _normal(value)
    return bool(set_to == value)


def _normal(level: str) -> str:
    """Return an isolation level in the spelling that SQLAlchemy uses for the databases."""
    return level.replace("_", " ").upper()


def refuse_on_statement(state: ORMExecuteState) -> None:
    """Refuse a statement with options that only a connection can have.

    Raises:
        UsageError: For an isolation level, and for a schema other than the connection's if the statement loads or
            changes objects: a session identifies a row by class and key, and writes it to its connection's schema.
    """
    # Only the statement's own options; the session passes its options to its connections.
    level = state.local_execution_options.get(_LEVEL)
    if level is not None and level != state.session.execution_options.get(_LEVEL):
        raise UsageError(
            "An isolation level on a statement has no effect: it belongs to the transaction.", hint=ISOLATION
        )
    given = state.execution_options.get(_SCHEMAS)
    if given is None or not _meets_objects(state):
        return
    connection = state.session.connection(bind_arguments=dict(state.bind_arguments))
    if connection.get_execution_options().get(_SCHEMAS) != given:
        raise UsageError(
            f"A {_SCHEMAS} on a statement does not apply to its objects, which would count as rows of another schema.",
            hint=f"await session.connection(execution_options={{{_SCHEMAS!r}: ...}}) before the first statement.",
        )


def _meets_objects(state: ORMExecuteState) -> bool:
    """Return whether a statement creates objects, or changes objects that the session holds."""
    if state.is_update or state.is_delete:
        return state.is_orm_statement and state.execution_options.get("synchronize_session") is not False
    statement: Any = state.statement
    if state.is_insert:
        return any(isinstance(one, FromClause) for one in private.returned_by(statement))
    described = getattr(statement, "column_descriptions", ())
    return any(one["entity"] is not None and one["expr"] is one["entity"] for one in described)


def refuse_hidden_load(state: ORMExecuteState) -> None:
    """Refuse the load that reading an unloaded attribute starts in asynchronous code: it would fail in the driver.

    Raises:
        UnloadedAttribute: With the attribute's name, and how to load it.
    """
    if in_greenlet() or not (state.is_relationship_load or state.is_column_load):  # the cheapest check first
        return
    if async_session(state.session) is None:
        return
    # The caller passes SELECTs only: other statements do not have these options.
    if state.is_column_load:
        names = private.loads_only(state) or ("a column",)
        raise UnloadedAttribute(
            private.refreshed_state(state).class_.__name__, ", ".join(sorted(names)), is_column=True
        )
    parent, path = state.lazy_loaded_from, state.loader_strategy_path
    if parent is not None:
        attribute = path.prop.key if path is not None else "a relationship"  # type: ignore[attr-defined]
        raise UnloadedAttribute(parent.class_.__name__, attribute)
