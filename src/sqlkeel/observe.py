"""Count and list the statements that are sent to the database, and limit them by a budget."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy import Engine, event
from sqlalchemy.ext.asyncio import AsyncEngine

from .errors import QueryBudgetExceeded
from .sessions._blocks import block

__all__ = ["QueryLog", "queries", "record"]


_ABOUT_TRANSACTIONS: Final = (
    *("PRAGMA", "BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "SET "),
    *("SELECT set_config(", "SELECT pg_current_xact"),
    "SELECT relkind::text",  # Sent by an upsert, once per table and process.
)


class QueryLog:
    """The statements of a block, in order; iterate over it, take its length, or read `statements`."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def __len__(self) -> int:
        return len(self.statements)

    def __iter__(self) -> Iterator[str]:
        return iter(self.statements)


class _HasEngines(Protocol):
    @property
    def engines(self) -> tuple[AsyncEngine, ...]: ...


_open_logs: WeakKeyDictionary[Engine, list[QueryLog]] = WeakKeyDictionary()


@block("async with queries(db, at_most=3)")
async def queries(
    database: _HasEngines | AsyncEngine, *, at_most: int | None = None, exactly: int | None = None
) -> AsyncIterator[QueryLog]:
    """Count the statements that the block sends to *database*, and check them against a budget.

    Put it around a handler in a test, and a new N+1 makes the test fail. It counts every statement that reaches the
    driver, including lazy loads, flushes and COPY; an ``executemany`` counts once. BEGIN, COMMIT, savepoints and
    pragmas do not count. It sees every task that uses the database, so do not use it while there is other traffic.

    Raises:
        QueryBudgetExceeded: When the block ends and has sent more than *at_most*, or not *exactly*, statements. An
            exception of the block itself takes precedence.
    """
    engines = (database,) if isinstance(database, AsyncEngine) else database.engines
    log = QueryLog()
    for engine in engines:
        _logs(engine.sync_engine).append(log)
    try:
        yield log
    finally:
        for engine in engines:
            _open_logs[engine.sync_engine].remove(log)
    if at_most is not None and len(log) > at_most:
        raise QueryBudgetExceeded(at_most, log.statements)
    if exactly is not None and len(log) != exactly:
        raise QueryBudgetExceeded(exactly, log.statements, exactly=True)


def record(engine: Engine, statement: str) -> None:
    """Record a statement that bypassed SQLAlchemy, such as a COPY."""
    for log in _open_logs.get(engine, ()):
        log.statements.append(statement)


def _logs(engine: Engine) -> list[QueryLog]:
    if engine not in _open_logs:
        _open_logs[engine] = []
        event.listen(engine, "before_cursor_execute", _note)
    return _open_logs[engine]


def _note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
    if not statement.startswith(_ABOUT_TRANSACTIONS):
        record(connection.engine, statement)
