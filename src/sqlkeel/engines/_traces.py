"""Connections that a statement has changed for longer than its transaction: closed, and given to nobody."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, event

__all__ = ["RESTORED", "LeavesTraces", "install"]

LeavesTraces = Callable[[str, Any], bool]
"""Tells from its text and parameters whether a statement changes the session beyond its transaction."""

RESTORED: Final = {"sqlkeel_restored": True}
"""The execution options of a statement whose effect is taken back, or kept in mind, by who sends it."""

_CHANGED: Final = "sqlkeel_changed"


def install(engine: Engine, leaves_traces: LeavesTraces) -> None:
    """Close a connection instead of keeping it in the pool, once a setting, a lock or a table was left on it.

    A pool rolls back what is returned to it, and nothing else. To reset the session each time would be a round trip for
    everybody; the statements that make it necessary are few, and can be told.
    """

    def note(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if leaves_traces(statement, parameters) and not RESTORED.items() <= context.execution_options.items():
            context.root_connection.info[_CHANGED] = True

    def note_without_parameters(cursor: Any, statement: str, context: Any) -> None:
        note(cursor, statement, (), context)

    # Events of the dialect: one of the engine would cost each statement more than all of this.
    event.listen(engine, "do_execute", note)
    event.listen(engine, "do_executemany", note)
    event.listen(engine, "do_execute_no_params", note_without_parameters)

    @event.listens_for(engine, "checkin")
    def close(raw: Any, record: Any) -> None:
        if record.info.pop(_CHANGED, False):
            record.invalidate()
