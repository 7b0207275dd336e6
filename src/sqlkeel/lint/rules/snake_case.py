"""Tables and columns are written in lower_snake_case.

A name with a capital letter has to be quoted in every hand-written statement; PostgreSQL does not find it otherwise.
Whether MariaDB distinguishes ``User`` and ``user`` depends on the server's file system.

Instead: lower-case letters, digits, and one underscore between words. A leading underscore is accepted: it needs no
quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

from sqlalchemy import Table

from .._finding import Problem, Rename, Schema

__all__ = ["BAD", "GOOD", "check"]

BAD = """
class PostLike(Base):
    __tablename__ = "PostLike"
    id: Mapped[int] = mapped_column(primary_key=True)
    likedBy: Mapped[str]
"""

GOOD = """
class PostLike(Base):
    __tablename__ = "post_like"
    id: Mapped[int] = mapped_column(primary_key=True)
    liked_by: Mapped[str]
"""

_SNAKE = re.compile(r"_?[a-z][a-z0-9]*(_[a-z0-9]+)*")
# Snake case drops these characters only. A name with any other one would lose meaning, so we propose no new name.
_KEPT = re.compile(r"[A-Za-z0-9_ .:/-]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield names that are not in lower_snake_case."""
    if not _SNAKE.fullmatch(table.name):
        yield _problem(table.name, "table", table.name)
    for column in table.columns:
        if not _SNAKE.fullmatch(column.name):
            yield _problem(f"{table.name}.{column.name}", "column", column.name)


def _problem(where: str, kind: Literal["table", "column"], name: str) -> Problem:
    words = "_".join(_WORD.findall(name)).lower()
    message = f'"{name}" is not lower_snake_case.'
    if not _KEPT.fullmatch(name) or not _SNAKE.fullmatch(words):
        return Problem(where, message, "Use lower-case letters, digits and single underscores.")
    return Problem(where, message, f'Call it "{words}".', Rename(kind, name, words))
