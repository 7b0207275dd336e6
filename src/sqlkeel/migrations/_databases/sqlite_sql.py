"""Compare pieces of SQL on SQLite, which stores them exactly as they were written."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Column, Integer, Numeric

from ..._sql_text import SQLITE, Token

__all__ = ["default_form", "form"]


def form(sql: str) -> str:
    """Return *sql* without brackets around it, spaces, comments, quotes of names and capitals; texts stay."""
    tokens = [*SQLITE.tokens(sql)]
    while _is_wrapped(tokens):
        tokens = tokens[1:-1]
    return "".join(one.text if one.name is None else one.name.lower() for one in tokens)


def default_form(sql: str, column: Column[Any]) -> str:
    """Return a normalised server default; a number for a numeric column may be quoted."""
    plain = form(sql)
    is_number = (
        plain.startswith("'") and isinstance(column.type, (Boolean, Integer, Numeric)) and _is_number(plain[1:-1])
    )
    return plain[1:-1] if is_number else plain


def _is_number(text: str) -> bool:
    return text.lstrip("+-").replace(".", "", 1).isdecimal()


def _is_wrapped(tokens: list[Token]) -> bool:
    """Return whether the first bracket is closed by the last one."""
    depth = 0
    for place, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text, 0)
        if depth == 0:
            return token.text == ")" and place == len(tokens) - 1
    return False
