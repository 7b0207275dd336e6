"""Private names of drivers that we use, all in this module.

`tests/engines/test_drivers.py` has a canary test for each, which says what breaks without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    import threading

    import aiosqlite

__all__ = ["READS_ROWS", "READS_TIMES", "has_unread_rows", "library_connection", "thread_of", "transport_of"]

READS_ROWS: Final = frozenset({"_decode_row", "load_row", "load_rows"})
"""The functions of asyncpg and psycopg that convert received rows to Python values."""

READS_TIMES: Final = "datetime"
"""The module, in both drivers, for types whose values in PostgreSQL include some that Python does not have."""


def transport_of(driver: Any) -> Any:
    """Return the transport of an asyncpg or asyncmy connection; ``None`` if it is closed."""
    return driver._transport


def has_unread_rows(driver: Any) -> bool:
    """Return whether asyncmy has unread rows, which it would discard at the next statement."""
    unread = driver._result
    return unread is not None and bool(unread.unbuffered_active)


def thread_of(driver: aiosqlite.Connection) -> threading.Thread:
    """Return the thread in which aiosqlite calls SQLite."""
    return driver._thread


def library_connection(driver: Any) -> sqlite3.Connection:
    """Return the sqlite3 connection: its ``interrupt`` works from any thread, while aiosqlite's method would wait.

    Raises:
        ValueError: When it is closed.
    """
    connection: sqlite3.Connection = driver._conn
    return connection
