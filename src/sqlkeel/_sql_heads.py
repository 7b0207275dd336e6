"""What a statement is, told from its first words; and what a text of several statements holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Generic, TypeVar

from ._sql_text import Grammar

__all__ = ["Heads", "has_phrase", "kept", "starts_of"]

_T = TypeVar("_T")

_LONG: Final = 5_000


class Heads(Generic[_T]):
    """A table of what statements begin with: ``{"CREATE [OR REPLACE] TEMP|TEMPORARY": "temporary", ...}``.

    What stands in brackets may be missing, and of words with a bar between them there is one. Of several heads that fit
    the longest counts: ``{"SET": "set", "SET LOCAL": None}`` says nothing of SET LOCAL.
    """

    def __init__(self, grammar: Grammar, heads: Mapping[str, _T | None]) -> None:
        self.grammar = grammar
        self._root: dict[Any, Any] = {}
        for head, answer in heads.items():
            for words in _spellings(head):
                node = self._root
                for word in words:
                    node = node.setdefault(word, {})
                node[_ANSWER] = answer

    def of(self, sql: str, start: int = 0) -> _T | None:
        """Return what is said of the statement that begins at *start*; only as many tokens are read as that takes."""
        node, answer = self._root, None
        for token in self.grammar.tokens(sql, start):
            below = node.get(token.key)
            if below is None:
                break
            node, answer = below, below.get(_ANSWER, answer)
        return answer


_ANSWER: Final = object()
"""Where a table keeps what is said of the words up to there."""


def _spellings(head: str) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = [()]
    without = found
    for word in head.replace("[", "[ ").replace("]", " ]").split():
        if word == "[":
            without = found
        elif word == "]":
            found = [*without, *found]
        else:
            found = [(*one, choice) for one in found for choice in word.split("|")]
    return found


def starts_of(grammar: Grammar, sql: str) -> Iterator[int]:
    """Yield where each statement of a text may begin: psycopg and asyncmy send several at once.

    What stands behind the first semicolon of a function, a procedure or a trigger is its body, which is not executed.
    """
    yield 0
    if ";" not in sql:
        return
    start = 0
    for position in grammar.find(sql, ";"):
        if _has_body(grammar, sql, start):
            return
        start = position + 1
        yield start


_LONGEST_HEAD: Final = 15
"""Tokens before the word that says what is made: ``CREATE OR REPLACE DEFINER = a@b AGGREGATE FUNCTION``."""

_WITH_BODY: Final = {"EVENT", "FUNCTION", "PACKAGE", "PROCEDURE", "TRIGGER"}


def _has_body(grammar: Grammar, sql: str, start: int) -> bool:
    head = [token.key for token in islice(grammar.tokens(sql, start), _LONGEST_HEAD)]
    return head[:1] == ["CREATE"] and not _WITH_BODY.isdisjoint(head)


def has_phrase(grammar: Grammar, sql: str, phrase: str, *, start: int = 0, before: str = ";") -> bool:
    """Tell whether words follow each other in the statement from *start* on, up to the token *before*."""
    words = phrase.split()
    last = deque[str](maxlen=len(words))
    for token in grammar.tokens(sql, start):
        if token.key in (";", before):
            return False
        last.append(token.key)
        if [*last] == words:
            return True
    return False


def kept(read: Callable[[str], _T]) -> Callable[[str], _T]:
    """Return *read* with its answers kept: an application sends the same statements again and again.

    A text of more than 5,000 characters is seldom sent twice, and is not kept.
    """
    known = lru_cache(maxsize=500)(read)

    def answer(sql: str) -> _T:
        return read(sql) if len(sql) > _LONG else known(sql)

    return answer
