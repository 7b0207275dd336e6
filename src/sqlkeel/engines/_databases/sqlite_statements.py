"""Find in the text of a statement what it changes on SQLite beyond its transaction."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final

from ..._sql_heads import Heads, kept
from ..._sql_text import SQLITE

__all__ = ["commits", "leaves_traces"]

_COMMITS: Final = Heads(SQLITE, {"COMMIT|END": True})

_TRACES: Final = Heads(
    SQLITE,
    {
        "ATTACH|DETACH": True,
        "CREATE TEMP|TEMPORARY": True,
        "CREATE TABLE|VIEW|TRIGGER [IF NOT EXISTS] TEMP .": True,
        "PRAGMA": False,
    },
)

_ASKS: Final = (
    "COLLATION_",
    "DATABASE_",
    "FOREIGN_KEY_",
    "FUNCTION_",
    "INCREMENTAL_VACUUM",
    "INDEX_",
    "INTEGRITY_CHECK",
    "MODULE_",
    "OPTIMIZE",
    "PRAGMA_",
    "QUICK_CHECK",
    "TABLE_",
    "WAL_CHECKPOINT",
)
"""The first letters of the PRAGMAs that only read, even with a value; any other PRAGMA with a value sets something."""

_OF_THE_FILE: Final = {"APPLICATION_ID", "USER_VERSION"}
"""The PRAGMAs whose value is written into the file."""


@kept
def commits(statement: str) -> bool:
    """Return whether a statement commits the transaction; SQLite's driver sends one statement at a time."""
    return _COMMITS.of(statement) is not None


def leaves_traces(statement: str, parameters: Any) -> bool:
    """Return whether a statement attaches a database, changes a setting, or creates a temporary object."""
    return _leaves_traces(statement)


@kept
def _leaves_traces(statement: str) -> bool:
    found = _TRACES.of(statement)
    return _sets_pragma(statement) if found is False else found is True


def _sets_pragma(statement: str) -> bool:
    _, name, sign, *rest = (*(token.key for token in islice(SQLITE.tokens(statement), 5)), "", "", "", "")
    if sign == ".":
        name, sign, *_ = rest
    return sign in ("=", "(") and not name.startswith(_ASKS) and name not in _OF_THE_FILE
