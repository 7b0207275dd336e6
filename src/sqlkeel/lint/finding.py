"""What the rules are given, and what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["Finding", "Options", "Problem"]


class Problem(NamedTuple):
    """What one rule found: where, what is wrong, and what to write instead."""

    where: str
    message: str
    fix: str


@dataclass(frozen=True, order=True)
class Finding:
    """One broken rule. ``where`` is ``table`` or ``table.column``, ``fix`` what to type next."""

    where: str
    code: str
    message: str
    fix: str

    def __str__(self) -> str:
        return f"{self.code}  {self.where}: {self.message} {self.fix}"


@dataclass(frozen=True)
class Options:
    """What a project may say of itself: words that look like a plural and are none."""

    singular: frozenset[str] = frozenset()
