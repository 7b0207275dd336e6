"""A lexer for SQL: it cuts SQL into words, names, texts, numbers and signs, by the rules of each database.

All modules that look into SQL use it instead of a regular expression, which would find words inside a text, a quoted
name or a comment as well. It is not a parser: it does not know which token may follow which.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import Final, NamedTuple

__all__ = ["GRAMMARS", "MARIADB", "POSTGRESQL", "SQLITE", "Grammar", "Kind", "Token"]


class Kind(Enum):
    """The kind of a token."""

    WORD = auto()
    """A keyword, or a name without quotes."""

    NAME = auto()
    """A name in quotes."""

    TEXT = auto()
    NUMBER = auto()

    PARAMETER = auto()
    """A placeholder for a value, in any style of the drivers."""

    SIGN = auto()
    """Anything else: an operator, a bracket, a comma."""


class Token(NamedTuple):
    """A piece of SQL as it is written, and the position at which it begins."""

    kind: Kind
    text: str
    start: int

    @property
    def key(self) -> str:
        """The text for comparisons: a word in capitals, any other token as written; a quoted name is not a keyword."""
        return self.text.upper() if self.kind is Kind.WORD else self.text

    @property
    def end(self) -> int:
        """The position after the token."""
        return self.start + len(self.text)

    @property
    def name(self) -> str | None:
        """The name without its quotes; a word as it is written; ``None`` for other kinds of tokens."""
        if self.kind is Kind.WORD:
            return self.text
        if self.kind is not Kind.NAME:
            return None
        quote = self.text[0]
        return self.text[1:-1] if quote == "[" else self.text[1:-1].replace(quote * 2, quote)


_NOTHING: Final = r"(?!)"
_LINE: Final = r"--[^\n]*+"
_BLOCK: Final = r"/\*(?:[^*]++|\*(?!/))*+(?:\*/)?+"
_NUMBER: Final = r"(?:\d[\d_]*+(?:\.\d*+)?+|\.\d++)(?:[eE][+-]?\d++)?+|0[xX][0-9a-fA-F]++"
_OF_DRIVERS: Final = r"%\(\w++\)s|%s"


def _quoted(quote: str) -> str:
    """Return a pattern for a text or name in quotes; without a closing quote, it reaches to the end of the SQL."""
    return rf"{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}?+"


def _escaped(quote: str) -> str:
    """Return the same pattern for a text in which a backslash escapes the next character."""
    return rf"{quote}(?:[^{quote}\\]++|\\.|{quote}{quote})*+\\?+{quote}?+"


class Grammar:
    """The lexical rules of one database.

    Args:
        comments: A pattern for a comment.
        nested: A pattern for the start of a comment that may contain other comments.
        tag: A pattern for the tag that begins and ends a text.
        executed: A pattern for the start of a comment whose content is executed.
        texts: A pattern for a text.
        names: A pattern for a name in quotes.
        parameters: A pattern for a placeholder, in addition to those of the drivers.
        words: A pattern for a word.
        first: The characters with which a comment, a text or a name begins.
    """

    def __init__(
        self,
        *,
        comments: str,
        texts: str,
        names: str,
        first: str,
        nested: str = _NOTHING,
        tag: str = _NOTHING,
        executed: str = _NOTHING,
        parameters: str = _NOTHING,
        words: str = r"[^\W\d][\w$]*+",
    ) -> None:
        self._pattern = re.compile(
            rf"\s++|(?P<EXECUTED>{executed})|(?P<NESTED>{nested})|(?P<TAG>{tag})|(?P<COMMENT>{comments})|(?P<TEXT>{texts})"
            rf"|(?P<NAME>{names})|(?P<PARAMETER>{_OF_DRIVERS}|{parameters})|(?P<NUMBER>{_NUMBER})(?![\w$])"
            rf"|(?P<WORD>{words})|(?P<SIGN>::|:=|=>|.)",
            re.DOTALL,
        )
        self._passed = f"{executed}|{comments}|{texts}|{names}"
        self._first, self._starts = first, f"(?P<NESTED>{nested})|(?P<TAG>{tag})"
        self._finder = cache(self._make_finder)

    def tokens(self, sql: str, start: int = 0) -> Iterator[Token]:
        """Yield the tokens from *start* on; the rest of the SQL is read only when the caller asks for more tokens."""
        position, is_executed, match = start, False, self._pattern.match
        while (found := match(sql, position)) is not None:
            position, kind = found.end(), found.lastgroup
            if kind in _KINDS:
                if is_executed and sql.startswith("*/", found.start()):
                    position, is_executed = found.start() + 2, False
                else:
                    yield Token(_KINDS[kind], found[0], found.start())
            elif kind in _END_OF:
                position = _END_OF[kind](sql, found)
                if kind == "TAG":
                    yield Token(Kind.TEXT, sql[found.start() : position], found.start())
            elif kind == "EXECUTED":
                is_executed = True

    def find(self, sql: str, *words: str) -> Iterator[int]:
        """Yield each position of these lower-case words or signs outside texts and comments.

        A word in quotes is found as well, because it may be the name of a function. The search does not cut the SQL
        into tokens, and returns at once for SQL without any of the words.
        """
        lowered = sql.lower()
        if not any(word in lowered for word in words):
            return
        position, match = 0, self._finder(words).match
        while (found := match(sql, position)) is not None:
            if found.lastgroup == "FOUND":
                yield found.start("FOUND")
                position = found.end()
            else:
                position = _END_OF[found.lastgroup or ""](sql, found)

    def _make_finder(self, words: tuple[str, ...]) -> re.Pattern[str]:
        """Return a pattern up to the next of the words: one match, where a loop would call Python for each text."""
        sought = "|".join(
            rf"(?<![\w$]){one}(?![\w$])|[\"`]{one}[\"`]" if one.isidentifier() else re.escape(one) for one in words
        )
        stops = self._first + "".join({one[0] + one[0].upper() for one in words})
        # No group inside the repetition: Python 3.11 may lose count of such a group.
        ends = rf"(?P<FOUND>(?i:{sought}))|{self._starts}"
        passed = rf"[^{re.escape(stops)}]++|(?!{_without_groups(ends)})(?:{self._passed}|.)"
        return re.compile(rf"(?:{passed})*+(?:{ends})", re.DOTALL)


def _without_groups(pattern: str) -> str:
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


_KINDS: Final = {kind.name: kind for kind in Kind}
_EDGE: Final = re.compile(r"/\*|\*/")


def _end_of_nested(sql: str, found: re.Match[str]) -> int:
    """Return the end of a comment that may contain other comments."""
    depth = 1
    for edge in _EDGE.finditer(sql, found.end()):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _end_of_tagged(sql: str, found: re.Match[str]) -> int:
    """Return the end of a text that ends with the tag with which it begins."""
    tag = found["TAG"]
    end = sql.find(tag, found.end())
    return len(sql) if end < 0 else end + len(tag)


_END_OF: Final = {"NESTED": _end_of_nested, "TAG": _end_of_tagged}


POSTGRESQL: Final = Grammar(
    comments=_LINE,
    nested=r"/\*",
    texts=rf"(?<![\w$])[eE]{_escaped(chr(39))}|{_quoted(chr(39))}",
    tag=r"(?<![\w$])\$(?:[^\W\d]\w*+)?+\$",
    names=_quoted('"'),
    first="-/eE'$\"",
    parameters=r"\$\d++",
)
"""https://www.postgresql.org/docs/current/sql-syntax-lexical.html, with ``standard_conforming_strings``."""

MARIADB: Final = Grammar(
    comments=rf"--(?=\s|\Z)[^\n]*+|#[^\n]*+|{_BLOCK}",
    executed=r"/\*M?!\d*+",
    texts=rf"{_escaped(chr(39))}|{_escaped(chr(34))}",
    names=_quoted("`"),
    first="-/#'\"`",
    words=r"[\w$]++",
)
"""https://mariadb.com/kb/en/comment-syntax/; MariaDB executes the content of ``/*! … */``, so it is read as tokens."""

SQLITE: Final = Grammar(
    comments=rf"{_LINE}|{_BLOCK}",
    texts=_quoted("'"),
    names=rf"{_quoted(chr(34))}|{_quoted('`')}|\[[^\]]*+\]?+",
    first="-/'\"`[",
    parameters=r"\?\d*+|[:@$][^\W\d]\w*+",
)
"""https://www.sqlite.org/lang_keywords.html, https://www.sqlite.org/lang_comment.html."""

GRAMMARS: Final = {"mariadb": MARIADB, "mysql": MARIADB, "postgresql": POSTGRESQL, "sqlite": SQLITE}
"""The grammars, by SQLAlchemy's name of the dialect."""
