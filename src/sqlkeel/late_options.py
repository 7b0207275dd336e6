"""Options of a connection that are asked for when its transaction has begun: in force already, or too late."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import orm

from .errors import UsageError

__all__ = ["ISOLATION", "are_in_force"]

ISOLATION: Final = 'async with db.transaction(isolation="serializable") as session: ...'
"""How to ask for an isolation level."""

_FIRST: Final = (
    "Ask for it before the first statement, where transaction() has no options; or give it to Database(url, ...)."
)
_NOT_SET: Final = object()


def are_in_force(
    session: orm.Session, execution_options: Mapping[str, Any], bind_arguments: Mapping[str, Any] | None = None
) -> bool:
    """Tell whether the connection of a session is open and has such options, so that it need not be given them.

    Raises:
        UsageError: When it is open without them: SQLAlchemy would ignore them, with a warning.
    """
    current = session.get_transaction()
    if current is None or not current.connections:
        return False
    if "isolation_level" in execution_options:
        raise UsageError("The isolation level is fixed by the first statement.", hint=ISOLATION)
    engine = session.get_bind(**(bind_arguments or {})).engine
    open_ones = [one.get_execution_options() for one in current.connections if one.engine is engine]
    for in_force in open_ones:
        if late := [name for name, value in execution_options.items() if in_force.get(name, _NOT_SET) != value]:
            raise UsageError(f"The transaction began without {', '.join(late)}.", hint=_FIRST)
    return bool(open_ones)
