"""Whether two pieces of SQL are written alike for SQLite, which keeps them as they were written."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import Boolean, Column, Integer, Numeric

__all__ = ["default_form", "form"]

_PIECES: Final = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|\s+|[^'\"\s]+")
_NUMBER: Final = re.compile(r"'([+-]?\d+(?:\.\d+)?)'")


def form(sql: str) -> str:
    """Return *sql* without brackets around it, spaces, quotes of names and capitals; texts stay as they are."""
    pieces = _PIECES.findall(sql)
    plain = "".join(one if one[0] == "'" else "".join(one.replace('"', "").split()).lower() for one in pieces)
    while plain.startswith("(") and _closing(plain) == len(plain) - 1:
        plain = plain[1:-1]
    return plain


def default_form(sql: str, column: Column[Any]) -> str:
    """Return a server default; a number may stand in quotes for a column of numbers."""
    plain = form(sql)
    number = _NUMBER.fullmatch(plain)
    return number[1] if number and isinstance(column.type, (Boolean, Integer, Numeric)) else plain


def _closing(sql: str) -> int:
    depth = 0
    for piece in re.finditer(r"'(?:[^']|'')*'|[()]", sql):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if depth == 0 and piece[0] == ")":
            return piece.start()
    return -1
