"""Tables and columns are written lower_snake_case.

A name with a capital letter must be quoted in every statement that is written by hand, and PostgreSQL does not find
it otherwise; whether MariaDB tells ``User`` from ``user`` depends on the file system of the server.

Instead: small letters, digits, and one underscore between words. One in front is not a fault: it needs no quotes.
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
# Between words; any other sign means something, and a name without it says something else.
_KEPT = re.compile(r"[A-Za-z0-9_ .:/-]+")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+|[0-9]+")


def check(table: Table, schema: Schema) -> Iterator[Problem]:
    """Yield names that are written differently."""
    if not _SNAKE.fullmatch(table.name):
        yield _problem(table.name, "table", table.name)
    for column in table.columns:
        if not _SNAKE.fullmatch(column.name):
            yield _problem(f"{table.name}.{column.name}", "column", column.name)


def _problem(where: str, kind: Literal["table", "column"], name: str) -> Problem:
    words = "_".join(_WORD.findall(name)).lower()
    message = f'"{name}" is not lower_snake_case.'
    if not _KEPT.fullmatch(name) or not _SNAKE.fullmatch(words):
        return Problem(where, message, "Use small letters, digits and single underscores.")
    return Problem(where, message, f'Call it "{words}".', Rename(kind, name, words))
