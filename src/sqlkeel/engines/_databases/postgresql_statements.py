"""Find in the text of a statement what it changes on PostgreSQL beyond its transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final, NamedTuple

from ..._sql_heads import Heads, has_phrase, kept, starts_of
from ..._sql_text import POSTGRESQL, Kind, Token

__all__ = ["commits", "find_session_state", "leaves_traces"]

_COMMITS: Final = Heads(POSTGRESQL, {"COMMIT|END": True, "PREPARE TRANSACTION": True})

_HEADS: Final = Heads(
    POSTGRESQL,
    {
        "LISTEN|UNLISTEN": "listen",
        "SET": "set",
        "SET LOCAL|TRANSACTION|CONSTRAINTS": None,
        "PREPARE|DEALLOCATE": "prepare",
        "PREPARE TRANSACTION": None,
        "CREATE [OR REPLACE] [LOCAL|GLOBAL] TEMP|TEMPORARY": "temporary",
        "CREATE [OR REPLACE] [UNLOGGED] TABLE|VIEW|SEQUENCE [IF NOT EXISTS] PG_TEMP .": "temporary",
        "DECLARE": "hold",
        "DO": "do",
    },
)
_ENDS_WITH_THE_TRANSACTION: Final = {"temporary": "ON COMMIT DROP"}
_OUTLIVES_THE_TRANSACTION: Final = {"hold": "WITH HOLD"}

_FUNCTIONS: Final = {
    "pg_advisory_lock": "lock",
    "pg_advisory_lock_shared": "lock",
    "pg_try_advisory_lock": "lock",
    "pg_try_advisory_lock_shared": "lock",
    "set_config": "set",
}
_FALSE: Final = {"false", "'f'", "'fa'", "'fal'", "'fals'", "'false'", "'n'", "'no'", "'of'", "'off'", "'0'"}
"""The spellings of *false*: the server also accepts an abbreviation."""

_WRITES: Final = {"insert", "merge"}
"""The words before an INTO that is followed by the name of a table; that name may be ``temp``."""


class _Found(NamedTuple):
    """The state of the session that a statement changes, and the parameters that decide whether a setting is local."""

    state: str | None
    flags: tuple[str, ...] = ()


def commits(statement: str) -> bool:
    """Return whether a statement commits the transaction."""
    return any(_COMMITS.of(statement, start) for start in starts_of(POSTGRESQL, statement))


def find_session_state(statement: str) -> str | None:
    """Return the state that a statement changes beyond its transaction, such as ``listen`` or ``set``, or ``None``.

    This is not a parser: it finds statements of that kind and calls of functions by name, but not what a function does
    inside.
    """
    return _read(statement).state


def leaves_traces(statement: str, parameters: Any) -> bool:
    """Return whether a statement with these parameters changes the session; a list has those of several executions."""
    state, flags = _read(statement)
    if state is not None or not flags:
        return state is not None
    # A parameter decides whether the setting is local: func.set_config(name, value, True).
    rows = parameters if isinstance(parameters, list) else [parameters]
    return any(_is_false(row, flag) for row in rows for flag in flags)


def _is_false(row: Any, place: str) -> bool:
    # `is`, because 0 equals False and is not a boolean.
    if isinstance(row, Mapping):
        return row.get(place[2:-2]) is False
    number = place[1:]
    return row[int(number) - 1] is False if number.isdecimal() else any(one is False for one in row)


def _find(statement: str) -> _Found:
    for start in starts_of(POSTGRESQL, statement):
        state = _HEADS.of(statement, start)
        if state == "do":
            state = next((_find_call(code).state for code in _bodies(statement, start)), None)
        elif phrase := _ENDS_WITH_THE_TRANSACTION.get(state or ""):
            state = None if has_phrase(POSTGRESQL, statement, phrase, start=start) else state
        elif phrase := _OUTLIVES_THE_TRANSACTION.get(state or ""):
            state = state if has_phrase(POSTGRESQL, statement, phrase, start=start, before="FOR") else None
        if state is not None:
            return _Found(state)
    lowered = statement.lower()
    if "temp" in lowered and _selects_into_temporary(statement):
        return _Found("temporary")
    # A substring test first: an INSERT of many rows would take long to search.
    return _find_call(statement) if "advisory_lock" in lowered or "set_config" in lowered else _Found(None)


_read: Final = kept(_find)


def _bodies(statement: str, start: int) -> Iterator[str]:
    """Yield the code that a DO executes."""
    for token in POSTGRESQL.tokens(statement, start):
        if token.kind is Kind.TEXT:
            yield token.text.strip("'") if token.text[0] == "'" else token.text.split("$", 2)[2]


def _selects_into_temporary(statement: str) -> bool:
    before = ""
    for position in POSTGRESQL.find(statement, "into", *_WRITES):
        word, *rest = _next(statement, position, 4)
        if word.key == "INTO" and before not in _WRITES:
            return not {"TEMP", "TEMPORARY", "PG_TEMP"}.isdisjoint(one.key for one in rest[:2])
        before = word.text.lower()
    return False


def _find_call(statement: str) -> _Found:
    flags: list[str] = []
    for position in POSTGRESQL.find(statement, *_FUNCTIONS):
        called, *bracket = _next(statement, position, 2)
        if [one.text for one in bracket] != ["("]:
            continue
        state = _FUNCTIONS.get((called.name or "").lower())
        if state == "lock":
            return _Found(state)
        arguments = _arguments(POSTGRESQL.tokens(statement, bracket[0].end))
        is_local = arguments[2] if len(arguments) > 2 else []
        bound = [token.text for token in is_local if token.kind is Kind.PARAMETER]
        if not bound and any(token.text.replace(" ", "").lower() in _FALSE for token in is_local[:1]):
            return _Found(state)
        flags += bound
    return _Found(None, tuple(flags))


def _next(statement: str, position: int, count: int) -> list[Token]:
    return [*islice(POSTGRESQL.tokens(statement, position), count)]


def _arguments(tokens: Iterator[Token]) -> list[list[Token]]:
    """Return the tokens of each argument of a call, up to its closing bracket."""
    found: list[list[Token]] = [[]]
    depth = 0
    for token in tokens:
        depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(token.text, 0)
        if depth < 0:
            break
        if token.text == "," and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return found
