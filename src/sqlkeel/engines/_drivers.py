"""What we use of drivers that they do not promise: private names stand here and nowhere else.

`tests/engines/test_drivers.py` has a canary for each, which says what breaks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3
    import threading

    import aiosqlite

__all__ = ["READS_ROWS", "READS_TIMES", "has_unread_rows", "library_connection", "thread_of", "transport_of"]

READS_ROWS: Final = frozenset({"_decode_row", "load_row", "load_rows"})
"""The functions in which asyncpg and psycopg make values of what the server has sent."""

READS_TIMES: Final = "datetime"
"""The file, in both drivers, of the types of which PostgreSQL has more values than Python."""


def transport_of(driver: Any) -> Any:
    """Return the transport of a connection of asyncpg or asyncmy, which name it alike; ``None`` of a closed one."""
    return driver._transport


def has_unread_rows(driver: Any) -> bool:
    """Tell whether asyncmy has rows to read that the server has sent, or will; it throws them away otherwise."""
    unread = driver._result
    return unread is not None and bool(unread.unbuffered_active)


def thread_of(driver: aiosqlite.Connection) -> threading.Thread:
    """Return the thread in which aiosqlite calls SQLite."""
    return driver._thread


def library_connection(driver: Any) -> sqlite3.Connection:
    """Return the connection below aiosqlite's: its ``interrupt`` may be called from any thread, aiosqlite's own waits.

    Raises:
        ValueError: When it is closed.
    """
    connection: sqlite3.Connection = driver._conn
    return connection
