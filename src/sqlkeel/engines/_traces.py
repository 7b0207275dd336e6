"""Close connections whose session a statement has changed beyond its transaction, instead of reusing them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import Engine, event

__all__ = ["RESTORED", "LeavesTraces", "install"]

LeavesTraces = Callable[[str, Any], bool]
"""Returns, from text and parameters, whether a statement changes the session beyond its transaction."""

RESTORED: Final = {"sqlkeel_restored": True}
"""The execution options of a statement whose sender undoes its effect, or keeps track of it."""

_CHANGED: Final = "sqlkeel_changed"


def install(engine: Engine, leaves_traces: LeavesTraces) -> None:
    """Close a connection instead of returning it to the pool if a setting, a lock or a table remains on it.

    A pool only rolls back a returned connection. Resetting the session each time would be a round trip for all; the
    statements that need it are few and can be recognised.
    """

    def note(cursor: Any, statement: str, parameters: Any, context: Any) -> None:
        if leaves_traces(statement, parameters) and not RESTORED.items() <= context.execution_options.items():
            context.root_connection.info[_CHANGED] = True

    def note_without_parameters(cursor: Any, statement: str, context: Any) -> None:
        note(cursor, statement, (), context)

    # Events of the dialect, because a listener on the engine would cost each statement more than the check itself.
    event.listen(engine, "do_execute", note)
    event.listen(engine, "do_executemany", note)
    event.listen(engine, "do_execute_no_params", note_without_parameters)

    @event.listens_for(engine, "checkin")
    def close(raw: Any, record: Any) -> None:
        if record.info.pop(_CHANGED, False):
            record.invalidate()
