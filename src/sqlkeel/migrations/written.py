"""SQL as it is written into a file: without the escapes that the driver at hand needs when it is sent."""

from __future__ import annotations

import copy
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect

__all__ = ["PLAIN", "plain"]

PLAIN: Final = "named"
"""The style of parameters that escapes nothing; for a driver of the style ``format`` each ``%`` is doubled."""


def plain(dialect: Dialect) -> Dialect:
    """Return a dialect that writes the same SQL for a file, where a ``%`` stands for itself.

    What is sent goes by the dialect of the connection, which is not changed.
    """
    other: Any = copy.copy(dialect)
    other.paramstyle, other.positional = PLAIN, False
    # Each of these holds what was made for the first style: the preparer, the types' compiler, literals of types.
    other.identifier_preparer = other.preparer(other)
    other.type_compiler_instance = other.type_compiler_cls(other)
    other._type_memos = WeakKeyDictionary()  # private: no public way empties it; TestPercent is its canary
    return other  # type: ignore[no-any-return]
