"""Recognise a statement by its first words, and find the statements in a string that contains several."""

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
    """A table from the first words of a statement to a value: ``{"CREATE [OR REPLACE] TEMP|TEMPORARY": "temporary"}``.

    Words in brackets are optional, and a bar separates alternatives. If several heads match, the longest one counts:
    with ``{"SET": "set", "SET LOCAL": None}``, SET LOCAL has no value.
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
        """Return the value for the statement that begins at *start*; read no more tokens than that needs."""
        node, answer = self._root, None
        for token in self.grammar.tokens(sql, start):
            below = node.get(token.key)
            if below is None:
                break
            node, answer = below, below.get(_ANSWER, answer)
        return answer


_ANSWER: Final = object()
"""The key under which a node of the table keeps the value for the words up to that node."""


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
    """Yield the position at which each statement may begin: psycopg and asyncmy send several statements at once.

    After the CREATE of a function, a procedure or a trigger, the semicolons are in its body, which is not executed yet.
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
"""The most tokens before the kind of object: ``CREATE OR REPLACE DEFINER = a@b AGGREGATE FUNCTION``."""

_WITH_BODY: Final = {"EVENT", "FUNCTION", "PACKAGE", "PROCEDURE", "TRIGGER"}


def _has_body(grammar: Grammar, sql: str, start: int) -> bool:
    head = [token.key for token in islice(grammar.tokens(sql, start), _LONGEST_HEAD)]
    return head[:1] == ["CREATE"] and not _WITH_BODY.isdisjoint(head)


def has_phrase(grammar: Grammar, sql: str, phrase: str, *, start: int = 0, before: str = ";") -> bool:
    """Return whether the statement at *start* contains the words of *phrase* in a row, up to the token *before*."""
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
    """Return *read* with a cache of its results, because an application sends the same statements again and again.

    The result for a string of more than 5,000 characters is not cached, because such a statement is seldom repeated.
    """
    known = lru_cache(maxsize=500)(read)

    def answer(sql: str) -> _T:
        return read(sql) if len(sql) > _LONG else known(sql)

    return answer
