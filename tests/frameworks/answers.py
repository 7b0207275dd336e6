"""What the applications of these tests answer with."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Answer"]


@dataclass
class Answer:
    """One field."""

    value: int
