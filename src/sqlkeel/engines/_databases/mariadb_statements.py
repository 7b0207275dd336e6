"""Find in the text of a statement what it changes on MariaDB beyond its rows: the session or the transaction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from ..._sql_heads import Heads, kept, starts_of
from ..._sql_text import MARIADB

__all__ = ["commits", "leaves_traces", "variables_set"]

_TRACES: Final = Heads(
    MARIADB,
    {
        "SET": True,
        "SET TRANSACTION|STATEMENT": None,
        "BACKUP|HANDLER|PREPARE|USE": True,
        "LOCK TABLE|TABLES": True,
        "FLUSH [LOCAL|NO_WRITE_TO_BINLOG] TABLE|TABLES": True,
        "CREATE [OR REPLACE] TEMPORARY": True,
    },
)

# https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/
_COMMITS: Final = Heads(
    MARIADB,
    {
        "COMMIT|BEGIN|ALTER|CALL|CREATE|DROP|EXECUTE|FLUSH|GRANT|INSTALL|LOCK|OPTIMIZE|RENAME|REPAIR|REVOKE": True,
        "SHUTDOWN|STOP|TRUNCATE|UNINSTALL": True,
        "ANALYZE [LOCAL|NO_WRITE_TO_BINLOG] TABLE": True,
        "CACHE|LOAD INDEX": True,
        "CHANGE MASTER": True,
        "CHECK TABLE|VIEW": True,
        "CREATE [OR REPLACE] TEMPORARY": None,
        "DROP TEMPORARY|PREPARE": None,
        "SET PASSWORD": True,
        "START TRANSACTION|SLAVE|REPLICA|ALL": True,
        "UNLOCK TABLE|TABLES": True,
    },
)
"""The statements that commit the transaction before them; CALL and EXECUTE are among them because they may."""

_SETS_NO_VARIABLE: Final = Heads(
    MARIADB, {"SET [GLOBAL|SESSION|LOCAL] TRANSACTION|STATEMENT|PASSWORD|DEFAULT|ROLE": True}
)
_SETS: Final = Heads(MARIADB, {"SET": True})
_SETS_FOR_ONE: Final = Heads(MARIADB, {"SET STATEMENT": True})
_OURS: Final = "sqlkeel"
"""The first letters of the session variables that we set ourselves; we read them in the same transaction only."""


def leaves_traces(statement: str, parameters: Any) -> bool:
    """Return whether a statement changes the session: a setting, a variable, a lock, a table, a prepared statement."""
    return _leaves_traces(statement)


@kept
def _leaves_traces(statement: str) -> bool:
    heads = (_TRACES.of(statement, start) for start in _starts(statement))
    return any(heads) or any(_is_trace(statement, position) for position in _suspects(statement))


def _suspects(statement: str) -> Iterator[int]:
    # INTO only together with a variable: an INSERT of many rows contains INTO, and would take long to search.
    words = ("get_lock", "into", "@") if "@" in statement else ("get_lock",)
    return MARIADB.find(statement, *words)


def _is_trace(statement: str, position: int) -> bool:
    """Return whether a call of GET_LOCK(), or a write to a variable of the session, begins at *position*."""
    first, second, third, *_ = (*(one.key for one in islice(MARIADB.tokens(statement, position), 3)), "", "")
    if first == "@":
        return third == ":=" and not second.lower().startswith(_OURS)
    return second == ("@" if first == "INTO" else "(")


@kept
def commits(statement: str) -> bool:
    """Return whether a statement commits the transaction before it, as DDL does."""
    return any(_COMMITS.of(statement, start) or _sets_autocommit(statement, start) for start in _starts(statement))


def _sets_autocommit(statement: str, start: int) -> bool:
    if not _SETS.of(statement, start):
        return False
    before = ["", ""]
    for token in MARIADB.tokens(statement, start):
        # @autocommit is a variable of the caller; @@autocommit is the server's setting.
        if token.text in ("=", ":=") and before[-1] == "AUTOCOMMIT" and before[-3:-1] not in (["SET", "@"], [",", "@"]):
            return True
        before = [*before[-2:], token.key]
    return False


def _starts(statement: str) -> Iterator[int]:
    """Yield the position of each statement; in SET STATEMENT … FOR, the statement begins after the settings."""
    for start in starts_of(MARIADB, statement):
        tokens = MARIADB.tokens(statement, start) if _SETS_FOR_ONE.of(statement, start) else iter(())
        yield next((token.end for token in tokens if token.key == "FOR"), start)


def variables_set(statement: str) -> str | None:
    """Return the assignments of a single SET of variables; ``None`` for any other statement, and for several."""
    tokens = [*MARIADB.tokens(statement)]
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    keys = [token.key for token in tokens]
    if keys[:1] != ["SET"] or len(keys) == 1 or ";" in keys or _SETS_NO_VARIABLE.of(statement):
        return None
    return statement[tokens[1].start : tokens[-1].end]
