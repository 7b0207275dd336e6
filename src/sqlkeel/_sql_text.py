"""SQL read as tokens: words, names, texts, numbers and signs, by the rules of each database.

Whoever wants to know what a piece of SQL says asks here, and never a regular expression of its own: a word inside of a
text, a name or a comment is none of the statement. It is a lexer and no parser: it does not know what may stand where.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum, auto
from functools import cache
from typing import Final, NamedTuple

__all__ = ["GRAMMARS", "MARIADB", "POSTGRESQL", "SQLITE", "Grammar", "Kind", "Token"]


class Kind(Enum):
    """What a token is."""

    WORD = auto()
    """A keyword, or a name without quotes."""

    NAME = auto()
    """A name in quotes."""

    TEXT = auto()
    NUMBER = auto()

    PARAMETER = auto()
    """A place for a value, in any style of the drivers."""

    SIGN = auto()
    """All else: an operator, a bracket, a comma."""


class Token(NamedTuple):
    """A piece of SQL, as it is written, and where it begins."""

    kind: Kind
    text: str
    start: int

    @property
    def key(self) -> str:
        """What to compare: a word in capitals, all else as it is written; a name in quotes is never a keyword."""
        return self.text.upper() if self.kind is Kind.WORD else self.text

    @property
    def end(self) -> int:
        """Where the next one may begin."""
        return self.start + len(self.text)

    @property
    def name(self) -> str | None:
        """The name that a word, or a name in quotes, spells; a word as it is written."""
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
    """Return what reads a text or a name up to its end; one that has none ends with the SQL."""
    return rf"{quote}(?:[^{quote}]++|{quote}{quote})*+{quote}?+"


def _escaped(quote: str) -> str:
    """Return the same for a text in which a backslash takes the next character along."""
    return rf"{quote}(?:[^{quote}\\]++|\\.|{quote}{quote})*+\\?+{quote}?+"


class Grammar:
    """How one database tells the tokens of its SQL apart.

    Args:
        comments: What reads a comment.
        nested: What begins a comment that may hold others.
        tag: What begins a text, and ends it.
        executed: What begins a comment whose content is executed.
        texts: What reads a text.
        names: What reads a name in quotes.
        parameters: What reads a place for a value, beside those of the drivers.
        words: What reads a word.
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
        """Yield the tokens from *start* on, one after the other: a long text is not looked at to its end before."""
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
        """Yield where one of these words or signs, in small letters, stands outside of texts and comments.

        A word in quotes, which may be the name of a function, is found as well. A long text is searched without being
        cut into tokens, and most have none of the words at all.
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
        """Return what matches up to the next of the words, in one go: Python would be asked at each text otherwise."""
        sought = "|".join(
            rf"(?<![\w$]){one}(?![\w$])|[\"`]{one}[\"`]" if one.isidentifier() else re.escape(one) for one in words
        )
        stops = self._first + "".join({one[0] + one[0].upper() for one in words})
        # No group is in what is repeated: Python 3.11 may lose count of it.
        ends = rf"(?P<FOUND>(?i:{sought}))|{self._starts}"
        passed = rf"[^{re.escape(stops)}]++|(?!{_without_groups(ends)})(?:{self._passed}|.)"
        return re.compile(rf"(?:{passed})*+(?:{ends})", re.DOTALL)


def _without_groups(pattern: str) -> str:
    return re.sub(r"\(\?P<\w+>", "(?:", pattern)


_KINDS: Final = {kind.name: kind for kind in Kind}
_EDGE: Final = re.compile(r"/\*|\*/")


def _end_of_nested(sql: str, found: re.Match[str]) -> int:
    """Return where a comment ends that may hold others, of which the start was found."""
    depth = 1
    for edge in _EDGE.finditer(sql, found.end()):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    return len(sql)


def _end_of_tagged(sql: str, found: re.Match[str]) -> int:
    """Return where a text ends that goes on up to the tag with which it begins."""
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
"""https://mariadb.com/kb/en/comment-syntax/; what stands in ``/*! … */`` is executed, and read as if it stood alone."""

SQLITE: Final = Grammar(
    comments=rf"{_LINE}|{_BLOCK}",
    texts=_quoted("'"),
    names=rf"{_quoted(chr(34))}|{_quoted('`')}|\[[^\]]*+\]?+",
    first="-/'\"`[",
    parameters=r"\?\d*+|[:@$][^\W\d]\w*+",
)
"""https://www.sqlite.org/lang_keywords.html, https://www.sqlite.org/lang_comment.html."""

GRAMMARS: Final = {"mariadb": MARIADB, "mysql": MARIADB, "postgresql": POSTGRESQL, "sqlite": SQLITE}
"""The grammars by the names that SQLAlchemy gives the dialects."""
